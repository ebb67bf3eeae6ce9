/* Rings of packet sockets as images describe them: what makes no sense is not mapped, and nothing is written beside it. */
#include "net/packet-ring.h"

#include "base/array.h"
#include "net/packet-diag.h"

#include <errno.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include <cmocka.h>

static const struct {
	const char *name;
	uint32_t version, block_size, block_nr, frame_size, head, index, data_len;
	int result;
} cases[] = {
	{ "fine", TPACKET_V2, 4096, 4, 1024, 15, 3, 1024, 0 },
	{ "blocks", TPACKET_V3, 4096, 4, 1024, 3, 2, 4096, 0 },
	{ "empty", TPACKET_V2, 4096, 0, 1024, 0, 0, 1024, -EBADMSG },
	{ "frames of nothing", TPACKET_V2, 4096, 4, 0, 0, 1, 0, -EBADMSG },
	{ "frames beyond a block", TPACKET_V1, 4096, 4, 8192, 0, 1, 8192, -EBADMSG },
	{ "small frames", TPACKET_V1, 4096, 4, 16, 0, 1, 16, -EBADMSG },
	{ "more than there can be", TPACKET_V2, 0xffffffff, 0xffffffff, 1024, 0, 1, 1024, -EBADMSG },
	{ "more frames than can be counted", TPACKET_V2, 0x80000000, 512, 64, 0, 1, 64, -EBADMSG },
	{ "position behind the end", TPACKET_V2, 4096, 4, 1024, 16, 1, 1024, -EBADMSG },
	{ "position behind the last block", TPACKET_V3, 4096, 4, 1024, 4, 1, 4096, -EBADMSG },
	{ "slot behind the end", TPACKET_V2, 4096, 4, 1024, 0, 16, 1024, -EBADMSG },
	{ "slot that is filled next", TPACKET_V2, 4096, 4, 1024, 1, 1, 1024, -EBADMSG },
	{ "too little", TPACKET_V2, 4096, 4, 1024, 0, 1, 1023, -EBADMSG },
	{ "too much", TPACKET_V3, 4096, 4, 1024, 0, 1, 8192, -EBADMSG },
};

static void test_check(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		static const uint8_t data[8192];
		img_packet_ring ring = { .block_size = cases[i].block_size,
					 .block_nr = cases[i].block_nr,
					 .frame_size = cases[i].frame_size };
		img_packet_slot slot = { .index = cases[i].index, .data = { .data = data, .len = cases[i].data_len } };
		img_packet_sk_ext ext = { .has_rx_head = true, .rx_head = cases[i].head };
		img_packet_sock_entry e = { .version = cases[i].version, .rx_ring = &ring, .ext = &ext };
		struct cr_error err = { 0 };
		int r;

		ext.rx_waiting.items = &slot;
		ext.rx_waiting.nr = 1;
		r = packet_ring_check(&e, &err);
		if (r != cases[i].result)
			fail_msg("%s: %d, not %d", cases[i].name, r, cases[i].result);
	}
}

/* Images of others tell no position. */
static void test_refused(void **state)
{
	img_packet_ring ring = { .block_size = 4096, .block_nr = 1, .frame_size = 1024 };
	img_packet_sock_entry of_others = { .version = TPACKET_V2, .rx_ring = &ring };
	img_packet_sock_entry sends = { .version = TPACKET_V2, .tx_ring = &ring };
	struct cr_error err = { 0 };

	(void)state;
	assert_int_equal(packet_ring_check(&of_others, &err), -ENOTSUP);
	err = (struct cr_error){ 0 };
	assert_int_equal(packet_ring_check(&sends, &err), -ENOTSUP);
}

/* The same of a ring to send from, which has frames in every version. */
static void test_sends(void **state)
{
	static const struct {
		const char *name;
		uint32_t version, frame_size, head, index, data_len;
		int result;
	} sends[] = {
		{ "fine", TPACKET_V2, 1024, 15, 15, 1024, 0 },
		{ "third version", TPACKET_V3, 1024, 15, 15, 1024, 0 },
		{ "position behind the end", TPACKET_V3, 1024, 16, 0, 1024, -EBADMSG },
		{ "frame behind the end", TPACKET_V1, 1024, 0, 16, 1024, -EBADMSG },
		{ "too much", TPACKET_V2, 1024, 0, 0, 4096, -EBADMSG },
		{ "no room for a packet", TPACKET_V3, 48, 0, 0, 48, -EBADMSG },
		{ "frames of nothing", TPACKET_V3, 0, 0, 0, 0, -EBADMSG },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(sends); i++) {
		static const uint8_t data[4096];
		img_packet_ring ring = { .block_size = 4096, .block_nr = 4, .frame_size = sends[i].frame_size };
		img_packet_slot slot = { .index = sends[i].index, .data = { .data = data, .len = sends[i].data_len } };
		img_packet_sk_ext ext = { .has_tx_head = true, .tx_head = sends[i].head };
		img_packet_sock_entry e = { .version = sends[i].version, .tx_ring = &ring, .ext = &ext };
		struct cr_error err = { 0 };
		int r;

		ext.tx_slots.items = &slot;
		ext.tx_slots.nr = 1;
		r = packet_ring_check(&e, &err);
		if (r != sends[i].result)
			fail_msg("%s: %d, not %d", sends[i].name, r, sends[i].result);
	}
}

/* What the kernel says of rings; an answer that is cut short is none. */
static void test_told(void **state)
{
	struct {
		struct nlmsghdr h;
		struct packet_diag_msg m;
		struct nlattr a;
		struct packet_diag_ring rx;
		struct nlattr b;
		struct packet_diag_ring tx;
	} p = {
		.h = { .nlmsg_len = sizeof(p), .nlmsg_type = SOCK_DIAG_BY_FAMILY },
		.m = { .pdiag_ino = 77 },
		.a = { .nla_len = sizeof(p.a) + sizeof(p.rx), .nla_type = PACKET_DIAG_RX_RING },
		.rx = { .pdr_block_size = 4096, .pdr_block_nr = 3 },
		.b = { .nla_len = sizeof(p.b) + sizeof(p.tx), .nla_type = PACKET_DIAG_TX_RING },
	};
	struct packet_fact f = { 0 };

	(void)state;
	assert_int_equal(packet_diag_parse(&p, sizeof(p), 77, &f), 0);
	assert_true(f.found && f.has_rx && f.has_tx);
	assert_int_equal(f.rx.pdr_block_nr, 3);
	p.a.nla_len = sizeof(p.a) + 4;
	assert_int_equal(packet_diag_parse(&p, sizeof(p), 77, &f), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_told), cmocka_unit_test(test_check),
					    cmocka_unit_test(test_refused), cmocka_unit_test(test_sends) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}

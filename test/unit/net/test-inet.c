/* Pure parts of IP sockets: addresses, lists of multicast groups, checksums. */
#include "net/inet-address.h"
#include "net/inet-groups.h"
#include "net/inet-packet.h"
#include "net/packet-diag.h"
#include "net/tcp-repair.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct inet_end end4(const char *text, uint16_t port)
{
	struct inet_end e = { .family = AF_INET, .port = port };

	assert_int_equal(inet_pton(AF_INET, text, e.addr), 1);
	return e;
}

static struct inet_end end6(const char *text, uint16_t port)
{
	struct inet_end e = { .family = AF_INET6, .port = port };

	assert_int_equal(inet_pton(AF_INET6, text, e.addr), 1);
	return e;
}

static void test_ends(void **state)
{
	struct inet_end a = end4("10.1.2.3", 80), b = end6("::ffff:10.1.2.3", 80), c = end6("::1", 80),
			any = end6("::", 0), u;
	char text[INET_TEXT_MAX];

	(void)state;
	assert_false(inet_end_mapped(&a));
	assert_true(inet_end_mapped(&b));
	assert_false(inet_end_mapped(&c));
	assert_true(inet_end_same(&a, &b));
	assert_false(inet_end_same(&a, &c));
	assert_true(inet_end_any(&any));
	assert_false(inet_end_any(&b));
	u = inet_end_unmap(&b);
	assert_memory_equal(&u, &a, sizeof(u));
	inet_end_text(&a, text);
	assert_string_equal(text, "10.1.2.3:80");
	inet_end_text(&c, text);
	assert_string_equal(text, "[::1]:80");
}

static void test_igmp(void **state)
{
	static const char text[] = "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n"
				   "1\tlo        :     1      V3\n"
				   "\t\t\t\t010000E0     1 0:00000000\t\t0\n"
				   "4\teth0.7    :     2      V3\n"
				   "\t\t\t\t0302FFEF     1 0:00000000\t\t0\n"
				   "\t\t\t\tnonsense\n"
				   "\t\t\t\t010000E0     1 0:00000000\t\t0";
	struct inet_group_seen_vec v = { 0 };

	(void)state;
	assert_int_equal(igmp_parse(text, sizeof(text) - 1, &v), 0);
	assert_int_equal(v.nr, 3);
	assert_string_equal(v.items[0].dev, "lo");
	assert_int_equal(v.items[0].ifindex, 1);
	assert_memory_equal(v.items[0].addr, "\xe0\0\0\1", 4);
	assert_string_equal(v.items[1].dev, "eth0.7");
	assert_memory_equal(v.items[1].addr, "\xef\xff\2\3", 4);
	assert_int_equal(v.items[2].ifindex, 4);
	inet_group_seen_vec_done(&v);
}

static void test_igmp6(void **state)
{
	static const char text[] = "1    lo              ff020000000000000000000000000001     1 0000000C 0\n"
				   "2    short           ff02     1 0000000C 0\n"
				   "12   a-longer-name   ff0200000000000000000000000000fb     2 00000004 0\n";
	struct inet_group_seen_vec v = { 0 };

	(void)state;
	assert_int_equal(igmp6_parse(text, sizeof(text) - 1, &v), 0);
	assert_int_equal(v.nr, 2);
	assert_int_equal(v.items[1].ifindex, 12);
	assert_string_equal(v.items[1].dev, "a-longer-name");
	assert_int_equal(v.items[1].addr[15], 0xfb);
	inet_group_seen_vec_done(&v);
}

/* What is summed with its own checksum in place gives zero, odd lengths included. */
static void test_checksum(void **state)
{
	struct inet_end from[2] = { end4("192.0.2.1", 0), end6("2001:db8::1", 0) },
			to[2] = { end4("10.0.0.9", 0), end6("::1", 0) };
	uint8_t data[37];

	(void)state;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + 1);
	for (size_t k = 0; k < 2; k++)
		for (size_t len = 8; len <= sizeof(data); len++) {
			uint16_t sum;

			memset(data + 6, 0, 2);
			sum = inet_checksum(&from[k], &to[k], 17, data, len);
			memcpy(data + 6, &sum, 2);
			assert_int_equal(inet_checksum(&from[k], &to[k], 17, data, len), 0);
		}
}

static void test_streams(void **state)
{
	static const struct {
		const char *name;
		uint32_t state;
		img_tcp_stream_entry s;
		int want;
	} cases[] = {
		{ "plain", 1, { .inq_len = 5, .outq_len = 7, .mss_clamp = 1460 }, 0 },
		{ "unsent", 4, { .outq_len = 7, .has_unsq_len = true, .unsq_len = 7 }, 0 },
		{ "listening", 10, { 0 }, -EBADMSG },
		{ "being made", 2, { 0 }, -EBADMSG },
		{ "no state", 4711, { 0 }, -EBADMSG },
		{ "more unsent than there is", 1, { .outq_len = 7, .has_unsq_len = true, .unsq_len = 8 }, -EBADMSG },
		{ "huge queue", 1, { .inq_len = UINT32_MAX }, -EBADMSG },
		{ "scale", 1, { .snd_wscale = 15 }, -EBADMSG },
		{ "segments", 1, { .mss_clamp = 65536 }, -EBADMSG },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		if (tcp_repair_check(&cases[i].s, cases[i].state, NULL) != cases[i].want)
			fail_msg("%s", cases[i].name);
	assert_true(tcp_fins_of(9).received && tcp_fins_of(9).sent && !tcp_fins_of(9).acked);
	assert_true(!tcp_fins_of(5).received && tcp_fins_of(5).sent && tcp_fins_of(5).acked);
	assert_false(tcp_fins_of(1).received || tcp_fins_of(1).sent);
}

/* A message about one socket, with a membership; and cut at every place. */
static void test_packet_diag(void **state)
{
	struct {
		struct nlmsghdr h;
		struct packet_diag_msg m;
		struct nlattr a;
		struct packet_diag_mclist g;
		struct nlmsghdr done;
	} p = {
		.h = { .nlmsg_len = sizeof(p) - sizeof(p.done), .nlmsg_type = SOCK_DIAG_BY_FAMILY },
		.m = { .pdiag_ino = 77 },
		.a = { .nla_len = sizeof(p.a) + sizeof(p.g), .nla_type = PACKET_DIAG_MCLIST },
		.g = { .pdmc_index = 3, .pdmc_count = 1, .pdmc_alen = 6 },
		.done = { .nlmsg_len = sizeof(p.done), .nlmsg_type = NLMSG_DONE },
	};
	struct packet_fact f = { 0 };

	(void)state;
	assert_int_equal(packet_diag_parse(&p, sizeof(p), 77, &f), 1);
	assert_true(f.found && !f.has_rx && !f.has_tx);
	assert_int_equal(f.groups.nr, 1);
	assert_int_equal(f.groups.items[0].pdmc_index, 3);
	packet_fact_done(&f);
	f = (struct packet_fact){ 0 };
	assert_int_equal(packet_diag_parse(&p, sizeof(p), 78, &f), 1);
	assert_false(f.found);
	for (size_t len = 0; len < sizeof(p); len++) {
		packet_diag_parse(&p, len, 77, &f);
		packet_fact_done(&f);
	}
	p.g.pdmc_alen = 33;
	assert_int_equal(packet_diag_parse(&p, sizeof(p), 77, &f), -EBADMSG);
	packet_fact_done(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_ends),    cmocka_unit_test(test_igmp),
					    cmocka_unit_test(test_igmp6),   cmocka_unit_test(test_checksum),
					    cmocka_unit_test(test_streams), cmocka_unit_test(test_packet_diag) };

	return cmocka_run_group_tests_name("inet", tests, NULL, NULL);
}

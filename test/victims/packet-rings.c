/*
 * Packet sockets with rings. A ring goes on where it was: what waits is there, the next packets come behind it, and the process
 * looks for each of them at one place only. The option about TCP connections makes the runner take these cases to a network of
 * their own.
 */
#include "victim.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef SOL_PACKET
#define SOL_PACKET 263
#endif

#define BLOCK    4096u
#define BLOCKS   4u
#define FRAME    1024u
#define FRAMES   (BLOCK / FRAME * BLOCKS)
#define PROTOCOL 0x88b5
#define OWN      "--tcp-established"

static int s, version;
static char *ring, *again;
static unsigned at; /* frame or block that is read next */
static unsigned sent, got;

static void open_ring(int type, int wanted)
{
	struct tpacket_req3 r = { .tp_block_size = BLOCK,
				  .tp_block_nr = BLOCKS,
				  .tp_frame_size = FRAME,
				  .tp_frame_nr = FRAMES,
				  .tp_retire_blk_tov = 10 };
	struct sockaddr_ll lo = { .sll_family = AF_PACKET,
				  .sll_protocol = htons(PROTOCOL),
				  .sll_ifindex = (int)if_nametoindex("lo") };

	version = wanted;
	if ((s = socket(AF_PACKET, type, 0)) < 0)
		victim_skip("packet sockets: %s", strerror(errno));
	need(setsockopt(s, SOL_PACKET, PACKET_VERSION, &version, sizeof(version)) == 0);
	need(setsockopt(s, SOL_PACKET, PACKET_RX_RING, &r,
			version == TPACKET_V3 ? sizeof(r) : sizeof(struct tpacket_req)) == 0);
	ring = mmap(NULL, BLOCK * BLOCKS, PROT_READ | PROT_WRITE, MAP_SHARED, s, 0);
	need(ring != MAP_FAILED);
	need(bind(s, (struct sockaddr *)&lo, sizeof(lo)) == 0);
}

/* Each says which it is. */
static void send_packet(void)
{
	struct sockaddr_ll to = { .sll_family = AF_PACKET,
				  .sll_protocol = htons(PROTOCOL),
				  .sll_ifindex = (int)if_nametoindex("lo"),
				  .sll_halen = 6 };
	int fd = socket(AF_PACKET, SOCK_DGRAM, 0);
	char text[100] = "";

	snprintf(text, sizeof(text), "packet %u", sent++);
	expect(sendto(fd, text, sizeof(text), 0, (struct sockaddr *)&to, sizeof(to)) == sizeof(text), "sendto");
	close(fd);
}

static uint32_t status(void)
{
	char *slot = ring + at * (version == TPACKET_V3 ? BLOCK : FRAME);
	struct tpacket_block_desc *b = (void *)slot;

	return version == TPACKET_V3 ? __atomic_load_n(&b->hdr.bh1.block_status, __ATOMIC_ACQUIRE)
				     : __atomic_load_n((uint32_t *)(void *)slot, __ATOMIC_ACQUIRE);
}

/* Until the next frame or block is ours */
static bool await(void)
{
	for (int i = 0; i < 1000 && !(status() & TP_STATUS_USER); i++)
		sleep_ms(5);
	return status() & TP_STATUS_USER;
}

/* What is in it, and on to the next one. In a block there is one packet, since each is waited for. */
static void take(void)
{
	char *slot = ring + at * (version == TPACKET_V3 ? BLOCK : FRAME), want[32];
	struct tpacket_block_desc *b = (void *)slot;
	size_t net;

	snprintf(want, sizeof(want), "packet %u", got);
	expect(await(), "packet %u does not come to place %u", got, at);
	if (version == TPACKET_V3) {
		struct tpacket3_hdr *h = (void *)(slot + b->hdr.bh1.offset_to_first_pkt);

		expect(b->hdr.bh1.num_pkts == 1, "block %u has %u packets", at, b->hdr.bh1.num_pkts);
		net = b->hdr.bh1.offset_to_first_pkt + h->tp_net;
		b->hdr.bh1.block_status = TP_STATUS_KERNEL;
	} else if (version == TPACKET_V2) {
		net = ((struct tpacket2_hdr *)(void *)slot)->tp_net;
	} else {
		net = ((struct tpacket_hdr *)(void *)slot)->tp_net;
	}
	expect(net < BLOCK - 32 && strcmp(slot + net, want) == 0, "place %u holds \"%.20s\", not \"%s\"", at,
	       net < BLOCK - 32 ? slot + net : "", want);
	if (version == TPACKET_V1)
		((struct tpacket_hdr *)(void *)slot)->tp_status = TP_STATUS_KERNEL;
	else if (version == TPACKET_V2)
		((struct tpacket2_hdr *)(void *)slot)->tp_status = TP_STATUS_KERNEL;
	at = (at + 1) % (version == TPACKET_V3 ? BLOCKS : FRAMES);
	got++;
}

static bool readable(void)
{
	struct pollfd p = { .fd = s, .events = POLLIN };

	return poll(&p, 1, 0) > 0 && p.revents & POLLIN;
}

/* Each packet is taken before the next one is sent; then some that are not. */
static void begin(unsigned taken, unsigned waiting)
{
	for (unsigned i = 0; i < taken; i++) {
		send_packet();
		take();
	}
	for (unsigned i = 0; i < waiting; i++) {
		unsigned first = at;

		send_packet();
		at = (at + i) % (version == TPACKET_V3 ? BLOCKS : FRAMES);
		need(await());
		at = first;
	}
}

/* The rest of what waited, then twice around the ring. */
static void go_on(void)
{
	expect(readable() == (sent > got), "%u packets wait, and it is %sreadable", sent - got,
	       readable() ? "" : "not ");
	while (got < sent)
		take();
	expect(!readable(), "readable, with nothing in it");
	for (unsigned i = 0; i < 2 * FRAMES; i++) {
		send_packet();
		take();
	}
}

static void set_up_first(void)
{
	open_ring(SOCK_RAW, TPACKET_V1);
	begin(5, 2);
}

static void set_up_second(void)
{
	open_ring(SOCK_DGRAM, TPACKET_V2);
	need((again = mmap(NULL, BLOCK * BLOCKS, PROT_READ, MAP_SHARED, s, 0)) != MAP_FAILED);
	begin(FRAMES + 7, 0);
}

static void check_second(void)
{
	go_on();
	expect(memcmp(ring, again, BLOCK * BLOCKS) == 0, "the two mappings differ");
}

static void set_up_third(void)
{
	open_ring(SOCK_RAW, TPACKET_V3);
	begin(BLOCKS + 1, 2);
}

/* where it began: nothing has come yet */
static void set_up_new(void)
{
	open_ring(SOCK_RAW, TPACKET_V2);
}

/* One that gets all packets, and must not see those that the ring is moved on with. It is opened first. */
static int all;

static void set_up_beside(void)
{
	struct sockaddr_ll lo = { .sll_family = AF_PACKET,
				  .sll_protocol = htons(ETH_P_ALL),
				  .sll_ifindex = (int)if_nametoindex("lo") };
	char buf[200];

	if ((all = socket(AF_PACKET, SOCK_RAW, 0)) < 0)
		victim_skip("packet sockets: %s", strerror(errno));
	need(bind(all, (struct sockaddr *)&lo, sizeof(lo)) == 0);
	open_ring(SOCK_RAW, TPACKET_V2);
	begin(5, 0);
	while (recv(all, buf, sizeof(buf), MSG_DONTWAIT) > 0)
		;
}

static void check_beside(void)
{
	char buf[200] = "";
	ssize_t n = recv(all, buf, sizeof(buf), MSG_DONTWAIT);

	expect(n < 0 && errno == EAGAIN, "%zd bytes have come that nobody of the tree has sent", n);
	go_on();
	expect(recv(all, buf, sizeof(buf), MSG_DONTWAIT) > 0, "it no longer receives anything");
}

static void set_up_full(void)
{
	open_ring(SOCK_RAW, TPACKET_V2);
	begin(3, FRAMES);
}

static void set_up_part(void)
{
	open_ring(SOCK_RAW, TPACKET_V2);
	need(munmap(ring + BLOCK, BLOCK) == 0);
}

/* --- rings to send from: the kernel looks at one place only, and sends what is there */

static char *out;
static unsigned to; /* frame that is sent next */
static int ear;

static size_t out_header(void)
{
	return TPACKET_ALIGN(version == TPACKET_V1   ? sizeof(struct tpacket_hdr)
			     : version == TPACKET_V2 ? sizeof(struct tpacket2_hdr)
						     : sizeof(struct tpacket3_hdr));
}

static uint32_t *out_status(unsigned i)
{
	char *slot = out + i * FRAME;

	return version == TPACKET_V3 ? &((struct tpacket3_hdr *)(void *)slot)->tp_status : (uint32_t *)(void *)slot;
}

static void out_length(unsigned i, unsigned len)
{
	void *slot = out + i * FRAME;

	if (version == TPACKET_V1)
		((struct tpacket_hdr *)slot)->tp_len = len;
	else if (version == TPACKET_V2)
		((struct tpacket2_hdr *)slot)->tp_len = len;
	else
		((struct tpacket3_hdr *)slot)->tp_len = len;
}

/* Says which it is, in a frame that was prepared but for that. */
static void put_out(unsigned number)
{
	snprintf(out + to * FRAME + out_header() + ETH_HLEN, 40, "packet %u", number);
	__atomic_store_n(out_status(to), TP_STATUS_SEND_REQUEST, __ATOMIC_RELEASE);
	to = (to + 1) % FRAMES;
}

static void hear(unsigned number)
{
	char buf[200] = "", want[40];
	struct pollfd p = { .fd = ear, .events = POLLIN };

	snprintf(want, sizeof(want), "packet %u", number);
	expect(poll(&p, 1, 5000) == 1 && recv(ear, buf, sizeof(buf), 0) > 0 && strcmp(buf + ETH_HLEN, want) == 0,
	       "\"%.20s\" comes, not \"%s\"", buf + ETH_HLEN, want);
}

static void send_out(unsigned nr)
{
	for (unsigned i = 0; i < nr; i++)
		put_out(sent + i);
	expect(send(s, NULL, 0, 0) > 0, "send");
	for (unsigned i = 0; i < nr; i++)
		hear(sent + i);
	sent += nr;
	for (int i = 0; i < 1000 && *out_status((to + FRAMES - 1) % FRAMES); i++)
		sleep_ms(1);
}

static void open_out(int wanted, bool loss, bool both)
{
	struct tpacket_req3 r = {
		.tp_block_size = BLOCK, .tp_block_nr = BLOCKS, .tp_frame_size = FRAME, .tp_frame_nr = FRAMES
	};
	struct sockaddr_ll lo = { .sll_family = AF_PACKET,
				  .sll_protocol = htons(PROTOCOL),
				  .sll_ifindex = (int)if_nametoindex("lo") };
	socklen_t len = wanted == TPACKET_V3 ? sizeof(r) : sizeof(struct tpacket_req);

	version = wanted;
	if ((ear = socket(AF_PACKET, SOCK_RAW, 0)) < 0 || (s = socket(AF_PACKET, SOCK_RAW, 0)) < 0)
		victim_skip("packet sockets: %s", strerror(errno));
	need(bind(ear, (struct sockaddr *)&lo, sizeof(lo)) == 0);
	need(setsockopt(s, SOL_PACKET, PACKET_VERSION, &version, sizeof(version)) == 0);
	need(!loss || setsockopt(s, SOL_PACKET, PACKET_LOSS, &(int){ 1 }, sizeof(int)) == 0);
	need(!both || setsockopt(s, SOL_PACKET, PACKET_RX_RING, &r, len) == 0);
	need(setsockopt(s, SOL_PACKET, PACKET_TX_RING, &r, len) == 0);
	ring = mmap(NULL, BLOCK * BLOCKS * (both ? 2 : 1), PROT_READ | PROT_WRITE, MAP_SHARED, s, 0);
	need(ring != MAP_FAILED);
	out = both ? ring + BLOCK * BLOCKS : ring;
	if (!both)
		lo.sll_protocol = 0;
	need(bind(s, (struct sockaddr *)&lo, sizeof(lo)) == 0);
	for (unsigned i = 0; i < FRAMES; i++) {
		out_length(i, 100);
		*(uint16_t *)(void *)(out + i * FRAME + out_header() + 12) = htons(PROTOCOL);
	}
}

static void set_up_sending(void)
{
	open_out(TPACKET_V2, false, false);
	send_out(FRAMES);
	send_out(5);
}

static void set_up_sending_third(void)
{
	open_out(TPACKET_V3, false, false);
	send_out(7);
}

static void set_up_sending_loss(void)
{
	open_out(TPACKET_V1, true, false);
	send_out(11);
}

static void check_sending(void)
{
	char buf[200];
	ssize_t n = recv(ear, buf, sizeof(buf), MSG_DONTWAIT);

	expect(n < 0 && errno == EAGAIN, "%zd bytes have come that nobody has sent", n);
	send_out(1);
	send_out(FRAMES - 1);
	send_out(2);
}

/* One mapping of two rings. What is sent comes in again. */
static void set_up_both(void)
{
	open_out(TPACKET_V2, false, true);
	send_out(3);
	need(await());
	for (at = 0; at < 3; at++)
		((struct tpacket2_hdr *)(void *)(ring + at * FRAME))->tp_status = TP_STATUS_KERNEL;
	got = 3;
}

static void check_both(void)
{
	check_sending();
	for (int i = 0; i < 3; i++)
		take();
}

static void set_up_unsent(void)
{
	open_out(TPACKET_V2, false, false);
	put_out(0);
}

static void check_unsent(void)
{
	expect(send(s, NULL, 0, 0) == 100, "send");
	hear(0);
}

static void set_up_private(void)
{
	struct tpacket_req3 r = { .tp_block_size = BLOCK,
				  .tp_block_nr = BLOCKS,
				  .tp_frame_size = FRAME,
				  .tp_frame_nr = FRAMES,
				  .tp_sizeof_priv = 64 };

	version = TPACKET_V3;
	if ((s = socket(AF_PACKET, SOCK_RAW, 0)) < 0)
		victim_skip("packet sockets: %s", strerror(errno));
	need(setsockopt(s, SOL_PACKET, PACKET_VERSION, &version, sizeof(version)) == 0);
	need(setsockopt(s, SOL_PACKET, PACKET_RX_RING, &r, sizeof(r)) == 0);
}

const struct victim_case victim_cases[] = {
	{ "v1-waiting", set_up_first, go_on, .dump = OWN, .restore = OWN },
	{ "v2", set_up_second, check_second, .dump = OWN, .restore = OWN, .flags = CASE_MORE },
	{ "v3-waiting", set_up_third, go_on, .dump = OWN, .restore = OWN },
	{ "new", set_up_new, go_on, .dump = OWN, .restore = OWN },
	{ "beside", set_up_beside, check_beside, .dump = OWN, .restore = OWN },
	{ "full", set_up_full, NULL, .dump = OWN, .refuse = "packet socket|ring is full" },
	{ "in-part", set_up_part, NULL, .dump = OWN, .refuse = "socket|in part" },
	{ "sending", set_up_sending, check_sending, .dump = OWN, .restore = OWN, .flags = CASE_MORE },
	{ "sending-v3", set_up_sending_third, check_sending, .dump = OWN, .restore = OWN },
	{ "sending-loss", set_up_sending_loss, check_sending, .dump = OWN, .restore = OWN },
	{ "both", set_up_both, check_both, .dump = OWN, .restore = OWN },
	{ "unsent", set_up_unsent, check_unsent, .dump = OWN, .refuse = "packet socket|is not empty" },
	{ "private-areas", set_up_private, NULL, .dump = OWN, .refuse = "packet socket|private areas" },
	{ 0 },
};

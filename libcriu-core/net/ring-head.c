/*
 * Where in a ring of a packet socket the kernel goes on, found out and brought about. packet_poll() in net/packet/af_packet.c
 * (6.18): a socket is readable if the slot in front of that position is not the kernel's. So one slot after the other gets
 * another status for a moment, and the socket changes its mind at one of them. Nothing sets the position but
 * packets that come in; so a new ring is sent some, with an unused protocol and a filter that lets nothing else through.
 */
#include "net/packet-ring.h"

#include "base/array.h"
#include "base/clock.h"
#include "base/own.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* A status that the kernel never gives: not the kernel's, and not for the process either (TP_STATUS_USER is not set). */
#define MARK (UINT64_C(1) << 28)

#define PROTOCOL      0x88b6 /* for experiments: IEEE 802, "local experimental Ethertype 2" */
#define NOBODYS       0xffff /* reserved: nobody sends it */
#define HEADER        14     /* of Ethernet, which the loopback device has, too */
#define PACKET_MAX    60000
#define WAIT_MS       2000
#define RETIRE_MS_MAX 60000

static bool readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) > 0 && p.revents & POLLIN;
}

/* When the packet in a frame came, to be compared; 0 in one that was never used. */
static uint64_t age(const struct ring_view *v, uint32_t i)
{
	const char *slot = ring_slot(v, i);
	struct tpacket_block_desc block;
	struct tpacket2_hdr second;
	struct tpacket_hdr first;

	switch (v->version) {
	case TPACKET_V1:
		memcpy(&first, slot, sizeof(first));
		return (uint64_t)first.tp_sec << 32 | first.tp_usec;
	case TPACKET_V2:
		memcpy(&second, slot, sizeof(second));
		return (uint64_t)second.tp_sec << 32 | second.tp_nsec;
	default:
		memcpy(&block, slot, sizeof(block));
		return block.hdr.bh1.seq_num;
	}
}

/* The slot that was probably filled last: where to begin, so that mostly one slot is touched. */
static uint32_t likely_last(const struct ring_view *v)
{
	uint32_t newest = v->nr - 1;
	uint64_t best = 0;

	for (uint32_t i = 0; i < v->nr; i++)
		if (age(v, i) > best) {
			best = age(v, i);
			newest = i;
		}
	/* the newest number of a block is that of the one that is being filled */
	return v->version == TPACKET_V3 && best ? (newest + v->nr - 1) % v->nr : newest;
}

/* Does the socket's mind depend on slot @i? Return: 1 yes, 0 no, -EAGAIN the kernel was at work on it. */
static int decides(int fd, const struct ring_view *v, uint32_t i, bool now)
{
	uint64_t was = ring_status(v, i), other = was ? 0 : MARK;
	bool then;

	if (!ring_swap_status(v, i, was, other))
		return -EAGAIN;
	then = readable(fd);
	if (!ring_swap_status(v, i, other, was))
		return -EAGAIN;
	return then != now;
}

int ring_find_head(int fd, const struct ring_view *v, uint32_t *ret, struct cr_error *err)
{
	bool now = readable(fd), full = true;
	uint32_t first = likely_last(v);

	(void)err;
	for (uint32_t n = 0; n < v->nr; n++) {
		uint32_t i = (first + n) % v->nr, next = (i + 1) % v->nr;
		int r;

		full &= ring_status(v, i) != 0;
		/* A slot that waits is looked at only if the kernel may go on behind it: it would write into one that is given back. */
		if ((ring_status(v, i) != 0) != now || ring_status(v, next) != 0)
			continue;
		r = decides(fd, v, i, now);
		if (r < 0)
			return RING_BUSY;
		if (r > 0) {
			*ret = next;
			return RING_FOUND;
		}
	}
	return full || !now ? RING_BUSY : RING_UNKNOWN;
}

static int filter_ours(int fd, uint32_t token, bool raw, struct cr_error *err)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, raw ? HEADER : 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, token, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	struct sock_fprog program = { .len = ARRAY_LEN(code), .filter = code };

	if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) < 0)
		return cr_fail(err, -errno, "filter of a packet socket");
	return 0;
}

struct feeder {
	int to;  /* that has the ring */
	int raw; /* to send from */
	const struct ring_view *v;
	uint32_t retire_ms;
	char *packet;
	size_t len;
};

static int feed(const struct feeder *f, struct cr_error *err)
{
	ssize_t n = send(f->raw, f->packet, f->len, 0);

	return n == (ssize_t)f->len ? 0 : cr_fail(err, n < 0 ? -errno : -EIO, "send to the loopback device");
}

static uint32_t packets_in(const struct ring_view *v, uint32_t i)
{
	const struct tpacket_block_desc *block = (const void *)ring_slot(v, i);

	return __atomic_load_n(&block->hdr.bh1.num_pkts, __ATOMIC_ACQUIRE);
}

/* Until slot @i is full; with @some: or holds more than @some packets. */
static int await(const struct feeder *f, uint32_t i, const uint32_t *some, uint32_t limit_ms, struct cr_error *err)
{
	const struct timespec pause = { .tv_nsec = 50000 };
	int64_t end = monotonic_ms() + limit_ms;

	for (;;) {
		if (ring_status(f->v, i) || (some && packets_in(f->v, i) > *some))
			return 0;
		if (monotonic_ms() > end)
			return cr_refuse(err, -ETIMEDOUT, "no packet arrives by the loopback device: is it up?");
		nanosleep(&pause, NULL);
	}
}

/* Blocks end when a packet no longer fits, or by a timer; the last one must not get a packet too many. */
static int fill_block(const struct feeder *f, uint32_t i, bool last, struct cr_error *err)
{
	int r = 0;

	while (r == 0 && !ring_status(f->v, i)) {
		uint32_t some = packets_in(f->v, i);

		if (last && some)
			return await(f, i, NULL, f->retire_ms + WAIT_MS, err);
		r = feed(f, err);
		if (r == 0)
			r = await(f, i, &some, WAIT_MS, err);
	}
	return r;
}

static int fill_slots(const struct feeder *f, uint32_t head, struct cr_error *err)
{
	int r = 0;

	for (uint32_t i = 0; i < head && r == 0; i++) {
		if (f->v->version == TPACKET_V3) {
			r = fill_block(f, i, i + 1 == head, err);
			continue;
		}
		r = feed(f, err);
		if (r == 0)
			r = await(f, i, NULL, WAIT_MS, err);
	}
	/* as if the process had taken them */
	for (uint32_t i = 0; i < head; i++)
		ring_put_status(f->v, i, 0);
	return r;
}

static int feed_all(struct feeder *f, uint32_t head, bool datagram, struct cr_error *err)
{
	struct sockaddr_ll lo = { .sll_family = AF_PACKET,
				  .sll_protocol = htobe16(PROTOCOL),
				  .sll_ifindex = (int)if_nametoindex("lo") };
	uint16_t protocol = htobe16(PROTOCOL);
	uint32_t token, at;
	int r;

	if (!lo.sll_ifindex)
		return cr_fail(err, -errno, "loopback device");
	if (getrandom(&token, sizeof(token), 0) != sizeof(token))
		return cr_fail(err, -errno, "random number");
	memcpy(f->packet + HEADER - 2, &protocol, sizeof(protocol));
	memcpy(f->packet + HEADER, &token, sizeof(token));
	r = filter_ours(f->to, be32toh(token), !datagram, err);
	if (r < 0)
		return r;
	if (bind(f->to, (struct sockaddr *)&lo, sizeof(lo)) < 0)
		return cr_fail(err, -errno, "bind to the loopback device");
	/* of no protocol: it sends and does not receive */
	lo.sll_protocol = 0;
	if (bind(f->raw, (struct sockaddr *)&lo, sizeof(lo)) < 0)
		return cr_fail(err, -errno, "bind to the loopback device");
	r = fill_slots(f, head, err);
	if (r == 0 && (ring_find_head(f->to, f->v, &at, err) != RING_FOUND || at != head))
		r = cr_refuse(err, -EIO, "the kernel does not go on in slot %" PRIu32, head);
	/* before the filter goes, or what others send would come in */
	lo.sll_protocol = htobe16(NOBODYS);
	if (bind(f->to, (struct sockaddr *)&lo, sizeof(lo)) < 0 && r == 0)
		r = cr_fail(err, -errno, "bind to the loopback device");
	if (setsockopt(f->to, SOL_SOCKET, SO_DETACH_FILTER, &token, sizeof(token)) < 0 && r == 0)
		r = cr_fail(err, -errno, "filter of a packet socket");
	return r;
}

int ring_advance(int fd, const struct ring_view *v, uint32_t head, uint32_t retire_ms, struct cr_error *err)
{
	autofd int raw = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	/* more than half of a block, so that the next one does not fit */
	size_t len = v->version == TPACKET_V3 ? (size_t)v->slot_size * 3 / 5 : 64;
	autofree char *packet = calloc(1, PACKET_MAX);
	socklen_t type_len = sizeof(int);
	struct feeder f = { .to = fd, .raw = raw, .v = v, .packet = packet };
	int type;

	if (raw < 0)
		return cr_fail(err, -errno, "packet socket");
	if (!packet)
		return cr_fail(err, -ENOMEM, "position of a ring");
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_len) < 0)
		return cr_fail(err, -errno, "type of a packet socket");
	f.len = len > PACKET_MAX ? PACKET_MAX : len;
	f.retire_ms = retire_ms > RETIRE_MS_MAX ? RETIRE_MS_MAX : retire_ms;
	return cr_within(err, feed_all(&f, head, type == SOCK_DGRAM, err), "position %" PRIu32 " of a ring", head);
}

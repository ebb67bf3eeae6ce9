/*
 * Rings of packet sockets to send from (PACKET_TX_RING). The process fills a frame, says so in its status word, and calls send(2);
 * the kernel looks at one frame only, where it goes on, and does nothing if that is not to be sent. It says which one that is when
 * it is asked to send nonsense: a frame with an impossible length is refused (TP_STATUS_WRONG_FORMAT), and stays the next one; with
 * PACKET_LOSS it is left out instead; tpacket_snd() in net/packet/af_packet.c (6.18). Nothing is sent by that.
 */
#include "net/packet-ring.h"

#include "files/dump-internal.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#ifndef SOL_PACKET
#define SOL_PACKET 263
#endif

#define NONSENSE   ((uint32_t)-EBADMSG) /* a length below 0 is an error number in the kernel, and quietly one */
#define PROTOCOL   0x88b6               /* as in ring-head.c */
#define HEADER     14
#define PACKET     64
#define WAIT_MS    2000

struct sender {
	int fd;
	struct ring_view v;
	struct sockaddr_ll lo; /* so that it may be bound to anything, or to nothing */
	bool loss;
};

static uint32_t *length_word(const struct ring_view *v, uint32_t i)
{
	void *slot = ring_slot(v, i);

	switch (v->version) {
	case TPACKET_V1:
		return &((struct tpacket_hdr *)slot)->tp_len;
	case TPACKET_V2:
		return &((struct tpacket2_hdr *)slot)->tp_len;
	default:
		return &((struct tpacket3_hdr *)slot)->tp_len;
	}
}

static size_t header_len(uint32_t version)
{
	return TPACKET_ALIGN(version == TPACKET_V1   ? sizeof(struct tpacket_hdr)
			     : version == TPACKET_V2 ? sizeof(struct tpacket2_hdr)
						     : sizeof(struct tpacket3_hdr));
}

static int open_sender(int fd, const img_packet_sock_entry *e, struct sender *ret, struct cr_error *err)
{
	*ret = (struct sender){ .fd = fd, .loss = e->loss };
	ret->lo = (struct sockaddr_ll){ .sll_family = AF_PACKET,
					.sll_protocol = htobe16(PROTOCOL),
					.sll_ifindex = (int)if_nametoindex("lo"),
					.sll_halen = 6 };
	return ring_map(fd, e, true, &ret->v, err);
}

/* Return: 0, also where the kernel found nonsense; negative errno */
static int send_now(const struct sender *s, struct cr_error *err)
{
	int r;

	if (sendto(s->fd, NULL, 0, MSG_DONTWAIT | MSG_NOSIGNAL, (const struct sockaddr *)&s->lo, sizeof(s->lo)) >= 0 ||
	    errno == EBADMSG || errno == EINVAL || errno == EAGAIN || errno == ENOBUFS)
		return 0;
	r = cr_fail(err, -errno, "send from a ring");
	cr_advise(err, "is the loopback device up?");
	return r;
}

/* Frames from @first on, @nr of them, are nonsense for the length of one call. Return: how many the kernel took; negative errno */
static int64_t offer_nonsense(const struct sender *s, uint32_t first, uint32_t nr, struct cr_error *err)
{
	const struct ring_view *v = &s->v;
	uint32_t lengths[64], taken = 0;

	for (uint32_t done = 0; done < nr;) {
		uint32_t some = nr - done < 64 ? nr - done : 64;
		int r;

		for (uint32_t k = 0; k < some; k++) {
			uint32_t i = (first + done + k) % v->nr;

			lengths[k] = *length_word(v, i);
			*length_word(v, i) = NONSENSE;
			ring_put_status(v, i, TP_STATUS_SEND_REQUEST);
		}
		r = send_now(s, err);
		for (uint32_t k = 0; k < some; k++) {
			uint32_t i = (first + done + k) % v->nr;

			taken += ring_status(v, i) != TP_STATUS_SEND_REQUEST;
			ring_put_status(v, i, TP_STATUS_AVAILABLE);
			*length_word(v, i) = lengths[k];
		}
		if (r < 0)
			return r;
		done += some;
	}
	return taken;
}

/* All frames are available. Return: 0; -ENOENT the kernel looks at none; negative errno. */
static int find_head(const struct sender *s, uint32_t *ret, struct cr_error *err)
{
	for (uint32_t i = 0; i < s->v.nr; i++) {
		int64_t taken = offer_nonsense(s, i, 1, err);

		if (taken < 0)
			return (int)taken;
		if (!taken)
			continue;
		/* where it was left out, all others are as well, until the first comes round again */
		if (s->loss) {
			taken = offer_nonsense(s, i + 1, s->v.nr - 1, err);
			if (taken < 0)
				return (int)taken;
			if (taken != s->v.nr - 1)
				return cr_fail(err, -EIO, "position of a ring to send from");
		}
		*ret = i;
		return 0;
	}
	return cr_fail(err, -ENOENT, "position of a ring to send from");
}

/* -------------------------------------------------------------------- dump */

static bool is_empty(const struct ring_view *v)
{
	for (uint32_t i = 0; i < v->nr; i++)
		if (ring_status(v, i) != TP_STATUS_AVAILABLE)
			return false;
	return true;
}

static bool holds_anything(const char *slot, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (slot[i])
			return true;
	return false;
}

/* Frames are often prepared once and sent again and again. Return: as ring_store() */
static int take_slots(struct file_table *t, const struct ring_view *v, img_packet_sk_ext *ext)
{
	int r = 0;

	for (uint32_t i = 0; i < v->nr && r == 0; i++)
		if (holds_anything(ring_slot(v, i), v->slot_size))
			r = ring_store(t, v, i, &ext->tx_slots);
	return r;
}

/* Where the data in a frame begins is said elsewhere then, and in front of it is more than a packet. */
static bool has_other_layout(int fd)
{
	int on = 0;
	socklen_t len = sizeof(on);

	if (getsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, &len) == 0 && on)
		return true;
	len = sizeof(on);
	return getsockopt(fd, SOL_PACKET, PACKET_TX_HAS_OFF, &on, &len) == 0 && on;
}

int send_ring_dump(struct file_table *t, struct open_file *f, img_packet_sock_entry *e, struct cr_error *err)
{
	struct sender s;
	int r;

	if (has_other_layout(f->fd))
		return file_refuse(t, f, "",
				   "packet socket with a ring to send from and PACKET_TX_HAS_OFF or PACKET_VNET_HDR");
	r = open_sender(f->fd, e, &s, err);
	if (r == 0 && !is_empty(&s.v)) {
		ring_unmap(&s.v);
		return file_refuse_passing(t, f, "try again", "packet socket whose ring to send from is not empty");
	}
	if (r == 0)
		r = find_head(&s, &e->ext->tx_head, err);
	e->ext->has_tx_head = r == 0;
	if (r == 0)
		r = take_slots(t, &s.v, e->ext);
	ring_unmap(&s.v);
	if (r == -EFBIG)
		return file_refuse(t, f, "", "packet socket with more than 64 MiB in its ring to send from");
	return r == -ENOMEM ? pool_failed(err) : r;
}

/* ----------------------------------------------------------------- restore */

int send_ring_check(const img_packet_sock_entry *e, struct cr_error *err)
{
	struct ring_view v;

	if (!e->ext || !e->ext->has_tx_head)
		return cr_refuse(
			err, -ENOTSUP,
			"packet socket %u has a ring to send from, and nothing says where in it the kernel goes on",
			e->id);
	if (ring_describe(e->version, e->tx_ring, true, &v) < 0 || e->ext->tx_head >= v.nr ||
	    v.slot_size <= header_len(e->version) + HEADER)
		return cr_refuse(err, -EBADMSG, "packet socket %u: its ring to send from makes no sense", e->id);
	for (size_t i = 0; i < e->ext->tx_slots.nr; i++)
		if (e->ext->tx_slots.items[i].index >= v.nr || e->ext->tx_slots.items[i].data.len != v.slot_size)
			return cr_refuse(err, -EBADMSG, "packet socket %u: frame %u of its ring makes no sense", e->id,
					 e->ext->tx_slots.items[i].index);
	return 0;
}

/* Nobody listens to the protocol; the loopback device has them back at once. */
static int send_frames(const struct sender *s, uint32_t nr, struct cr_error *err)
{
	const struct timespec pause = { .tv_nsec = 50000 };
	size_t front = header_len(s->v.version), room = s->v.slot_size - front;
	uint16_t protocol = htobe16(PROTOCOL);

	for (uint32_t i = 0; i < nr; i++) {
		memcpy(ring_slot(&s->v, i) + front + HEADER - sizeof(protocol), &protocol, sizeof(protocol));
		*length_word(&s->v, i) = (uint32_t)(room < PACKET ? room : PACKET);
		ring_put_status(&s->v, i, TP_STATUS_SEND_REQUEST);
	}
	for (int left = WAIT_MS * 20; left > 0; left--) {
		int r = send_now(s, err);

		if (r < 0 || is_empty(&s->v))
			return r;
		nanosleep(&pause, NULL);
	}
	return cr_fail(err, -ETIMEDOUT, "packets are not sent by the loopback device");
}

static int advance(const struct sender *s, uint32_t head, struct cr_error *err)
{
	uint32_t now;
	int64_t r = s->loss ? offer_nonsense(s, 0, head, err) : send_frames(s, head, err);

	if (r < 0)
		return (int)r;
	r = find_head(s, &now, err);
	if (r == 0 && now != head)
		return cr_fail(err, -EIO, "the kernel goes on in frame %" PRIu32 ", not %" PRIu32, now, head);
	return (int)r;
}

int send_ring_restore(int fd, const img_packet_sock_entry *e, struct cr_error *err)
{
	const img_packet_ring *ring = e->tx_ring;
	struct tpacket_req3 request = { .tp_block_size = ring->block_size,
					.tp_block_nr = ring->block_nr,
					.tp_frame_size = ring->frame_size,
					.tp_frame_nr = ring->frame_nr };
	struct sender s;
	int r;

	if (setsockopt(fd, SOL_PACKET, PACKET_TX_RING, &request,
		       e->version == TPACKET_V3 ? sizeof(request) : sizeof(struct tpacket_req)) < 0)
		return cr_fail(err, -errno, "socket option PACKET_TX_RING");
	r = open_sender(fd, e, &s, err);
	if (r == 0)
		r = cr_within(err, advance(&s, e->ext->tx_head, err), "ring to send from");
	if (r == 0)
		memset(s.v.map, 0, s.v.len);
	for (size_t i = 0; r == 0 && i < e->ext->tx_slots.nr; i++) {
		const img_packet_slot *from = &e->ext->tx_slots.items[i];

		memcpy(ring_slot(&s.v, from->index), from->data.data, from->data.len);
		ring_put_status(&s.v, from->index, TP_STATUS_AVAILABLE);
	}
	ring_unmap(&s.v);
	return r;
}

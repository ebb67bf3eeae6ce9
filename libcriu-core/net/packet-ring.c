#include "net/packet-ring.h"

#include "files/dump-internal.h"
#include "net/packet-diag.h"

#include "base/own.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/if_packet.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#ifndef SOL_PACKET
#define SOL_PACKET 263
#endif

#define RING_MAX    (UINT64_C(1) << 40)
#define STORED_MAX  (UINT64_C(64) << 20) /* bytes of one ring */
#define TRIES       8

/* struct tpacket_block_desc up to its end: the kernel's own account of a block */
#define BLOCK_HEADER sizeof(struct tpacket_block_desc)

uint64_t ring_bytes(const img_packet_ring *ring)
{
	uint64_t bytes = ring ? (uint64_t)ring->block_size * ring->block_nr : 0;

	return bytes <= RING_MAX ? bytes : 0;
}

int ring_describe(uint32_t version, const img_packet_ring *ring, bool sends, struct ring_view *ret)
{
	bool blocks = version == TPACKET_V3 && !sends;

	*ret = (struct ring_view){
		.version = version, .sends = sends, .block_size = ring->block_size, .len = ring_bytes(ring)
	};
	if (!ret->len || (!blocks && (!ring->frame_size || ring->frame_size > ring->block_size)))
		return -EBADMSG;
	ret->slots_per_block = blocks ? 1 : ring->block_size / ring->frame_size;
	ret->slot_size = blocks ? ring->block_size : ring->frame_size;
	ret->nr = ring->block_nr * ret->slots_per_block;
	if (ret->nr / ret->slots_per_block != ring->block_nr || ret->slot_size < BLOCK_HEADER)
		return -EBADMSG;
	return 0;
}

int ring_map(int fd, const img_packet_sock_entry *has, bool sends, struct ring_view *ret, struct cr_error *err)
{
	const img_packet_ring *ring = sends ? has->tx_ring : has->rx_ring;
	int r = ring_describe(has->version, ring, sends, ret);

	if (r < 0) {
		cr_fail(err, r, "ring of %" PRIu32 " blocks of %" PRIu32 " bytes", ring->block_nr, ring->block_size);
		return r;
	}
	ret->all_len = ring_bytes(has->rx_ring) + ring_bytes(has->tx_ring);
	ret->all = mmap(NULL, ret->all_len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (ret->all == MAP_FAILED) {
		ret->all = NULL;
		return cr_fail(err, -errno, "map the ring of a packet socket");
	}
	ret->map = ret->all + (sends ? ring_bytes(has->rx_ring) : 0);
	return 0;
}

void ring_unmap(struct ring_view *v)
{
	if (v->all)
		munmap(v->all, v->all_len);
	v->all = v->map = NULL;
}

char *ring_slot(const struct ring_view *v, uint32_t i)
{
	return v->map + (size_t)(i / v->slots_per_block) * v->block_size +
	       (size_t)(i % v->slots_per_block) * v->slot_size;
}

/* The first is a long, the others are 32 bits wide; linux/if_packet.h */
static uint32_t *status_word(const struct ring_view *v, uint32_t i)
{
	struct tpacket_block_desc *block = (void *)ring_slot(v, i);
	struct tpacket3_hdr *frame = (void *)block;

	if (v->version != TPACKET_V3)
		return (void *)block;
	return v->sends ? &frame->tp_status : &block->hdr.bh1.block_status;
}

uint64_t ring_status(const struct ring_view *v, uint32_t i)
{
	if (v->version == TPACKET_V1)
		return __atomic_load_n((unsigned long *)(void *)ring_slot(v, i), __ATOMIC_ACQUIRE);
	return __atomic_load_n(status_word(v, i), __ATOMIC_ACQUIRE);
}

void ring_put_status(const struct ring_view *v, uint32_t i, uint64_t status)
{
	if (v->version == TPACKET_V1)
		__atomic_store_n((unsigned long *)(void *)ring_slot(v, i), status, __ATOMIC_RELEASE);
	else
		__atomic_store_n(status_word(v, i), (uint32_t)status, __ATOMIC_RELEASE);
}

bool ring_swap_status(const struct ring_view *v, uint32_t i, uint64_t from, uint64_t to)
{
	unsigned long wide = from;
	uint32_t narrow = (uint32_t)from;

	if (v->version == TPACKET_V1)
		return __atomic_compare_exchange_n((unsigned long *)(void *)ring_slot(v, i), &wide, to, false,
						   __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	return __atomic_compare_exchange_n(status_word(v, i), &narrow, (uint32_t)to, false, __ATOMIC_SEQ_CST,
					   __ATOMIC_SEQ_CST);
}

/* -------------------------------------------------------------------- dump */

/* Does the kernel still begin with @head, with nothing in it? */
static bool untouched(const struct ring_view *v, uint32_t head)
{
	const struct tpacket_block_desc *block = (const void *)ring_slot(v, head);

	return !ring_status(v, head) &&
	       (v->version != TPACKET_V3 || !__atomic_load_n(&block->hdr.bh1.num_pkts, __ATOMIC_ACQUIRE));
}

int ring_store(struct file_table *t, const struct ring_view *v, uint32_t i, struct img_packet_slot_vec *list)
{
	void *items = list->items;
	img_packet_slot *s;

	if ((list->nr + 1) * (uint64_t)v->slot_size > STORED_MAX)
		return -EFBIG;
	s = pool_vec_add(&t->pool, &items, &list->nr, sizeof(*s));
	if (!s)
		return -ENOMEM;
	list->items = items;
	s->index = i;
	s->data.data = (const uint8_t *)pool_text(&t->pool, ring_slot(v, i), v->slot_size);
	s->data.len = v->slot_size;
	return s->data.data ? 0 : -ENOMEM;
}

/* What is the process' now. Return: as ring_store() */
static int take_waiting(struct file_table *t, const struct ring_view *v, img_packet_sk_ext *ext)
{
	int r = 0;

	ext->rx_waiting.nr = 0;
	ext->rx_waiting.items = NULL;
	for (uint32_t i = 0; i < v->nr && r == 0; i++)
		if (ring_status(v, i))
			r = ring_store(t, v, i, &ext->rx_waiting);
	return r;
}

static int look(struct file_table *t, struct open_file *f, const struct ring_view *v, img_packet_sk_ext *ext,
		struct cr_error *err)
{
	int r = RING_BUSY;

	for (int i = 0; i < TRIES && r == RING_BUSY; i++) {
		uint32_t head;

		r = ring_find_head(f->fd, v, &head, err);
		if (r != RING_FOUND)
			continue;
		r = untouched(v, head) ? take_waiting(t, v, ext) : RING_BUSY;
		if (r == -EFBIG)
			return file_refuse(t, f, "", "packet socket with more than 64 MiB of packets in its ring");
		if (r < 0)
			return pool_failed(err);
		ext->has_rx_head = true;
		ext->rx_head = head;
		/* the one that it fills next tells of every packet that has come meanwhile */
		if (r == 0 && !untouched(v, head))
			r = RING_BUSY;
	}
	if (r == RING_BUSY)
		return file_refuse_passing(t, f, "try again", "packet socket whose ring is full, or is being filled");
	if (r == RING_UNKNOWN)
		return file_refuse(t, f, "", "packet socket with packets in its queue beside those in its ring");
	return r;
}

static img_packet_ring *ring_entry(struct file_table *t, const struct packet_diag_ring *told)
{
	img_packet_ring *ring = pool_new(&t->pool, img_packet_ring);

	if (ring)
		*ring = (img_packet_ring){ .block_size = told->pdr_block_size,
					   .block_nr = told->pdr_block_nr,
					   .frame_size = told->pdr_frame_size,
					   .frame_nr = told->pdr_frame_nr,
					   .retire_tmo = told->pdr_retire_tmo,
					   .features = told->pdr_features };
	return ring;
}

static int receive_ring_dump(struct file_table *t, struct open_file *f, img_packet_sock_entry *e, struct cr_error *err)
{
	struct ring_view v = { 0 };
	int r = ring_map(f->fd, e, false, &v, err);

	if (r == 0)
		r = look(t, f, &v, e->ext, err);
	ring_unmap(&v);
	return r;
}

int packet_ring_dump(struct file_table *t, struct open_file *f, const struct packet_fact *fact,
		     img_packet_sock_entry *e, struct cr_error *err)
{
	int r = 0;

	if (fact->has_rx && fact->rx.pdr_sizeof_priv)
		return file_refuse(t, f, "", "packet socket with private areas in the blocks of its ring");
	if ((fact->has_rx && !(e->rx_ring = ring_entry(t, &fact->rx))) ||
	    (fact->has_tx && !(e->tx_ring = ring_entry(t, &fact->tx))) ||
	    (!e->ext && !(e->ext = pool_new(&t->pool, img_packet_sk_ext))))
		return pool_failed(err);
	if (e->rx_ring)
		r = receive_ring_dump(t, f, e, err);
	if (r == 0 && e->tx_ring)
		r = send_ring_dump(t, f, e, err);
	f->map_len = r == 0 ? ring_bytes(e->rx_ring) + ring_bytes(e->tx_ring) : 0;
	return r;
}

/* ----------------------------------------------------------------- restore */

int packet_ring_check(const img_packet_sock_entry *e, struct cr_error *err)
{
	int r = e->tx_ring ? send_ring_check(e, err) : 0;
	struct ring_view v;

	if (r < 0 || !e->rx_ring)
		return r;
	if (!e->ext || !e->ext->has_rx_head || e->rx_ring->sizeof_priv)
		return cr_refuse(err, -ENOTSUP,
				 "packet socket %u has a ring, and nothing says where in it the kernel goes on", e->id);
	if (ring_describe(e->version, e->rx_ring, false, &v) < 0 || e->ext->rx_head >= v.nr)
		return cr_refuse(err, -EBADMSG, "packet socket %u: its ring makes no sense", e->id);
	for (size_t i = 0; i < e->ext->rx_waiting.nr; i++) {
		const img_packet_slot *s = &e->ext->rx_waiting.items[i];

		if (s->index >= v.nr || s->index == e->ext->rx_head || s->data.len != v.slot_size)
			return cr_refuse(err, -EBADMSG, "packet socket %u: slot %u of its ring makes no sense", e->id,
					 s->index);
	}
	return 0;
}

/* Content first, then the word that says whose it is. */
static void put_waiting(const struct ring_view *v, const img_packet_slot *s)
{
	uint64_t status = 0;
	size_t behind = v->version == TPACKET_V1 ? sizeof(unsigned long) : sizeof(uint32_t);
	char *to = ring_slot(v, s->index);
	size_t word = (size_t)((char *)status_word(v, s->index) - to);

	memcpy(to, s->data.data, word);
	memcpy(to + word + behind, s->data.data + word + behind, s->data.len - word - behind);
	memcpy(&status, s->data.data + word, behind); /* little endian, as all that this program runs on */
	ring_put_status(v, s->index, status);
}

static int receive_ring_restore(int fd, const img_packet_sock_entry *e, struct cr_error *err)
{
	const img_packet_ring *ring = e->rx_ring;
	/* it is the only one as yet */
	img_packet_sock_entry alone = { .version = e->version, .rx_ring = e->rx_ring };
	struct ring_view v = { 0 };
	int r;

	struct tpacket_req3 request = { .tp_block_size = ring->block_size,
					.tp_block_nr = ring->block_nr,
					.tp_frame_size = ring->frame_size,
					.tp_frame_nr = ring->frame_nr,
					.tp_retire_blk_tov = ring->retire_tmo,
					.tp_feature_req_word = ring->features };

	if (setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &request,
		       e->version == TPACKET_V3 ? sizeof(request) : sizeof(struct tpacket_req)) < 0)
		return cr_fail(err, -errno, "socket option PACKET_RX_RING");
	r = ring_map(fd, &alone, false, &v, err);
	if (r == 0 && e->ext->rx_head)
		r = ring_advance(fd, &v, e->ext->rx_head, ring->retire_tmo, err);
	for (size_t i = 0; r == 0 && i < e->ext->rx_waiting.nr; i++)
		put_waiting(&v, &e->ext->rx_waiting.items[i]);
	ring_unmap(&v);
	return r;
}

int packet_ring_restore(int fd, const img_packet_sock_entry *e, struct cr_error *err)
{
	int r = e->rx_ring ? receive_ring_restore(fd, e, err) : 0;

	return r == 0 && e->tx_ring ? send_ring_restore(fd, e, err) : r;
}

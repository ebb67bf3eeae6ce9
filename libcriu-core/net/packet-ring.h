/*
 * Rings of packet sockets: memory that the kernel writes packets into and a process reads them from (PACKET_RX_RING), or the other
 * way round (PACKET_TX_RING, in send-ring.c). What is in a ring is said by status words, one for each frame or, where TPACKET_V3 is
 * received, block: a "slot" is either. The kernel's own position, the slot that it fills next, is no option and in no diagnostic answer.
 */
#ifndef CR_NET_PACKET_RING_H
#define CR_NET_PACKET_RING_H

#include "base/error.h"
#include "proto/images.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct file_table;
struct open_file;
struct packet_fact;

/* A ring that is mapped here: the socket has one mapping of all its rings, that to receive in front. */
struct ring_view {
	char *all, *map;
	size_t all_len, len;
	bool sends;
	uint32_t version; /* TPACKET_V* */
	uint32_t nr;      /* slots */
	uint32_t slot_size;
	uint32_t slots_per_block, block_size;
};

/** ring_bytes() - of all of a ring; 0: there is none, or it makes no sense */
uint64_t ring_bytes(const img_packet_ring *ring);

/** ring_describe() - @ret: all but where it is. Pure. Return: 0; -EBADMSG it makes no sense. */
int ring_describe(uint32_t version, const img_packet_ring *ring, bool sends, struct ring_view *ret);

/** ring_map() - one of the rings that socket @fd has. Return: 0, negative errno. ring_unmap() in any case. */
int ring_map(int fd, const img_packet_sock_entry *has, bool sends, struct ring_view *ret, struct cr_error *err);
void ring_unmap(struct ring_view *v);

char *ring_slot(const struct ring_view *v, uint32_t i);

/** ring_status(), ring_put_status() - 0: the slot is the kernel's; ring_swap_status(): Return: was it @from? */
uint64_t ring_status(const struct ring_view *v, uint32_t i);
void ring_put_status(const struct ring_view *v, uint32_t i, uint64_t status);
bool ring_swap_status(const struct ring_view *v, uint32_t i, uint64_t from, uint64_t to);

/** ring_store() - add a slot to those that the image has; what is in it stays as it is. Return: 0; -EFBIG: that is more than 64 MiB; -ENOMEM */
int ring_store(struct file_table *t, const struct ring_view *v, uint32_t i, struct img_packet_slot_vec *list);

/* What ring_find_head() says besides an errno. */
enum {
	RING_FOUND,
	RING_BUSY /* packets come in, or all slots are full: try again */,
	RING_UNKNOWN /* something else is readable */
};

/**
 * ring_find_head() - the slot that the kernel fills next
 * poll(2) tells whether the slot in front of that one is the kernel's: its status is changed for a moment, one slot after the other.
 * Nobody may use the ring meanwhile but the kernel.
 */
int ring_find_head(int fd, const struct ring_view *v, uint32_t *ret, struct cr_error *err);

/** ring_advance() - have the kernel fill @head next, of a fresh ring: by as many packets of ours, through the loopback device */
int ring_advance(int fd, const struct ring_view *v, uint32_t head, uint32_t retire_ms, struct cr_error *err);

/** packet_ring_dump() - geometry, position, and what waits; @e has its other options. Return: 0; 1 an obstacle was noted; negative errno. */
int packet_ring_dump(struct file_table *t, struct open_file *f, const struct packet_fact *fact,
		     img_packet_sock_entry *e, struct cr_error *err);

/** packet_ring_check() - of an image. Pure. */
int packet_ring_check(const img_packet_sock_entry *e, struct cr_error *err);

/* The same of a ring to send from. Where the kernel goes on in it, and that all of it has been sent, is seen by the dump. */
int send_ring_dump(struct file_table *t, struct open_file *f, img_packet_sock_entry *e, struct cr_error *err);
int send_ring_check(const img_packet_sock_entry *e, struct cr_error *err);
int send_ring_restore(int fd, const img_packet_sock_entry *e, struct cr_error *err);

/** packet_ring_restore() - after the options that a ring stands in the way of, before the socket is bound and has a filter */
int packet_ring_restore(int fd, const img_packet_sock_entry *e, struct cr_error *err);

#endif

/*
 * Writing in a thread of its own; see page-behind.h. The file system lets one writer at a time into a file, so one thread is
 * all that helps. Large portions: each change of hands costs both sides a sleep and a wake-up, and on two processors, of which
 * the sender wants one if it is on the same machine, these cost more than the first-level caches save. With 256 KiB the whole took a
 * fifth longer.
 */
#include "mm/page-behind.h"
#include "mm/mm-internal.h"
#include "mm/page-copy.h"

#include "base/io.h"
#include "base/thread.h"
#include "image/frames.h"
#include "page-sum.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#define PORTION ((size_t)1 << 20)
#define RING    3u /* one is filled, one is written, one is in between */

struct portion {
	char *buf;
	off_t off;
	size_t len;
};

struct page_behind {
	char *buffers;
	struct portion ring[RING];
	int fd;
	off_t off; /* where the next content belongs */
	pthread_t thread;
	bool there; /* the thread */
	unsigned int flags;
	bool hardware;
	struct page_sum_vec sums; /* these are whoever's who writes */
	struct frames_out *frames; /* NULL: nothing was packed yet */
	struct frame_scratch *scratch;

	pthread_mutex_t lock; /* of all that follows, and of who may touch which portion */
	pthread_cond_t changed;
	unsigned int put, written; /* portions so far; that number put % RING is being filled */
	bool drops, ends;
	int failed;
};

static struct portion *at_hand(struct page_behind *b)
{
	return &b->ring[b->put % RING];
}

/* Those that there is no memory for are missing, which shows in their number. */
static void sum_up(struct page_behind *b, const struct portion *p)
{
	for (size_t at = 0; b->flags & PAGE_BEHIND_SUMS && at < p->len; at += MM_PAGE) {
		uint32_t *sum = page_sum_vec_add(&b->sums);

		if (sum)
			*sum = page_sum(p->buf + at, b->hardware);
	}
}

static int write_plain(int fd, const struct portion *p)
{
	for (size_t at = 0; at < p->len;) {
		size_t end = at;
		int r;

		while (end < p->len && !page_is_zero(p->buf + end))
			end += MM_PAGE;
		r = end > at ? fd_pwrite_all(fd, p->buf + at, end - at, p->off + (off_t)at) : 0;
		if (r < 0)
			return r;
		at = end + MM_PAGE;
	}
	return 0;
}

static int begin_frames(struct page_behind *b)
{
	if (!b->scratch)
		b->scratch = frame_scratch_new();
	if (!b->scratch)
		return -ENOMEM;
	return b->frames ? 0 : frames_begin(b->fd, 0, &b->frames, NULL);
}

/* Portions are whole frames, but for the last. */
static int write_packed(struct page_behind *b, const struct portion *p)
{
	int r = begin_frames(b);

	if (r == 0 && p->len)
		r = frames_grow(b->frames, (uint64_t)p->off + p->len, NULL);
	for (size_t at = 0, len; r == 0 && at < p->len; at += len) {
		len = p->len - at < FRAME_BYTES ? p->len - at : FRAME_BYTES;
		r = frames_put(b->frames, b->scratch, (uint64_t)p->off + at, p->buf + at, len, NULL);
	}
	return r;
}

static int write_portion(struct page_behind *b, const struct portion *p)
{
	sum_up(b, p);
	return b->flags & PAGE_BEHIND_PACKS ? write_packed(b, p) : write_plain(b->fd, p);
}

static void *write_all(void *arg)
{
	struct page_behind *b = arg;

	pthread_mutex_lock(&b->lock);
	for (;;) {
		int r = 0;

		while (b->put == b->written && !b->ends)
			pthread_cond_wait(&b->changed, &b->lock);
		if (b->put == b->written)
			break;
		if (!b->failed && !b->drops) {
			pthread_mutex_unlock(&b->lock);
			r = write_portion(b, &b->ring[b->written % RING]);
			pthread_mutex_lock(&b->lock);
		}
		if (r < 0)
			b->failed = r;
		b->written++;
		pthread_cond_signal(&b->changed);
	}
	pthread_mutex_unlock(&b->lock);
	return NULL;
}

int page_behind_new(unsigned int flags, struct page_behind **ret, struct cr_error *err)
{
	struct page_behind *b = calloc(1, sizeof(*b));
	char *buffers = aligned_alloc(MM_PAGE, RING * PORTION);

	if (!b || !buffers) {
		free(buffers);
		free(b);
		return cr_fail(err, -ENOMEM, "receive pages");
	}
	b->buffers = buffers;
	for (size_t i = 0; i < RING; i++)
		b->ring[i].buf = buffers + i * PORTION;
	b->flags = flags;
	b->hardware = crc32c_in_hardware();
	b->fd = -1;
	pthread_mutex_init(&b->lock, NULL);
	pthread_cond_init(&b->changed, NULL);
	*ret = b;
	return 0;
}

void page_behind_free(struct page_behind *b)
{
	if (!b)
		return;
	page_behind_drop(b);
	pthread_mutex_lock(&b->lock);
	b->ends = true;
	pthread_cond_signal(&b->changed);
	pthread_mutex_unlock(&b->lock);
	if (b->there)
		pthread_join(b->thread, NULL);
	pthread_cond_destroy(&b->changed);
	pthread_mutex_destroy(&b->lock);
	frame_scratch_free(b->scratch);
	free(b->buffers);
	free(b);
}

static void forget(struct page_behind *b)
{
	page_sum_vec_done(&b->sums);
	frames_out_free(b->frames);
	b->frames = NULL;
}

void page_behind_begin(struct page_behind *b, int fd)
{
	b->fd = fd;
	b->off = 0;
	b->failed = 0;
	at_hand(b)->len = 0;
	forget(b);
}

/* Until no more than @most portions wait. Return: 0; the first failure */
static int wait_until(struct page_behind *b, unsigned int most)
{
	int r;

	pthread_mutex_lock(&b->lock);
	while (b->put - b->written > most)
		pthread_cond_wait(&b->changed, &b->lock);
	r = b->failed;
	pthread_mutex_unlock(&b->lock);
	return r;
}

int page_behind_room(struct page_behind *b, char **ret, size_t *ret_len, struct cr_error *err)
{
	struct portion *p = at_hand(b);
	int r = 0;

	if (p->len == PORTION && !b->there)
		r = thread_begin(&b->thread, write_all, b);
	if (r < 0)
		return cr_fail(err, r, "begin to write pages");
	if (p->len == PORTION) {
		b->there = true;
		pthread_mutex_lock(&b->lock);
		b->put++;
		pthread_cond_signal(&b->changed);
		pthread_mutex_unlock(&b->lock);
		r = wait_until(b, RING - 1);
		p = at_hand(b);
		p->len = 0;
	}
	if (r < 0)
		return cr_fail(err, r, "write pages");
	if (p->len == 0)
		p->off = b->off;
	*ret = p->buf + p->len;
	*ret_len = PORTION - p->len;
	return 0;
}

void page_behind_put(struct page_behind *b, size_t len)
{
	at_hand(b)->len += len;
	b->off += (off_t)len;
}

int page_behind_end(struct page_behind *b, off_t *ret_size, struct cr_error *err)
{
	struct portion *p = at_hand(b);
	int r = wait_until(b, 0);

	if (r == 0)
		r = write_portion(b, p);
	if (r == 0 && b->frames)
		r = frames_end(b->frames, NULL);
	p->len = 0;
	b->fd = -1;
	if (r < 0)
		return cr_fail(err, r, "write pages");
	*ret_size = b->off;
	return 0;
}

void page_behind_take_sums(struct page_behind *b, struct page_sum_vec *ret)
{
	*ret = b->sums;
	b->sums = (struct page_sum_vec){ 0 };
}

void page_behind_drop(struct page_behind *b)
{
	pthread_mutex_lock(&b->lock);
	b->drops = true;
	pthread_mutex_unlock(&b->lock);
	wait_until(b, 0);
	b->drops = false;
	b->fd = -1;
	at_hand(b)->len = 0;
	forget(b);
}

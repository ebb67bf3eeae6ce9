/* Writing compressed pages; see frames.h. */
#include "image/frames.h"
#include "image/frames-internal.h"

#include "base/io.h"
#include "page-sum.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <zstd_errors.h>

/* The fastest of the levels without a loss of more than a few percent in size: memory is stored at once, and read seldom. */
#define LEVEL 1

struct frames_out {
	int fd;
	uint64_t bytes, nr, room; /* for so many frames */
	_Atomic uint64_t at; /* where the next frame goes */
	struct frame *index;
};

struct frame_scratch *frame_scratch_new(void)
{
	struct frame_scratch *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->packed_size = ZSTD_compressBound(FRAME_BYTES);
	s->packed = malloc(s->packed_size);
	if (s->packed)
		return s;
	free(s);
	return NULL;
}

void frame_scratch_free(struct frame_scratch *s)
{
	if (!s)
		return;
	ZSTD_freeCCtx(s->pack);
	ZSTD_freeDCtx(s->unpack);
	free(s->packed);
	free(s->plain);
	free(s);
}

int frames_grow(struct frames_out *o, uint64_t bytes, struct cr_error *err)
{
	uint64_t nr = (bytes + FRAME_BYTES - 1) / FRAME_BYTES, room = nr < o->room ? o->room : nr + o->room;
	struct frame *index = o->index;

	if (bytes > FRAMES_BYTES_MAX)
		return cr_refuse(err, -EFBIG, "compress %" PRIu64 " bytes of pages", bytes);
	if (room != o->room || !index)
		index = reallocarray(index, room + 1, sizeof(*index));
	if (!index)
		return cr_fail(err, -ENOMEM, "compress pages");
	for (uint64_t i = o->nr; i < nr; i++)
		index[i] = (struct frame){ 0 };
	o->index = index;
	o->room = room;
	o->nr = nr;
	o->bytes = bytes;
	return 0;
}

int frames_begin(int fd, uint64_t bytes, struct frames_out **ret, struct cr_error *err)
{
	struct frames_out *o = calloc(1, sizeof(*o));
	int r;

	if (!o)
		return cr_fail(err, -ENOMEM, "compress pages");
	o->fd = fd;
	o->at = sizeof(struct frames_head);
	r = frames_grow(o, bytes, err);
	if (r == 0)
		*ret = o;
	else
		frames_out_free(o);
	return r;
}

static bool is_zero(const char *buf, size_t len)
{
	return !buf[0] && memcmp(buf, buf + 1, len - 1) == 0;
}

int frames_put(struct frames_out *o, struct frame_scratch *s, uint64_t off, const void *buf, size_t len, struct cr_error *err)
{
	struct frame *f = &o->index[off / FRAME_BYTES];
	size_t size;

	assert(off % FRAME_BYTES == 0 && len && len <= FRAME_BYTES && off + len <= o->bytes);
	if (is_zero(buf, len)) {
		*f = (struct frame){ sizeof(struct frames_head), 0, FRAME_ZEROES };
		return 0;
	}
	if (!s->pack)
		s->pack = ZSTD_createCCtx();
	if (!s->pack)
		return cr_fail(err, -ENOMEM, "compress pages");
	size = ZSTD_compressCCtx(s->pack, s->packed, s->packed_size, buf, len, LEVEL);
	if (ZSTD_isError(size) && ZSTD_getErrorCode(size) == ZSTD_error_memory_allocation)
		return cr_fail(err, -ENOMEM, "compress pages");
	/* an eighth less is worth the time that unpacking takes */
	if (ZSTD_isError(size) || size > len - len / 8)
		*f = (struct frame){ .size = (uint32_t)len, .kind = FRAME_PLAIN };
	else
		*f = (struct frame){ .size = (uint32_t)size, .kind = FRAME_ZSTD };
	f->at = atomic_fetch_add(&o->at, f->size);

	int r = fd_pwrite_all(o->fd, f->kind == FRAME_PLAIN ? buf : s->packed, f->size, (off_t)f->at);

	return r < 0 ? cr_fail(err, r, "write compressed pages") : 0;
}

int frames_end(struct frames_out *o, struct cr_error *err)
{
	size_t len = o->nr * sizeof(*o->index);
	struct frames_head h = { .magic = FRAMES_MAGIC, .version = FRAMES_VERSION, .frame_bytes = FRAME_BYTES, .bytes = o->bytes,
				 .nr = o->nr, .index_at = o->at, .index_crc = crc32c(o->index, len) };
	int r = fd_pwrite_all(o->fd, o->index, len, (off_t)h.index_at);

	h.crc = crc32c(&h, offsetof(struct frames_head, crc));
	if (r == 0)
		r = fd_pwrite_all(o->fd, &h, sizeof(h), 0);
	return r < 0 ? cr_fail(err, r, "write the index of compressed pages") : 0;
}

void frames_out_free(struct frames_out *o)
{
	if (!o)
		return;
	free(o->index);
	free(o);
}

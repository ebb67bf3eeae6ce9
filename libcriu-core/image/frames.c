/* Reading compressed pages; see frames.h. Nothing in the file is believed: not the index, and not what comes out of a frame. */
#include "image/frames.h"
#include "image/frames-internal.h"

#include "base/io.h"
#include "page-sum.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct frames {
	int fd;
	uint64_t bytes, nr;
	struct frame *index;
};

static int head_check(const struct frames_head *h, uint64_t size, uint64_t bytes, struct cr_error *err)
{
	if (h->magic != FRAMES_MAGIC)
		return cr_refuse(err, -EBADMSG, "no compressed pages: it begins with something else");
	if (h->version != FRAMES_VERSION)
		return cr_refuse(err, -EOPNOTSUPP, "compressed pages of version %" PRIu32 " are not known", h->version);
	if (h->crc != crc32c(h, offsetof(struct frames_head, crc)))
		return cr_refuse(err, -EBADMSG, "compressed pages: the head does not match its checksum");
	if (h->frame_bytes != FRAME_BYTES || h->bytes > FRAMES_BYTES_MAX || h->nr != (h->bytes + FRAME_BYTES - 1) / FRAME_BYTES)
		return cr_refuse(err, -EBADMSG, "compressed pages: a number in the head is out of range");
	if (h->bytes != bytes)
		return cr_refuse(err, -EBADMSG, "compressed pages: %" PRIu64 " bytes, and there should be %" PRIu64, h->bytes, bytes);
	if (h->index_at < sizeof(*h) || h->index_at > size || size - h->index_at != h->nr * sizeof(struct frame))
		return cr_refuse(err, -EBADMSG, "compressed pages: it is cut short, or too long");
	return 0;
}

static uint64_t frame_len(const struct frames *f, uint64_t nr)
{
	uint64_t left = f->bytes - nr * FRAME_BYTES;

	return left < FRAME_BYTES ? left : FRAME_BYTES;
}

static bool frame_is_sane(const struct frames *f, uint64_t nr, uint64_t index_at)
{
	const struct frame *e = &f->index[nr];
	uint64_t len = frame_len(f, nr);

	if (e->at < sizeof(struct frames_head) || e->at > index_at || e->size > index_at - e->at)
		return false;
	if (e->kind == FRAME_ZEROES)
		return e->size == 0;
	return e->kind == FRAME_PLAIN ? e->size == len : e->kind == FRAME_ZSTD && e->size && e->size < len;
}

static int index_read(struct frames *f, const struct frames_head *h, struct cr_error *err)
{
	size_t len = f->nr * sizeof(*f->index);
	ssize_t n;

	f->index = malloc(len + 1);
	if (!f->index)
		return cr_fail(err, -ENOMEM, "read the index of compressed pages");
	n = fd_pread_all(f->fd, f->index, len, (off_t)h->index_at);
	if (n != (ssize_t)len)
		return cr_fail(err, n < 0 ? (int)n : -EBADMSG, "read the index of compressed pages");
	if (crc32c(f->index, len) != h->index_crc)
		return cr_refuse(err, -EBADMSG, "compressed pages: the index does not match its checksum");
	for (uint64_t i = 0; i < f->nr; i++)
		if (!frame_is_sane(f, i, h->index_at))
			return cr_refuse(err, -EBADMSG, "compressed pages: frame %" PRIu64 " is out of range", i);
	return 0;
}

int frames_open(int fd, uint64_t bytes, struct frames **ret, struct cr_error *err)
{
	autofree_by(frames_free) struct frames *f = NULL;
	struct frames_head h;
	struct stat st;
	ssize_t n;
	int r;

	if (fstat(fd, &st) < 0)
		return cr_fail(err, -errno, "look at compressed pages");
	if (!S_ISREG(st.st_mode))
		return cr_refuse(err, -EBADMSG, "compressed pages: not a regular file");
	n = fd_pread_all(fd, &h, sizeof(h), 0);
	if (n != (ssize_t)sizeof(h))
		return n < 0 ? cr_fail(err, (int)n, "read compressed pages") : cr_refuse(err, -EBADMSG, "compressed pages: it is cut short");
	r = head_check(&h, (uint64_t)st.st_size, bytes, err);
	if (r < 0)
		return r;
	f = calloc(1, sizeof(*f));
	if (!f)
		return cr_fail(err, -ENOMEM, "read compressed pages");
	*f = (struct frames){ .fd = fd, .bytes = h.bytes, .nr = h.nr };
	r = index_read(f, &h, err);
	if (r < 0)
		return r;
	*ret = take_ptr(&f);
	return 0;
}

void frames_free(struct frames *f)
{
	if (!f)
		return;
	free(f->index);
	free(f);
}

/* One whole frame to @to. One call of the library, with room for exactly what must come out. */
static int unpack(const struct frames *f, struct frame_scratch *s, uint64_t nr, char *to, struct cr_error *err)
{
	const struct frame *e = &f->index[nr];
	size_t len = frame_len(f, nr), got;
	ssize_t n;

	if (e->kind == FRAME_ZEROES) {
		memset(to, 0, len);
		return 0;
	}
	n = fd_pread_all(f->fd, e->kind == FRAME_PLAIN ? to : s->packed, e->size, (off_t)e->at);
	if (n != (ssize_t)e->size)
		return cr_fail(err, n < 0 ? (int)n : -EBADMSG, "read frame %" PRIu64 " of compressed pages", nr);
	if (e->kind == FRAME_PLAIN)
		return 0;
	if (!s->unpack)
		s->unpack = ZSTD_createDCtx();
	if (!s->unpack)
		return cr_fail(err, -ENOMEM, "unpack pages");
	got = ZSTD_decompressDCtx(s->unpack, to, len, s->packed, e->size);
	if (ZSTD_isError(got) || got != len)
		return cr_refuse(err, -EBADMSG, "frame %" PRIu64 " of compressed pages is damaged: %s", nr,
				 ZSTD_isError(got) ? ZSTD_getErrorName(got) : "it has another size");
	return 0;
}

/* The frame that was taken apart last is kept: pages are asked for in order, and not in whole frames. */
static int unpack_kept(const struct frames *f, struct frame_scratch *s, uint64_t nr, struct cr_error *err)
{
	int r;

	if (s->of == f && s->nr == nr)
		return 0;
	if (!s->plain)
		s->plain = malloc(FRAME_BYTES);
	if (!s->plain)
		return cr_fail(err, -ENOMEM, "unpack pages");
	s->of = NULL;
	r = unpack(f, s, nr, s->plain, err);
	if (r < 0)
		return r;
	s->of = f;
	s->nr = nr;
	return 0;
}

int frames_read(const struct frames *f, struct frame_scratch *s, void *buf, size_t len, uint64_t off, struct cr_error *err)
{
	char *to = buf;

	if (off > f->bytes || len > f->bytes - off)
		return cr_refuse(err, -EBADMSG, "compressed pages end before %" PRIx64, off + len);
	while (len) {
		uint64_t nr = off / FRAME_BYTES, skip = off % FRAME_BYTES, have = frame_len(f, nr) - skip;
		size_t some = have < len ? (size_t)have : len;
		bool whole = !skip && some == frame_len(f, nr);
		int r = whole ? unpack(f, s, nr, to, err) : unpack_kept(f, s, nr, err);

		if (r < 0)
			return r;
		if (!whole)
			memcpy(to, s->plain + skip, some);
		to += some;
		off += some;
		len -= some;
	}
	return 0;
}

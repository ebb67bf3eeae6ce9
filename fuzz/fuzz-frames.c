/*
 * Compressed pages: the input is a file whose pages are all read, in pieces. Most inputs would end at one of the checksums, so they
 * are put right first, unless the input says not to.
 */
#include "image/frames.h"
#include "image/frames-internal.h"

#include "base/io.h"
#include "page-sum.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define READ_MAX (4 * FRAME_BYTES)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put_right(uint8_t *bytes, size_t len)
{
	struct frames_head h;

	if (len < sizeof(h))
		return;
	memcpy(&h, bytes, sizeof(h));
	if (h.index_at <= len)
		h.index_crc = crc32c(bytes + h.index_at, len - h.index_at);
	h.crc = crc32c(&h, offsetof(struct frames_head, crc));
	memcpy(bytes, &h, sizeof(h));
}

static void read_all(const struct frames *f, uint64_t bytes, size_t piece)
{
	struct frame_scratch *s = frame_scratch_new();
	char *buf = malloc(piece);

	if (!s || !buf)
		abort();
	for (uint64_t off = 0; off < bytes && off < READ_MAX; off += piece) {
		struct cr_error err = { 0 };
		size_t len = bytes - off < piece ? (size_t)(bytes - off) : piece;
		int r = frames_read(f, s, buf, len, off, &err);

		if (r > 0 || (r < 0) != (err.code < 0))
			abort();
	}
	if (frames_read(f, s, buf, 1, bytes, NULL) == 0)
		abort();
	free(buf);
	frame_scratch_free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct frames *f = NULL;
	struct cr_error err = { 0 };
	uint64_t bytes = 0;
	uint8_t *copy;
	int r, fd;

	if (size < 1)
		return 0;
	copy = malloc(size);
	fd = memfd_create("frames", MFD_CLOEXEC);
	if (!copy || fd < 0)
		abort();
	memcpy(copy, data + 1, --size);
	if (!(data[0] & 1))
		put_right(copy, size);
	if (size >= 24)
		memcpy(&bytes, copy + 16, sizeof(bytes));
	if (fd_pwrite_all(fd, copy, size, 0) < 0)
		abort();
	r = frames_open(fd, bytes, &f, &err);
	if (r > 0 || (r < 0) != (err.code < 0) || (r < 0 && !err.text[0]))
		abort();
	if (r == 0)
		read_all(f, bytes, data[0] & 2 ? FRAME_BYTES : 3 * 4096);
	frames_free(f);
	close(fd);
	free(copy);
	return 0;
}

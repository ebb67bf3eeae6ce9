/* Compressed pages: what is put in comes out, in whatever pieces, and no file that lies is read. */
#include "image/frames.h"
#include "image/frames-internal.h"

#include "base/array.h"
#include "base/io.h"
#include "page-sum.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define BYTES (4 * FRAME_BYTES + 8192) /* zeroes, random, text, mixed, and a short one */

static void make_content(char *p)
{
	uint64_t x = 88172645463325252u;

	memset(p, 0, BYTES);
	for (size_t i = FRAME_BYTES; i < BYTES; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		p[i] = i < 2 * FRAME_BYTES ? (char)x : i < 3 * FRAME_BYTES ? "all work and no play "[i % 21] : i % 4096 < 1300 ? (char)x : 7;
	}
}

/* Frames are put in from the last to the first. */
static int make_file(const char *content, uint64_t bytes)
{
	autofree_by(frame_scratch_free) struct frame_scratch *s = frame_scratch_new();
	int fd = memfd_create("frames", MFD_CLOEXEC);
	struct frames_out *o = NULL;
	struct cr_error err = { 0 };

	assert_non_null(s);
	assert_true(fd >= 0);
	assert_int_equal(frames_begin(fd, bytes, &o, &err), 0);
	for (uint64_t nr = (bytes + FRAME_BYTES - 1) / FRAME_BYTES; nr-- > 0;) {
		uint64_t off = nr * FRAME_BYTES, len = bytes - off < FRAME_BYTES ? bytes - off : FRAME_BYTES;

		assert_int_equal(frames_put(o, s, off, content + off, len, &err), 0);
	}
	assert_int_equal(frames_end(o, &err), 0);
	frames_out_free(o);
	return fd;
}

static void test_there_and_back(void **state)
{
	static const struct {
		uint64_t off, len;
	} pieces[] = { { 0, BYTES },	      { 0, 0 },		      { BYTES, 0 },	    { BYTES - 4096, 4096 },
		       { 4096, FRAME_BYTES }, { FRAME_BYTES, FRAME_BYTES }, { 3 * FRAME_BYTES - 4096, 8192 },
		       { 2 * FRAME_BYTES + 8192, 4096 }, { 3 * FRAME_BYTES, FRAME_BYTES + 8192 } };
	autofree_by(frame_scratch_free) struct frame_scratch *s = frame_scratch_new();
	autofree_by(frames_free) struct frames *f = NULL;
	autofree char *content = malloc(BYTES), *back = malloc(BYTES);
	struct cr_error err = { 0 };
	autofd int fd = -1;

	(void)state;
	assert_true(s && content && back);
	make_content(content);
	fd = make_file(content, BYTES);
	/* of the five, one is stored as it is, and one not at all */
	assert_in_range(lseek(fd, 0, SEEK_END), FRAME_BYTES, 2 * FRAME_BYTES);
	assert_int_equal(frames_open(fd, BYTES, &f, &err), 0);
	for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
		memset(back, 0x33, BYTES);
		assert_int_equal(frames_read(f, s, back, pieces[i].len, pieces[i].off, &err), 0);
		assert_memory_equal(back, content + pieces[i].off, pieces[i].len);
	}
	assert_int_equal(frames_read(f, s, back, 4096, BYTES, &err), -EBADMSG);
	assert_int_equal(frames_read(f, s, back, 8192, BYTES - 4096, &err), -EBADMSG);
	assert_int_equal(frames_read(f, s, back, 4096, UINT64_MAX - 4095, &err), -EBADMSG);
}

static void test_none(void **state)
{
	autofree_by(frames_free) struct frames *f = NULL;
	struct frames_out *o = NULL;
	struct cr_error err = { 0 };
	autofd int fd = make_file("", 0), unfinished = memfd_create("frames", MFD_CLOEXEC);

	(void)state;
	assert_int_equal(frames_open(fd, 0, &f, &err), 0);
	assert_int_equal(ftruncate(unfinished, 4096), 0);
	assert_int_equal(frames_open(unfinished, 0, &f, &err), -EBADMSG);
	assert_int_equal(frames_begin(unfinished, UINT64_MAX, &o, NULL), -EFBIG);
}

/* Changes some bytes and puts the checksums right again. */
static int open_with(const char *good, size_t size, size_t at, const void *bytes, size_t len, uint64_t expected)
{
	autofree char *bad = malloc(size);
	autofree_by(frames_free) struct frames *f = NULL;
	autofd int fd = memfd_create("frames", MFD_CLOEXEC);
	struct cr_error err = { 0 };
	struct frames_head h;
	uint64_t index_at;
	int r;

	assert_non_null(bad);
	memcpy(bad, good, size);
	memcpy(&h, bad, sizeof(h));
	index_at = h.index_at;
	memcpy(bad + at, bytes, len);
	memcpy(&h, bad, sizeof(h));
	h.index_crc = crc32c(bad + index_at, size - index_at);
	h.crc = crc32c(&h, offsetof(struct frames_head, crc));
	memcpy(bad, &h, sizeof(h));
	assert_int_equal(fd_pwrite_all(fd, bad, size, 0), 0);
	r = frames_open(fd, expected, &f, &err);
	assert_true(r == 0 || (err.code == r && err.text[0]));
	return r;
}

static void test_lies(void **state)
{
	autofree char *content = malloc(BYTES), *good = NULL;
	struct frames_head h;
	size_t size, first;
	autofd int fd = -1;

	(void)state;
	assert_non_null(content);
	make_content(content);
	fd = make_file(content, BYTES);
	size = (size_t)lseek(fd, 0, SEEK_END);
	good = malloc(size);
	assert_non_null(good);
	assert_int_equal(fd_pread_all(fd, good, size, 0), size);
	memcpy(&h, good, sizeof(h));
	first = h.index_at;

	const struct {
		const char *what;
		size_t at;
		uint64_t value;
		size_t len;
		int code;
	} cases[] = {
		{ "nothing", 0, FRAMES_MAGIC, 8, 0 },
		{ "another beginning", 0, 1, 8, -EBADMSG },
		{ "a later version", 8, 2, 4, -EOPNOTSUPP },
		{ "frames of another size", 12, 4096, 4, -EBADMSG },
		{ "more bytes", 16, BYTES + 4096, 8, -EBADMSG },
		{ "bytes beyond measure", 16, UINT64_MAX, 8, -EBADMSG },
		{ "fewer frames", 24, 4, 8, -EBADMSG },
		{ "frames beyond measure", 24, UINT64_MAX / 16 + 2, 8, -EBADMSG },
		{ "an index in the head", 32, 8, 8, -EBADMSG },
		{ "an index behind the end", 32, UINT64_MAX, 8, -EBADMSG },
		{ "zeroes with a size", first + 8, 1, 4, -EBADMSG },
		{ "a kind that is not known", first + 12, 3, 4, -EBADMSG },
		{ "a frame in the head", first + 16, 0, 8, -EBADMSG },
		{ "a frame in the index", first + 16, h.index_at - 1, 8, -EBADMSG },
		{ "a frame behind the end", first + 16, UINT64_MAX, 8, -EBADMSG },
		{ "a plain frame that is short", first + 16 + 8, FRAME_BYTES - 1, 4, -EBADMSG },
		{ "a frame without bytes", first + 32 + 8, 0, 4, -EBADMSG },
		{ "a frame that did not shrink", first + 32 + 8, FRAME_BYTES, 4, -EBADMSG },
		{ "a frame beyond measure", first + 32 + 8, UINT32_MAX, 4, -EBADMSG },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		int r = open_with(good, size, cases[i].at, &cases[i].value, cases[i].len, BYTES);

		if (r != cases[i].code)
			fail_msg("%s: %d", cases[i].what, r);
	}
	assert_int_equal(open_with(good, size, 0, good, 1, BYTES - 4096), -EBADMSG);
	assert_int_equal(open_with(good, size - 1, 0, good, 1, BYTES), -EBADMSG);
}

/* A frame that comes out longer, shorter or not at all is refused; nothing is written behind its room. */
static void test_damaged_frames(void **state)
{
	autofree_by(frame_scratch_free) struct frame_scratch *s = frame_scratch_new();
	autofree char *content = malloc(BYTES), *back = malloc(FRAME_BYTES + 64);
	autofree_by(frames_free) struct frames *f = NULL;
	struct cr_error err = { 0 };
	struct frames_head h;
	struct frame e;
	autofd int fd = -1;

	(void)state;
	assert_true(s && content && back);
	make_content(content);
	fd = make_file(content, BYTES);
	assert_int_equal(frames_open(fd, BYTES, &f, &err), 0);
	assert_int_equal(fd_pread_all(fd, &h, sizeof(h), 0), sizeof(h));
	assert_int_equal(fd_pread_all(fd, &e, sizeof(e), (off_t)(h.index_at + 2 * sizeof(e))), sizeof(e));
	for (size_t len = 4096; len <= FRAME_BYTES * 2; len *= 2) {
		autofree char *packed = calloc(1, ZSTD_compressBound(len) + FRAME_BYTES), *other = calloc(1, len);
		size_t n = ZSTD_compress(packed, ZSTD_compressBound(len), other, len, 1);

		assert_false(ZSTD_isError(n));
		assert_true(n <= e.size);
		/* a skippable frame takes up the rest, so that the size alone is wrong */
		if (e.size - n >= 8) {
			uint32_t skip[2] = { 0x184d2a50, (uint32_t)(e.size - n - 8) };

			memcpy(packed + n, skip, sizeof(skip));
		}
		assert_int_equal(fd_pwrite_all(fd, packed, e.size, (off_t)e.at), 0);
		memset(back, 0x33, FRAME_BYTES + 64);
		assert_int_equal(frames_read(f, s, back, FRAME_BYTES, 2 * FRAME_BYTES, NULL), len == FRAME_BYTES ? 0 : -EBADMSG);
		for (size_t i = 0; i < 64; i++)
			assert_int_equal(back[FRAME_BYTES + i], 0x33);
	}
	memset(content, 0x5a, e.size);
	assert_int_equal(fd_pwrite_all(fd, content, e.size, (off_t)e.at), 0);
	assert_int_equal(frames_read(f, s, back, 4096, 2 * FRAME_BYTES + 4096, &err), -EBADMSG);
	assert_non_null(strstr(err.text, "frame 2"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_there_and_back),
		cmocka_unit_test(test_none),
		cmocka_unit_test(test_lies),
		cmocka_unit_test(test_damaged_frames),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

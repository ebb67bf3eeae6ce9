/* Contents of pages written by a thread of its own: all of it, in order, holes where pages are zero, and failures told. */
#include "mm/mm-internal.h"
#include "image/frames.h"
#include "mm/page-behind.h"
#include "page-sum.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

static int make_file(void)
{
	int fd = memfd_create("pages", MFD_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

/* Page number @nr as it should be: every seventh is zero. */
static void fill_page(char *to, size_t nr)
{
	memset(to, 0, MM_PAGE);
	if (nr % 7)
		memcpy(to + nr % 500 * 8, &nr, sizeof(nr));
}

/* Return: what page_behind_room() said at last */
static int put_pages(struct page_behind *b, size_t first, size_t nr, size_t at_once)
{
	struct cr_error err = { 0 };

	while (nr) {
		char *to = NULL;
		size_t room = 0, n = at_once < nr ? at_once : nr;
		int r = page_behind_room(b, &to, &room, &err);

		if (r < 0)
			return r;
		assert_true(room >= MM_PAGE && room % MM_PAGE == 0);
		n = room / MM_PAGE < n ? room / MM_PAGE : n;
		for (size_t i = 0; i < n; i++)
			fill_page(to + i * MM_PAGE, first + i);
		page_behind_put(b, n * MM_PAGE);
		first += n;
		nr -= n;
	}
	return 0;
}

static void assert_pages(int fd, size_t first, size_t nr)
{
	char is[MM_PAGE], want[MM_PAGE];

	for (size_t i = 0; i < nr; i++) {
		memset(is, 0, sizeof(is)); /* what lies behind the end is a hole, too */
		assert_true(pread(fd, is, sizeof(is), (off_t)(i * MM_PAGE)) >= 0);
		fill_page(want, first + i);
		assert_memory_equal(is, want, sizeof(is));
	}
}

static void assert_sums(struct page_behind *b, size_t first, size_t nr)
{
	struct page_sum_vec sums;
	char page[MM_PAGE];

	page_behind_take_sums(b, &sums);
	assert_int_equal(sums.nr, nr);
	for (size_t i = 0; i < nr; i++) {
		fill_page(page, first + i);
		assert_int_equal(sums.items[i], page_sum(page, false));
	}
	page_sum_vec_done(&sums);
}

static void test_all_of_it(void **state)
{
	static const struct {
		size_t nr, at_once;
	} cases[] = { { 0, 1 },     { 1, 1 },    { 7, 7 },      { 255, 3 },    { 256, 256 },
		      { 257, 256 }, { 3000, 1 }, { 3000, 100 }, { 5000, 5000 } };
	struct page_behind *b = NULL;
	struct cr_error err = { 0 };

	(void)state;
	assert_int_equal(page_behind_new(PAGE_BEHIND_SUMS, &b, &err), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int fd = make_file();
		off_t size = -1;

		page_behind_begin(b, fd);
		assert_int_equal(put_pages(b, i, cases[i].nr, cases[i].at_once), 0);
		assert_int_equal(page_behind_end(b, &size, &err), 0);
		assert_int_equal(size, cases[i].nr * MM_PAGE);
		assert_pages(fd, i, cases[i].nr);
		assert_sums(b, i, cases[i].nr);
		close(fd);
	}
	page_behind_free(b);
}

static void test_holes(void **state)
{
	struct page_behind *b = NULL;
	struct cr_error err = { 0 };
	int fd = make_file();
	off_t size = -1;
	struct stat st;

	(void)state;
	assert_int_equal(page_behind_new(PAGE_BEHIND_SUMS, &b, &err), 0);
	page_behind_begin(b, fd);
	assert_int_equal(put_pages(b, 0, 1400, 13), 0);
	assert_int_equal(page_behind_end(b, &size, &err), 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_blocks * 512, 1200 * MM_PAGE);
	page_behind_free(b);
	close(fd);
}

/* A file that cannot be written to: told while there is more to come, told at the end, and forgotten with the next file. */
static void test_failure(void **state)
{
	struct page_behind *b = NULL;
	struct cr_error err = { 0 };
	int none = open("/dev/null", O_RDONLY | O_CLOEXEC), fd = make_file();
	off_t size = -1;

	(void)state;
	assert_int_equal(page_behind_new(PAGE_BEHIND_SUMS, &b, &err), 0);
	page_behind_begin(b, none);
	assert_int_equal(put_pages(b, 1, 5000, 100), -EBADF);
	assert_int_equal(page_behind_end(b, &size, &err), -EBADF);
	page_behind_begin(b, none);
	assert_int_equal(put_pages(b, 1, 2, 1), 0);
	assert_int_equal(page_behind_end(b, &size, &err), -EBADF);
	assert_int_equal(size, -1);
	page_behind_begin(b, none);
	assert_int_equal(put_pages(b, 1, 200, 1), 0);
	page_behind_drop(b);
	page_behind_begin(b, fd);
	assert_int_equal(put_pages(b, 3, 600, 10), 0);
	assert_int_equal(page_behind_end(b, &size, &err), 0);
	assert_int_equal(size, 600 * MM_PAGE);
	assert_pages(fd, 3, 600);
	assert_sums(b, 3, 600);
	page_behind_free(b);
	close(fd);
	close(none);
}

/* Packed, and taken apart again: of any number of pages, zeroes among them. */
static void test_packed(void **state)
{
	static const size_t sizes[] = { 0, 1, 63, 64, 65, 256, 257, 1000 };
	struct page_behind *b = NULL;
	struct cr_error err = { 0 };

	(void)state;
	assert_int_equal(page_behind_new(PAGE_BEHIND_SUMS | PAGE_BEHIND_PACKS, &b, &err), 0);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		autofree_by(frame_scratch_free) struct frame_scratch *scratch = frame_scratch_new();
		autofree_by(frames_free) struct frames *frames = NULL;
		char is[MM_PAGE], want[MM_PAGE];
		int fd = make_file();
		off_t size = -1;

		page_behind_begin(b, fd);
		assert_int_equal(put_pages(b, i, sizes[i], 13), 0);
		assert_int_equal(page_behind_end(b, &size, &err), 0);
		assert_int_equal(size, sizes[i] * MM_PAGE);
		assert_int_equal(frames_open(fd, (uint64_t)size, &frames, &err), 0);
		for (size_t k = 0; k < sizes[i]; k++) {
			fill_page(want, i + k);
			assert_int_equal(frames_read(frames, scratch, is, sizeof(is), k * MM_PAGE, &err), 0);
			assert_memory_equal(is, want, sizeof(is));
		}
		assert_sums(b, i, sizes[i]);
		close(fd);
	}
	page_behind_free(b);
}

/* Nothing goes to a file that was dropped; the next one is not harmed by what was meant for it. */
static void test_drop(void **state)
{
	struct page_behind *b = NULL;
	struct cr_error err = { 0 };
	int first = make_file(), second = make_file();
	struct stat before, after;
	off_t size = -1;

	(void)state;
	assert_int_equal(page_behind_new(PAGE_BEHIND_SUMS, &b, &err), 0);
	page_behind_begin(b, first);
	assert_int_equal(put_pages(b, 1, 1000, 100), 0);
	page_behind_drop(b);
	assert_int_equal(fstat(first, &before), 0);
	page_behind_begin(b, second);
	assert_int_equal(put_pages(b, 2, 1000, 7), 0);
	assert_int_equal(page_behind_end(b, &size, &err), 0);
	assert_int_equal(size, 1000 * MM_PAGE);
	assert_pages(second, 2, 1000);
	assert_int_equal(fstat(first, &after), 0);
	assert_int_equal(before.st_blocks, after.st_blocks);
	page_behind_begin(b, second);
	assert_int_equal(put_pages(b, 2, 700, 7), 0);
	page_behind_free(b); /* in the middle */
	close(first);
	close(second);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_of_it),
		cmocka_unit_test(test_holes), cmocka_unit_test(test_packed),
		cmocka_unit_test(test_failure),
		cmocka_unit_test(test_drop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

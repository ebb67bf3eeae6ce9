/* Pages in chains of image sets: where they are found, what is refused, and what deduplication frees. */
#include "mm/page-chain.h"

#include "base/own.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#define PID    7
#define LEVELS 4
#define MAX    8
#define P      MM_PE_PRESENT
#define IN     MM_PE_PARENT
#define LAZY   MM_PE_LAZY

/* In pages; all zero ends a list. */
struct entry {
	uint64_t page, nr;
	uint32_t flags;
};

struct chain {
	char path[40];
	int fds[LEVELS];
	size_t nr;
};

static void chain_make(struct chain *c)
{
	*c = (struct chain){ .path = "/tmp/test-page-chain-XXXXXX" };
	assert_non_null(mkdtemp(c->path));
}

/* Adds a set on top, whose parent is the one that was added before. @bytes: of its pages file, -1 what belongs there */
static void chain_add(struct chain *c, const struct entry *e, long bytes, const char *parent)
{
	autofree_by(image_writer_drop) struct image_writer *w = NULL;
	autofree_by(image_set_free) struct image_set *set = NULL;
	img_inventory_entry inv = { .img_version = 2 };
	img_pagemap_head head = { .pages_id = 1 };
	struct cr_error err = { 0 };
	uint64_t stored = 0;
	char name[80];
	int fd;

	snprintf(name, sizeof(name), "%s/%zu", c->path, c->nr);
	assert_int_equal(mkdir(name, 0700), 0);
	fd = c->fds[c->nr++] = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(image_set_create(fd, &set, &err), 0);
	/* by hand: it may lead to what is not there yet */
	if (parent)
		assert_int_equal(symlinkat(parent, fd, IMAGE_PARENT_LINK), 0);
	assert_int_equal(image_writer_open(set, IMG_PAGEMAP, PID, &w, &err), 0);
	assert_int_equal(image_write(w, &head, &err), 0);
	for (; e->page || e->nr || e->flags; e++) {
		img_pagemap_entry out = { .vaddr = e->page * MM_PAGE, .has_nr_pages = true, .nr_pages = e->nr,
					  .has_flags = true, .flags = e->flags };

		assert_int_equal(image_write(w, &out, &err), 0);
		stored += e->flags & P ? e->nr * MM_PAGE : 0;
	}
	assert_int_equal(image_writer_close(take_ptr(&w), true, &err), 0);
	autofd int pages = image_open_raw(set, IMG_PAGES, 1, &err);
	assert_true(pages >= 0);
	assert_int_equal(ftruncate(pages, bytes < 0 ? (long)stored : bytes), 0);
	assert_int_equal(image_set_commit(set, &inv, &err), 0);
}

static void chain_done(struct chain *c)
{
	static const char *const names[] = { "inventory.img", IMAGE_WHOLE_MARK, "pagemap-7.img", "pages-1.img", "parent" };

	for (size_t i = 0; i < c->nr; i++) {
		char name[80];

		for (size_t k = 0; k < sizeof(names) / sizeof(names[0]); k++)
			unlinkat(c->fds[i], names[k], 0);
		close(c->fds[i]);
		snprintf(name, sizeof(name), "%s/%zu", c->path, i);
		assert_int_equal(rmdir(name), 0);
	}
	assert_int_equal(rmdir(c->path), 0);
}

/* From the newest set. */
static int read_chain(const struct chain *c, struct stored_runs *runs, struct page_files *files, struct cr_error *err)
{
	autofree_by(image_set_free) struct image_set *set = NULL;
	int r = image_set_open_any(c->fds[c->nr - 1], &set, err);

	return r < 0 ? r : page_chain_read(set, IMG_PAGEMAP, PID, NULL, NULL, runs, files, err);
}

static void test_found(void **state)
{
	static const struct entry first[] = { { 16, 8, P }, { 40, 4, P | LAZY }, { 100, 1, P }, { 0 } };
	static const struct entry second[] = { { 16, 2, IN }, { 18, 1, P }, { 19, 5, IN }, { 24, 1, P }, { 42, 2, IN }, { 0 } };
	static const struct entry third[] = { { 10, 1, P }, { 17, 8, IN }, { 43, 1, IN }, { 0 } };
	/* start, end, offset in the file, all in pages; which of the files, in the order in which they are needed */
	static const uint64_t want[][4] = {
		{ 10, 11, 0, 0 }, { 17, 18, 1, 1 }, { 18, 19, 0, 2 }, { 19, 24, 3, 1 }, { 24, 25, 1, 2 }, { 43, 44, 11, 1 },
	};
	struct stored_runs runs = { 0 };
	struct page_files files = { 0 };
	struct cr_error err = { 0 };
	struct chain c;

	(void)state;
	chain_make(&c);
	chain_add(&c, first, -1, NULL);
	chain_add(&c, second, -1, "../0");
	chain_add(&c, third, -1, "../1");
	assert_int_equal(read_chain(&c, &runs, &files, &err), 0);
	assert_int_equal(runs.nr, sizeof(want) / sizeof(want[0]));
	assert_int_equal(files.nr, 3);
	for (size_t i = 0; i < runs.nr; i++) {
		assert_int_equal(runs.items[i].start, want[i][0] * MM_PAGE);
		assert_int_equal(runs.items[i].end, want[i][1] * MM_PAGE);
		assert_int_equal(runs.items[i].off, want[i][2] * MM_PAGE);
		assert_int_equal(runs.items[i].file, want[i][3]);
	}
	stored_runs_done(&runs);
	page_files_close(&files);
	chain_done(&c);
}

/* A refusal of one set alone, or on top of a good one. */
static const struct refusal {
	const char *name;
	struct entry older[MAX], newer[MAX];
	long bytes; /* of the newer pages file, -1: more than enough */
	int code;
	const char *says;
} refusals[] = {
	{ "unsorted", { { 1, 9, P } }, { { 20, 1, P }, { 10, 1, P } }, -1, -EBADMSG, "out of order" },
	{ "overlapping", { { 1, 9, P } }, { { 10, 4, P }, { 13, 1, P } }, -1, -EBADMSG, "out of order" },
	{ "none", { { 1, 9, P } }, { { 10, 0, P } }, -1, -EBADMSG, "out of range" },
	{ "beyond all addresses", { { 1, 9, P } }, { { UINT64_C(1) << 46, 1, P } }, -1, -EBADMSG, "out of range" },
	{ "so many that they wrap", { { 1, 9, P } }, { { 1, UINT64_MAX / 4096, P } }, -1, -EBADMSG, "out of range" },
	{ "more than there are addresses", { { 1, 9, P } }, { { 8, UINT64_C(1) << 45, P } }, -1, -EBADMSG, "out of range" },
	{ "here and there", { { 1, 9, P } }, { { 1, 1, P | IN } }, -1, -EBADMSG, "both here and" },
	{ "short file", { { 1, 9, P } }, { { 1, 4, P } }, 4 * 4096 - 1, -EBADMSG, "should have" },
	{ "no file", { { 1, 9, P } }, { { 1, 4, P } }, 0, -EBADMSG, "should have" },
	{ "hole in the parent", { { 1, 2, P }, { 4, 2, P } }, { { 1, 5, IN } }, -1, -EBADMSG, "should be in parent 1" },
	{ "ends too early in the parent", { { 1, 2, P } }, { { 2, 2, IN } }, -1, -EBADMSG, "should be in parent 1" },
	{ "left to a parent that has none", { { 1, 2, IN } }, { { 1, 1, IN } }, -1, -EBADMSG, "should be in parent 2" },
	{ "unsorted in the parent", { { 9, 1, P }, { 1, 1, P } }, { { 1, 1, IN } }, -1, -EBADMSG, "out of order" },
	{ "lazy", { { 1, 9, P } }, { { 1, 1, LAZY } }, -1, -EOPNOTSUPP, "lazy dump" },
	{ "lazy in the parent", { { 1, 9, LAZY } }, { { 2, 1, IN } }, -1, -EOPNOTSUPP, "lazy dump" },
};

static void test_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		const struct refusal *x = &refusals[i];
		struct stored_runs runs = { 0 };
		struct page_files files = { 0 };
		struct cr_error err = { 0 };
		struct chain c;
		int r;

		chain_make(&c);
		chain_add(&c, x->older, -1, NULL);
		chain_add(&c, x->newer, x->bytes < 0 ? 64 * 4096 : x->bytes, "../0");
		r = read_chain(&c, &runs, &files, &err);
		if (r != x->code || !strstr(err.text, x->says))
			fail_msg("%s: %d, %s", x->name, r, err.text);
		stored_runs_done(&runs);
		page_files_close(&files);
		chain_done(&c);
	}
}

/* What a dump has left at its source is there only for who asks for it, and only what the newest dump has left. */
static void test_left(void **state)
{
	static const struct entry first[] = { { 20, 9, P | LAZY }, { 40, 2, LAZY }, { 0 } };
	static const struct entry second[] = { { 10, 1, P }, { 11, 3, LAZY }, { 14, 2, P | LAZY }, { 20, 2, IN | LAZY }, { 0 } };
	static const struct entry third[] = { { 40, 1, IN }, { 0 } };
	static const struct {
		enum page_left left;
		int r;
		size_t at_source, others;
	} cases[] = {
		{ PAGE_LEFT_NONE, -EOPNOTSUPP, 0, 1 },
		{ PAGE_LEFT_KNOWN, 0, 1, 3 },
		{ PAGE_LEFT_ALL, 0, 2, 2 },
	};
	struct chain c;

	(void)state;
	chain_make(&c);
	chain_add(&c, first, -1, NULL);
	chain_add(&c, second, -1, "../0");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		autofree_by(image_set_free) struct image_set *set = NULL;
		struct stored_runs runs = { 0 };
		struct page_files files = { 0 };
		struct cr_error err = { 0 };
		size_t found = 0;

		assert_int_equal(image_set_open_any(c.fds[1], &set, &err), 0);
		assert_int_equal(page_chain_read_left(set, PID, cases[i].left, NULL, NULL, &runs, &files, &err), cases[i].r);
		for (size_t k = 0; k < runs.nr; k++)
			if (runs.items[k].file & PAGES_AT_SOURCE) {
				found++;
				assert_int_equal(runs.items[k].file, PAGES_AT_SOURCE | PID);
				assert_int_equal(runs.items[k].off, runs.items[k].start);
				assert_true(runs.items[k].lazy);
			}
		assert_int_equal(found, cases[i].at_source);
		assert_int_equal(runs.nr - found, cases[i].others);
		stored_runs_done(&runs);
		page_files_close(&files);
	}
	/* an older dump has no tasks any more */
	chain_add(&c, third, -1, "../0");
	{
		autofree_by(image_set_free) struct image_set *set = NULL;
		struct stored_runs runs = { 0 };
		struct page_files files = { 0 };
		struct cr_error err = { 0 };

		assert_int_equal(image_set_open_any(c.fds[2], &set, &err), 0);
		assert_int_equal(page_chain_read_left(set, PID, PAGE_LEFT_KNOWN, NULL, NULL, &runs, &files, &err), -EOPNOTSUPP);
		stored_runs_done(&runs);
		page_files_close(&files);
	}
	chain_done(&c);
}

/* A chain that leads back to itself ends; it never has what it asks itself for. */
static void test_loop(void **state)
{
	static const struct entry asks[] = { { 1, 3, IN }, { 0 } };
	static const char *const links[][2] = { { "../0", NULL }, { "../1", "../0" } };

	(void)state;
	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
		struct stored_runs runs = { 0 };
		struct page_files files = { 0 };
		struct cr_error err = { 0 };
		struct chain c;

		chain_make(&c);
		chain_add(&c, asks, -1, links[i][0]);
		if (links[i][1])
			chain_add(&c, asks, -1, links[i][1]);
		assert_int_equal(read_chain(&c, &runs, &files, &err), -ELOOP);
		assert_int_equal(runs.nr, 0);
		stored_runs_done(&runs);
		page_files_close(&files);
		chain_done(&c);
	}
}

static void test_nothing(void **state)
{
	static const struct entry none[] = { { 0 } };
	struct stored_runs runs = { 0 };
	struct page_files files = { 0 };
	struct cr_error err = { 0 };
	struct chain c;

	(void)state;
	chain_make(&c);
	chain_add(&c, none, -1, NULL);
	assert_int_equal(read_chain(&c, &runs, &files, &err), 0);
	assert_int_equal(runs.nr + files.nr, 0);
	/* nor is a process that the set does not have */
	assert_int_equal(unlinkat(c.fds[0], "pagemap-7.img", 0), 0);
	assert_int_equal(read_chain(&c, &runs, &files, &err), 0);
	assert_int_equal(runs.nr + files.nr, 0);
	chain_done(&c);
}

static void write_pages(const struct chain *c, size_t set, size_t nr)
{
	autofd int fd = openat(c->fds[set], "pages-1.img", O_WRONLY | O_CLOEXEC);
	uint64_t page[MM_PAGE / 8];

	assert_true(fd >= 0);
	for (size_t i = 0; i < nr; i++) {
		for (size_t k = 0; k < MM_PAGE / 8; k++)
			page[k] = set << 32 | (i + 1);
		assert_int_equal(pwrite(fd, page, sizeof(page), (off_t)(i * MM_PAGE)), MM_PAGE);
	}
}

static uint64_t first_word(const struct chain *c, size_t set, size_t page)
{
	autofd int fd = openat(c->fds[set], "pages-1.img", O_RDONLY | O_CLOEXEC);
	uint64_t word = 0;

	assert_int_equal(pread(fd, &word, sizeof(word), (off_t)(page * MM_PAGE)), sizeof(word));
	return word;
}

/* Of three sets, whatever a newer one has is freed in the older ones, and nothing else. */
static void test_dedup(void **state)
{
	static const struct entry first[] = { { 16, 4, P }, { 30, 2, P }, { 0 } };
	static const struct entry second[] = { { 16, 1, IN }, { 17, 1, P }, { 18, 1, IN }, { 31, 1, P }, { 0 } };
	static const struct entry third[] = { { 16, 1, P }, { 17, 1, IN }, { 31, 1, P }, { 0 } };
	static const bool stays[3][6] = { { false, false, true, true, true, false }, { true, false }, { true, true } };
	static const size_t nr[3] = { 6, 2, 2 };
	autofree_by(image_set_free) struct image_set *set = NULL, *alone = NULL;
	struct cr_error err = { 0 };
	uint64_t bytes = 0;
	struct chain c;

	(void)state;
	chain_make(&c);
	chain_add(&c, first, -1, NULL);
	chain_add(&c, second, -1, "../0");
	chain_add(&c, third, -1, "../1");
	for (size_t i = 0; i < 3; i++)
		write_pages(&c, i, nr[i]);
	assert_int_equal(image_set_open_any(c.fds[2], &set, &err), 0);
	assert_int_equal(page_chain_dedup(set, &bytes, &err), 0);
	for (size_t i = 0; i < 3; i++)
		for (size_t k = 0; k < nr[i]; k++)
			assert_int_equal(first_word(&c, i, k), stays[i][k] ? i << 32 | (k + 1) : 0);
	assert_true(bytes >= 4 * MM_PAGE);
	assert_int_equal(image_set_open_any(c.fds[0], &alone, &err), 0);
	assert_int_equal(page_chain_dedup(alone, &bytes, &err), -ENOENT);
	chain_done(&c);
}

/* Nothing is freed in favour of what is not all there: by its marks, or by its pages. */
static void test_dedup_whole(void **state)
{
	static const struct entry all[] = { { 16, 4, P }, { 0 } };
	static const struct {
		const char *name;
		size_t set;       /* whose file ... */
		const char *gone; /* ... is removed, NULL: its pages file is short */
		const char *made; /* NULL: none in its place */
		int r;
	} cases[] = {
		{ "no inventory", 2, "inventory.img", NULL, -ENOENT },
		{ "no inventory in the middle", 1, "inventory.img", NULL, -ENOENT },
		{ "no inventory of the oldest", 0, "inventory.img", NULL, 0 },
		{ "a page server's", 2, "inventory.img", IMAGE_WHOLE_MARK, 0 },
		{ "a page server's in the middle", 1, "inventory.img", IMAGE_WHOLE_MARK, 0 },
		{ "no pages", 2, "pages-1.img", NULL, -ENOENT },
		{ "short pages", 2, NULL, NULL, -EBADMSG },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		autofree_by(image_set_free) struct image_set *set = NULL;
		struct cr_error err = { 0 };
		uint64_t bytes = 0;
		struct chain c;
		int r;

		chain_make(&c);
		chain_add(&c, all, -1, NULL);
		chain_add(&c, all, -1, "../0");
		chain_add(&c, all, -1, "../1");
		for (size_t k = 0; k < 3; k++)
			write_pages(&c, k, 4);
		if (cases[i].gone)
			assert_int_equal(unlinkat(c.fds[cases[i].set], cases[i].gone, 0), 0);
		if (cases[i].made) {
			autofd int fd = openat(c.fds[cases[i].set], cases[i].made, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

			assert_true(fd >= 0);
		}
		if (!cases[i].gone) {
			autofd int fd = openat(c.fds[cases[i].set], "pages-1.img", O_WRONLY | O_CLOEXEC);

			assert_int_equal(ftruncate(fd, 4 * MM_PAGE - 1), 0);
		}
		assert_int_equal(image_set_open_any(c.fds[2], &set, &err), 0);
		r = page_chain_dedup(set, &bytes, &err);
		if (r != cases[i].r || (r < 0) != (err.text[0] != '\0'))
			fail_msg("%s: %d, %s", cases[i].name, r, err.text);
		for (size_t k = 0; k < 4; k++)
			if ((first_word(&c, 0, k) == 0) != (r == 0) || (first_word(&c, 1, k) == 0) != (r == 0))
				fail_msg("%s: page %zu", cases[i].name, k);
		chain_done(&c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_found), cmocka_unit_test(test_refused), cmocka_unit_test(test_loop),
		cmocka_unit_test(test_nothing), cmocka_unit_test(test_left), cmocka_unit_test(test_dedup),
		cmocka_unit_test(test_dedup_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What is asked about address spaces, and which pages are left to earlier images. */
#include "mm/page-scan.h"
#include "mm/page-select.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#define MAX   8
#define HERE  MM_PE_PRESENT
#define CLEAN (MM_PE_PRESENT | MM_RUN_CLEAN)
#define THERE MM_PE_PARENT

static void test_spans(void **state)
{
	static const struct scan_span puts[] = {
		{ 1, 2, false, false, false },  { 5, 6, false, false, false }, /* one question for all that is small, gaps included */
		{ 6, 9, true, false, false },   { 9, 12, true, false, false }, /* of anonymous memory only what lies together */
		{ 13, 14, true, false, false }, { 14, 15, true, true, false }, { 15, 16, true, true, false },
		{ 17, 18, true, true, false },  { 18, 19, false, true, false },
		{ 19, 20, false, true, true },  { 20, 21, false, true, true }, { 21, 22, false, true, false },
	};
	static const struct scan_span want[] = {
		{ 1, 6, false, false, false }, { 6, 12, true, false, false }, { 13, 14, true, false, false },
		{ 14, 16, true, true, false }, { 17, 18, true, true, false }, { 18, 19, false, true, false },
		{ 19, 21, false, true, true }, { 21, 22, false, true, false },
	};
	struct scan_spans spans = { 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(puts); i++)
		assert_int_equal(scan_spans_put(&spans, &puts[i]), 0);
	assert_int_equal(spans.nr, ARRAY_LEN(want));
	for (size_t i = 0; i < spans.nr; i++) {
		assert_int_equal(spans.items[i].start, want[i].start);
		assert_int_equal(spans.items[i].end, want[i].end);
		assert_int_equal(spans.items[i].plain, want[i].plain);
		assert_int_equal(spans.items[i].protect, want[i].protect);
		assert_int_equal(spans.items[i].fresh, want[i].fresh);
	}
	scan_spans_done(&spans);
}

/* All in pages; ranges end with one that is empty. */
static const struct unchanged {
	const char *name;
	struct page_run pages[MAX];
	struct mm_range parent[MAX], stays[MAX];
	struct page_run want[MAX], copied[MAX];
} cases[] = {
	{ "no parent", { { 1, 5, CLEAN, 0 } }, { { 0 } }, { { 0 } }, { { 1, 5, HERE, 0 } }, { { 1, 5, HERE, 0 } } },
	{ "all of it", { { 1, 5, CLEAN, 0 } }, { { 0, 9 } }, { { 0 } }, { { 1, 5, THERE, 0 } }, { { 0 } } },
	{ "written to", { { 1, 5, HERE, 0 } }, { { 0, 9 } }, { { 0 } }, { { 1, 5, HERE, 0 } }, { { 1, 5, HERE, 0 } } },
	{ "one of many",
	  { { 1, 5, CLEAN, 0 }, { 5, 6, HERE, 0 }, { 6, 9, CLEAN, 0 } },
	  { { 0, 9 } },
	  { { 0 } },
	  { { 1, 5, THERE, 0 }, { 5, 6, HERE, 0 }, { 6, 9, THERE, 0 } },
	  { { 5, 6, HERE, 0 } } },
	{ "the parent has holes",
	  { { 1, 9, CLEAN, 0 } },
	  { { 0, 2 }, { 3, 4 }, { 8, 20 } },
	  { { 0 } },
	  { { 1, 2, THERE, 0 }, { 2, 3, HERE, 0 }, { 3, 4, THERE, 0 }, { 4, 8, HERE, 0 }, { 8, 9, THERE, 0 } },
	  { { 2, 3, HERE, 0 }, { 4, 8, HERE, 0 } } },
	{ "a stack stays",
	  { { 1, 9, CLEAN, 0 } },
	  { { 0, 20 } },
	  { { 8, 12 }, { 3, 4 }, { 3, 5 } },
	  { { 1, 3, THERE, 0 }, { 3, 5, HERE, 0 }, { 5, 8, THERE, 0 }, { 8, 9, HERE, 0 } },
	  { { 3, 5, HERE, 0 }, { 8, 9, HERE, 0 } } },
	{ "read slowly only where it is read",
	  { { 1, 4, CLEAN, 1 }, { 4, 6, HERE, 1 } },
	  { { 2, 3 } },
	  { { 0 } },
	  { { 1, 2, HERE, 1 }, { 2, 3, THERE, 0 }, { 3, 6, HERE, 1 } },
	  { { 1, 2, HERE, 1 }, { 3, 6, HERE, 1 } } },
};

static void compare(const char *name, const struct page_runs *is, const struct page_run *want)
{
	size_t nr = 0;

	for (; nr < MAX && want[nr].end; nr++)
		if (nr >= is->nr || is->items[nr].start != want[nr].start * MM_PAGE ||
		    is->items[nr].end != want[nr].end * MM_PAGE || is->items[nr].flags != want[nr].flags ||
		    is->items[nr].slow != want[nr].slow)
			fail_msg("%s: run %zu differs", name, nr);
	if (is->nr != nr)
		fail_msg("%s: %zu runs, not %zu", name, is->nr, nr);
}

static void add_ranges(struct mm_ranges *to, const struct mm_range *from)
{
	for (size_t i = 0; i < MAX && from[i].end; i++)
		*mm_ranges_add(to) = (struct mm_range){ from[i].start * MM_PAGE, from[i].end * MM_PAGE };
}

static void test_unchanged(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const struct unchanged *c = &cases[i];
		struct mm_task mt = { 0 };
		struct mm_ranges parent = { 0 };
		struct cr_error err = { 0 };

		for (size_t k = 0; k < MAX && c->pages[k].end; k++)
			assert_int_equal(page_runs_put(&mt.pages, c->pages[k].start * MM_PAGE, c->pages[k].end * MM_PAGE,
						       c->pages[k].flags, c->pages[k].slow), 0);
		add_ranges(&parent, c->parent);
		add_ranges(&mt.stays, c->stays);
		assert_int_equal(page_select_unchanged(&mt, parent.nr ? &parent : NULL, &err), 0);
		compare(c->name, &mt.pages, c->want);
		compare(c->name, &mt.to_copy, c->copied);
		page_runs_done(&mt.pages);
		page_runs_done(&mt.to_copy);
		mm_ranges_done(&mt.stays);
		mm_ranges_done(&parent);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_spans), cmocka_unit_test(test_unchanged) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}

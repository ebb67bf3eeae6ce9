/* Entries of pagemap images out of runs of pages. */
#include "mm/page-entries.h"

#include "base/array.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#define P(n) ((uint64_t)(n) * MM_PAGE)

enum { LAZY = MM_PE_PRESENT | MM_PE_LAZY, FIRM = MM_PE_PRESENT, PARENT = MM_PE_PARENT };

static const struct {
	const char *name;
	struct page_run runs[4];
	size_t nr_runs;
	uint64_t eager[4];
	size_t nr_eager;
	struct map_entry want[8];
	size_t nr_want;
} cases[] = {
	{ "none", { { 0, 0, 0, 0 } }, 0, { 0 }, 0, { { 0, 0, 0, 0 } }, 0 },
	{ "one", { { P(1), P(5), LAZY, 0 } }, 1, { 0 }, 0, { { P(1), P(5), 0, LAZY } }, 1 },
	{ "how they are read does not matter", { { P(1), P(2), LAZY, 0 }, { P(2), P(5), LAZY, 1 } }, 2, { 0 }, 0,
	  { { P(1), P(5), 0, LAZY } }, 1 },
	{ "other flags", { { P(1), P(2), LAZY, 0 }, { P(2), P(5), PARENT, 0 } }, 2, { 0 }, 0,
	  { { P(1), P(2), 0, LAZY }, { P(2), P(5), 0, PARENT } }, 2 },
	{ "a hole", { { P(1), P(2), LAZY, 0 }, { P(3), P(5), LAZY, 0 } }, 2, { 0 }, 0,
	  { { P(1), P(2), 0, LAZY }, { P(3), P(5), 0, LAZY } }, 2 },
	{ "from 0 on", { { 0, P(2), LAZY, 0 } }, 1, { 0 }, 1, { { 0, P(1), 0, FIRM }, { P(1), P(2), 0, LAZY } }, 2 },
	{ "a stack inside", { { P(1), P(5), LAZY, 0 } }, 1, { P(3) }, 1,
	  { { P(1), P(3), 0, LAZY }, { P(3), P(4), 0, FIRM }, { P(4), P(5), 0, LAZY } }, 3 },
	{ "at both ends", { { P(1), P(5), LAZY, 0 } }, 1, { P(1), P(4) }, 2,
	  { { P(1), P(2), 0, FIRM }, { P(2), P(4), 0, LAZY }, { P(4), P(5), 0, FIRM } }, 3 },
	{ "two on one page", { { P(1), P(3), LAZY, 0 } }, 1, { P(2), P(2) }, 2,
	  { { P(1), P(2), 0, LAZY }, { P(2), P(3), 0, FIRM } }, 2 },
	{ "in no run, and in one that is firm", { { P(2), P(4), FIRM, 0 }, { P(6), P(8), LAZY, 0 } }, 2,
	  { P(1), P(3), P(5), P(9) }, 4, { { P(2), P(4), 0, FIRM }, { P(6), P(8), 0, LAZY } }, 2 },
	{ "across runs that join", { { P(1), P(3), LAZY, 0 }, { P(3), P(5), LAZY, 1 }, { P(7), P(8), LAZY, 0 } }, 3,
	  { P(2), P(3), P(7) }, 3,
	  { { P(1), P(2), 0, LAZY }, { P(2), P(3), 0, FIRM }, { P(3), P(4), 0, FIRM }, { P(4), P(5), 0, LAZY },
	    { P(7), P(8), 0, FIRM } }, 5 },
};

static void test_walk(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct page_runs runs = { (struct page_run *)cases[i].runs, cases[i].nr_runs, cases[i].nr_runs };
		struct page_object o = { .runs = &runs,
					 .eager = { (uint64_t *)cases[i].eager, cases[i].nr_eager, cases[i].nr_eager } };
		struct page_walk w = { .of = &o };
		struct map_entry e;
		size_t nr = 0;

		for (; page_walk_next(&w, &e); nr++)
			if (nr >= cases[i].nr_want || e.start != cases[i].want[nr].start || e.end != cases[i].want[nr].end ||
			    e.flags != cases[i].want[nr].flags)
				fail_msg("%s: entry %zu is %lx-%lx %x", cases[i].name, nr, (unsigned long)e.start,
					 (unsigned long)e.end, e.flags);
		if (nr != cases[i].nr_want)
			fail_msg("%s: %zu entries", cases[i].name, nr);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_walk) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}

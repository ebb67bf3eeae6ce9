/* Holes in address spaces. */
#include "mm/space.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#define P(n) ((uint64_t)(n)*4096)

static const struct {
	const char *name;
	struct mm_range busy[5];
	size_t nr;
	uint64_t floor, ceiling, size, want;
} cases[] = {
	{ "empty", { { 0, 0 } }, 0, P(16), P(100), P(4), P(16) },
	{ "empty and too small", { { 0, 0 } }, 0, P(16), P(19), P(4), 0 },
	{ "exactly fits", { { P(16), P(20) }, { P(24), P(100) } }, 2, P(16), P(100), P(4), P(20) },
	{ "one page short", { { P(16), P(21) }, { P(24), P(100) } }, 2, P(16), P(100), P(4), 0 },
	{ "after the last", { { P(16), P(20) }, { P(22), P(30) } }, 2, P(16), P(100), P(4), P(30) },
	{ "unsorted", { { P(50), P(60) }, { P(16), P(48) } }, 2, P(16), P(100), P(4), P(60) },
	{ "overlapping", { { P(16), P(60) }, { P(20), P(30) }, { P(58), P(62) } }, 3, P(16), P(100), P(4), P(62) },
	{ "below the floor", { { P(1), P(10) } }, 1, P(16), P(100), P(4), P(16) },
	{ "past the ceiling", { { P(16), P(98) } }, 1, P(16), P(100), P(4), 0 },
	{ "busy beyond the ceiling", { { P(16), P(20) }, { P(200), P(300) } }, 2, P(16), P(100), P(4), P(20) },
	{ "ceiling inside a hole", { { P(16), P(98) }, { P(200), P(300) } }, 2, P(16), P(100), P(4), 0 },
	{ "end of the address space", { { P(16), UINT64_MAX } }, 1, P(16), P(100), P(4), 0 },
};

static void test_find(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct mm_range busy[5];
		uint64_t at;

		memcpy(busy, cases[i].busy, sizeof(busy));
		at = mm_hole_find(busy, cases[i].nr, cases[i].floor, cases[i].ceiling, cases[i].size);
		if (at != cases[i].want)
			fail_msg("%s: %lx in place of %lx", cases[i].name, (unsigned long)at,
				 (unsigned long)cases[i].want);
	}
}

/* The place for a region is free here, now. */
static void test_own(void **state)
{
	struct mm_range hole;
	struct cr_error err = { 0 };

	(void)state;
	assert_int_equal(mm_hole(NULL, 0, 1 << 20, &hole, &err), 0);
	assert_int_equal(hole.end - hole.start, 1 << 20);
	assert_int_equal(hole.start % 4096, 0);
	assert_int_equal(mm_hole(NULL, 0, UINT64_C(1) << 50, &hole, &err), -28);
}

/* A heap ends anywhere inside a page; a place found above it must not. */
static void test_odd_heap(void **state)
{
	img_mm_entry entry = { .mm_start_brk = UINT64_C(0x1000007b), .mm_brk = UINT64_C(0x1002307b) };
	const struct mm_space space = { .entry = &entry }, *spaces[] = { &space };
	struct mm_range hole;
	struct cr_error err = { 0 };
	uint64_t at;

	(void)state;
	assert_int_equal(mm_hole(spaces, 1, 1 << 20, &hole, &err), 0);
	assert_int_equal(hole.start % 4096, 0);
	assert_true(hole.start > entry.mm_brk);
	at = space_hole(&space, hole, 1 << 20);
	assert_int_equal(at % 4096, 0);
	assert_true(at >= hole.end || at + (1 << 20) <= hole.start);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_find), cmocka_unit_test(test_own),
					    cmocka_unit_test(test_odd_heap) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}

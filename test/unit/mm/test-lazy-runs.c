/* Book-keeping of lazy restores: tables for the edges, and a model of single pages for everything at once. */
#include "mm/lazy-runs.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#define PAGE  UINT64_C(4096)
#define SPACE 256 /* pages of the model */
#define BASE  UINT64_C(0x100000)

static void append(struct lazy_runs *l, uint64_t first, uint64_t nr, uint64_t off, uint32_t file)
{
	struct lazy_run run = { BASE + first * PAGE, BASE + (first + nr) * PAGE, off * PAGE, file };

	assert_int_equal(lazy_runs_append(l, &run), 0);
}

static void assert_run(const struct lazy_run *r, uint64_t first, uint64_t nr, uint64_t off, uint32_t file)
{
	assert_int_equal(r->start, BASE + first * PAGE);
	assert_int_equal(r->end, BASE + (first + nr) * PAGE);
	assert_int_equal(r->off, off * PAGE);
	assert_int_equal(r->file, file);
}

static void test_append_joins(void **state)
{
	struct lazy_runs l = { 0 };

	(void)state;
	append(&l, 0, 2, 10, 3);
	append(&l, 2, 2, 12, 3);
	append(&l, 4, 1, 14, 4); /* another file */
	append(&l, 5, 1, 16, 4); /* not the next page of it */
	append(&l, 8, 1, 17, 4); /* not the next address */
	assert_int_equal(l.nr, 4);
	assert_run(&l.items[0], 0, 4, 10, 3);
	assert_int_equal(lazy_runs_bytes(&l), 7 * PAGE);
	lazy_runs_done(&l);
}

static void test_around(void **state)
{
	struct lazy_runs l = { 0 };
	struct lazy_run run;

	(void)state;
	append(&l, 3, 20, 100, 1);
	assert_false(lazy_runs_around(&l, BASE + 2 * PAGE, 8 * PAGE, &run));
	assert_false(lazy_runs_around(&l, BASE + 23 * PAGE, 8 * PAGE, &run));
	assert_true(lazy_runs_around(&l, BASE + 3 * PAGE, 8 * PAGE, &run));
	assert_run(&run, 3, 5, 100, 1);
	assert_true(lazy_runs_around(&l, BASE + 9 * PAGE + 5, 8 * PAGE, &run));
	assert_run(&run, 8, 8, 105, 1);
	assert_true(lazy_runs_next(&l, BASE, BASE + 4 * PAGE, &run));
	assert_run(&run, 3, 1, 100, 1);
	assert_true(lazy_runs_next(&l, BASE + 22 * PAGE, BASE + 99 * PAGE, &run));
	assert_run(&run, 22, 1, 119, 1);
	assert_false(lazy_runs_next(&l, BASE, BASE + 3 * PAGE, &run));
	assert_false(lazy_runs_next(&l, BASE + 23 * PAGE, BASE + 99 * PAGE, &run));
	assert_true(lazy_runs_last(&l, 8 * PAGE, &run));
	assert_run(&run, 16, 7, 113, 1);
	assert_true(lazy_runs_around(&l, BASE + 22 * PAGE, PAGE, &run));
	assert_run(&run, 22, 1, 119, 1);
	lazy_runs_done(&l);
	assert_false(lazy_runs_last(&l, 8 * PAGE, &run));
}

static const struct {
	const char *name;
	uint64_t start, end; /* cut out of two runs: 10-20 and 30-40 */
	uint64_t left;
	size_t nr;
} cuts[] = {
	{ "nothing", 15, 15, 20, 2 },      { "before", 0, 10, 20, 2 },         { "between", 20, 30, 20, 2 },
	{ "behind", 40, 50, 20, 2 },       { "begin", 5, 12, 18, 2 },          { "end", 18, 25, 18, 2 },
	{ "middle", 12, 14, 18, 3 },       { "one", 10, 20, 10, 1 },           { "both", 0, 100, 0, 0 },
	{ "over the gap", 15, 35, 10, 2 }, { "one and a half", 10, 35, 5, 1 },
};

static void test_cut(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cuts); i++) {
		struct lazy_runs l = { 0 };

		append(&l, 10, 10, 0, 1);
		append(&l, 30, 10, 50, 1);
		assert_int_equal(lazy_runs_cut(&l, BASE + cuts[i].start * PAGE, BASE + cuts[i].end * PAGE), 0);
		if (lazy_runs_bytes(&l) != cuts[i].left * PAGE || l.nr != cuts[i].nr)
			fail_msg("%s: %zu runs of %llu bytes", cuts[i].name, l.nr,
				 (unsigned long long)lazy_runs_bytes(&l));
		lazy_runs_done(&l);
	}
}

static void test_move_refuses(void **state)
{
	struct lazy_runs l = { 0 };

	(void)state;
	append(&l, 10, 10, 0, 1);
	assert_int_equal(lazy_runs_move(&l, BASE, BASE + PAGE, 2 * PAGE), -EINVAL);
	assert_int_equal(lazy_runs_move(&l, UINT64_MAX - PAGE, BASE, 2 * PAGE), -EINVAL);
	assert_int_equal(lazy_runs_move(&l, BASE, UINT64_MAX - PAGE, 2 * PAGE), -EINVAL);
	assert_int_equal(lazy_runs_move(&l, BASE, BASE, 0), 0);
	assert_int_equal(l.nr, 1);
	assert_run(&l.items[0], 10, 10, 0, 1);
	lazy_runs_done(&l);
}

/* ------------------------------------------------ the model */

struct page {
	uint64_t off; /* 0: not to come */
	uint32_t file;
};

static uint64_t rnd(uint64_t *seed, uint64_t below)
{
	*seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (*seed >> 33) % below;
}

static void compare(const struct lazy_runs *l, const struct page *model, int step)
{
	uint64_t last = 0;
	size_t i = 0;

	for (uint64_t p = 0; p < SPACE; p++) {
		uint64_t at = BASE + p * PAGE;
		const struct lazy_run *run;

		while (i < l->nr && l->items[i].end <= at)
			i++;
		run = i < l->nr && l->items[i].start <= at ? &l->items[i] : NULL;
		if ((run != NULL) != (model[p].off != 0) ||
		    (run && (run->file != model[p].file || run->off + (at - run->start) != model[p].off)))
			fail_msg("step %d: page %llu is wrong", step, (unsigned long long)p);
	}
	for (i = 0; i < l->nr; i++) {
		assert_true(l->items[i].start >= last && l->items[i].start < l->items[i].end);
		last = l->items[i].end;
	}
	assert_true(last <= BASE + SPACE * PAGE);
}

static void fill_model(struct lazy_runs *l, struct page *model, uint64_t *seed)
{
	for (uint64_t p = 0; p < SPACE;) {
		uint64_t nr = 1 + rnd(seed, 20), off = (1 + rnd(seed, 1000)) * PAGE;
		uint32_t file = (uint32_t)rnd(seed, 3);
		struct lazy_run run = { BASE + p * PAGE, 0, off, file };

		nr = p + nr > SPACE ? SPACE - p : nr;
		run.end = run.start + nr * PAGE;
		if (rnd(seed, 3)) {
			assert_int_equal(lazy_runs_append(l, &run), 0);
			for (uint64_t k = 0; k < nr; k++)
				model[p + k] = (struct page){ off + k * PAGE, file };
		}
		p += nr;
	}
}

static void step_of(struct lazy_runs *l, struct page *model, uint64_t *seed)
{
	uint64_t from = rnd(seed, SPACE), nr = 1 + rnd(seed, SPACE - from < 40 ? SPACE - from : 40), to;

	if (rnd(seed, 2)) {
		assert_int_equal(lazy_runs_cut(l, BASE + from * PAGE, BASE + (from + nr) * PAGE), 0);
		memset(&model[from], 0, nr * sizeof(*model));
		return;
	}
	to = rnd(seed, SPACE - nr + 1);
	if (from < to + nr && to < from + nr) {
		assert_int_equal(lazy_runs_move(l, BASE + from * PAGE, BASE + to * PAGE, nr * PAGE), -EINVAL);
		return;
	}
	assert_int_equal(lazy_runs_move(l, BASE + from * PAGE, BASE + to * PAGE, nr * PAGE), 0);
	memcpy(&model[to], &model[from], nr * sizeof(*model));
	memset(&model[from], 0, nr * sizeof(*model));
}

static void test_model(void **state)
{
	uint64_t seed = 1;

	(void)state;
	for (int round = 0; round < 200; round++) {
		struct lazy_runs l = { 0 }, copy = { 0 };
		struct page model[SPACE] = { { 0 } };

		fill_model(&l, model, &seed);
		compare(&l, model, -1);
		for (int step = 0; step < 40; step++) {
			step_of(&l, model, &seed);
			compare(&l, model, step);
		}
		assert_int_equal(lazy_runs_copy(&copy, &l), 0);
		compare(&copy, model, 40);
		lazy_runs_done(&copy);
		lazy_runs_done(&l);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_append_joins), cmocka_unit_test(test_around), cmocka_unit_test(test_cut),
		cmocka_unit_test(test_move_refuses), cmocka_unit_test(test_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

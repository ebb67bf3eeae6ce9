/* Memory that is given back all at once: small and large blocks, the ceiling, and that all of it goes back. */
#include "base/pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PIECE 1000u
#define NR    3000u /* through all sizes of blocks */

static void pieces_are_zeroed_aligned_and_apart(void **state)
{
	struct pool p = { 0 };
	unsigned char *at[NR];

	(void)state;
	for (unsigned int i = 0; i < NR; i++) {
		at[i] = pool_alloc(&p, PIECE);
		assert_non_null(at[i]);
		assert_int_equal((uintptr_t)at[i] % _Alignof(max_align_t), 0);
		for (unsigned int k = 0; k < PIECE; k++)
			assert_int_equal(at[i][k], 0);
		memset(at[i], (int)(i % 255 + 1), PIECE);
	}
	for (unsigned int i = 0; i < NR; i++)
		for (unsigned int k = 0; k < PIECE; k++)
			assert_int_equal(at[i][k], i % 255 + 1);
	assert_int_equal(p.used, NR * PIECE);
	pool_done(&p);
	assert_int_equal(p.used, 0);
	assert_non_null(pool_alloc(&p, 1)); /* may be used again */
	pool_done(&p);
}

static void the_ceiling_holds(void **state)
{
	struct pool p = { .max = 1 << 20 };

	(void)state;
	assert_null(pool_alloc(&p, (1 << 20) + 1));
	assert_non_null(pool_alloc(&p, 1 << 20));
	assert_null(pool_alloc(&p, 1));
	pool_done(&p);
}

/* memory of this process, in pages */
static long resident(void)
{
	long size = 0, pages = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	assert_non_null(f);
	assert_int_equal(fscanf(f, "%ld %ld", &size, &pages), 2);
	fclose(f);
	return pages;
}

static void all_of_it_goes_back(void **state)
{
	(void)state;
	long before = resident();

	for (int round = 0; round < 20; round++) {
		struct pool p = { 0 };

		for (unsigned int i = 0; i < NR; i++)
			assert_non_null(pool_alloc(&p, PIECE));
		pool_done(&p);
	}
	/* one round takes 730 pages */
	assert_true(resident() - before < 200);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pieces_are_zeroed_aligned_and_apart),
		cmocka_unit_test(the_ceiling_holds),
		cmocka_unit_test(all_of_it_goes_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

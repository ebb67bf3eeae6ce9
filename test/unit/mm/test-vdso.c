/* Symbols of vDSO images: our own, and our own with bytes changed. */
#include "mm/vdso.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

static void test_own(void **state)
{
	struct vdso_symbol symbols[VDSO_MAX_SYMBOLS];
	struct vdso_running v;
	struct cr_error err = { 0 };
	int nr, found = 0;

	(void)state;
	assert_int_equal(vdso_running_init(&v, &err), 0);
	if (!v.code)
		skip();
	nr = vdso_symbols(v.code, v.len, symbols, VDSO_MAX_SYMBOLS, &err);
	assert_true(nr > 0);
	for (int i = 0; i < nr; i++) {
		struct timespec there, here;
		int (*gettime)(clockid_t, struct timespec *);
		uint64_t at = v.specials.area[v.specials.vdso].start + symbols[i].value;

		if (strcmp(symbols[i].name, "__vdso_clock_gettime") != 0)
			continue;
		memcpy(&gettime, &at, sizeof(gettime));
		assert_int_equal(gettime(CLOCK_MONOTONIC, &there), 0);
		assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &here), 0);
		assert_true(here.tv_sec - there.tv_sec < 10);
		found++;
	}
#if defined(__x86_64__)
	assert_int_equal(found, 1);
#endif
	vdso_running_done(&v);
}

/* Nothing may be read outside of the image: run under the address sanitizer. */
static void test_spoiled(void **state)
{
	struct vdso_symbol symbols[VDSO_MAX_SYMBOLS];
	struct vdso_running v;
	uint64_t rnd = 1;

	(void)state;
	assert_int_equal(vdso_running_init(&v, NULL), 0);
	if (!v.code)
		skip();
	for (size_t len = 0; len < v.len; len += len < 2048 ? 8 : 509) {
		uint8_t *cut = malloc(len ? len : 1);

		memcpy(cut, v.code, len);
		vdso_symbols(cut, len, symbols, VDSO_MAX_SYMBOLS, NULL);
		free(cut);
	}
	for (int i = 0; i < 20000; i++) {
		uint8_t *copy = malloc(v.len);

		memcpy(copy, v.code, v.len);
		for (int k = 0; k < 3; k++) {
			rnd = rnd * UINT64_C(6364136223846793005) + 1442695040888963407;
			copy[(rnd >> 33) % (i & 1 ? 2048 : v.len)] = (uint8_t)(rnd >> 25);
		}
		vdso_symbols(copy, v.len, symbols, VDSO_MAX_SYMBOLS, NULL);
		free(copy);
	}
	vdso_running_done(&v);
}

static void test_jump(void **state)
{
	uint8_t code[VDSO_JUMP_MAX];

	(void)state;
#if defined(__x86_64__)
	static const uint8_t want[] = { 0x48, 0xb8, 8, 7, 6, 5, 4, 3, 2, 1, 0xff, 0xe0 };

	assert_int_equal(vdso_jump(UINT64_C(0x0102030405060708), code), sizeof(want));
	assert_memory_equal(code, want, sizeof(want));
#else
	assert_true(vdso_jump(0, code) <= sizeof(code));
#endif
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_own), cmocka_unit_test(test_spoiled),
					    cmocka_unit_test(test_jump) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}

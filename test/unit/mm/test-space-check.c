/* Images that cannot be: each is refused with the code that says why. */
#include "mm/space.h"

#include "kernel/uapi.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <cmocka.h>

#define A      (MAP_PRIVATE | MAP_ANONYMOUS)
#define ANON   (MM_ST_REGULAR | MM_ST_ANON_PRIVATE)
#define FILE_P (MM_ST_REGULAR | MM_ST_FILE_PRIVATE)
#define FILE_S (MM_ST_REGULAR | MM_ST_FILE_SHARED)
#define VMA(s, e, st, fl, ...)                                                                              \
	{                                                                                                   \
		.start = (s), .end = (e), .status = (st), .flags = (fl), .prot = 3, .fd = -1, ##__VA_ARGS__ \
	}

static img_vma_ext bad_key = { .has_pkey = true, .pkey = 16 };
static img_vma_ext bad_policy = { .has_mempolicy_mode = true, .mempolicy_mode = 99 };
static img_vma_ext long_name = {
	.anon_name = (char[]){ "12345678901234567890123456789012345678901234567890123456789012345678901234567890" },
};

static const struct {
	const char *name;
	img_vma_entry vma[3];
	size_t nr;
	int want;
} cases[] = {
	{ "fine", { VMA(0x10000, 0x20000, ANON, A), VMA(0x20000, 0x21000, FILE_P, MAP_PRIVATE, .shmid = 1) }, 2, 0 },
	{ "vsyscall above user space",
	  { VMA(0xffffffffff600000, 0xffffffffff601000, MM_ST_VSYSCALL | MM_ST_ANON_PRIVATE, A) },
	  1,
	  0 },
	{ "droppable", { VMA(0x10000, 0x20000, ANON, MAP_DROPPABLE | MAP_ANONYMOUS) }, 1, 0 },
	{ "guard inside", { VMA(0x10000, 0x20000, ANON, A), VMA(0x11000, 0x12000, MM_ST_GUARD, A) }, 2, 0 },
	{ "guard over two",
	  { VMA(0x10000, 0x20000, ANON, A), VMA(0x20000, 0x30000, ANON, A), VMA(0x1f000, 0x21000, MM_ST_GUARD, A) },
	  3,
	  0 },
	{ "guard outside", { VMA(0x10000, 0x20000, ANON, A), VMA(0x20000, 0x21000, MM_ST_GUARD, A) }, 2, -EBADMSG },
	{ "guard over an edge",
	  { VMA(0x10000, 0x20000, ANON, A), VMA(0x1f000, 0x21000, MM_ST_GUARD, A) },
	  2,
	  -EBADMSG },
	{ "mapping behind a guard",
	  { VMA(0x10000, 0x20000, MM_ST_GUARD, A), VMA(0x20000, 0x21000, ANON, A) },
	  2,
	  -EBADMSG },
	{ "start not aligned", { VMA(0x10001, 0x20000, ANON, A) }, 1, -EBADMSG },
	{ "end not aligned", { VMA(0x10000, 0x20001, ANON, A) }, 1, -EBADMSG },
	{ "empty", { VMA(0x10000, 0x10000, ANON, A) }, 1, -EBADMSG },
	{ "backwards", { VMA(0x20000, 0x10000, ANON, A) }, 1, -EBADMSG },
	{ "overlap", { VMA(0x10000, 0x20000, ANON, A), VMA(0x1f000, 0x30000, ANON, A) }, 2, -EBADMSG },
	{ "out of order", { VMA(0x20000, 0x30000, ANON, A), VMA(0x10000, 0x11000, ANON, A) }, 2, -EBADMSG },
	{ "beyond user space", { VMA(0x10000, UINT64_C(1) << 57, ANON, A) }, 1, -EBADMSG },
	{ "end of everything", { VMA(0x10000, 0xfffffffffffff000, ANON, A) }, 1, -EBADMSG },
	{ "no kind", { VMA(0x10000, 0x20000, MM_ST_REGULAR, A) }, 1, -EBADMSG },
	{ "two kinds", { VMA(0x10000, 0x20000, ANON | MM_ST_FILE_PRIVATE, A, .shmid = 1) }, 1, -EBADMSG },
	{ "run-time bits", { VMA(0x10000, 0x20000, ANON | 1u << 28, A) }, 1, -EBADMSG },
	{ "shared by status only", { VMA(0x10000, 0x20000, FILE_S, MAP_PRIVATE, .shmid = 1) }, 1, -EBADMSG },
	{ "shared by flags only", { VMA(0x10000, 0x20000, FILE_P, MAP_SHARED, .shmid = 1) }, 1, -EBADMSG },
	{ "neither", { VMA(0x10000, 0x20000, ANON, MAP_ANONYMOUS) }, 1, -EBADMSG },
	{ "unknown flags", { VMA(0x10000, 0x20000, ANON, A | 1 << 23) }, 1, -EBADMSG },
	{ "unknown protection",
	  { { .start = 0x10000, .end = 0x20000, .status = ANON, .flags = A, .prot = 8 } },
	  1,
	  -EBADMSG },
	{ "unknown advice", { VMA(0x10000, 0x20000, ANON, A, .has_madv = true, .madv = 1 << 4) }, 1, -EBADMSG },
	{ "file without id", { VMA(0x10000, 0x20000, FILE_P, MAP_PRIVATE) }, 1, -EBADMSG },
	{ "file id too large",
	  { VMA(0x10000, 0x20000, FILE_P, MAP_PRIVATE, .shmid = UINT64_C(1) << 32) },
	  1,
	  -EBADMSG },
	{ "offset not aligned", { VMA(0x10000, 0x20000, FILE_P, MAP_PRIVATE, .shmid = 1, .pgoff = 1) }, 1, -EBADMSG },
	{ "offset too large",
	  { VMA(0x10000, 0x20000, FILE_P, MAP_PRIVATE, .shmid = 1, .pgoff = INT64_MAX & ~4095) },
	  1,
	  -EBADMSG },
	{ "private system v", { VMA(0x10000, 0x20000, ANON | MM_ST_SYSV, A) }, 1, -EBADMSG },
	{ "two vdsos",
	  { VMA(0x10000, 0x11000, ANON | MM_ST_VDSO, A), VMA(0x20000, 0x21000, ANON | MM_ST_VDSO, A) },
	  2,
	  -EBADMSG },
	{ "key out of range", { VMA(0x10000, 0x20000, ANON, A, .ext = &bad_key) }, 1, -EBADMSG },
	{ "policy out of range", { VMA(0x10000, 0x20000, ANON, A, .ext = &bad_policy) }, 1, -EBADMSG },
	{ "name too long", { VMA(0x10000, 0x20000, ANON, A, .ext = &long_name) }, 1, -EBADMSG },
	{ "packet ring", { VMA(0x10000, 0x20000, MM_ST_REGULAR | MM_ST_SOCKET, MAP_SHARED, .shmid = 1) }, 1, 0 },
	{ "packet ring of no file", { VMA(0x10000, 0x20000, MM_ST_REGULAR | MM_ST_SOCKET, MAP_SHARED) }, 1, -EBADMSG },
	{ "private packet ring", { VMA(0x10000, 0x20000, MM_ST_REGULAR | MM_ST_SOCKET, MAP_PRIVATE, .shmid = 1) }, 1, -EBADMSG },
	{ "file and packet ring", { VMA(0x10000, 0x20000, FILE_S | MM_ST_SOCKET, MAP_SHARED, .shmid = 1) }, 1, -EBADMSG },
	{ "aio ring", { VMA(0x10000, 0x20000, ANON | MM_ST_AIO, A) }, 1, -EOPNOTSUPP },
	{ "shadow stack", { VMA(0x10000, 0x20000, ANON | MM_ST_SHSTK, A) }, 1, -EOPNOTSUPP },
	{ "plugin", { VMA(0x10000, 0x20000, ANON | MM_ST_PLUGIN, A) }, 1, -EOPNOTSUPP },
};

static void test_vmas(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		img_vma_entry vma[3];
		img_mm_entry e = { .vmas = { vma, cases[i].nr } };
		struct mm_space s = { .entry = &e };
		struct cr_error err = { 0 };
		int r;

		memcpy(vma, cases[i].vma, sizeof(vma));
		r = space_check(&s, &err);
		if (r != cases[i].want)
			fail_msg("%s: %d in place of %d (%s)", cases[i].name, r, cases[i].want, err.text);
		if (r < 0 && !err.text[0])
			fail_msg("%s: no sentence", cases[i].name);
	}
}

static const struct {
	const char *name;
	img_mm_entry e;
	int want;
} layouts[] = {
	{ "fine", { .mm_start_brk = 0x1000, .mm_brk = 0x1000 }, 0 },
	{ "heap backwards", { .mm_start_brk = 0x2000, .mm_brk = 0x1000 }, -EBADMSG },
	{ "beyond user space", { .mm_arg_start = UINT64_MAX }, -EBADMSG },
	{ "odd vector", { .mm_saved_auxv = { NULL, 3 } }, -EBADMSG },
	{ "long vector", { .mm_saved_auxv = { NULL, 1000000 } }, -EBADMSG },
	{ "aio", { .aios = { NULL, 1 } }, -EOPNOTSUPP },
};

static void test_layouts(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(layouts); i++) {
		img_mm_entry e = layouts[i].e;
		struct mm_space s = { .entry = &e };
		int r = space_check(&s, NULL);

		if (r != layouts[i].want)
			fail_msg("%s: %d in place of %d", layouts[i].name, r, layouts[i].want);
	}
}

static const struct {
	const char *name;
	uint64_t vaddr, nr;
	int want;
} runs[] = {
	{ "all of it", 0x10000, 0x20, 0 },
	{ "through two mappings", 0x1f000, 2, 0 },
	{ "not aligned", 0x10001, 1, -EBADMSG },
	{ "none", 0x10000, 0, -EBADMSG },
	{ "before", 0xf000, 1, -EBADMSG },
	{ "into the shared one", 0x2f000, 2, -EBADMSG },
	{ "shared", 0x30000, 1, -EBADMSG },
	{ "into a gap", 0x4f000, 2, -EBADMSG },
	{ "number wraps", 0x10000, UINT64_MAX / 4096 + 1, -EBADMSG },
	{ "address beyond", UINT64_MAX & ~UINT64_C(4095), 1, -EBADMSG },
};

static void test_runs(void **state)
{
	img_vma_entry vma[] = {
		VMA(0x10000, 0x20000, ANON, A),
		VMA(0x20000, 0x30000, FILE_P, MAP_PRIVATE, .shmid = 1),
		VMA(0x30000, 0x40000, FILE_S, MAP_SHARED, .shmid = 1),
		VMA(0x40000, 0x50000, ANON, A),
		VMA(0x60000, 0x70000, ANON, A),
	};
	img_mm_entry e = { .vmas = { vma, ARRAY_LEN(vma) } };
	struct mm_space s = { .entry = &e };

	(void)state;
	assert_int_equal(space_check(&s, NULL), 0);
	for (size_t i = 0; i < ARRAY_LEN(runs); i++) {
		int r = space_check_run(&s, runs[i].vaddr, runs[i].nr, NULL);

		if (r != runs[i].want)
			fail_msg("%s: %d in place of %d", runs[i].name, r, runs[i].want);
	}
	*stored_runs_add(&s.pages) = (struct stored_run){ .start = 0x10000, .end = 0x12000 };
	assert_int_equal(space_check_run(&s, 0x11000, 1, NULL), -EBADMSG);
	assert_int_equal(space_check_run(&s, 0x12000, 1, NULL), 0);
	stored_runs_done(&s.pages);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_vmas), cmocka_unit_test(test_layouts),
					    cmocka_unit_test(test_runs) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}

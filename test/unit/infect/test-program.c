#include "infect/program.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include <cmocka.h>

#define REMOTE UINT64_C(0x7f0000000000)

static struct program made(size_t size, uint32_t routines)
{
	struct arena a = { .local = calloc(1, size), .remote = REMOTE, .size = size };
	struct program p;
	struct cr_error err = { 0 };

	assert_non_null(a.local);
	assert_int_equal(program_init(&p, &a, routines, &err), 0);
	return p;
}

static void drop(struct program *p)
{
	free(p->arena.local);
	program_done(p);
}

static void test_arena(void **state)
{
	char local[256] = { 0 };
	struct arena a = { .local = local, .remote = REMOTE + 8, .size = sizeof(local) };

	(void)state;
	assert_int_equal(arena_put(&a, "abc", 4, 1), REMOTE + 8);
	assert_int_equal(arena_put(&a, NULL, 64, 64), REMOTE + 64);
	assert_string_equal(arena_at(&a, REMOTE + 8, 4), "abc");
	assert_null(arena_at(&a, REMOTE + 7, 1));
	assert_null(arena_at(&a, REMOTE + 8, 257));
	assert_null(arena_at(&a, REMOTE + 8 + 256, 1));
	assert_non_null(arena_at(&a, REMOTE + 8 + 255, 1));
	assert_int_equal(arena_put(&a, NULL, 1000, 8), 0);
	assert_int_equal(arena_put(&a, NULL, SIZE_MAX - 8, 8), 0);
}

static void test_too_small_for_its_own_tables(void **state)
{
	char local[128];
	struct arena a = { .local = local, .remote = REMOTE, .size = sizeof(local) };
	struct program p;
	struct cr_error err = { 0 };

	(void)state;
	assert_int_equal(program_init(&p, &a, 10, &err), -ENOSPC);
	program_done(&p);
}

static void test_tags_are_shared(void **state)
{
	struct tag_table *t = tag_table_new();
	char same[] = "map memory";
	uint32_t a, b, c;

	(void)state;
	assert_int_equal(tag_of(t, "map memory", &a), 0);
	assert_int_equal(tag_of(t, same, &b), 0);
	assert_int_equal(tag_of(t, "something else", &c), 0);
	assert_int_equal(a, b);
	assert_int_not_equal(a, c);
	assert_string_equal(tag_text(t, a), "map memory");
	assert_string_equal(tag_text(t, 999), "operation");
	tag_table_free(t);
}

static void test_many_tags(void **state)
{
	struct tag_table *t = tag_table_new();
	char texts[1000][16];
	uint32_t tag;

	(void)state;
	for (int i = 0; i < 1000; i++) {
		snprintf(texts[i], sizeof(texts[i]), "t%d", i);
		assert_int_equal(tag_of(t, texts[i], &tag), 0);
		assert_int_equal(tag, i);
	}
	for (int i = 0; i < 1000; i++) {
		assert_int_equal(tag_of(t, texts[i], &tag), 0);
		assert_int_equal(tag, i);
	}
	tag_table_free(t);
}

static void test_emission(void **state)
{
	struct program p = made(65536, 2);
	struct routine r, second, third;
	struct cr_error err = { 0 };
	const struct abi_op *ops;

	(void)state;
	assert_int_equal(routine_begin(&p, &r, &err), 0);
	assert_int_equal(routine_begin(&p, &second, &err), 0);
	assert_int_equal(routine_begin(&p, &third, &err), -ENOSPC);
	op_equal(emit_call(&p, &r, "map memory", SYS_mmap, 0x1000, 0x2000, 3, 0x22, -1), 0x1000);
	op_from_slot(op_keep(emit_call(&p, &r, "close", SYS_close, SLOT_TMP), SLOT_TMP2), 0);
	emit(&p, &r, ABI_OP_TRAP, "done", 0, 0, 0, 0, 0, 0, 0);
	assert_int_equal(routine_finish(&p, &r, &err), 0);
	assert_int_equal(program_routine(&p, r.index)->nr_ops, 3);
	ops = arena_at(&p.arena, program_routine(&p, r.index)->ops, 3 * sizeof(*ops));
	assert_non_null(ops);
	assert_int_equal(ops[0].nr, SYS_mmap);
	assert_int_equal(ops[0].arg[4], -1);
	assert_int_equal(ops[0].arg[5], 0x1000);
	assert_int_equal(ops[1].slot_args, 1);
	assert_int_equal(ops[1].slot, SLOT_TMP2);
	assert_int_equal(ops[2].kind, ABI_OP_TRAP);
	assert_int_equal(program_control(&p)->nr_routines, 2);
	assert_null(program_routine(&p, 2));
	routine_drop(&second);
	drop(&p);
}

static void test_full_arena_is_reported_once(void **state)
{
	struct program p = made(4096, 1);
	struct routine r;
	struct cr_error err = { 0 };

	(void)state;
	assert_int_equal(routine_begin(&p, &r, &err), 0);
	assert_int_equal(emit_data(&p, &r, NULL, 100000, 8), 0);
	for (int i = 0; i < 10; i++)
		op_result(emit_call(&p, &r, "get pid", SYS_getpid, 0));
	assert_int_equal(routine_finish(&p, &r, &err), -ENOSPC);
	assert_int_equal(err.code, -ENOSPC);
	drop(&p);
}

static void test_explanations(void **state)
{
	struct program p = made(65536, 4);
	struct routine r;
	struct cr_error err = { 0 };
	struct abi_routine *out;

	(void)state;
	assert_int_equal(routine_begin(&p, &r, &err), 0);
	emit_call(&p, &r, "map memory", SYS_mmap, 0x7f00, 0x1000, 3, 0x22, 5, 6);
	op_equal(emit_call(&p, &r, "copy descriptor", SYS_dup3, 3, 4, 0), 4);
	op_from_slot(emit_call(&p, &r, "close descriptor", SYS_close, SLOT_TMP), 0);
	emit_call(&p, &r, "strange", 9999, 1);
	emit(&p, &r, ABI_OP_READ, "read pages", 0, 3, 0, 0, 0, 0, 0);
	assert_int_equal(routine_finish(&p, &r, &err), 0);
	out = program_routine(&p, 0);

	out->error = -ENOMEM;
	assert_int_equal(program_explain(&p, 0, &err), -ENOMEM);
	assert_string_equal(err.text, "map memory (mmap 0x7f00 0x1000 0x3 0x22 0x5 0x6): Cannot allocate memory");
	out->failed_op = 1;
	out->error = -ERANGE;
	assert_int_equal(program_explain(&p, 0, &err), -ERANGE);
	assert_string_equal(err.text, "copy descriptor (dup3 0x3 0x4 0x0): the result is not 0x4");
	out->failed_op = 2;
	out->error = -EBADF;
	assert_int_equal(program_explain(&p, 0, &err), -EBADF);
	assert_string_equal(err.text, "close descriptor (close slot1): Bad file descriptor");
	out->failed_op = 3;
	assert_int_equal(program_explain(&p, 0, &err), -EBADF);
	assert_non_null(strstr(err.text, "strange (system call 9999 "));
	out->failed_op = 4;
	assert_int_equal(program_explain(&p, 0, &err), -EBADF);
	assert_non_null(strstr(err.text, "read pages (read 0x3"));
	/* what comes back from the other process is not believed */
	out->failed_op = 5;
	assert_int_equal(program_explain(&p, 0, &err), -EBADF);
	out->failed_op = 0;
	out->ops = 1;
	assert_int_equal(program_explain(&p, 0, &err), -EBADF);
	out->error = 17;
	assert_int_equal(program_explain(&p, 0, &err), -EPROTO);
	assert_int_equal(program_explain(&p, 77, &err), -EPROTO);
	drop(&p);
}

static void test_many_operations(void **state)
{
	struct program p = made((size_t)8 << 20, 1);
	struct routine r;
	struct cr_error err = { 0 };

	(void)state;
	assert_int_equal(routine_begin(&p, &r, &err), 0);
	for (uint64_t i = 0; i < 50000; i++)
		op_equal(emit_call(&p, &r, "map memory", SYS_mmap, i << 12, 0x1000, 3, 0x32, -1), i << 12);
	assert_int_equal(routine_finish(&p, &r, &err), 0);
	assert_int_equal(program_routine(&p, 0)->nr_ops, 50000);
	drop(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_arena),           cmocka_unit_test(test_too_small_for_its_own_tables),
		cmocka_unit_test(test_tags_are_shared), cmocka_unit_test(test_many_tags),
		cmocka_unit_test(test_emission),        cmocka_unit_test(test_full_arena_is_reported_once),
		cmocka_unit_test(test_explanations),    cmocka_unit_test(test_many_operations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

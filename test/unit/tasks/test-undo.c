/*
 * Undo lists of semaphores: what a plan does to a value and to an entry is followed with the rules of semop(2), for all
 * corners of both ranges.
 */
#include "base/array.h"
#include "tasks/task-ops.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sem.h>

#include <cmocka.h>

#define ARENA 65536

struct semaphore_now {
	int value, adjust;
};

/* perform_atomic_semop_slow() in ipc/sem.c. Return: 0, -EAGAIN, -ERANGE */
static int carry_out(struct semaphore_now *s, const struct sembuf *ops, size_t nr)
{
	struct semaphore_now now = *s;

	for (size_t i = 0; i < nr; i++) {
		now.value += ops[i].sem_op;
		if (now.value < 0)
			return -EAGAIN;
		if (now.value > 32767)
			return -ERANGE;
		if (!(ops[i].sem_flg & SEM_UNDO))
			continue;
		now.adjust -= ops[i].sem_op;
		if (now.adjust < -32768 || now.adjust > 32767)
			return -ERANGE;
	}
	*s = now;
	return 0;
}

static void follow(img_sem_undo entry, bool own_ipc, struct semaphore_now s, struct semaphore_now want)
{
	img_task_ext ext = { .undo = { &entry, 1 } };
	img_task_core_entry tc = { .ext = &ext };
	img_core_entry core = { .tc = &tc };
	struct arena arena = { .local = calloc(1, ARENA), .remote = 0x10000, .size = ARENA };
	struct program program;
	struct routine r;
	struct task_restore t = { .program = &program, .own_ipc = own_ipc };
	struct planner p = { .t = &t, .phase = TASK_PHASE_LATE, .core = &core, .r = &r };

	assert_non_null(arena.local);
	assert_int_equal(undo_kind.check_process(&core, NULL), 0);
	assert_int_equal(program_init(&program, &arena, 1, NULL), 0);
	assert_int_equal(routine_begin(&program, &r, NULL), 0);
	assert_int_equal(undo_kind.plan_thread(&p), 0);
	for (size_t i = 0; i < r.ops.nr; i++) {
		const struct abi_op *op = &r.ops.items[i];
		size_t nr = (size_t)op->arg[2];
		const struct sembuf *ops = arena_at(&program.arena, op->arg[1], nr * sizeof(*ops));

		assert_int_equal(op->arg[0], entry.semid);
		assert_non_null(ops);
		for (size_t k = 0; k < nr; k++)
			assert_true(ops[k].sem_num == entry.num && ops[k].sem_flg & IPC_NOWAIT);
		if (carry_out(&s, ops, nr) < 0)
			fail_msg("entry %d at value %u: call %zu would fail", entry.adjust, entry.value, i);
	}
	if (s.value != want.value || s.adjust != want.adjust)
		fail_msg("entry %d at value %u: value %d, entry %d", entry.adjust, entry.value, s.value, s.adjust);
	routine_drop(&r);
	program_done(&program);
	free(arena.local);
}

static const int adjusts[] = { 1, -1, 2, 100, -16384, 16384, 32766, 32767, -32767, -32768 };
static const uint32_t values[] = { 0, 1, 5, 16383, 16384, 32766, 32767 };

/* In a namespace that was restored the value is right already, and stays so. */
static void test_own(void **state)
{
	(void)state;
	for (size_t a = 0; a < ARRAY_LEN(adjusts); a++)
		for (size_t v = 0; v < ARRAY_LEN(values); v++)
			follow((img_sem_undo){ .semid = 7, .num = 3, .adjust = adjusts[a], .value = values[v] }, true,
			       (struct semaphore_now){ (int)values[v], 0 },
			       (struct semaphore_now){ (int)values[v], adjusts[a] });
}

/* Elsewhere the end of the dumped processes has carried out the entry. @how: which form of it is tried */
static void follow_outside(img_sem_undo how)
{
	how.semid = 7;
	how.num = 3;
	for (size_t a = 0; a < ARRAY_LEN(adjusts); a++)
		for (size_t v = 0; v < ARRAY_LEN(values); v++) {
			int after = (int)values[v] + adjusts[a];

			if (after < 0 || after > 32767 || adjusts[a] == -32768)
				continue;
			how.adjust = adjusts[a];
			how.value = values[v];
			if (how.has_total)
				how.total = adjusts[a];
			follow(how, false, (struct semaphore_now){ after, 0 },
			       (struct semaphore_now){ (int)values[v], adjusts[a] });
		}
}

static void test_outside(void **state)
{
	(void)state;
	follow_outside((img_sem_undo){ .has_total = true });
}

/* The same in one call for each process, which also is what a restore that fails gives back. */
static void test_each(void **state)
{
	(void)state;
	follow_outside((img_sem_undo){ .has_each = true, .each = true });
}

static void test_check(void **state)
{
	const struct {
		const char *name;
		img_sem_undo e;
	} bad[] = {
		{ "no change", { .semid = 1, .value = 5 } },
		{ "too much", { .semid = 1, .adjust = 32768 } },
		{ "too little", { .semid = 1, .adjust = -32769 } },
		{ "a value out of range", { .semid = 1, .adjust = 1, .value = 32768 } },
		{ "a number out of range", { .semid = 1, .num = 65536, .adjust = 1 } },
		{ "a negative set", { .semid = UINT32_MAX, .adjust = 1 } },
		{ "a total out of range", { .semid = 1, .adjust = 1, .has_total = true, .total = INT32_MIN } },
		{ "both each and a total",
		  { .semid = 1, .adjust = 1, .has_total = true, .total = 1, .has_each = true, .each = true } },
		{ "each what no call can take", { .semid = 1, .adjust = -32768, .has_each = true, .each = true } },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		img_sem_undo e = bad[i].e;
		img_task_ext ext = { .undo = { &e, 1 } };
		img_task_core_entry tc = { .ext = &ext };
		img_core_entry core = { .tc = &tc };

		if (undo_kind.check_process(&core, NULL) != -EBADMSG)
			fail_msg("%s", bad[i].name);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_own), cmocka_unit_test(test_outside),
					    cmocka_unit_test(test_each), cmocka_unit_test(test_check) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}

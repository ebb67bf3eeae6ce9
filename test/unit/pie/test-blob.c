/* The interpreter: how operations, routines, stages, children and threads of it go. */
#include "fake-kernel.h"

static void test_calls_and_flags(void **state)
{
	struct abi_op *result = add(0, ABI_OP_SYSCALL, NR_TEST, 10, 0, 0, 0), *slot, *failing;

	(void)state;
	result->flags = ABI_F_RESULT;
	add(0, ABI_OP_SYSCALL, NR_TEST, 20, 0, 0, 0)->flags = ABI_F_KEEP;
	k.ops[0][1].slot = 3;
	slot = add(0, ABI_OP_SYSCALL, NR_TEST, 3, 3, 0, 0);
	slot->slot_args = 1;
	failing = add(0, ABI_OP_SYSCALL, NR_FAIL, (uint64_t)-5, 0, 0, 0);
	failing->flags = ABI_F_MAY_FAIL | ABI_F_RESULT;
	add(0, ABI_OP_SYSCALL, NR_TEST, 6, 0, 0, 0)->flags = ABI_F_EQUAL;
	k.ops[0][4].arg[5] = 7;
	add(0, ABI_OP_TRAP, 0, 0, 0, 0, 0);
	assert_int_equal(run(0, 0x1234), END_SIGRETURN);
	assert_int_equal(k.frame, 0x1234);
	assert_int_equal(result->arg[0], 11);
	assert_int_equal((int64_t)failing->arg[0], -5);
	assert_int_equal(k.routines[0].state, ABI_DONE);
	assert_int_equal(k.last_nr, NR_TGKILL);
	assert_int_equal(k.last[2], 23);
	assert_int_equal(k.control.failed, 0);
}

/* Even numbers are refused, odd ones not: what was not refused is found, whether it succeeds or fails. */
static void test_sweep(void **state)
{
	static const uint64_t counts[] = { 0, 1, 16, 63 };
	struct abi_op *results[4], *many;

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		results[i] = add(0, ABI_OP_SWEEP, NR_ODD, counts[i], 5, 6, 7);
		results[i]->flags = ABI_F_RESULT;
	}
	many = add(0, ABI_OP_SWEEP, NR_ODD, 64, 0, 0, 0);
	many->flags = ABI_F_MAY_FAIL | ABI_F_RESULT;
	add(0, ABI_OP_TRAP, 0, 0, 0, 0, 0);
	assert_int_equal(run(0, 0x1234), END_SIGRETURN);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(results[i]->arg[0], UINT64_C(0xaaaaaaaaaaaaaaaa) & ((UINT64_C(1) << counts[i]) - 1));
	assert_int_equal((int64_t)many->arg[0], -22);
}

static void test_failure_in_tracee(void **state)
{
	(void)state;
	add(1, ABI_OP_SYSCALL, NR_TEST, 1, 0, 0, 0);
	add(1, ABI_OP_SYSCALL, NR_FAIL, (uint64_t)-13, 0, 0, 0);
	add(1, ABI_OP_TRAP, 0, 0, 0, 0, 0);
	assert_int_equal(run(1, 0x99), END_SIGRETURN);
	assert_int_equal(k.routines[1].state, ABI_FAILED);
	assert_int_equal(k.routines[1].error, -13);
	assert_int_equal(k.routines[1].failed_op, 1);
	assert_int_equal(k.control.first_failed, 2);
	assert_int_equal(k.control.events, 1);
	assert_int_equal(k.nr_wakes, 1);
}

static void test_failure_in_restore_waits_for_abort(void **state)
{
	(void)state;
	add(0, ABI_OP_SYSCALL, NR_FAIL, (uint64_t)-2, 0, 0, 0);
	assert_int_equal(run(0, 0), END_WAIT);
	assert_int_equal(k.control.failed, 1);
	k.control.abort = 1;
	k.routines[0].nr_ops = 0;
	add(0, ABI_OP_BARRIER, 0, 0, 0, 0, 0);
	assert_int_equal(run(0, 0), END_EXIT);
}

static void test_unequal_result_fails(void **state)
{
	(void)state;
	add(0, ABI_OP_SYSCALL, NR_TEST, 6, 0, 0, 0)->flags = ABI_F_EQUAL;
	k.ops[0][0].arg[5] = 9;
	assert_int_equal(run(0, 1), END_SIGRETURN);
	assert_int_equal(k.routines[0].error, -34);
}

static void test_missing_end_fails(void **state)
{
	(void)state;
	add(0, ABI_OP_SYSCALL, NR_TEST, 6, 0, 0, 0);
	assert_int_equal(run(0, 1), END_SIGRETURN);
	assert_int_equal(k.routines[0].error, -8);
	assert_int_equal(run(99, 1), END_SIGRETURN);
	k.control.version++;
	assert_int_equal(run(0, 0), END_EXIT);
}

static void test_stages(void **state)
{
	(void)state;
	k.control.expected[2] = 1;
	k.control.expected[3] = 2;
	k.control.stage = 3;
	add(0, ABI_OP_ARRIVE, 0, 2, 0, 0, 0);
	add(0, ABI_OP_BARRIER, 0, 2, 0, 0, 0);
	add(0, ABI_OP_BARRIER, 0, 3, 0, 0, 0);
	assert_int_equal(run(0, 0), END_WAIT);
	assert_int_equal(k.control.arrived[2], 2);
	assert_int_equal(k.control.arrived[3], 1);
	assert_int_equal(k.control.events, 1);
	assert_int_equal(k.control.failed, 0);
}

static void test_park(void **state)
{
	(void)state;
	k.control.expected[ABI_NR_STAGES - 1] = 1;
	add(0, ABI_OP_CALL, 0, 1, 0, 0, 0);
	add(1, ABI_OP_SYSCALL, NR_TEST, 1, 0, 0, 0);
	add(0, ABI_OP_PARK, 0, 0, 0, 0, 0);
	assert_int_equal(run(0, 0), END_WAIT);
	assert_int_equal(k.routines[0].state, ABI_PARKED);
	assert_int_equal(k.routines[1].state, ABI_DONE);
	assert_int_equal(k.control.events, 1);
	assert_int_equal(k.control.arrived[ABI_NR_STAGES - 1], 1);
}

static void test_fork(void **state)
{
	(void)state;
	k.fork_result = 500;
	add(0, ABI_OP_FORK, 0, 1, 41, 0x8000, 17)->flags = ABI_F_RESULT;
	add(0, ABI_OP_PARK, 0, 0, 0, 0, 0);
	add(1, ABI_OP_SYSCALL, NR_TEST, 4, 0, 0, 0);
	add(1, ABI_OP_PARK, 0, 0, 0, 0, 0);
	assert_int_equal(run(0, 0), END_WAIT);
	assert_int_equal(k.ops[0][0].arg[0], 500);
	assert_int_equal(k.clone_tid, 41);
	assert_int_equal(k.clone_flags, 0x8000);
	assert_int_equal(k.clone_exit_signal, 17);
	assert_int_equal(k.routines[0].state, ABI_PARKED);
	assert_int_equal(k.routines[1].state, ABI_IDLE);

	/* the same call as its child sees it */
	setup(NULL);
	add(0, ABI_OP_FORK, 0, 1, 41, 0, 17);
	add(1, ABI_OP_SYSCALL, NR_TEST, 4, 0, 0, 0);
	add(1, ABI_OP_PARK, 0, 0, 0, 0, 0);
	assert_int_equal(run(0, 0), END_WAIT);
	assert_int_equal(k.last[0], 4);
	assert_int_equal(k.routines[1].state, ABI_PARKED);
	assert_int_equal(k.control.failed, 0);
}

/* The child of a tracee has no way back: it would go on with what its parent did. */
static void test_fork_in_tracee(void **state)
{
	(void)state;
	for (int abort = 0; abort < 2; abort++) {
		setup(NULL);
		add(0, ABI_OP_FORK, 0, 1, 0, 0, 0);
		add(1, ABI_OP_STORE, 0, addr(&k.control.abort), (uint64_t)abort, 4, 0);
		add(1, ABI_OP_SYSCALL, NR_FAIL, (uint64_t)-2, 0, 0, 0);
		assert_int_equal(run(0, 1), abort ? END_EXIT : END_WAIT);
		assert_int_equal(k.routines[1].state, ABI_FAILED);
	}
}

static void test_fork_refuses_shared_memory(void **state)
{
	(void)state;
	add(0, ABI_OP_FORK, 0, 1, 0, BLOB_CLONE_VM, 17);
	assert_int_equal(run(0, 1), END_SIGRETURN);
	assert_int_equal(k.routines[0].error, -22);
}

static void test_thread(void **state)
{
	static char stack[8192] __attribute__((aligned(64)));

	(void)state;
	add(0, ABI_OP_SYSCALL, NR_TEST, 8, 0, 0, 0)->flags = ABI_F_KEEP;
	k.ops[0][0].slot = 5;
	add(0, ABI_OP_THREAD, 0, 2, 43, addr(stack + sizeof(stack)), 0);
	add(0, ABI_OP_PARK, 0, 0, 0, 0, 0);
	assert_int_equal(run(0, 0), END_WAIT);
	assert_int_equal(k.thread_routine, 2);
	assert_int_equal(k.clone_tid, 43);
	assert_int_equal(k.thread_stack, addr(stack + sizeof(stack) - BLOB_SLOTS_BYTES));
	assert_int_equal(k.thread_slots[5], 9);
	assert_true(k.clone_flags & BLOB_CLONE_VM && k.clone_flags & BLOB_CLONE_THREAD);
	assert_false(k.clone_flags & (BLOB_CLONE_SETTID | BLOB_CLONE_CLEAR));
}

/* The kernel is told of the word before the thread begins, and to clear it at its end. */
static void test_thread_that_is_awaited(void **state)
{
	static char stack[8192] __attribute__((aligned(64)));
	uint32_t word = 78, none = 0;

	(void)state;
	k.word = &word;
	add(0, ABI_OP_THREAD, 0, 2, 0, addr(stack + sizeof(stack)), addr(&word));
	add(0, ABI_OP_AWAIT, 0, addr(&word), 0, 0, 0);
	add(0, ABI_OP_AWAIT, 0, addr(&none), 0, 0, 0);
	add(0, ABI_OP_SYSCALL, NR_TEST, 8, 0, 0, 0);
	add(0, ABI_OP_PARK, 0, 0, 0, 0, 0);
	assert_int_equal(run(0, 0), END_WAIT);
	assert_int_equal(k.clone_flags & (BLOB_CLONE_SETTID | BLOB_CLONE_CLEAR), BLOB_CLONE_SETTID | BLOB_CLONE_CLEAR);
	assert_int_equal(k.parent_word, addr(&word));
	assert_int_equal(k.child_word, addr(&word));
	assert_int_equal(k.nr_short_waits, 3);
	assert_int_equal(k.last_nr, NR_TEST);
}

/* Who waits for a thread ends with all others if one of them has failed. */
static void test_await_and_abort(void **state)
{
	uint32_t word = 78;

	(void)state;
	k.control.abort = 1;
	add(0, ABI_OP_AWAIT, 0, addr(&word), 0, 0, 0);
	assert_int_equal(run(0, 0), END_EXIT);
	assert_int_equal(k.nr_short_waits, 0);
}

/* What another thread has claimed is left out, to the operation; the rest is claimed and done. */
static void test_claim(void **state)
{
	uint32_t words[3] = { 1, 0, 1 };

	(void)state;
	add(0, ABI_OP_CALL, 0, 1, 0, 0, 0);
	add(0, ABI_OP_PARK, 0, 0, 0, 0, 0);
	add(1, ABI_OP_CLAIM, 0, addr(&words[0]), 2, 0, 0);
	add(1, ABI_OP_SYSCALL, NR_FAIL, (uint64_t)-1, 0, 0, 0);
	add(1, ABI_OP_SYSCALL, NR_FAIL, (uint64_t)-1, 0, 0, 0);
	add(1, ABI_OP_CLAIM, 0, addr(&words[1]), 1, 0, 0);
	add(1, ABI_OP_SYSCALL, NR_TEST, 5, 0, 0, 0);
	add(1, ABI_OP_CLAIM, 0, addr(&words[2]), 1, 0, 0);
	add(1, ABI_OP_SYSCALL, NR_FAIL, (uint64_t)-1, 0, 0, 0);
	assert_int_equal(run(0, 0), END_WAIT);
	assert_int_equal(k.control.failed, 0);
	assert_int_equal(k.last[0], 5);
	assert_int_equal(words[1], 1);
	assert_int_equal(k.routines[1].state, ABI_DONE);
}

/* A process of its own, that shares memory, has no exit signal, and does not go back to where its maker came from. */
static void test_helper(void **state)
{
	static char stack[8192] __attribute__((aligned(64)));

	(void)state;
	add(0, ABI_OP_HELPER, 0, 2, 0, addr(stack + sizeof(stack)), 0);
	add(0, ABI_OP_TRAP, 0, 0, 0, 0, 0);
	assert_int_equal(run(0, 1), END_SIGRETURN);
	assert_int_equal(k.thread_routine, 2);
	assert_int_equal(k.thread_stack, addr(stack + sizeof(stack) - BLOB_SLOTS_BYTES));
	assert_true(k.clone_flags & BLOB_CLONE_VM);
	assert_false(k.clone_flags & (BLOB_CLONE_THREAD | BLOB_CLONE_SIGHAND));
	assert_int_equal(k.clone_exit_signal, 0);
}

/* A number that the kernel has not taken back yet is waited for; one that stays taken is an error. */
static void test_taken_numbers(void **state)
{
	static char stack[8192] __attribute__((aligned(64)));

	(void)state;
	for (int taken = 3; taken < 1000; taken += 900) {
		setup(NULL);
		k.fork_result = 500;
		k.nr_taken = taken;
		add(0, ABI_OP_FORK, 0, 1, 41, 0, 17);
		add(0, ABI_OP_PARK, 0, 0, 0, 0, 0);
		assert_int_equal(run(0, 0), END_WAIT);
		assert_int_equal(k.routines[0].error, taken == 3 ? 0 : -17);
		setup(NULL);
		k.nr_taken = taken;
		add(0, ABI_OP_THREAD, 0, 2, 43, addr(stack + sizeof(stack)), 0);
		add(0, ABI_OP_PARK, 0, 0, 0, 0, 0);
		assert_int_equal(run(0, 0), END_WAIT);
		assert_int_equal(k.routines[0].error, taken == 3 ? 0 : -17);
	}
}

/* A coordinator that has ended is noticed below the mark, and what lies at the number of its pidfd above it is not. */
static void test_coordinator_ends(void **state)
{
	static const int waits[] = { 2, 3, 1, 0 };
	uint64_t slots[ABI_NR_SLOTS] = { [ABI_SLOT_COORDINATOR] = 44 };

	(void)state;
	for (int i = 0; i < 4; i++) {
		setup(NULL);
		k.control.watch_below = i == 3 ? 0 : 4;
		k.ends_after = i == 0 ? 2 : i == 1 ? 1000 : 1;
		k.passes_meanwhile = i == 2;
		add(0, ABI_OP_BARRIER, 0, 3, 0, 0, 0);
		add(0, ABI_OP_PARK, 0, 0, 0, 0, 0);
		assert_int_equal(run_with(0, slots, 0), i == 0 ? END_EXIT : END_WAIT);
		assert_int_equal(k.nr_short_waits, waits[i]);
	}
}

static void test_store(void **state)
{
	uint64_t words[4] = { ~0ULL, ~0ULL, ~0ULL, ~0ULL };

	(void)state;
	add(0, ABI_OP_STORE, 0, addr(&words[0]), 0, 1, 0);
	add(0, ABI_OP_STORE, 0, addr(&words[1]), 0, 2, 0);
	add(0, ABI_OP_STORE, 0, addr(&words[2]), 0, 4, 0);
	add(0, ABI_OP_STORE, 0, addr(&words[3]), 5, 8, 0);
	add(0, ABI_OP_TRAP, 0, 0, 0, 0, 0);
	assert_int_equal(run(0, 1), END_SIGRETURN);
	assert_int_equal(words[0], 0xffffffffffffff00);
	assert_int_equal(words[1], 0xffffffffffff0000);
	assert_int_equal(words[2], 0xffffffff00000000);
	assert_int_equal(words[3], 5);
}

static void test_calls_nest_only_so_deep(void **state)
{
	(void)state;
	add(0, ABI_OP_CALL, 0, 0, 0, 0, 0);
	assert_int_equal(run(0, 1), END_SIGRETURN);
	assert_int_equal(k.routines[0].error, -22);
	setup(NULL);
	add(0, ABI_OP_CALL, 0, 100, 0, 0, 0);
	assert_int_equal(run(0, 1), END_SIGRETURN);
	assert_int_equal(k.routines[0].error, -22);
	setup(NULL);
	add(0, 200, 0, 0, 0, 0, 0);
	assert_int_equal(run(0, 1), END_SIGRETURN);
	assert_int_equal(k.routines[0].error, -22);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_calls_and_flags, setup),
		cmocka_unit_test_setup(test_sweep, setup),
		cmocka_unit_test_setup(test_failure_in_tracee, setup),
		cmocka_unit_test_setup(test_failure_in_restore_waits_for_abort, setup),
		cmocka_unit_test_setup(test_unequal_result_fails, setup),
		cmocka_unit_test_setup(test_missing_end_fails, setup),
		cmocka_unit_test_setup(test_stages, setup),
		cmocka_unit_test_setup(test_park, setup),
		cmocka_unit_test_setup(test_fork, setup),
		cmocka_unit_test_setup(test_fork_in_tracee, setup),
		cmocka_unit_test_setup(test_thread_that_is_awaited, setup),
		cmocka_unit_test_setup(test_await_and_abort, setup),
		cmocka_unit_test_setup(test_claim, setup),
		cmocka_unit_test_setup(test_helper, setup),
		cmocka_unit_test_setup(test_fork_refuses_shared_memory, setup),
		cmocka_unit_test_setup(test_thread, setup),
		cmocka_unit_test_setup(test_taken_numbers, setup),
		cmocka_unit_test_setup(test_coordinator_ends, setup),
		cmocka_unit_test_setup(test_store, setup),
		cmocka_unit_test_setup(test_calls_nest_only_so_deep, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

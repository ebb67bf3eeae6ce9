/* The interpreter's source on the host, with a fake kernel: files in memory, children that are this very process. */
#include "pie/blob.c"
#include "pie/blob-pages.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define NR_TEST   1000 /* a call of our own: returns its first argument + 1 */
#define NR_FAIL   1001 /* returns its first argument as it is: give it a negative errno */
#define FILE_SIZE 65536

enum ending { END_SIGRETURN = 1, END_EXIT, END_WAIT };

static struct {
	jmp_buf out;
	int nr_calls, nr_wakes, nr_taken, nr_short_waits, ends_after, passes_meanwhile, fork_result, thread_routine,
		preadv_limit;
	long last_nr;
	uint64_t last[6], frame, clone_flags, clone_exit_signal, thread_stack;
	int32_t clone_tid;
	uint32_t *word; /* of a thread that ends after a while */
	uint64_t parent_word, child_word;
	uint64_t thread_slots[ABI_NR_SLOTS];
	char file[FILE_SIZE];
	uint64_t pipe_at; /* what a pipe gives next, out of the same file */
	struct abi_control control;
	struct abi_routine routines[8];
	struct abi_op ops[8][16];
} k;

static long fake_read(uint64_t base, uint64_t len, uint64_t off)
{
	uint64_t n = off >= FILE_SIZE ? 0 : FILE_SIZE - off < len ? FILE_SIZE - off : len;

	memcpy(ptr(base), k.file + (off < FILE_SIZE ? off : 0), n);
	return (long)n;
}

static long fake_preadv(const struct abi_iov *iov, uint64_t nr, uint64_t off)
{
	uint64_t left = (uint64_t)k.preadv_limit;
	long total = 0;

	assert_true(nr <= BLOB_IOV_MAX);
	for (uint64_t i = 0; i < nr && left; i++) {
		uint64_t want = iov[i].len < left ? iov[i].len : left;
		long n = fake_read(iov[i].base, want, off);

		total += n;
		off += (uint64_t)n;
		left -= (uint64_t)n;
		if ((uint64_t)n < iov[i].len)
			break;
	}
	return total;
}

long blob_sys(long nr, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5)
{
	uint64_t a[6] = { a0, a1, a2, a3, a4, a5 };

	k.nr_calls++;
	switch (nr) {
	case NR_TEST:
		k.last_nr = nr;
		memcpy(k.last, a, sizeof(a));
		return (long)a0 + 1;
	case NR_FAIL:
		return (long)a0;
	case NR_PREAD64:
		return fake_read(a1, a2 > 5000 ? 5000 : a2, a3);
	case NR_PREADV:
		return fake_preadv(ptr(a1), a2, a3);
	case NR_READ:
	case NR_READV: {
		long n = nr == NR_READ ? fake_read(a1, a2 > 5000 ? 5000 : a2, k.pipe_at) : fake_preadv(ptr(a1), a2, k.pipe_at);

		k.pipe_at += (uint64_t)n;
		return n;
	}
	case NR_FUTEX:
		if (a1 == FUTEX_WAKE_SHARED) {
			k.nr_wakes++;
			return 0;
		}
		if (a3) { /* limited in time: a short wait */
			k.nr_short_waits++;
			if (k.word && k.nr_short_waits == 3)
				*k.word = 0;
			if (k.control.watch_below && k.nr_short_waits == 3)
				k.control.stage = k.control.watch_below;
			return -110;
		}
		longjmp(k.out, END_WAIT);
	case NR_PPOLL: {
		struct blob_pollfd *p = ptr(a0);

		assert_int_equal(p->fd, 44);
		if (k.nr_short_waits < k.ends_after)
			return 0;
		p->revents = BLOB_POLLIN;
		if (k.passes_meanwhile)
			k.control.stage = k.control.watch_below;
		return 1;
	}
	case NR_CLONE3: {
		const struct blob_clone_args *c = ptr(a0);

		k.clone_flags = c->flags;
		k.clone_exit_signal = c->exit_signal;
		k.clone_tid = c->set_tid ? *(int32_t *)ptr(c->set_tid) : 0;
		return k.nr_taken && k.nr_taken-- ? -17 : k.fork_result;
	}
	case NR_GETPID:
	case NR_GETTID:
		return 77;
	case NR_TGKILL:
		k.last_nr = nr;
		memcpy(k.last, a, sizeof(a));
		return 0;
	case NR_EXIT_GROUP:
		longjmp(k.out, END_EXIT);
	default:
		fail_msg("unexpected call %ld", nr);
		return -38;
	}
}

long blob_start_thread(void *args, uint64_t size, void *control, uint32_t routine, uint64_t *slots)
{
	const struct blob_clone_args *c = args;

	assert_int_equal(size, sizeof(*c));
	assert_ptr_equal(control, &k.control);
	k.clone_flags = c->flags;
	k.clone_tid = c->set_tid ? *(int32_t *)ptr(c->set_tid) : 0;
	k.thread_routine = (int)routine;
	k.parent_word = c->parent_tid;
	k.child_word = c->child_tid;
	k.thread_stack = c->stack + c->stack_size;
	memcpy(k.thread_slots, slots, sizeof(k.thread_slots));
	return k.nr_taken && k.nr_taken-- ? -17 : 78;
}

_Noreturn void blob_sigreturn(uint64_t frame)
{
	k.frame = frame;
	longjmp(k.out, END_SIGRETURN);
}

static int setup(void **state)
{
	(void)state;
	memset(&k, 0, sizeof(k));
	k.preadv_limit = FILE_SIZE;
	k.control.version = ABI_PROGRAM_VERSION;
	k.control.nr_routines = 8;
	k.control.routines = addr(k.routines);
	k.control.trap_signal = 23;
	for (int i = 0; i < 8; i++)
		k.routines[i].ops = addr(k.ops[i]);
	for (int i = 0; i < FILE_SIZE; i++)
		k.file[i] = (char)(i * 7 + i / 4096);
	return 0;
}

static struct abi_op *add(int routine, enum abi_op_kind kind, uint32_t nr, uint64_t a0, uint64_t a1, uint64_t a2,
			  uint64_t a3)
{
	struct abi_op *op = &k.ops[routine][k.routines[routine].nr_ops++];

	*op = (struct abi_op){ .kind = (uint8_t)kind, .nr = nr, .arg = { a0, a1, a2, a3 } };
	return op;
}

static enum ending run_with(uint32_t routine, const uint64_t *slots, uint64_t frame)
{
	int end = setjmp(k.out);

	if (!end)
		blob_main(&k.control, routine, slots, frame);
	return (enum ending)end;
}

static enum ending run(uint32_t routine, uint64_t frame)
{
	return run_with(routine, NULL, frame);
}

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

static void test_read_with_short_counts(void **state)
{
	static char got[FILE_SIZE];
	static const int limits[] = { FILE_SIZE, 4096, 5000, 100, 1 << 20 };
	struct abi_iov iov[] = { { 0, 300 }, { 0, 0 }, { 0, 8192 }, { 0, 1 }, { 0, 20000 }, { 0, 0 } };
	uint64_t at = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(iov) / sizeof(iov[0]); i++) {
		iov[i].base = addr(got + at);
		at += iov[i].len;
	}
	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		setup(NULL);
		memset(got, 0, sizeof(got));
		k.preadv_limit = limits[i];
		add(0, ABI_OP_READ, 0, 3, 1000, addr(iov), 6);
		add(0, ABI_OP_TRAP, 0, 0, 0, 0, 0);
		assert_int_equal(run(0, 1), END_SIGRETURN);
		assert_int_equal(k.routines[0].error, 0);
		assert_memory_equal(got, k.file + 1000, at);
	}
}

static void test_read_past_the_end(void **state)
{
	static char got[FILE_SIZE];
	struct abi_iov iov = { addr(got), 8192 };

	(void)state;
	add(0, ABI_OP_READ, 0, 3, FILE_SIZE - 4096, addr(&iov), 1);
	assert_int_equal(run(0, 1), END_SIGRETURN);
	assert_int_equal(k.routines[0].error, -5);
}

static void test_read_of_many_areas(void **state)
{
	static char got[FILE_SIZE];
	static struct abi_iov iov[3000];

	(void)state;
	for (int i = 0; i < 3000; i++)
		iov[i] = (struct abi_iov){ addr(got + i * 16), 16 };
	add(0, ABI_OP_READ, 0, 3, 0, addr(iov), 3000);
	add(0, ABI_OP_TRAP, 0, 0, 0, 0, 0);
	assert_int_equal(run(0, 1), END_SIGRETURN);
	assert_int_equal(k.routines[0].error, 0);
	assert_memory_equal(got, k.file, 3000 * 16);
}

static void test_compare(void **state)
{
	static char mem[4 * 4096] __attribute__((aligned(4096))), scratch[3 * 4096] __attribute__((aligned(4096)));
	struct abi_iov iov[] = { { addr(mem), 4096 }, { addr(mem + 4096), 0 }, { addr(mem + 4096), 3 * 4096 } };
	static const uint64_t sizes[] = { 0, 4096, 2 * 4096, 3 * 4096 };

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		setup(NULL);
		memcpy(mem, k.file + 8192, sizeof(mem));
		mem[4096 + 4095] ^= 1;
		mem[3 * 4096] ^= 1;
		add(0, ABI_OP_COMPARE, 0, 3, 8192, addr(iov), 3)->arg[4] = addr(scratch);
		k.ops[0][0].arg[5] = sizes[i];
		add(0, ABI_OP_TRAP, 0, 0, 0, 0, 0);
		assert_int_equal(run(0, 1), END_SIGRETURN);
		assert_int_equal(k.routines[0].error, 0);
		assert_memory_equal(mem, k.file + 8192, sizeof(mem));
	}
	setup(NULL);
	iov[0].len = 100;
	add(0, ABI_OP_COMPARE, 0, 3, 8192, addr(iov), 3)->arg[4] = addr(scratch);
	assert_int_equal(run(0, 1), END_SIGRETURN);
	assert_int_equal(k.routines[0].error, -22);
}

/* Sums of five pages in three areas, of which the scratch memory takes one page full, or far more than it needs. */
static void test_check(void **state)
{
	static char mem[5 * 4096] __attribute__((aligned(4096))), scratch[4096] __attribute__((aligned(4096)));
	struct abi_iov iov[] = { { addr(mem), 2 * 4096 }, { addr(mem), 0 }, { addr(mem + 2 * 4096), 3 * 4096 } };

	(void)state;
	for (int bad = -1; bad < 5; bad++)
		for (int hardware = 0; hardware <= crc32c_in_hardware(); hardware++) {
			struct abi_op *op;

			setup(NULL);
			memcpy(mem, k.file + 8192, sizeof(mem));
			for (int i = 0; i < 5; i++) {
				uint32_t sum = page_sum_plain(mem + i * 4096);

				memcpy(k.file + 100 + i * 4, &sum, 4);
			}
			if (bad >= 0)
				mem[bad * 4096 + 819 * bad] ^= 0x10;
			op = add(0, ABI_OP_CHECK, 0, 3, 100, addr(iov), 3);
			op->arg[4] = addr(scratch);
			op->arg[5] = 4096 | (hardware ? ABI_CHECK_HARDWARE : 0);
			add(0, ABI_OP_TRAP, 0, 0, 0, 0, 0);
			assert_int_equal(run(0, 1), END_SIGRETURN);
			assert_int_equal(k.routines[0].error, bad < 0 ? 0 : -74);
			if (bad >= 0)
				assert_int_equal(op->arg[0], addr(mem + bad * 4096));
		}
	setup(NULL);
	add(0, ABI_OP_CHECK, 0, 3, FILE_SIZE - 8, addr(iov), 3)->arg[4] = addr(scratch);
	k.ops[0][0].arg[5] = 4096;
	assert_int_equal(run(0, 1), END_SIGRETURN);
	assert_int_equal(k.routines[0].error, -5);
	setup(NULL);
	add(0, ABI_OP_CHECK, 0, 3, 100, addr(iov), 3)->arg[5] = ABI_CHECK_HARDWARE;
	assert_int_equal(run(0, 1), END_SIGRETURN);
	assert_int_equal(k.routines[0].error, -22);
}

/* More pages than the scratch memory has sums for: the same one, again and again. */
static void test_check_of_many(void **state)
{
	enum { NR = 1500 };
	static char page[4096] __attribute__((aligned(4096)));
	static uint32_t scratch[1024] __attribute__((aligned(4096)));
	static struct abi_iov iov[NR];

	(void)state;
	for (int bad = 0; bad <= 1; bad++) {
		uint32_t sum = page_sum_plain(page), *sums = (uint32_t *)(void *)k.file;

		setup(NULL);
		for (int i = 0; i < NR; i++) {
			iov[i] = (struct abi_iov){ addr(page), 4096 };
			sums[i] = sum;
		}
		if (bad)
			sums[NR - 1] ^= 1;
		add(0, ABI_OP_CHECK, 0, 3, 0, addr(iov), NR)->arg[4] = addr(scratch);
		k.ops[0][0].arg[5] = sizeof(scratch);
		add(0, ABI_OP_TRAP, 0, 0, 0, 0, 0);
		assert_int_equal(run(0, 1), END_SIGRETURN);
		assert_int_equal(k.routines[0].error, bad ? -74 : 0);
	}
}

/* Pages in a row, whatever the offsets say, in pieces of any size. */
static void test_pipe(void **state)
{
	static char mem[5 * 4096] __attribute__((aligned(4096))), scratch[2 * 4096] __attribute__((aligned(4096)));
	struct abi_iov iov[] = { { addr(mem), 2 * 4096 }, { addr(mem + 2 * 4096), 4096 } }, rest = { addr(mem + 3 * 4096), 2 * 4096 };
	static const int limits[] = { FILE_SIZE, 5000, 100 };

	(void)state;
	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		setup(NULL);
		k.preadv_limit = limits[i];
		k.pipe_at = 4096;
		memset(mem, 0, sizeof(mem));
		add(0, ABI_OP_READ, 0, 3, 777, addr(iov), 2)->arg[5] = ABI_FROM_PIPE;
		add(0, ABI_OP_COMPARE, 0, 3, 888, addr(&rest), 1)->arg[4] = addr(scratch);
		k.ops[0][1].arg[5] = ABI_FROM_PIPE | (i ? sizeof(scratch) : 0);
		add(0, ABI_OP_TRAP, 0, 0, 0, 0, 0);
		assert_int_equal(run(0, 1), END_SIGRETURN);
		assert_int_equal(k.routines[0].error, 0);
		assert_memory_equal(mem, k.file + 4096, sizeof(mem));
		assert_int_equal(k.pipe_at, 6 * 4096);
	}
	/* it ends early */
	setup(NULL);
	k.pipe_at = FILE_SIZE - 4096;
	add(0, ABI_OP_READ, 0, 3, 0, addr(iov), 2)->arg[5] = ABI_FROM_PIPE;
	assert_int_equal(run(0, 1), END_SIGRETURN);
	assert_int_equal(k.routines[0].error, -5);
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
		cmocka_unit_test_setup(test_read_with_short_counts, setup),
		cmocka_unit_test_setup(test_read_past_the_end, setup),
		cmocka_unit_test_setup(test_read_of_many_areas, setup),
		cmocka_unit_test_setup(test_compare, setup),
		cmocka_unit_test_setup(test_check, setup),
		cmocka_unit_test_setup(test_pipe, setup),
		cmocka_unit_test_setup(test_check_of_many, setup),
		cmocka_unit_test_setup(test_calls_nest_only_so_deep, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

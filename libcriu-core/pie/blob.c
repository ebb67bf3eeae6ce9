/*
 * The interpreter: carries out a program (pie/abi/program.h) inside a process that is not ours. No C library, no
 * writable data of its own, general registers only, so that the extended state of a tracee stays as it was.
 *
 * How it ends in a tracee. The tracer has put a signal frame with the original context (registers, extended state,
 * signal mask) into the data area before it let the thread run, has blocked every signal but control.trap_signal, and
 * has chosen that one among those that are ignored by default and not pending. After the last operation the blob sends
 * it to its own thread. Two things can happen:
 * - A tracer is there: a traced task stops for a signal even if it is ignored (sig_ignored() in kernel/signal.c).
 *   The tracer finds routine.state DONE or FAILED, drops the signal and later puts registers and mask back itself.
 * - The tracer was killed: the kernel discards the ignored signal, tgkill() returns, and the blob goes back through the
 *   frame by rt_sigreturn(). The thread carries on as if nothing had been. Left behind are our two mappings.
 *   (If the process has handlers for all signals of that sort, the handler of one runs once, here, before that.)
 *   Syscall user dispatch, if the thread used it, stays switched off; a shadow stack would refuse the return.
 * Not covered are the tracer's own remote calls, two mmaps before the frame exists and one munmap at the end: a tracer
 * killed exactly there leaves the thread with borrowed registers. That is about 0.1 ms per process and dump.
 *
 * In a restore nothing of the process is worth saving yet: a failure is noted in the control block, the coordinator
 * is woken to explain it, and everybody ends with exit_group() once it sets control.abort.
 */
#include "pie/blob.h"
#include "pie/blob-pages.h"
#include "syscall.h"
#include "thread-facts.h"
#include "blob-layout.h"

#define BLOB_MAX_DEPTH 8

#define BLOB_CLONE_VM      0x00000100ULL
#define BLOB_CLONE_FS      0x00000200ULL
#define BLOB_CLONE_FILES   0x00000400ULL
#define BLOB_CLONE_SIGHAND 0x00000800ULL
#define BLOB_CLONE_VFORK   0x00004000ULL
#define BLOB_CLONE_THREAD  0x00010000ULL
#define BLOB_CLONE_SYSVSEM 0x00040000ULL
#define BLOB_CLONE_SETTID  0x00100000ULL /* CLONE_PARENT_SETTID */
#define BLOB_CLONE_CLEAR   0x00200000ULL /* CLONE_CHILD_CLEARTID */

#define HELPER_FLAGS (BLOB_CLONE_VM | BLOB_CLONE_FS | BLOB_CLONE_FILES)
#define THREAD_FLAGS (HELPER_FLAGS | BLOB_CLONE_SIGHAND | BLOB_CLONE_THREAD | BLOB_CLONE_SYSVSEM)

#define E_PERM     1
#define E_NOEXEC   8
#define E_BADF     9
#define E_ACCES    13
#define E_EXIST    17
#define E_RANGE    34
#define E_NOSYS    38
#define E_TIMEDOUT 110

#define FUTEX_WAIT_SHARED 0
#define FUTEX_WAKE_SHARED 1

#define BLOB_POLLIN     1
#define BLOB_WATCH_NSEC 200000000

#define BLOB_TAKEN_TRIES 100
#define BLOB_TAKEN_NSEC  2000000

struct blob_clone_args {
	uint64_t flags, pidfd, child_tid, parent_tid, exit_signal;
	uint64_t stack, stack_size, tls, set_tid, set_tid_size;
};
_Static_assert(sizeof(struct blob_clone_args) == 80, "kernel ABI, size since 5.5");
_Static_assert(BLOB_SLOTS_BYTES == ABI_NR_SLOTS * 8, "the assembler must agree");

struct blob_pollfd {
	int32_t fd;
	int16_t events, revents;
};

struct blob_frame {
	struct abi_routine *routine;
	uint32_t index, pc;
};

struct blob_run {
	struct abi_control *c;
	uint64_t frame; /* of the tracee's original context */
	uint32_t depth; /* of routines called by routines */
	struct blob_frame call[BLOB_MAX_DEPTH];
	uint64_t slot[ABI_NR_SLOTS];
};

/* The compiler may call these for struct copies; no loop pattern may turn them into calls of themselves. */
#ifndef BLOB_FAKE_SYS
void *memcpy(void *dst, const void *src, unsigned long n);
void *memset(void *dst, int c, unsigned long n);

void *memcpy(void *dst, const void *src, unsigned long n)
{
	void *d = dst;

	__asm__ volatile("rep movsb" : "+D"(d), "+S"(src), "+c"(n) : : "memory");
	return dst;
}

void *memset(void *dst, int c, unsigned long n)
{
	void *d = dst;

	__asm__ volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(c) : "memory");
	return dst;
}
#endif

static inline uint32_t load(uint32_t *word)
{
	return __atomic_load_n(word, __ATOMIC_SEQ_CST);
}

static inline uint32_t add_one(uint32_t *word)
{
	return __atomic_add_fetch(word, 1, __ATOMIC_SEQ_CST);
}

static void note_event(struct abi_control *c)
{
	add_one(&c->events);
	blob_sys(NR_FUTEX, addr(&c->events), FUTEX_WAKE_SHARED, 0x7fffffff, 0, 0, 0);
}

static _Noreturn void leave(void)
{
	for (;;)
		blob_sys(NR_EXIT_GROUP, 1, 0, 0, 0, 0, 0);
}

/*
 * A coordinator that is killed cannot say so, and the death signal of the parent does not reach everybody: orphans outlive
 * their parents, and one that was killed before the signal was asked for is not noticed. The descriptor is the pidfd as
 * long as control.stage stays below the mark, so that is looked at once more after the answer.
 */
static int coordinator_ended(struct blob_run *run, uint32_t stage)
{
	struct abi_control *c = run->c;
	struct blob_pollfd p = { .fd = (int32_t)run->slot[ABI_SLOT_COORDINATOR], .events = BLOB_POLLIN };
	const int64_t at_once[2] = { 0, 0 };

	return blob_sys(NR_PPOLL, addr(&p), 1, addr(at_once), 0, 8, 0) == 1 && p.revents & BLOB_POLLIN &&
	       load(&c->stage) == stage;
}

/*
 * Waits until control.stage is above @stage, or for ever. The coordinator changes the word when it aborts, too, so
 * checking abort after reading it cannot miss that.
 */
static void wait_past(struct blob_run *run, uint32_t stage, int for_ever)
{
	const int64_t a_while[2] = { 0, BLOB_WATCH_NSEC };
	struct abi_control *c = run->c;

	for (;;) {
		uint32_t now = load(&c->stage);
		int watch = now < load(&c->watch_below);

		if (load(&c->abort))
			leave();
		if (!for_ever && now > stage)
			return;
		if (blob_sys(NR_FUTEX, addr(&c->stage), FUTEX_WAIT_SHARED, now, watch ? addr(a_while) : 0, 0, 0) ==
			    -E_TIMEDOUT &&
		    watch && coordinator_ended(run, now))
			leave();
	}
}

static void arrive(struct abi_control *c, uint32_t stage)
{
	if (add_one(&c->arrived[stage]) == c->expected[stage])
		note_event(c);
}

static _Noreturn void trap(struct blob_run *run)
{
	long pid = blob_sys(NR_GETPID, 0, 0, 0, 0, 0, 0);
	long tid = blob_sys(NR_GETTID, 0, 0, 0, 0, 0, 0);

	blob_sys(NR_TGKILL, (uint64_t)pid, (uint64_t)tid, run->c->trap_signal, 0, 0, 0);
	blob_sigreturn(run->frame);
}

static _Noreturn void fail(struct blob_run *run, uint32_t op, long error)
{
	struct blob_frame *f = &run->call[run->depth];
	struct abi_control *c = run->c;
	uint32_t none = 0;

	f->routine->failed_op = op;
	f->routine->error = (int32_t)error;
	__atomic_store_n(&f->routine->state, ABI_FAILED, __ATOMIC_SEQ_CST);
	if (run->depth) {
		run->call[0].routine->error = (int32_t)error;
		__atomic_store_n(&run->call[0].routine->state, ABI_FAILED, __ATOMIC_SEQ_CST);
		run->call[0].routine->failed_op = run->call[0].pc - 1;
	}
	__atomic_compare_exchange_n(&c->first_failed, &none, f->index + 1, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	add_one(&c->failed);
	note_event(c);
	if (run->frame)
		trap(run);
	wait_past(run, 0, 1);
	leave();
}

static struct abi_routine *routine_at(const struct blob_run *run, uint64_t index)
{
	return index < run->c->nr_routines ? (struct abi_routine *)ptr(run->c->routines) + index : 0;
}

/* Makes @index the routine at the present depth. */
static long enter(struct blob_run *run, uint64_t index)
{
	struct abi_routine *r = routine_at(run, index);

	if (!r)
		return -E_INVAL;
	run->call[run->depth] = (struct blob_frame){ .routine = r, .index = (uint32_t)index };
	__atomic_store_n(&r->state, ABI_RUNNING, __ATOMIC_SEQ_CST);
	return 0;
}

/*
 * A number is taken for a moment longer than its owner can be seen or waited for: release_task() in kernel/exit.c gives
 * numbers back last, outside of its lock (Linux 6.15 and later), so those of a tree that was ended just now may still
 * be in use. Return: 1 after a short wait, if it is worth to try again.
 */
static int taken_for_a_moment(long r, unsigned int *tries)
{
	const int64_t a_moment[2] = { 0, BLOB_TAKEN_NSEC };
	uint32_t word = 0;

	if (r != -E_EXIST || ++*tries > BLOB_TAKEN_TRIES)
		return 0;
	blob_sys(NR_FUTEX, addr(&word), FUTEX_WAIT_SHARED, 0, addr(a_moment), 0, 0);
	return 1;
}

static long op_fork(struct blob_run *run, const uint64_t *a)
{
	int32_t want = (int32_t)a[1];
	struct blob_clone_args args = {
		.flags = a[2],
		.exit_signal = a[3],
		.set_tid = want ? addr(&want) : 0,
		.set_tid_size = want ? 1 : 0,
	};

	/* A child on this very stack would write over its parent's. */
	if (a[2] & (BLOB_CLONE_VM | BLOB_CLONE_VFORK | BLOB_CLONE_THREAD) || !routine_at(run, a[0]))
		return -E_INVAL;

	unsigned int tries = 0;
	long r;

	do {
		if (load(&run->c->abort))
			leave();
		r = blob_sys(NR_CLONE3, addr(&args), sizeof(args), 0, 0, 0, 0);
	} while (taken_for_a_moment(r, &tries));
	if (r == 0) {
		run->depth = 0;
		run->frame = 0; /* the way back is its parent's alone */
		enter(run, a[0]);
	}
	return r;
}

/* A thread, or a process that shares memory: its stack is its own. @word: as ABI_OP_THREAD has it */
static long start_beside(struct blob_run *run, const uint64_t *a, uint64_t flags, uint64_t word)
{
	int32_t want = (int32_t)a[1];
	uint64_t *slots = ptr(a[2] - BLOB_SLOTS_BYTES);
	struct blob_clone_args args = {
		.flags = flags | (word ? BLOB_CLONE_SETTID | BLOB_CLONE_CLEAR : 0),
		.parent_tid = word,
		.child_tid = word,
		.stack = a[2] - BLOB_STACK,
		.stack_size = BLOB_STACK - BLOB_SLOTS_BYTES,
		.set_tid = want ? addr(&want) : 0,
		.set_tid_size = want ? 1 : 0,
	};

	if (a[2] & 15 || !routine_at(run, a[0]))
		return -E_INVAL;
	for (int i = 0; i < ABI_NR_SLOTS; i++)
		slots[i] = run->slot[i];

	unsigned int tries = 0;
	long r;

	do {
		if (load(&run->c->abort))
			leave();
		r = blob_start_thread(&args, sizeof(args), run->c, (uint32_t)a[0], slots);
	} while (taken_for_a_moment(r, &tries));
	return r;
}

static long op_store(const uint64_t *a)
{
	switch (a[2]) {
	case 1:
		*(volatile uint8_t *)ptr(a[0]) = (uint8_t)a[1];
		return 0;
	case 2:
		*(volatile uint16_t *)ptr(a[0]) = (uint16_t)a[1];
		return 0;
	case 4:
		*(volatile uint32_t *)ptr(a[0]) = (uint32_t)a[1];
		return 0;
	case 8:
		*(volatile uint64_t *)ptr(a[0]) = a[1];
		return 0;
	default:
		return -E_INVAL;
	}
}

static long op_stage(struct blob_run *run, uint64_t stage, int wait)
{
	if (stage >= ABI_NR_STAGES)
		return -E_INVAL;
	arrive(run->c, (uint32_t)stage);
	if (wait)
		wait_past(run, (uint32_t)stage, 0);
	return 0;
}

static long op_claim(struct blob_run *run, const uint64_t *a)
{
	uint32_t none = 0;

	if (!__atomic_compare_exchange_n((uint32_t *)ptr(a[0]), &none, 1, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		run->call[run->depth].pc += (uint32_t)a[1];
	return 0;
}

/* The kernel wakes whoever waits for the word of a thread that has left the memory: mm_release() in kernel/fork.c. */
static long op_await(struct blob_run *run, uint64_t word)
{
	const int64_t a_while[2] = { 0, BLOB_WATCH_NSEC };
	uint32_t now;

	while ((now = load(ptr(word))) != 0) {
		if (load(&run->c->abort))
			leave();
		blob_sys(NR_FUTEX, word, FUTEX_WAIT_SHARED, now, addr(a_while), 0, 0);
	}
	return 0;
}

/* What says that there is nothing of this number, or that nobody may ask */
static int is_refusal(long r)
{
	return r == -E_INVAL || r == -E_BADF || r == -E_PERM || r == -E_ACCES || r == -E_NOSYS;
}

static long op_sweep(const struct abi_op *op, const uint64_t *a)
{
	uint64_t found = 0;

	if (a[0] > 63)
		return -E_INVAL;
	for (uint64_t i = 0; i < a[0]; i++)
		if (!is_refusal(blob_sys(op->nr, i, a[1], a[2], a[3], a[4], a[5])))
			found |= (uint64_t)1 << i;
	return (long)found;
}

static long op_call(struct blob_run *run, uint64_t index)
{
	if (run->depth + 1 == BLOB_MAX_DEPTH || !routine_at(run, index))
		return -E_INVAL;
	run->depth++;
	return enter(run, index);
}

static _Noreturn void op_park(struct blob_run *run)
{
	for (uint32_t i = 0; i <= run->depth; i++)
		__atomic_store_n(&run->call[i].routine->state, ABI_PARKED, __ATOMIC_SEQ_CST);
	arrive(run->c, ABI_NR_STAGES - 1);
	wait_past(run, 0, 1);
	leave();
}

static _Noreturn void op_trap(struct blob_run *run)
{
	run->call[0].routine->facts = thread_facts();
	__atomic_store_n(&run->call[0].routine->state, ABI_DONE, __ATOMIC_SEQ_CST);
	trap(run);
}

static long carry_out(struct blob_run *run, struct abi_op *op, const uint64_t *a)
{
	switch (op->kind) {
	case ABI_OP_SYSCALL:
		return blob_sys(op->nr, a[0], a[1], a[2], a[3], a[4], op->flags & ABI_F_EQUAL ? 0 : a[5]);
	case ABI_OP_FORK:
		return op_fork(run, a);
	case ABI_OP_THREAD:
		return start_beside(run, a, THREAD_FLAGS, a[3]);
	case ABI_OP_HELPER:
		return start_beside(run, a, HELPER_FLAGS, 0);
	case ABI_OP_BARRIER:
		return op_stage(run, a[0], 1);
	case ABI_OP_ARRIVE:
		return op_stage(run, a[0], 0);
	case ABI_OP_READ:
		return op_read(a);
	case ABI_OP_COMPARE:
		return op_compare(a);
	case ABI_OP_CHECK:
		return op_check(op, a);
	case ABI_OP_STORE:
		return op_store(a);
	case ABI_OP_CALL:
		return op_call(run, a[0]);
	case ABI_OP_CLAIM:
		return op_claim(run, a);
	case ABI_OP_AWAIT:
		return op_await(run, a[0]);
	case ABI_OP_SWEEP:
		return op_sweep(op, a);
	case ABI_OP_TRAP:
		if (!run->frame)
			return -E_INVAL;
		op_trap(run);
	case ABI_OP_PARK:
		if (run->frame)
			return -E_INVAL;
		op_park(run);
	default:
		return -E_INVAL;
	}
}

static void finish_op(struct blob_run *run, struct abi_op *op, uint32_t pc, long r)
{
	int failed = r < 0 && r >= -4095;

	if (!failed && op->flags & ABI_F_EQUAL && (uint64_t)r != op->arg[5]) {
		r = -E_RANGE;
		failed = 1;
	}
	if (failed && !(op->flags & ABI_F_MAY_FAIL))
		fail(run, pc, r);
	if (op->flags & ABI_F_KEEP && op->slot < ABI_NR_SLOTS)
		run->slot[op->slot] = (uint64_t)r;
	if (op->flags & ABI_F_RESULT)
		op->arg[0] = (uint64_t)r;
}

static _Noreturn void interpret(struct blob_run *run)
{
	for (;;) {
		struct blob_frame *f = &run->call[run->depth];

		if (f->pc >= f->routine->nr_ops) {
			if (!run->depth)
				fail(run, f->pc, -E_NOEXEC); /* a program must say how it ends */
			__atomic_store_n(&f->routine->state, ABI_DONE, __ATOMIC_SEQ_CST);
			run->depth--;
			continue;
		}

		struct abi_op *op = (struct abi_op *)ptr(f->routine->ops) + f->pc;
		uint64_t a[6];
		uint32_t pc = f->pc++;

		for (unsigned int i = 0; i < 6; i++) {
			a[i] = op->arg[i];
			if (op->slot_args & (1u << i))
				a[i] = a[i] < ABI_NR_SLOTS ? run->slot[a[i]] : 0;
		}

		long r = carry_out(run, op, a);

		/* The child of a fork and the inside of a call begin a routine of their own: the operation is not theirs. */
		if (op->kind == ABI_OP_FORK && r == 0)
			continue;
		if (op->kind == ABI_OP_CALL && r == 0)
			continue;
		finish_op(run, op, pc, r);
	}
}

_Noreturn void blob_main(struct abi_control *c, uint32_t routine, const uint64_t *slots, uint64_t frame)
{
	struct blob_run run;

	run.c = c;
	run.frame = frame;
	run.depth = 0;
	for (int i = 0; i < ABI_NR_SLOTS; i++)
		run.slot[i] = slots ? slots[i] : 0;
	if (c->version != ABI_PROGRAM_VERSION || enter(&run, routine) < 0) {
		add_one(&c->failed);
		note_event(c);
		if (frame)
			trap(&run);
		leave();
	}
	interpret(&run);
}

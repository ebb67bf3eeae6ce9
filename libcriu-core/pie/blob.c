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
#include "syscall.h"
#include "thread-facts.h"
#include "blob-layout.h"
#include "page-sum.h"

#define BLOB_MAX_DEPTH 8
#define BLOB_IOV_MAX   1024
#define BLOB_PAGE      4096

#define BLOB_CLONE_VM      0x00000100ULL
#define BLOB_CLONE_FS      0x00000200ULL
#define BLOB_CLONE_FILES   0x00000400ULL
#define BLOB_CLONE_SIGHAND 0x00000800ULL
#define BLOB_CLONE_VFORK   0x00004000ULL
#define BLOB_CLONE_THREAD  0x00010000ULL
#define BLOB_CLONE_SYSVSEM 0x00040000ULL

#define HELPER_FLAGS (BLOB_CLONE_VM | BLOB_CLONE_FS | BLOB_CLONE_FILES)
#define THREAD_FLAGS (HELPER_FLAGS | BLOB_CLONE_SIGHAND | BLOB_CLONE_THREAD | BLOB_CLONE_SYSVSEM)

#define E_INTR     4
#define E_IO       5
#define E_NOEXEC   8
#define E_EXIST    17
#define E_INVAL    22
#define E_RANGE    34
#define E_BADMSG   74
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

static inline void *ptr(uint64_t address)
{
	return (void *)(uintptr_t)address;
}

static inline uint64_t addr(const void *p)
{
	return (uint64_t)(uintptr_t)p;
}

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

/* A thread, or a process that shares memory: its stack is its own. */
static long start_beside(struct blob_run *run, const uint64_t *a, uint64_t flags)
{
	int32_t want = (int32_t)a[1];
	uint64_t *slots = ptr(a[2] - BLOB_SLOTS_BYTES);
	struct blob_clone_args args = {
		.flags = flags,
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

/* Reads exactly @len bytes. @how: ABI_FROM_PIPE or not. Return: 0, -EIO at the end of the file, negative errno. */
static long read_exactly(uint64_t fd, uint64_t base, uint64_t len, uint64_t off, uint64_t how)
{
	while (len) {
		long n = blob_sys(how & ABI_FROM_PIPE ? NR_READ : NR_PREAD64, fd, base, len, off, 0, 0);

		if (n == -E_INTR)
			continue;
		if (n <= 0)
			return n ? n : -E_IO;
		base += (uint64_t)n;
		off += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}

/*
 * The array of the program is not changed: an area that was read in part is finished by itself, then the rest
 * of the array goes on with preadv().
 */
static long op_read(const uint64_t *a)
{
	const struct abi_iov *iov = ptr(a[2]);
	const long nr = a[5] & ABI_FROM_PIPE ? NR_READV : NR_PREADV;
	uint64_t off = a[1], left = a[3];

	while (left) {
		long n = blob_sys(nr, a[0], addr(iov), left < BLOB_IOV_MAX ? left : BLOB_IOV_MAX, off, 0, 0);

		if (n == -E_INTR)
			continue;
		if (n < 0)
			return n;

		uint64_t got = (uint64_t)n;

		off += got;
		while (left && got >= iov->len) {
			got -= iov->len;
			iov++;
			left--;
		}
		if (n && !got)
			continue;
		if (!left)
			break;

		/* cut short: inside iov (got bytes are there) or, with n 0, at the end of the file or of empty areas */
		long r = read_exactly(a[0], iov->base + got, iov->len - got, off, a[5]);

		if (r < 0)
			return r;
		off += iov->len - got;
		iov++;
		left--;
	}
	return 0;
}

static int page_differs(const uint64_t *x, const uint64_t *y, uint64_t len)
{
	for (uint64_t i = 0; i < len / 8; i += 4)
		if ((x[i] ^ y[i]) | (x[i + 1] ^ y[i + 1]) | (x[i + 2] ^ y[i + 2]) | (x[i + 3] ^ y[i + 3]))
			return 1;
	return 0;
}

/* One read fills the scratch memory for as many areas as fit: their bytes lie one after the other in the file. */
static long op_compare(const uint64_t *a)
{
	const struct abi_iov *iov = ptr(a[2]);
	uint64_t left = a[3], off = a[1], done = 0, size = a[5] & ~(uint64_t)ABI_FROM_PIPE;

	size = size ? size & ~(uint64_t)(BLOB_PAGE - 1) : BLOB_PAGE;
	if (!size)
		return -E_INVAL;
	while (left) {
		uint64_t want = 0, skip = done;

		for (uint64_t i = 0; i < left && want < size; i++, skip = 0) {
			if (iov[i].len % BLOB_PAGE)
				return -E_INVAL;
			want += iov[i].len - skip;
		}
		want = want < size ? want : size;

		long r = read_exactly(a[0], a[4], want, off, a[5]);

		if (r < 0)
			return r;
		off += want;
		for (uint64_t at = 0; left;) {
			if (done == iov->len) {
				iov++;
				left--;
				done = 0;
				continue;
			}
			if (at == want)
				break;
			if (page_differs(ptr(a[4] + at), ptr(iov->base + done), BLOB_PAGE))
				__builtin_memcpy(ptr(iov->base + done), ptr(a[4] + at), BLOB_PAGE);
			at += BLOB_PAGE;
			done += BLOB_PAGE;
		}
	}
	return 0;
}

struct blob_sums {
	uint64_t fd, off, left; /* in the file: where the next is, how many are wanted */
	const uint32_t *buf;
	uint64_t room, have, at; /* in the buffer */
};

static long next_sum(struct blob_sums *s, uint32_t *ret)
{
	if (s->at == s->have) {
		s->have = s->left < s->room ? s->left : s->room;

		long r = read_exactly(s->fd, addr(s->buf), s->have * sizeof(*s->buf), s->off, 0);

		if (r < 0)
			return r;
		s->off += s->have * sizeof(*s->buf);
		s->left -= s->have;
		s->at = 0;
	}
	*ret = s->buf[s->at++];
	return 0;
}

static long op_check(struct abi_op *op, const uint64_t *a)
{
	const struct abi_iov *iov = ptr(a[2]);
	struct blob_sums s = { .fd = a[0], .off = a[1], .buf = ptr(a[4]) };

	s.room = (a[5] & ~(uint64_t)(BLOB_PAGE - 1)) / sizeof(*s.buf);
	for (uint64_t i = 0; i < a[3]; i++) {
		if (iov[i].len % BLOB_PAGE || !s.room)
			return -E_INVAL;
		s.left += iov[i].len / BLOB_PAGE;
	}
	for (uint64_t i = 0; i < a[3]; i++)
		for (uint64_t page = iov[i].base; page < iov[i].base + iov[i].len; page += BLOB_PAGE) {
			uint32_t want;
			long r = next_sum(&s, &want);

			if (r < 0)
				return r;
			if (page_sum(ptr(page), a[5] & ABI_CHECK_HARDWARE) != want) {
				op->arg[0] = page;
				return -E_BADMSG;
			}
		}
	return 0;
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
		return start_beside(run, a, THREAD_FLAGS);
	case ABI_OP_HELPER:
		return start_beside(run, a, HELPER_FLAGS);
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

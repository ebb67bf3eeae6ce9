/*
 * ptrace facts that this file rests on (kernel/ptrace.c and kernel/signal.c of Linux 6.18; ptrace(2)):
 * - A seized thread reports PTRACE_EVENT_STOP with SIGTRAP after PTRACE_INTERRUPT, or with the stopping signal if its
 *   process is in a group stop; a detach puts the group stop back.
 * - Any ptrace stop clears a pending interrupt, so after a signal stop that came first it is asked for again.
 * - Registers set in such a stop are what the thread leaves the kernel with; a call to be restarted is restarted
 *   then, from the registers of that moment: the original ones put back restart as if nothing had been.
 */
#include "infect/tracee.h"

#include "base/clock.h"
#include "infect/remote-mem.h"
#include "infect/rseq.h"
#include "kernel/uapi.h"
#include "procfs/proc-dir.h"
#include "procfs/stat.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define STOP_EVENT(status)  ((unsigned int)(status) >> 16)
#define SYSCALL_TRAP        (SIGTRAP | 0x80)
#define BIT_OF(signo)       (UINT64_C(1) << ((signo) - 1))
#define FAULTS (BIT_OF(SIGSEGV) | BIT_OF(SIGBUS) | BIT_OF(SIGILL) | BIT_OF(SIGFPE) | BIT_OF(SIGTRAP) | BIT_OF(SIGSYS))
#define XSTATE_MAX (64u << 10)

uint64_t deadline_in(unsigned int ms)
{
	return monotonic_ns() + (uint64_t)ms * 1000000u;
}

int tracee_adopt(pid_t tgid, pid_t tid, struct tracee **ret, struct cr_error *err)
{
	struct tracee *t = calloc(1, sizeof(*t));

	if (!t)
		return cr_fail(err, -ENOMEM, "seize thread %d", tid);
	t->tid = tid;
	t->tgid = tgid;
	*ret = t;
	return 0;
}

int tracee_seize(pid_t tgid, pid_t tid, unsigned long options, struct tracee **ret, struct cr_error *err)
{
	struct tracee *t = NULL;
	int r = tracee_adopt(tgid, tid, &t, err);

	if (r < 0)
		return r;
	if (ptrace(PTRACE_SEIZE, tid, NULL, options | PTRACE_O_TRACESYSGOOD) < 0) {
		r = -errno;
		free(t);
		return r == -ESRCH || r == -EPERM ? r : cr_fail(err, r, "seize thread %d", tid);
	}
	*ret = t;
	return 0;
}

int tracee_interrupt(struct tracee *t)
{
	return ptrace(PTRACE_INTERRUPT, t->tid, NULL, NULL) < 0 ? -errno : 0;
}

/*
 * A leader that has died stays a zombie, and waitpid(2) says nothing of it, as long as other threads of the process have
 * not been waited for by their tracer (delay_group_leader() in kernel/exit.c). Asked for only after a long wait.
 */
#define PAUSE_MAX_US 4000u

static bool leader_is_dead(const struct tracee *t)
{
	autofree_by(proc_dir_close) struct proc_dir dir = { .fd = -1 };
	struct proc_stat st;

	if (t->tid != t->tgid)
		return false;
	return proc_dir_open(AT_FDCWD, t->tid, &dir, NULL) < 0 || proc_stat_read(&dir, &st, NULL) < 0 || st.state == 'Z' ||
	       st.state == 'X';
}

/*
 * One wait word. There is no wait with a timeout, and borrowing a signal of the process for one is not for a library:
 * so ask, then sleep for a growing while. Stops that were asked for in bulk are there at the first question.
 */
int tracee_next_status(struct tracee *t, uint64_t deadline, int *ret)
{
	unsigned int pause_us = 0;

	for (;;) {
		pid_t pid = waitpid(t->tid, ret, __WALL | WNOHANG);

		if (pid == t->tid)
			return 0;
		if (pid < 0 && errno != EINTR) {
			t->state = TRACEE_GONE;
			return -ESRCH;
		}
		if (monotonic_ns() > deadline)
			return -ETIMEDOUT;
		if (pause_us == PAUSE_MAX_US && leader_is_dead(t)) {
			t->state = TRACEE_GONE;
			return -ESRCH;
		}
		if (pause_us < 20)
			sched_yield();
		else
			usleep(pause_us / 4);
		pause_us = pause_us < PAUSE_MAX_US ? pause_us + 1 + pause_us / 8 : PAUSE_MAX_US;
	}
}

static int resume_with(struct tracee *t, int request, int signo)
{
	if (ptrace(request, t->tid, NULL, (unsigned long)signo) < 0)
		return -errno;
	t->state = TRACEE_RUNS;
	return 0;
}

int tracee_wait(struct tracee *t, uint64_t deadline, struct cr_error *err)
{
	for (;;) {
		int status, r = tracee_next_status(t, deadline, &status);

		if (r < 0)
			return r;
		if (!WIFSTOPPED(status)) {
			t->state = TRACEE_GONE;
			return -ESRCH;
		}
		t->state = TRACEE_STOPPED;
		if (STOP_EVENT(status) == PTRACE_EVENT_STOP) {
			t->stop_signo = WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status);
			return 0;
		}
		/* On its way to a signal: let it have it. The stop we asked for was cleared by this one. */
		tracee_interrupt(t);
		r = resume_with(t, PTRACE_CONT, STOP_EVENT(status) ? 0 : WSTOPSIG(status));
		if (r < 0 && r != -ESRCH)
			return cr_fail(err, r, "let thread %d take a signal", t->tid);
	}
}

int tracee_wait_event(struct tracee *t, unsigned int event, int signo, uint64_t deadline)
{
	for (;;) {
		int status, r = tracee_next_status(t, deadline, &status);

		if (r < 0)
			return r;
		if (!WIFSTOPPED(status)) {
			t->state = TRACEE_GONE;
			return -ESRCH;
		}
		t->state = TRACEE_STOPPED;
		if (STOP_EVENT(status) == event && WSTOPSIG(status) == signo)
			return 0;
		r = resume_with(t, PTRACE_CONT, STOP_EVENT(status) ? 0 : WSTOPSIG(status));
		if (r < 0 && r != -ESRCH)
			return r;
	}
}

bool tracee_is_stopped(const struct tracee *t)
{
	uint64_t mask;

	return ptrace(PTRACE_GETSIGMASK, t->tid, sizeof(mask), &mask) == 0;
}

bool tracee_is_ending(const struct tracee *t)
{
	siginfo_t why;

	return ptrace(PTRACE_GETSIGINFO, t->tid, NULL, &why) == 0 && why.si_code == (SIGTRAP | PTRACE_EVENT_EXIT << 8);
}

int tracee_resume(struct tracee *t)
{
	return resume_with(t, PTRACE_CONT, 0);
}

int tracee_resume_with(struct tracee *t, int signo)
{
	return resume_with(t, PTRACE_CONT, signo);
}

static void switch_dispatch(struct tracee *t, bool off)
{
	struct uapi_ptrace_sud_config c = { 0 };

	if (t->sud.mode == PR_SYS_DISPATCH_OFF)
		return;
	if (!off)
		c = t->sud;
	ptrace(UAPI_PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG, t->tid, sizeof(c), &c);
}

/*
 * Where only the calls from a range are dispatched (6.17), the kernel keeps what is left out, with a length that wraps
 * around, tells that as a range to leave out, and takes no such range: task_set_syscall_user_dispatch() in
 * kernel/entry/syscall_user_dispatch.c. So it is turned over again.
 */
static void read_dispatch(struct tracee *t)
{
	struct uapi_ptrace_sud_config *c = &t->sud;

	if (ptrace(UAPI_PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG, t->tid, sizeof(*c), c) < 0) {
		*c = (struct uapi_ptrace_sud_config){ 0 };
	} else if (c->mode == PR_SYS_DISPATCH_ON && c->offset && c->offset + c->len <= c->offset) {
		c->mode = UAPI_PR_SYS_DISPATCH_INCLUSIVE_ON;
		c->offset += c->len;
		c->len = -c->len;
	}
}

int tracee_settle(struct tracee *t, struct cr_error *err)
{
	int r;

	if (t->settled)
		return 0;
	r = regs_get(t->tid, &t->regs);
	if (r < 0)
		return cr_fail(err, r, "read registers of thread %d", t->tid);
	if (regs_compat(&t->regs))
		return cr_refuse(err, -ENOTSUP, "thread %d runs 32-bit code, which this version cannot dump", t->tid);
	if (ptrace(PTRACE_GETSIGMASK, t->tid, sizeof(t->mask), &t->mask) < 0)
		return cr_fail(err, -errno, "read the signal mask of thread %d", t->tid);
	if (regs_needs_code(&t->regs) &&
	    remote_read(t->tid, regs_ip(&t->regs) - SYSCALL_INSN_SIZE - REGS_CODE_BYTES, t->code, sizeof(t->code)) < 0)
		memset(t->code, 0, sizeof(t->code));
	/* sections make no system calls (rseq(2)), and most threads are found in one */
	r = rseq_read(t->tid, regs_in_syscall(&t->regs) ? 0 : regs_ip(&t->regs), &t->rseq, err);
	if (r < 0)
		return r;
	read_dispatch(t);
	t->settled = true;
	return 0;
}

int tracee_read_xstate(struct tracee *t, struct cr_error *err)
{
	char area[XSTATE_MAX];
	struct iovec iov = { area, sizeof(area) };

	if (t->xstate)
		return 0;
	if (ptrace(PTRACE_GETREGSET, t->tid, NT_X86_XSTATE, &iov) < 0)
		return cr_fail(err, -errno, "read extended state of thread %d", t->tid);
	/* filled to the brim: there may be more */
	if (iov.iov_len == sizeof(area))
		return cr_refuse(err, -E2BIG, "thread %d has more than %u bytes of extended state", t->tid, XSTATE_MAX);
	t->xstate = malloc(iov.iov_len);
	if (!t->xstate)
		return cr_fail(err, -ENOMEM, "read extended state of thread %d", t->tid);
	memcpy(t->xstate, area, iov.iov_len);
	t->xstate_size = iov.iov_len;
	return 0;
}

int tracee_own_regs(const struct tracee *t, struct regs *ret)
{
	int code;

	*ret = t->regs;
	if (regs_needs_code(ret))
		regs_find_call(ret, t->code);
	if (regs_needs_code(ret))
		regs_name_call(ret, t->waits);
	code = regs_settle(ret);
	if (t->rseq.abort_ip)
		ret->u.rip = t->rseq.abort_ip;
	return code;
}

static int resume_run(struct tracee *t)
{
	static const int request[] = {
		[TRACEE_FREELY] = PTRACE_CONT, [TRACEE_TO_SYSCALL] = PTRACE_SYSCALL, [TRACEE_OUT_OF_SYSCALL] = PTRACE_SYSCALL,
	};

	return resume_with(t, request[t->run], 0);
}

int tracee_start(struct tracee *t, const struct regs *r, uint64_t allow, enum tracee_run run, struct cr_error *err)
{
	uint64_t mask = ~allow;
	int e = tracee_settle(t, err);

	if (e < 0)
		return e;
	if (!t->borrowed)
		switch_dispatch(t, true);
	t->borrowed = true;
	t->run = run;
	e = regs_set(t->tid, r);
	if (e < 0)
		return cr_fail(err, e, "set registers of thread %d", t->tid);
	if (ptrace(PTRACE_SETSIGMASK, t->tid, sizeof(mask), &mask) < 0)
		return cr_fail(err, -errno, "set the signal mask of thread %d", t->tid);
	return tracee_go_on(t, err);
}

int tracee_go_on(struct tracee *t, struct cr_error *err)
{
	int e = resume_run(t);

	return e < 0 ? cr_fail(err, e, "resume thread %d", t->tid) : 0;
}

/* A signal that is not ours arrived in a borrowed run. Standard signals do not queue: to send it again is the same. */
static void keep_signal(struct tracee *t, int signo)
{
	siginfo_t info = { 0 };

	ptrace(PTRACE_GETSIGINFO, t->tid, NULL, &info);
	if (info.si_code == SI_TKILL)
		t->kept_thread |= BIT_OF(signo);
	else
		t->kept_process |= BIT_OF(signo);
}

/* A signal stop in a borrowed run. Return: enum tracee_stop if it ends the run; 0 it was kept; -EFAULT. */
static int borrowed_signal(struct tracee *t, int signo, int ending, struct cr_error *err)
{
	siginfo_t info = { 0 };
	struct regs r;

	ptrace(PTRACE_GETSIGINFO, t->tid, NULL, &info);
	if (signo == ending && info.si_code == SI_TKILL)
		return TRACEE_AT_SIGNAL;
	if (BIT_OF(signo) & FAULTS && info.si_code > 0) {
		if (regs_get(t->tid, &r) < 0)
			memset(&r, 0, sizeof(r));
		return cr_refuse(err, -EFAULT, "thread %d: our code crashed with signal %d at 0x%llx, address %p", t->tid, signo,
				 r.u.rip, info.si_addr);
	}
	keep_signal(t, signo);
	return 0;
}

static int await(struct tracee *t, int signo, bool trusting, uint64_t deadline, struct cr_error *err)
{
	for (;;) {
		int status, r = tracee_next_status(t, deadline, &status);

		if (r == -ETIMEDOUT)
			return cr_fail(err, r, "thread %d does not come back from our code", t->tid);
		if (r < 0 || !WIFSTOPPED(status)) {
			t->state = TRACEE_GONE;
			return cr_fail(err, -ESRCH, "thread %d died while our code ran in it", t->tid);
		}
		t->state = TRACEE_STOPPED;
		if (WSTOPSIG(status) == SYSCALL_TRAP)
			return TRACEE_AT_SYSCALL;
		if (!STOP_EVENT(status)) {
			if (trusting && WSTOPSIG(status) == signo)
				return TRACEE_AT_SIGNAL;
			r = borrowed_signal(t, WSTOPSIG(status), signo, err);
			if (r != 0)
				return r;
		}
		/* a stop for an interrupt or a group stop that is still pending, or a signal that was put aside */
		r = resume_run(t);
		if (r < 0 && r != -ESRCH)
			return cr_fail(err, r, "resume thread %d", t->tid);
	}
}

int tracee_await(struct tracee *t, int signo, uint64_t deadline, struct cr_error *err)
{
	return await(t, signo, false, deadline, err);
}

int tracee_await_trusting(struct tracee *t, int signo, uint64_t deadline, struct cr_error *err)
{
	return await(t, signo, true, deadline, err);
}

int tracee_await_on(struct tracee *t, int signo, uint64_t deadline, struct cr_error *err)
{
	int r = borrowed_signal(t, signo, signo, err);

	if (r == 0) {
		r = resume_run(t);
		r = r < 0 && r != -ESRCH ? cr_fail(err, r, "resume thread %d", t->tid) : await(t, signo, false, deadline, err);
	}
	return r;
}

int tracee_return(struct tracee *t, struct cr_error *err)
{
	int r;

	if (!t->borrowed)
		return 0;
	/* the mask first: see tracee_start() */
	if (ptrace(PTRACE_SETSIGMASK, t->tid, sizeof(t->mask), &t->mask) < 0)
		return cr_fail(err, -errno, "put back the signal mask of thread %d", t->tid);
	r = regs_set(t->tid, &t->regs);
	if (r < 0)
		return cr_fail(err, r, "put back registers of thread %d", t->tid);
	switch_dispatch(t, false);
	/* The kernel forgot the section when it saw the thread outside of it; with this it aborts the section as usual. */
	if (t->rseq.abort_ip)
		rseq_write_cs(t->tid, &t->rseq);
	t->borrowed = false;
	return 0;
}

/* Brings a thread that is running (or about to stop) to a stop, so that it can be let go */
static int stop_for_detach(struct tracee *t)
{
	int status;

	if (tracee_interrupt(t) < 0)
		return -ESRCH;
	for (;;) {
		int r = tracee_next_status(t, deadline_in(1000), &status);

		if (r < 0)
			return r;
		if (!WIFSTOPPED(status)) {
			t->state = TRACEE_GONE;
			return -ESRCH;
		}
		t->state = TRACEE_STOPPED;
		if (t->borrowed && !STOP_EVENT(status) && WSTOPSIG(status) != SYSCALL_TRAP)
			keep_signal(t, WSTOPSIG(status));
		else if (!t->borrowed && !STOP_EVENT(status))
			return ptrace(PTRACE_DETACH, t->tid, NULL, (unsigned long)WSTOPSIG(status)) < 0 ? -errno : 1;
		return 0;
	}
}

int tracee_recall(struct tracee *t, struct cr_error *err)
{
	int r = t->state == TRACEE_RUNS ? stop_for_detach(t) : 0;

	if (r == -ESRCH)
		t->state = TRACEE_GONE;
	return r < 0 ? cr_fail(err, r, "call thread %d back", t->tid) : tracee_return(t, err);
}

ssize_t tracee_signals(struct tracee *t, bool shared, siginfo_t *ret, size_t max, struct cr_error *err)
{
	size_t nr = 0;

	while (nr < max) {
		struct __ptrace_peeksiginfo_args a = {
			.off = nr, .flags = shared ? PTRACE_PEEKSIGINFO_SHARED : 0,
			.nr = max - nr > 64 ? 64 : (int)(max - nr),
		};
		long n = ptrace(PTRACE_PEEKSIGINFO, t->tid, &a, ret + nr);

		if (n < 0)
			return cr_fail(err, -errno, "read queued signals of thread %d", t->tid);
		if (n == 0)
			break;
		nr += (size_t)n;
	}
	return (ssize_t)nr;
}

static void send_kept(struct tracee *t)
{
	for (int s = 1; s <= 64; s++) {
		if (t->kept_thread & BIT_OF(s))
			syscall(SYS_tgkill, t->tgid, t->tid, s);
		if (t->kept_process & BIT_OF(s))
			kill(t->tgid, s);
	}
	t->kept_thread = t->kept_process = 0;
}

/* A stop of ours is none of its business. */
static void repeat_call(struct tracee *t)
{
	struct regs r = t->regs;

	if ((t->settled || regs_get(t->tid, &r) == 0) && regs_repeat(&r))
		regs_set(t->tid, &r);
}

/*
 * It was killed in its stop. Whoever did that to run a new program waits until we have seen it, and we may be about to wait for that
 * new program (infect/exec-guard.h). For a leader it does not wait so long, and one with other threads reports nothing yet.
 */
static void see_the_end(struct tracee *t)
{
	if (t->tid != t->tgid)
		tracee_reap(t, deadline_in(1000));
}

int tracee_detach(struct tracee *t, struct cr_error *err)
{
	int r = 0;

	if (t->state == TRACEE_GONE)
		return 0;
	if (t->state == TRACEE_RUNS) {
		r = stop_for_detach(t);
		if (r != 0) {
			t->state = TRACEE_GONE;
			return r == 1 || r == -ESRCH ? 0 : cr_fail(err, r, "stop thread %d to let it go", t->tid);
		}
	}
	r = tracee_return(t, err);
	repeat_call(t);
	send_kept(t);
	if (ptrace(PTRACE_DETACH, t->tid, NULL, NULL) < 0) {
		if (errno == ESRCH)
			see_the_end(t);
		else if (r == 0)
			r = cr_fail(err, -errno, "detach from thread %d", t->tid);
	}
	t->state = TRACEE_GONE;
	return r;
}

int tracee_reap(struct tracee *t, uint64_t deadline)
{
	int status, r;

	while (t->state != TRACEE_GONE) {
		r = tracee_next_status(t, deadline, &status);
		if (r == -ETIMEDOUT)
			return r;
		if (r < 0 || !WIFSTOPPED(status))
			t->state = TRACEE_GONE;
		else
			resume_with(t, PTRACE_CONT, 0);
	}
	return 0;
}

void tracee_free(struct tracee *t)
{
	if (!t)
		return;
	tracee_detach(t, NULL);
	free(t->rare);
	free(t->xstate);
	free(t);
}

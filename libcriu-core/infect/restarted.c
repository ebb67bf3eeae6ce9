/*
 * The kernel remembers a call to be restarted in a block that nobody can read, and of which calls there are four: see
 * regs_settle(). procfs tells where a thread sleeps (wchan, proc_pid_wchan(5)), by the name of the function that went to sleep
 * for it, which differs between kernels but always tells futex and poll; what is neither waits for time to pass.
 */
#include "infect/restarted.h"

#include "base/clock.h"
#include "infect/freeze.h"
#include "infect/tracee.h"

#include <errno.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#define WITHIN_MS    1000u
#define LOOK_US      50u
#define SYSCALL_TRAP (SIGTRAP | 0x80)

static bool is_lost(const struct tracee *t)
{
	struct regs r = t->regs;

	if (!regs_needs_code(&r))
		return false;
	regs_find_call(&r, t->code);
	return regs_needs_code(&r);
}

/* Return: 0; -EAGAIN the thread does not sleep; negative errno: nothing is shown. */
static int read_wait(const struct proc_dir *dir, enum regs_wait *ret)
{
	char name[128];
	ssize_t n = proc_read_small(dir, "wchan", name, sizeof(name) - 1, NULL);

	if (n < 0)
		return (int)n;
	name[n] = 0;
	if (n == 0 || strcmp(name, "0") == 0 || strstr(name, "ptrace"))
		return -EAGAIN;
	*ret = strstr(name, "futex") ? REGS_WAIT_FUTEX : strstr(name, "poll") ? REGS_WAIT_FILES : REGS_WAIT_TIME;
	return 0;
}

static int resume(struct tracee *t, enum __ptrace_request request, int signo)
{
	if (ptrace(request, t->tid, NULL, (unsigned long)signo) < 0)
		return -errno;
	t->state = TRACEE_RUNS;
	return 0;
}

/* In its call, which it may also leave by itself. Return: as read_wait(). */
static int watch(struct tracee *t, const struct proc_dir *dir, uint64_t deadline, enum regs_wait *ret)
{
	siginfo_t info = { 0 };
	int r;

	while ((r = read_wait(dir, ret)) == -EAGAIN && monotonic_ns() < deadline) {
		if (waitid(P_PID, (id_t)t->tid, &info, WSTOPPED | WEXITED | WNOHANG | WNOWAIT | __WALL) < 0 ||
		    info.si_pid)
			return -EAGAIN;
		usleep(LOOK_US);
	}
	return r;
}

/* Return: 0; -ESRCH; -ETIMEDOUT. */
static int next_stop(struct tracee *t, uint64_t deadline, int *ret)
{
	int r = tracee_next_status(t, deadline, ret);

	if (r < 0)
		return r;
	t->state = WIFSTOPPED(*ret) ? TRACEE_STOPPED : TRACEE_GONE;
	return WIFSTOPPED(*ret) ? 0 : -ESRCH;
}

/* On its way out of the call: back to a stop as that in which it was found. */
static int stop_again(struct tracee *t, uint64_t deadline)
{
	int status, r;

	tracee_interrupt(t);
	while ((r = next_stop(t, deadline, &status)) == 0) {
		if (status >> 16 == PTRACE_EVENT_STOP) {
			t->stop_signo = WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status);
			return 0;
		}
		/* any stop clears the interrupt that we have asked for */
		tracee_interrupt(t);
		r = resume(t, PTRACE_CONT, WSTOPSIG(status) == SYSCALL_TRAP || status >> 16 ? 0 : WSTOPSIG(status));
		if (r < 0)
			return r;
	}
	return r;
}

/* Return: 0 @ret says it; 1 it cannot be told; negative errno: it is not stopped any more. */
static int wait_once_more(struct tracee *t, const struct proc_dir *dir, enum regs_wait *ret)
{
	uint64_t deadline = deadline_in(WITHIN_MS);
	int status = 0, told = -EAGAIN, r = resume(t, PTRACE_SYSCALL, 0);

	if (r == 0)
		r = next_stop(t, deadline, &status);
	if (r < 0 && r != -ETIMEDOUT)
		return r;
	if (r == 0 && WSTOPSIG(status) == SYSCALL_TRAP) {
		r = resume(t, PTRACE_SYSCALL, 0);
		told = r == 0 ? watch(t, dir, deadline, ret) : r;
	} else if (r == 0) {
		/* a signal came first, or another stop */
		(void)resume(t, PTRACE_CONT, status >> 16 ? 0 : WSTOPSIG(status));
	}
	/* whatever became of it: one that is gone is found to be */
	r = stop_again(t, deadline_in(WITHIN_MS));
	return r < 0 ? r : told < 0;
}

int restarted_find(const struct task *task, struct thread *th, struct cr_error *err)
{
	enum regs_wait waits = REGS_WAIT_UNKNOWN;
	struct tracee *t = th->tracee;
	const struct proc_dir *dir;
	int r;

	if (!is_lost(t))
		return 0;
	/* what is about to be delivered is in the images as waiting, and interrupts the call */
	if ((th->status.sig_pnd | task->status.shd_pnd) & ~t->mask)
		return 0;
	dir = thread_dir(task, th, err);
	if (!dir)
		return err->code;
	r = wait_once_more(t, dir, &waits);
	if (r < 0)
		return cr_fail(err, r, "see what thread %d waits for", t->tid);
	t->waits = waits;
	t->settled = false;
	r = tracee_settle(t, err);
	return r < 0 ? r : is_lost(t) && t->waits == REGS_WAIT_UNKNOWN;
}

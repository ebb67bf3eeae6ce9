/*
 * A stop is begun by the thread that takes the signal; the others come to it when they run the next time, and those that a tracer holds
 * do not run. SIGCONT ends it, also for those who are held, without a word. And who is asked to stop by a tracer does so before it takes
 * any signal that waits. So a tree in which some stop and continue others is found in the middle of that: what images say of
 * a process is stopped or not, and a SIGSTOP cannot wait anywhere.
 */
#include "infect/freeze-internal.h"

#include "base/clock.h"
#include "infect/tracee.h"

#include <errno.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#define SLICE_MS 20
#define WAITS(set) (((set) >> (SIGSTOP - 1)) & 1)

static bool held(const struct thread *t)
{
	return !t->dead && t->tracee && t->tracee->state == TRACEE_STOPPED;
}

/* Asked to stop anew: what it is told of then is how things are now. One that has ended is found when processes are looked at again. */
static int stop_anew(struct freezer *f, struct thread *t, struct cr_error *err)
{
	int r;

	tracee_interrupt(t->tracee);
	r = tracee_resume(t->tracee);
	if (r == 0)
		r = tracee_wait(t->tracee, f->deadline, err);
	if (r == -ESRCH)
		return 0;
	return r < 0 ? cr_within(err, cr_fail(err, r, "stop it once more"), "thread %d", t->host_tid) : 0;
}

static int settle(struct freezer *f, struct task *task, struct cr_error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < task->threads.nr; i++)
		if (held(&task->threads.items[i]))
			r = stop_anew(f, &task->threads.items[i], err);
	if (r == 0)
		r = process_read_stat(task, err);
	return r == -ESRCH ? 0 : r;
}

static bool any_stopped(const struct task *task)
{
	for (size_t i = 0; i < task->threads.nr; i++)
		if (held(&task->threads.items[i]) && task->threads.items[i].tracee->stop_signo)
			return true;
	return false;
}

int stops_settle(struct freezer *f, struct cr_error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < f->tree->tasks.nr; i++)
		if (any_stopped(f->tree->tasks.items[i]))
			r = settle(f, f->tree->tasks.items[i], err);
	return r;
}

/*
 * Signals that come before it are delivered on the way, as they would be otherwise. As long as it waits none of the program's own code
 * runs; if somebody outside of the tree takes it away meanwhile the thread is stopped a moment later.
 */
static int take(struct freezer *f, struct tracee *t, struct cr_error *err)
{
	int status = 0, r = tracee_resume(t);

	t->settled = false;
	while (r == 0) {
		r = tracee_next_status(t, deadline_in(SLICE_MS), &status);
		if (r == -ETIMEDOUT && monotonic_ns() < f->deadline) {
			r = tracee_interrupt(t);
			continue;
		}
		if (r < 0)
			break;
		if (!WIFSTOPPED(status)) {
			t->state = TRACEE_GONE;
			return 0;
		}
		t->state = TRACEE_STOPPED;
		if (status >> 16 == PTRACE_EVENT_STOP) {
			t->stop_signo = WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status);
			return 0;
		}
		if (WSTOPSIG(status) == SIGSTOP)
			tracee_interrupt(t);
		r = tracee_resume_with(t, status >> 16 ? 0 : WSTOPSIG(status));
	}
	return r == -ESRCH ? 0 : cr_fail(err, r, "let thread %d take SIGSTOP", t->tid);
}

/* Whoever speaks for the process takes what is for any of its threads. Return: 1 there was something to take; 0; negative errno. */
static int take_all(struct freezer *f, struct task *task, struct cr_error *err)
{
	int any = 0;

	for (size_t i = 0; i < task->threads.nr; i++) {
		struct thread *t = &task->threads.items[i];
		int r;

		if (!held(t) || !(WAITS(t->status.sig_pnd) || (t == task->lead && WAITS(task->status.shd_pnd))))
			continue;
		any = 1;
		r = take(f, t->tracee, err);
		if (r < 0)
			return r;
	}
	return any;
}

int stops_take(struct freezer *f, struct cr_error *err)
{
	int any = 0;

	for (size_t i = 0; i < f->tree->tasks.nr; i++) {
		struct task *task = f->tree->tasks.items[i];
		int r = task->state == TASK_DEAD ? 0 : take_all(f, task, err);

		if (r < 0)
			return r;
		/* should it have run for a moment it may have made some */
		task->has_children |= r > 0;
		any |= r;
	}
	if (any && monotonic_ns() >= f->deadline)
		return cr_refuse(err, -ETIMEDOUT, "the tree is stopped by signals faster than it can be frozen");
	return any;
}

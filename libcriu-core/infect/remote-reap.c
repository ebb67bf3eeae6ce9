#include "infect/remote-reap.h"

#include "base/clock.h"
#include "infect/safe-call.h"
#include "infect/task.h"
#include "infect/tracee.h"
#include "procfs/lists.h"
#include "procfs/proc-dir.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEATH_MS 10000 /* a process with much memory takes a while to give it back */
#define STOP_MS  500   /* a thread in a system call that nothing interrupts; another may be to be had */
#define TRIES    5
#define TRY_MS   1000 /* one that runs new programs all the time, or whose threads come and go, is to be had in between */
#define PAUSE_US 2000

/* Return: 1 it is a zombie of @parent's; 0 it is not @parent's; -EAGAIN it is not dead yet. */
static int is_there(pid_t parent, pid_t child)
{
	autoprocdir struct proc_dir dir = PROC_DIR_NONE;
	struct proc_stat st;

	if (proc_dir_open(AT_FDCWD, child, &dir, NULL) < 0 || proc_stat_read(&dir, &st, NULL) < 0 || st.ppid != parent)
		return 0;
	return st.state == 'Z' ? 1 : st.state == 'X' ? 0 : -EAGAIN;
}

static int await_death(pid_t parent, pid_t child)
{
	uint64_t deadline = deadline_in(DEATH_MS);
	int r;

	while ((r = is_there(parent, child)) == -EAGAIN) {
		if (monotonic_ns() > deadline)
			return -ETIMEDOUT;
		usleep(PAUSE_US);
	}
	return r;
}

/* A wait that does not wait */
static int call_wait(const struct task *task, pid_t child, const struct xstate_layout *layout)
{
	const uint64_t arg[6] = { (uint64_t)child, 0, WNOHANG | (uint64_t)__WALL };
	int64_t result = 0;
	int r = safe_call(task, task->lead, layout, false, SYS_wait4, arg, &result);

	return r < 0 ? r : result == child ? 0 : result < 0 ? (int)result : -EAGAIN;
}

static int reap_through(const struct proc_dir *dir, pid_t tid, pid_t child, const struct xstate_layout *layout)
{
	struct thread thread = { .host_tid = tid };
	struct task task = { .host_pid = dir->pid, .dir = *dir, .lead = &thread, .pidfd = -1 };
	int r = tracee_seize(dir->pid, tid, 0, &thread.tracee, NULL);

	if (r < 0)
		return r;
	r = tracee_interrupt(thread.tracee);
	if (r == 0)
		r = tracee_wait(thread.tracee, deadline_in(STOP_MS), NULL);
	if (r == 0)
		r = proc_status_read(dir, &thread.status, NULL);
	if (r == 0)
		r = call_wait(&task, child, layout);
	proc_status_done(&thread.status);
	tracee_free(thread.tracee);
	return r;
}

/* Any thread will do: a child is one of the whole process. */
static int reap_once(pid_t parent, pid_t child, const struct xstate_layout *layout)
{
	autoprocdir struct proc_dir dir = PROC_DIR_NONE;
	autointvec struct int_vec tids = { 0 };
	int r = proc_dir_open(AT_FDCWD, parent, &dir, NULL);

	if (r == 0)
		r = proc_tasks_read(&dir, &tids, NULL);
	if (r < 0)
		return r;
	r = -ESRCH;
	for (size_t i = 0; r < 0 && i < tids.nr; i++)
		r = reap_through(&dir, tids.items[i], child, layout);
	return r;
}

int remote_reap(pid_t parent, pid_t child, const struct xstate_layout *layout)
{
	int r = await_death(parent, child);
	uint64_t deadline = deadline_in(TRY_MS);

	for (int i = 0; r > 0 && (i < TRIES || monotonic_ns() < deadline); i++) {
		if (i)
			usleep(PAUSE_US);
		if (reap_once(parent, child, layout) == 0)
			return 0;
		r = is_there(parent, child);
	}
	return r > 0 ? -EBUSY : r;
}

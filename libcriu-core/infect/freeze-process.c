/* One process brought to a stop: all threads that it has are seized, asked to stop, and waited for. */
#include "infect/freeze-internal.h"

#include "base/clock.h"
#include "infect/exec-guard.h"
#include "infect/tracee.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PF_KTHREAD 0x00200000u
#define SLICE_MS 20
#define WORTH_GUESSING 16u /* threads */
#define SEIZE_TRIES 40
#define LOOKS 1000 /* for a process that procfs does not find */
#define LOOK_US 50

static bool ended(char state)
{
	return state == 'Z' || state == 'X';
}

static int obstacle(struct freezer *f, const struct task *task, const char *what, const char *advice, struct cr_error *err)
{
	obstacle_add(&f->ctx->obstacles, task->host_pid, task->comm, "", advice, "%s", what);
	cr_refuse(err, -EBUSY, "pid %d (%s) %s", task->host_pid, task->comm, what);
	if (*advice)
		cr_advise(err, "%s", advice);
	return -EBUSY;
}

/* kill_pid_info() in kernel/signal.c looks again if the number changes hands meanwhile. */
static bool is_gone(pid_t pid)
{
	return kill(pid, 0) < 0 && errno == ESRCH;
}

int process_open(pid_t pid, struct proc_dir *ret, struct cr_error *err)
{
	for (int left = LOOKS;; left--) {
		int r = proc_dir_open(AT_FDCWD, pid, ret, err);

		if (r != -ESRCH || !left || is_gone(pid))
			return r;
		cr_error_clear(err);
		usleep(LOOK_US);
	}
}

/* One that has just been replaced is dead, or counts no thread any more: do_task_stat() in fs/proc/array.c. */
static int read_stat_once(struct task *task, struct cr_error *err)
{
	int r = proc_stat_read(&task->dir, &task->stat, err);

	if (r == 0 && (task->stat.state == 'X' || task->stat.num_threads <= 0))
		return cr_fail(err, -ESRCH, "read stat");
	/* it may be there again by the time it is asked which of the two it is */
	return r == -ENOENT ? -ESRCH : r;
}

int process_read_stat(struct task *task, struct cr_error *err)
{
	int r = read_stat_once(task, err);

	for (int left = LOOKS; r == -ESRCH && left && !is_gone(task->host_pid); left--) {
		usleep(LOOK_US);
		cr_error_clear(err);
		proc_dir_close(&task->dir);
		r = process_open(task->host_pid, &task->dir, err);
		if (r == 0)
			r = read_stat_once(task, err);
	}
	if (r == 0)
		snprintf(task->comm, sizeof(task->comm), "%.15s", task->stat.comm);
	return r;
}

/*
 * EPERM to a seize has several reasons. @last: do not suppose any more that it was one that had just ended, whose number a
 * new program has given to another. Return: 1 the thread has ended (or is about to); 2 try again; 3 it is in our hands already: one
 * of ours has run a new program, and has this number now; -EBUSY.
 */
static int why_not_seized(struct freezer *f, struct task *task, pid_t tid, bool last, struct cr_error *err)
{
	autostatus struct proc_status s = { 0 };
	autoprocdir struct proc_dir dir = PROC_DIR_NONE;
	char what[64];
	int r = proc_dir_open_task(AT_FDCWD, task->host_pid, tid, &dir, err);

	if (r == 0)
		r = proc_status_read(&dir, &s, err);
	if (r == -ESRCH || (r == 0 && ended(s.state)))
		return 1;
	if (r == 0)
		r = process_read_stat(task, err);
	if (r < 0)
		return r == -ESRCH ? 1 : r;
	if (task->stat.flags & PF_KTHREAD)
		return obstacle(f, task, "is a kernel thread", "", err);
	if (s.tracer_pid == gettid())
		return 3;
	if (s.tracer_pid) {
		snprintf(what, sizeof(what), "is traced already, by pid %d", s.tracer_pid);
		return obstacle(f, task, what, "end the debugger (strace, gdb) first", err);
	}
	if (!last)
		return 2;
	return obstacle(f, task, "may not be traced by this process", "run as root or with CAP_SYS_PTRACE", err);
}

/* With others of its process in our hands already, it may be about to run a new program: see exec-guard.h. */
static int seize(struct freezer *f, const struct task *task, pid_t tid, struct tracee **ret, struct cr_error *err)
{
	int r;

	if (task->threads.nr && !f->guard)
		f->guard = exec_guard_new();
	exec_guard_begin(f->guard, task);
	r = tracee_seize(task->host_pid, tid, 0, ret, err);
	exec_guard_end(f->guard);
	return r;
}

int process_seize(struct freezer *f, struct task *task, pid_t tid, struct cr_error *err)
{
	struct tracee *tracee = NULL;
	struct thread *t;
	int r = seize(f, task, tid, &tracee, err);

	for (int i = 1; r == -EPERM; i++) {
		r = why_not_seized(f, task, tid, i == SEIZE_TRIES, err);
		if (r == 3)
			r = tracee_adopt(task->host_pid, tid, &tracee, err);
		else if (r != 2)
			return r;
		if (tracee)
			break;
		usleep(500);
		r = seize(f, task, tid, &tracee, err);
	}
	if (r < 0)
		return r == -ESRCH ? 1 : r;
	t = thread_vec_add(&task->threads);
	if (!t) {
		tracee_free(tracee);
		return cr_fail(err, -ENOMEM, "note thread %d", tid);
	}
	*t = (struct thread){ .host_tid = tid, .dir = { .fd = -1, .pid = tid }, .tracee = tracee };
	tracee_interrupt(tracee);
	return 0;
}

static bool knows_thread(const struct task *task, pid_t tid)
{
	for (size_t i = 0; i < task->threads.nr; i++)
		if (task->threads.items[i].host_tid == tid)
			return true;
	return false;
}

/*
 * Numbers are given out one after the other, so most threads have those behind their process's. To ask whether a number belongs to it
 * takes a twentieth of what it takes procfs to list it, since an inode is made for each. What is not found is listed.
 */
static int seize_next_numbers(struct freezer *f, struct task *task, size_t *ret_new, struct cr_error *err)
{
	size_t want = task->stat.num_threads > 0 ? (size_t)task->stat.num_threads : 0;
	pid_t tid = task->host_pid;

	if (want < WORTH_GUESSING || task->threads.nr != 1 || task->threads.items[0].host_tid != task->host_pid)
		return 0;
	for (size_t left = 2 * want; left > 0 && task->threads.nr < want; left--) {
		int r;

		if (tid == INT_MAX)
			break;
		tid++;
		if (syscall(SYS_tgkill, task->host_pid, tid, 0) < 0)
			continue;
		r = process_seize(f, task, tid, err);
		if (r < 0)
			return r;
		*ret_new += r == 0;
	}
	return 0;
}

/* Both lists ascend, so a thread is mostly where the last one was found. */
static int seize_new_threads(struct freezer *f, struct task *task, size_t *ret_new, struct cr_error *err)
{
	autointvec struct int_vec tids = { 0 };
	int r = proc_tasks_read(&task->dir, &tids, err);
	size_t known = task->threads.nr, at = 0;

	*ret_new = 0;
	if (r < 0)
		return r == -ESRCH || r == -ENOENT ? 0 : r;
	for (size_t i = 0; i < tids.nr; i++) {
		while (at < known && task->threads.items[at].host_tid < tids.items[i])
			at++;
		if (at < known && task->threads.items[at].host_tid == tids.items[i])
			continue;
		if (tids.items[i] == task->host_pid || (known > 1 && knows_thread(task, tids.items[i])))
			continue;
		r = process_seize(f, task, tids.items[i], err);
		if (r < 0)
			return r;
		*ret_new += r == 0;
	}
	return 0;
}

static void drop_thread(struct task *task, size_t i)
{
	tracee_free(task->threads.items[i].tracee);
	memmove(&task->threads.items[i], &task->threads.items[i + 1],
		(task->threads.nr - i - 1) * sizeof(task->threads.items[0]));
	task->threads.nr--;
}

/* One that runs a new program ends the others of its process also in their stops, and waits until we have seen that. */
static bool wake_killed(struct task *task)
{
	bool any = false;

	for (size_t i = 0; i < task->threads.nr; i++) {
		struct thread *t = &task->threads.items[i];

		if (t->dead || t->tracee->state != TRACEE_STOPPED || tracee_is_stopped(t->tracee))
			continue;
		t->tracee->state = TRACEE_RUNS;
		any = true;
	}
	return any;
}

/*
 * The leader of a process with other threads can have exited: it stays as a zombie that reports nothing until the last
 * thread has gone. The same file tells it from a task that only takes long. Return: 0 it has stopped; 1 others, which had stopped,
 * have been killed, and are to be waited for first; -ESRCH it has ended; another negative errno.
 */
static int wait_thread(struct freezer *f, struct task *task, struct thread *t, struct cr_error *err)
{
	for (;;) {
		uint64_t slice = deadline_in(SLICE_MS);
		int r = tracee_wait(t->tracee, slice < f->deadline ? slice : f->deadline, err);

		if (r != -ETIMEDOUT)
			return r;
		/* a new program may have given the number to a thread that was not asked to stop */
		tracee_interrupt(t->tracee);
		r = process_read_stat(task, err);
		if (r < 0 && r != -ESRCH)
			return r;
		if (t->host_tid == task->host_pid && (r == -ESRCH || ended(task->stat.state))) {
			t->tracee->state = TRACEE_GONE;
			return -ESRCH;
		}
		if (wake_killed(task))
			return 1;
		if (monotonic_ns() >= f->deadline) {
			char what[96];

			snprintf(what, sizeof(what), "does not stop (state %c): it is in an uninterruptible wait, or frozen by its cgroup",
				 task->stat.state);
			obstacle(f, task, what, "thaw its cgroup, or wait for what it waits for", err);
			err->code = -ETIMEDOUT;
			return -ETIMEDOUT;
		}
	}
}

/* Return: 0; 1 some have ended meanwhile; 2 there are more to wait for; negative errno. */
static int wait_once(struct freezer *f, struct task *task, struct cr_error *err)
{
	int ended_any = 0;

	for (size_t i = 0; i < task->threads.nr;) {
		struct thread *t = &task->threads.items[i];

		if (t->dead || t->tracee->state != TRACEE_RUNS) {
			i++;
			continue;
		}

		int r = wait_thread(f, task, t, err);

		if (r == 1)
			return 2;
		if (r == 0)
			i++;
		else if (r != -ESRCH)
			return r;
		else
			drop_thread(task, i);
		ended_any |= r != 0;
	}
	return ended_any;
}

static int wait_threads(struct freezer *f, struct task *task, struct cr_error *err)
{
	int r;

	do
		r = wait_once(f, task, err);
	while (r == 2 || (r == 1 && wake_killed(task)));
	return r < 0 ? r : 0;
}

/* The leader has ended while others live: its place in the list is kept, without a tracee. */
static int keep_dead_leader(struct task *task, struct cr_error *err)
{
	struct thread *t;

	if (task->threads.nr && task->threads.items[0].host_tid == task->host_pid)
		return 0;
	t = thread_vec_add(&task->threads);
	if (!t)
		return cr_fail(err, -ENOMEM, "note thread %d", task->host_pid);
	memmove(&task->threads.items[1], &task->threads.items[0], (task->threads.nr - 1) * sizeof(*t));
	task->threads.items[0] = (struct thread){
		.host_tid = task->host_pid, .ns_tid = 0, .dir = { .fd = -1, .pid = task->host_pid }, .dead = true,
	};
	return 0;
}

/*
 * Whoever runs a new program takes over the number of the process, whatever became of the leader that we knew. Return: 0 the
 * leader is in its place; 1 it is gone; negative errno.
 */
static int seize_new_leader(struct freezer *f, struct task *task, struct cr_error *err)
{
	struct thread leader;
	int r;

	if (task->threads.nr && task->threads.items[0].host_tid == task->host_pid) {
		if (!task->threads.items[0].dead)
			return 0;
		drop_thread(task, 0);
	}
	r = process_seize(f, task, task->host_pid, err);
	if (r != 0)
		return r;
	leader = task->threads.items[task->threads.nr - 1];
	memmove(&task->threads.items[1], &task->threads.items[0], (task->threads.nr - 1) * sizeof(leader));
	task->threads.items[0] = leader;
	return 0;
}

static void become_zombie(struct task *task)
{
	task->state = TASK_DEAD;
	task->exit_code = task->stat.exit_code;
	for (size_t i = task->threads.nr; i-- > 0;)
		drop_thread(task, i);
}

/* The leader is looked at once more: a new program in the place of all threads has its number. */
static bool all_stopped(const struct task *task)
{
	struct thread *first = task->threads.nr ? &task->threads.items[0] : NULL;

	if (first && !first->dead && first->tracee->state == TRACEE_STOPPED && !tracee_is_stopped(first->tracee))
		first->tracee->state = TRACEE_RUNS;
	for (size_t i = 0; i < task->threads.nr; i++)
		if (!task->threads.items[i].dead && task->threads.items[i].tracee->state == TRACEE_RUNS)
			return false;
	return true;
}

/*
 * A listing ends early if the thread that was listed last ends meanwhile (next_tid() in fs/proc/base.c), and who is behind it may be
 * about to end them all. So while the kernel counts one more than we have, that nobody is new has to be seen often.
 */
enum { SURE = 20 };

int process_collect(struct freezer *f, struct task *task, struct cr_error *err)
{
	for (unsigned int same = 0;;) {
		size_t new = 0;
		int r = wait_threads(f, task, err);

		if (r == 0)
			r = process_read_stat(task, err);
		if (r < 0)
			return r == -ESRCH ? 1 : r;
		if (ended(task->stat.state) && task->stat.num_threads <= 1) {
			become_zombie(task);
			return 0;
		}
		r = ended(task->stat.state) ? keep_dead_leader(task, err) : seize_new_leader(f, task, err);
		if (r < 0)
			return r;
		if (r == 0 && all_stopped(task) && (size_t)task->stat.num_threads == task->threads.nr)
			return 0;
		r = seize_next_numbers(f, task, &new, err);
		if (r == 0 && !new)
			r = seize_new_threads(f, task, &new, err);
		if (r < 0)
			return r;
		same = new ? 0 : same + 1;
		if (same >= SURE && all_stopped(task) && task->threads.nr > 0 && task->threads.nr > task->threads.items[0].dead)
			return 0;
		if (monotonic_ns() >= f->deadline)
			return obstacle(f, task, "makes threads faster than they can be stopped", "", err);
		if (!new)
			usleep(100); /* on its way out: neither to be seized nor a zombie yet */
	}
}

int process_recheck(struct freezer *f, struct task *task, struct cr_error *err)
{
	int r;

	if (!wake_killed(task))
		return 0;
	r = process_collect(f, task, err);
	if (r > 0)
		task->state = 0;
	return r < 0 ? r : 1;
}

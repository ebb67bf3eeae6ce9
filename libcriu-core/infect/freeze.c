/*
 * Freezing. Level by level: all threads of all processes of a level are asked to stop, then the stops are collected,
 * then their children are read; a stopped process makes none. What remains is movement from below: a process of a deeper
 * level that exits hands its children to a reaper above. So at the end all children lists are read again until one whole
 * pass finds nothing new.
 */
#include "infect/freeze.h"

#include "infect/exec-guard.h"
#include "infect/freeze-internal.h"

#include "base/buf.h"
#include "base/clock.h"
#include "infect/childless.h"
#include "infect/parallel.h"
#include "infect/tracee.h"
#include "kernel/uapi.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DEFAULT_TIMEOUT_S 10
#define TASKS_MAX (1u << 22)   /* PID_MAX_LIMIT */

/* Whoever may not dump a process may not stop it either. What it is once it has stopped is asked again (dump/dump.c). */
static int ask_policy(const struct freezer *f, pid_t pid, struct cr_error *err)
{
	const struct cr_observer *obs = f->ctx->obs;

	return obs && obs->may_dump ? obs->may_dump(obs->arg, pid, pid, err) : 0;
}

static int add_process(struct freezer *f, pid_t pid, struct cr_error *err)
{
	struct task **slot, *task = NULL;
	struct proc_dir dir;
	int r = process_open(pid, &dir, err);

	if (r < 0)
		return r;
	if (f->tree->tasks.nr < TASKS_MAX)
		task = calloc(1, sizeof(*task));
	slot = task ? task_vec_add(&f->tree->tasks) : NULL;
	if (!slot) {
		free(task);
		proc_dir_close(&dir);
		return cr_fail(err, -ENOMEM, "note pid %d", pid);
	}
	*slot = task;
	task->host_pid = pid;
	task->dir = dir;
	task->pidfd = -1;
	task->state = TASK_ALIVE;
	if (freezer_index(f, task) < 0)
		return cr_fail(err, -ENOMEM, "note pid %d", pid);
	r = ask_policy(f, pid, err);
	if (r == 0)
		r = process_seize(f, task, pid, err);
	return r < 0 ? r : 0;
}

/* Reading a file of every thread. Each step of a path costs, so of many threads it is read from where all of them are. */
#define MANY_THREADS 8u
/* From so many on, asking the process whether it has children takes less time */
#define THREADS_TO_ASK 64u

struct threads_job {
	struct task    *task;
	struct proc_dir own;     /* /proc/PID/task, if it was opened */
	struct proc_dir dir;     /* where to read from, and what comes before the number */
	const char     *prefix;
	struct int_vec *found;   /* children, one per thread */
};

static int threads_job_begin(struct threads_job *job, struct cr_error *err)
{
	job->own = (struct proc_dir)PROC_DIR_NONE;
	job->dir = job->task->dir;
	job->prefix = "task/";
	if (job->task->threads.nr < MANY_THREADS)
		return 0;
	job->own.fd = proc_open(&job->task->dir, "task", O_PATH | O_DIRECTORY, err);
	job->own.pid = job->task->host_pid;
	job->dir = job->own;
	job->prefix = "";
	return job->own.fd < 0 ? job->own.fd : 0;
}

/* The file of a thread lists the children that this very thread has made, or was given. */
static int read_children(void *arg, size_t i, struct cr_error *err)
{
	struct threads_job *job = arg;
	autobuf struct buf text = BUF_INIT(64u << 20);
	char name[48];
	int r;

	snprintf(name, sizeof(name), "%s%d/children", job->prefix, job->task->threads.items[i].host_tid);
	r = proc_read_buf(&job->dir, name, &text, err);
	if (r == 0 && text.len)
		r = proc_children_parse(text.data, text.len, &job->found[i], err);
	return r == -ESRCH ? 0 : r;
}

/*
 * Registers and masks are the tracer's to ask for, while somebody else reads files. What cannot be asked for now, also because we
 * are not the tracer but help him with a large tree, is asked for, or said, when it is needed.
 */
static void settle_threads(void *arg)
{
	const struct threads_job *job = arg;

	for (size_t i = 0; i < job->task->threads.nr; i++)
		if (job->task->threads.items[i].tracee)
			tracee_settle(job->task->threads.items[i].tracee, NULL);
}

static int list_children(struct task *task, struct int_vec *ret, struct cr_error *err)
{
	size_t nr = task->threads.nr;
	autofree struct int_vec *found = calloc(nr ? nr : 1, sizeof(*found));
	struct threads_job job = { .task = task, .found = found };
	int r;

	if (!found)
		return cr_fail(err, -ENOMEM, "children of pid %d", task->host_pid);
	if (nr >= THREADS_TO_ASK && process_is_childless(task))
		return 0;
	r = threads_job_begin(&job, err);
	if (r == 0)
		r = parallel_beside(nr, read_children, nr < MANY_THREADS ? NULL : settle_threads, &job, err);
	proc_dir_close(&job.own);
	for (size_t i = 0; i < nr; i++) {
		for (size_t k = 0; r == 0 && k < found[i].nr; k++) {
			int *slot = int_vec_add(ret);

			if (slot)
				*slot = found[i].items[k];
			else
				r = cr_fail(err, -ENOMEM, "children of pid %d", task->host_pid);
		}
		int_vec_done(&found[i]);
	}
	/* a kernel without CONFIG_PROC_CHILDREN */
	return r == -ENOENT ? proc_children_read(&task->dir, ret, err) : r;
}

static int add_children(struct freezer *f, struct task *task, size_t *ret_new, struct cr_error *err)
{
	autointvec struct int_vec pids = { 0 };
	int r = list_children(task, &pids, err);

	if (r < 0)
		return r == -ESRCH || r == -ENOENT ? 0 : r;
	task->has_children = task->has_children || pids.nr;
	for (size_t i = 0; i < pids.nr; i++) {
		if (pids.items[i] == getpid())
			return cr_refuse(err, -EINVAL, "The criu itself is within dumped tree");
		if (freezer_find(f, pids.items[i]))
			continue;
		r = add_process(f, pids.items[i], err);
		if (r < 0 && r != -ESRCH)
			return r;
		/* of one that goes while the list is read the next may be missed: get_children_pid() in fs/proc/array.c */
		++*ret_new;
	}
	return 0;
}

/* Everything from task number @from on, and what is found below. */
static int freeze_levels(struct freezer *f, size_t from, struct cr_error *err)
{
	struct task_vec *tasks = &f->tree->tasks;

	while (from < tasks->nr) {
		size_t end = tasks->nr, new = 0;
		int r;

		for (size_t i = from; i < end; i++) {
			r = process_collect(f, tasks->items[i], err);
			if (r < 0)
				return r;
			if (r > 0 && i == 0)
				return cr_fail(err, -ESRCH, "pid %d", tasks->items[i]->host_pid);
			if (r > 0)
				tasks->items[i]->state = 0; /* gone; sorted out by prune() */
		}
		for (size_t i = from; i < end; i++) {
			if (tasks->items[i]->state != TASK_ALIVE)
				continue;
			r = add_children(f, tasks->items[i], &new, err);
			if (r < 0)
				return r;
		}
		from = end;
	}
	return 0;
}

/* A stopped process without children cannot be given any: there is nobody below it whose children they were. */
static int freeze_all(struct freezer *f, struct cr_error *err)
{
	for (;;) {
		size_t nr = f->tree->tasks.nr, new = 0;

		for (size_t i = 0; i < nr; i++) {
			if (f->tree->tasks.items[i]->state != TASK_ALIVE || !f->tree->tasks.items[i]->has_children)
				continue;

			int r = add_children(f, f->tree->tasks.items[i], &new, err);

			if (r < 0)
				return r;
		}
		if (!new)
			return 0;

		int r = freeze_levels(f, nr, err);

		if (r < 0)
			return r;
		if (monotonic_ns() >= f->deadline)
			return cr_refuse(err, -ETIMEDOUT, "the tree makes processes faster than they can be stopped");
	}
}

/* Those who were stopped first may have been killed by those who were stopped last, and their children are somebody else's then. */
static int recheck_all(struct freezer *f, struct cr_error *err)
{
	struct task_vec *tasks = &f->tree->tasks;
	int any = 0;

	for (size_t i = 0; i < tasks->nr; i++) {
		int r = tasks->items[i]->state == TASK_ALIVE ? process_recheck(f, tasks->items[i], err) : 0;

		if (r < 0)
			return r;
		any |= r;
	}
	return any;
}

static int freeze_until_quiet(struct freezer *f, struct cr_error *err)
{
	int r;

	do {
		r = freeze_all(f, err);
		if (r == 0)
			r = recheck_all(f, err);
	} while (r > 0);
	return r;
}

/*
 * A file less per thread is worth it (see task.h). The system call answers 40 to 1 for nice -20 to 19, and -1 is the number
 * of no thread; kernel/sys.c.
 */
static int read_thread(void *arg, size_t i, struct cr_error *err)
{
	struct threads_job *job = arg;
	struct thread *t = &job->task->threads.items[i + 1];
	autobuf struct buf text = BUF_INIT(4u << 20);
	char name[48], page[4096];
	ssize_t len;
	long turned;
	int r;

	snprintf(name, sizeof(name), "%s%d/status", job->prefix, t->host_tid);
	len = proc_read_record(&job->dir, name, page, sizeof(page), NULL);
	if (len >= 0) {
		r = proc_status_parse(page, (size_t)len, &t->status, err);
	} else {
		r = proc_read_buf(&job->dir, name, &text, err);
		if (r == 0)
			r = proc_status_parse(text.data, text.len, &t->status, err);
	}
	if (r < 0)
		return r;
	turned = syscall(SYS_getpriority, PRIO_PROCESS, t->host_tid);
	if (turned < 0)
		return cr_fail(err, -errno, "nice of thread %d", t->host_tid);
	t->stat.pid = t->host_tid;
	t->stat.nice = 20 - (int)turned;
	snprintf(t->stat.comm, sizeof(t->stat.comm), "%.*s", (int)sizeof(t->stat.comm) - 1, t->status.comm);
	return 0;
}

static int read_threads(struct task *task, struct cr_error *err)
{
	struct threads_job job = { .task = task };
	int r;

	if (task->threads.nr < 2)
		return 0;
	r = threads_job_begin(&job, err);
	if (r == 0)
		r = parallel_beside(task->threads.nr - 1, read_thread, settle_threads, &job, err);
	proc_dir_close(&job.own);
	return r;
}

/*
 * The leader's files are those of the process; it borrows what the process owns. When it has ended, /proc/PID shows no
 * memory and no descriptors: the first thread that lives speaks for the process then, under its own number.
 */
static int read_process(struct task *task, struct cr_error *err)
{
	unsigned int flags = 0;
	struct thread *first;
	int r = proc_status_read(&task->dir, &task->status, err);

	if (r < 0 || task->state == TASK_DEAD)
		return r;
	first = &task->threads.items[0];
	first->stat = task->stat;
	first->status = task->status;
	first->status.heap = NULL;
	r = read_threads(task, err);
	if (r < 0)
		return r;
	task->lead = first;
	if (first->dead) {
		task->lead = first + 1;
		proc_dir_close(&task->dir);
		r = proc_dir_open(AT_FDCWD, task->lead->host_tid, &task->dir, err);
		if (r == 0)
			r = proc_stat_read(&task->dir, &task->lead->stat, err);
		if (r < 0)
			return r;
		flags = PIDFD_THREAD;
	}
	if (task->lead->tracee->stop_signo) {
		task->state = TASK_STOPPED;
		task->stop_signo = task->lead->tracee->stop_signo;
	}
	task->pidfd = (int)syscall(SYS_pidfd_open, task->lead->host_tid, flags);
	if (task->pidfd < 0)
		task->pidfd = (int)syscall(SYS_pidfd_open, task->host_pid, 0);
	if (task->pidfd < 0)
		return cr_fail(err, -errno, "open a pidfd of %d", task->host_pid);
	return 0;
}

static int read_one(void *arg, size_t i, struct cr_error *err)
{
	struct freezer *f = arg;
	struct task *task = f->tree->tasks.items[i];

	return cr_within(err, read_process(task, err), "pid %d", task->host_pid);
}

/* Processes that went away while we looked leave the list */
static void prune(struct tree *tree)
{
	size_t nr = 0;

	for (size_t i = 0; i < tree->tasks.nr; i++) {
		if (tree->tasks.items[i]->state)
			tree->tasks.items[nr++] = tree->tasks.items[i];
		else
			task_free(tree->tasks.items[i]);
	}
	tree->tasks.nr = nr;
}

static int reindex(struct freezer *f)
{
	memset(f->by_pid, 0, f->by_pid_size * sizeof(*f->by_pid));
	for (size_t i = 0; i < f->tree->tasks.nr; i++)
		if (freezer_index(f, f->tree->tasks.items[i]) < 0)
			return -ENOMEM;
	return 0;
}

/* A dump that stops its own ancestor would never wake up again: found out before anything is stopped. */
static int refuse_own_tree(pid_t root, struct cr_error *err)
{
	pid_t pid = getpid();

	for (int i = 0; i < 4096 && pid > 0; i++) {
		autoprocdir struct proc_dir dir = PROC_DIR_NONE;
		struct proc_stat st;

		if (pid == root)
			return cr_refuse(err, -EINVAL, "The criu itself is within dumped tree");
		if (proc_dir_open(AT_FDCWD, pid, &dir, NULL) < 0 || proc_stat_read(&dir, &st, NULL) < 0)
			return 0;
		pid = st.ppid;
	}
	return 0;
}

/* A descriptor or two per process stay open; the usual soft limit of 1024 is for programs that use select(). */
static void raise_descriptor_limit(void)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) == 0 && l.rlim_cur < l.rlim_max) {
		l.rlim_cur = l.rlim_max;
		setrlimit(RLIMIT_NOFILE, &l);
	}
}

static int freeze_and_read(struct freezer *f, struct cr_error *err)
{
	int r = freeze_until_quiet(f, err);

	if (r == 0)
		r = stops_settle(f, err);
	if (r < 0)
		return r;
	/* it may have ended, or even be reaped, while its tree was being stopped: nothing to restore would be left of it */
	if (f->tree->root->state != TASK_ALIVE)
		return cr_refuse(err, -ESRCH, "pid %d has ended", f->tree->root->host_pid);
	prune(f->tree);
	if (reindex(f) < 0)
		return cr_fail(err, -ENOMEM, "order processes");
	return parallel_each(f->tree->tasks.nr, read_one, f, err);
}

/* Back to what is known of a tree that has just been stopped. */
static int unread_all(struct freezer *f, struct cr_error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < f->tree->tasks.nr; i++) {
		struct task *task = f->tree->tasks.items[i];

		for (size_t k = 1; k < task->threads.nr; k++)
			proc_status_done(&task->threads.items[k].status);
		proc_status_done(&task->status);
		if (task->pidfd >= 0)
			close(task->pidfd);
		task->pidfd = -1;
		if (task->state == TASK_STOPPED)
			task->state = TASK_ALIVE;
		proc_dir_close(&task->dir);
		r = process_open(task->host_pid, &task->dir, err);
		if (r == 0)
			r = process_read_stat(task, err);
		r = r == -ESRCH ? 0 : cr_within(err, r, "pid %d", task->host_pid);
	}
	return r;
}

static int freeze(struct freezer *f, pid_t root, struct cr_error *err)
{
	int r = add_process(f, root, err);

	if (r == 0) {
		f->tree->root = f->tree->tasks.items[0];
		r = freeze_levels(f, 0, err);
	}
	while (r == 0) {
		r = freeze_and_read(f, err);
		if (r == 0)
			r = stops_take(f, err);
		if (r == 0)
			return tree_order(f, err);
		if (r > 0)
			r = unread_all(f, err);
	}
	return r;
}

unsigned int freeze_limit_ms(const rpc_criu_opts *o)
{
	unsigned int seconds = o && o->has_timeout ? o->timeout : DEFAULT_TIMEOUT_S;

	return seconds == 0 || seconds > UINT32_MAX / 1000 ? UINT32_MAX : seconds * 1000;
}

int freeze_tree(struct cr_context *ctx, pid_t root, struct tree **ret, struct cr_error *err)
{
	const rpc_criu_opts *o = ctx->opts->rpc;
	struct freezer f = { .ctx = ctx, .deadline = deadline_in(freeze_limit_ms(o)) };
	autofree_by(tree_free) struct tree *tree = NULL;
	int r;

	if (root <= 0)
		return cr_refuse(err, -EINVAL, "no process to dump was named (pid %d)", root);
	r = refuse_own_tree(root, err);
	if (r < 0)
		return r;
	raise_descriptor_limit();
	tree = calloc(1, sizeof(*tree));
	if (!tree)
		return cr_fail(err, -ENOMEM, "freeze pid %d", root);
	f.tree = tree;
	r = freeze(&f, root, err);
	exec_guard_free(f.guard);
	free(f.by_pid);
	if (r < 0)
		return cr_within(err, r, "freeze the tree of pid %d", root);
	*ret = take_ptr(&tree);
	return 0;
}

/* The end of a dump: the tree runs on, stays stopped, or is killed. */
#include "infect/freeze.h"

#include "infect/parallel.h"
#include "infect/tracee.h"

#include "base/clock.h"
#include "base/thread.h"
#include "kernel/last-will.h"
#include "kernel/stage.h"
#include "kernel/uapi.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DEATH_MS    10000  /* a killed process with much memory takes a while to give it back */
#define MUCH_RSS_KB (16u << 10)

static void first_failure(int *r, int now)
{
	if (*r == 0 && now < 0)
		*r = now;
}

static int detach_all(struct tree *tree, struct cr_error *err)
{
	int r = 0;

	for (size_t i = 0; i < tree->tasks.nr; i++) {
		struct task *task = tree->tasks.items[i];

		for (size_t k = 0; k < task->threads.nr; k++)
			if (task->threads.items[k].tracee)
				first_failure(&r, tracee_detach(task->threads.items[k].tracee, r ? NULL : err));
	}
	return r;
}

static void send_stops(void *arg)
{
	const struct tree *tree = arg;

	for (size_t i = 0; i < tree->tasks.nr; i++)
		if (tree->tasks.items[i]->state == TASK_ALIVE)
			kill(tree->tasks.items[i]->host_pid, SIGSTOP);
}

/* The signal waits until the thread is let go, and is the first thing it sees then: it executes nothing in between. */
static void stop_all(struct tree *tree)
{
	struct last_will *will = tree->tasks.nr > 1 ? last_will_make(send_stops, tree) : NULL;

	send_stops(tree);
	last_will_revoke(will);
}

struct reaping {
	const struct tree *tree;
	const struct task *task;
	uint64_t deadline;
};

static int reap(const struct thread *t, uint64_t deadline, struct cr_error *err)
{
	if (t->tracee && tracee_reap(t->tracee, deadline) < 0)
		return cr_fail(err, -ETIMEDOUT, "wait for the end of killed thread %d", t->host_tid);
	return 0;
}

static int reap_thread(void *arg, size_t i, struct cr_error *err)
{
	const struct reaping *r = arg;

	return reap(&r->task->threads.items[r->task->threads.nr - 1 - i], r->deadline, err);
}

/* The leader reports only after all others are gone. */
static int reap_process(const struct task *task, uint64_t deadline, struct cr_error *err)
{
	struct reaping others = { .task = task, .deadline = deadline };
	int r = 0;

	if (!task->threads.nr)
		return 0;
	r = parallel_each(task->threads.nr - 1, reap_thread, &others, err);
	return r < 0 ? r : reap(&task->threads.items[0], deadline, err);
}

static int reap_one(void *arg, size_t i, struct cr_error *err)
{
	const struct reaping *r = arg;

	return reap_process(r->tree->tasks.items[r->tree->tasks.nr - 1 - i], r->deadline, err);
}

/*
 * A process gives its memory back on one processor when it ends, 60 ms a GiB of small pages. Where there are more of them than
 * large processes, this thread helps: process_mrelease(2), since 5.15, at the same time. It is nothing that has to work.
 */
static void help_to_end(const struct tree *tree)
{
	size_t nr = 0;

	for (size_t i = 0; i < tree->tasks.nr; i++)
		nr += tree->tasks.items[i]->status.vm_rss_kb >= MUCH_RSS_KB;
	if (nr >= processors_usable())
		return;
	for (size_t i = 0; i < tree->tasks.nr; i++)
		if (tree->tasks.items[i]->status.vm_rss_kb >= MUCH_RSS_KB && tree->tasks.items[i]->pidfd >= 0)
			syscall(__NR_process_mrelease, tree->tasks.items[i]->pidfd, 0);
}

void tree_kill(const struct tree *tree)
{
	for (size_t i = 0; i < tree->tasks.nr; i++)
		if (tree->tasks.items[i]->state != TASK_DEAD)
			kill(tree->tasks.items[i]->host_pid, SIGKILL);
}

static void end_all(void *arg)
{
	tree_kill(arg);
}

/*
 * Dead is enough. Orphans of the tree stay zombies until init or a subreaper reaps them, which some do late and some never;
 * a restore that follows at once waits for their numbers where it finds them taken (pie/blob.c).
 */
static int kill_all(struct tree *tree, struct cr_error *err)
{
	struct reaping all = { .tree = tree };
	/* The images are whole, and the tree is to end. Should we be killed in the middle of that, no part of it shall go on. */
	struct last_will *will = tree->tasks.nr > 1 ? last_will_make(end_all, tree) : NULL;
	int r = 0;

	for (size_t i = 0; i < tree->tasks.nr; i++) {
		struct task *task = tree->tasks.items[i];

		if (task->state != TASK_DEAD && kill(task->host_pid, SIGKILL) < 0 && errno != ESRCH)
			first_failure(&r, cr_fail(r ? NULL : err, -errno, "kill pid %d", task->host_pid));
	}
	last_will_revoke(will);
	if (r < 0)
		return r;
	tree->let_go_us = monotonic_us();
	all.deadline = deadline_in(DEATH_MS);
	help_to_end(tree);
	/*
	 * Children first: the init of a pid namespace does not end before all others in there are gone
	 * (zap_pid_ns_processes() in kernel/pid_namespace.c), and those are not gone before their tracer has seen it. Another
	 * thread of the tracer may see it, too; the work of taking a dead thread apart is then done by two.
	 */
	return parallel_each(tree->tasks.nr, reap_one, &all, err);
}

int tree_doom(struct tree *tree, bool doomed, struct cr_error *err)
{
	int r = 0;

	for (size_t i = 0; i < tree->tasks.nr; i++) {
		struct task *task = tree->tasks.items[i];

		for (size_t k = 0; k < task->threads.nr; k++)
			if (task->threads.items[k].tracee &&
			    ptrace(PTRACE_SETOPTIONS, task->threads.items[k].host_tid, NULL, doomed ? PTRACE_O_EXITKILL : 0) < 0)
				first_failure(&r, cr_fail(r ? NULL : err, -errno, "options of thread %d",
							  task->threads.items[k].host_tid));
	}
	return r;
}

int thaw_tree(struct tree *tree, enum thaw how, struct cr_error *err)
{
	int r;

	switch (how) {
	case THAW_KILLED:
		return kill_all(tree, err);
	case THAW_STOPPED:
		stop_all(tree);
		break;
	case THAW_RUNNING:
		break;
	}
	r = detach_all(tree, err);
	tree->let_go_us = monotonic_us();
	return r;
}

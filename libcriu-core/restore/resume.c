/*
 * Restore, last stage: every thread is parked in the blob. Stop them all, take the region away, give them their
 * registers, and let them go. Until the first one is let go everything can still be undone; afterwards nothing may fail
 * for reasons that could have been known before.
 *
 * Processes that stay stopped come first, children before their parents, while all others are still in our hands: what a
 * parent is told of that is taken from it again, since it has been told before the dump.
 */
#include "infect/control.h"
#include "infect/takeover.h"
#include "kernel/last-will.h"
#include "kernel/stage.h"
#include "net/connections.h"
#include "procfs/proc-dir.h"
#include "procfs/stat.h"
#include "restore/restore-internal.h"
#include "xstate.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#define STOPPED_WITHIN_MS 1000 /* for a thread that is let go in a group stop to be seen in it */

static int stop_all(struct restore *rs, struct cr_error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < rs->threads.nr; i++)
		r = takeover_interrupt(rs->threads.items[i].hand, err);
	for (size_t i = 0; r == 0 && i < rs->threads.nr; i++) {
		r = takeover_wait(rs->threads.items[i].hand, err);
		r = cr_within(err, r, "thread %d", rs->threads.items[i].tid);
	}
	return r;
}

static uint64_t sigmask_of(const struct rthread *t)
{
	return thread_sigmask(t->task->cores[t->index], t->index == 0);
}

static int load_thread(struct restore *rs, struct rthread *t, const struct xstate_layout *layout, struct cr_error *err)
{
	const img_core_entry *core = t->task->cores[t->index];
	int r = takeover_load(t->hand, layout, core, sigmask_of(t), err);

	if (r == 0)
		r = thread_release(rs->ctx, core, t->tid, err);
	return cr_within(err, r, "thread %d", t->tid);
}

static bool stays_stopped(const struct restore *rs, const struct rtask *t)
{
	return rs->ctx->opts->rpc->leave_stopped || t->cores[0]->tc->task_state == TASK_STOPPED;
}

/* A root task that is dead is no stopped one, whatever else the options say. */
static bool root_stays_stopped(const struct restore *rs)
{
	for (size_t i = 0; i < rs->threads.nr; i++)
		if (rs->threads.items[i].first && rs->threads.items[i].tid == rs->root_pid)
			return stays_stopped(rs, rs->threads.items[i].task);
	return false;
}

static int unmap_process(const struct restore *rs, struct rthread *first, struct cr_error *err)
{
	return takeover_unmap_begin(first->hand, rs->region.all.start, rs->region.all.end - rs->region.all.start, err);
}

static int unmap_advance(const struct restore *rs, struct rthread *first, struct cr_error *err)
{
	(void)rs;
	return takeover_unmap_advance(first->hand, err);
}

static int unmap_end(const struct restore *rs, struct rthread *first, struct cr_error *err)
{
	(void)rs;
	return takeover_unmap_end(first->hand, err);
}

/* All that are still mapped, at the same time: they run while we are busy with others. */
static int unmap_all(struct restore *rs, struct cr_error *err)
{
	static int (*const steps[])(const struct restore *, struct rthread *, struct cr_error *) = {
		unmap_process,
		unmap_advance,
		unmap_end,
	};
	int r = 0;

	for (size_t s = 0; s < ARRAY_LEN(steps); s++)
		for (size_t i = 0; r == 0 && i < rs->threads.nr; i++)
			if (rs->threads.items[i].first && !stays_stopped(rs, rs->threads.items[i].task))
				r = cr_within(err, steps[s](rs, &rs->threads.items[i], err), "thread %d",
					      rs->threads.items[i].tid);
	return r;
}

/* The threads of a process follow each other. */
static size_t threads_from(const struct restore *rs, size_t first)
{
	size_t end = first + 1;

	while (end < rs->threads.nr && !rs->threads.items[end].first)
		end++;
	return end - first;
}

/*
 * The signal that the process was stopped by, if it can be stopped by it now: a stop signal that is caught or ignored stops
 * nobody. It was neither when it came, but a thread that had not stopped yet may have changed that.
 */
static int stop_signo_of(const img_task_core_entry *tc)
{
	int signo = tc->task_state == TASK_STOPPED && tc->has_stop_signo ? (int)tc->stop_signo : SIGSTOP;

	return tasks_default_action(tc, signo) ? signo : SIGSTOP;
}

static int stop_process(struct restore *rs, size_t first, struct cr_error *err)
{
	const struct rtask *task = rs->threads.items[first].task;
	int signo = stop_signo_of(task->cores[0]->tc);
	size_t nr = threads_from(rs, first);
	struct takeover **hands = calloc(nr, sizeof(*hands));
	uint64_t *masks = calloc(nr, sizeof(*masks));
	int r = hands && masks ? 0 : cr_fail(err, -ENOMEM, "list threads");

	for (size_t i = 0; r == 0 && i < nr; i++) {
		hands[i] = rs->threads.items[first + i].hand;
		masks[i] = sigmask_of(&rs->threads.items[first + i]);
	}
	if (r == 0)
		r = takeover_stop(hands, masks, nr, signo, err);
	free(hands);
	free(masks);
	if (r <= 0)
		return cr_within(err, r, "pid %u", task->entry->pid);
	log_warn(&rs->ctx->log,
		 "pid %u: its process group is orphaned, where SIG%s stops nobody, continuing with SIGSTOP",
		 task->entry->pid, sigabbrev_np(signo));
	return 0;
}

static struct rthread *parent_of(struct restore *rs, const struct rtask *t)
{
	int n = rs->tree.nodes.items[t - rs->tasks].parent;

	for (size_t i = 0; n >= 0 && i < rs->threads.nr; i++)
		if (rs->threads.items[i].first && rs->threads.items[i].task == &rs->tasks[n])
			return &rs->threads.items[i];
	return NULL;
}

static bool holds(const img_signal_queue_entry *q, int signo)
{
	for (size_t i = 0; q && i < q->signals.nr; i++)
		/* siginfo_t begins with the number; tasks_check() has seen to the length */
		if (*(const int32_t *)(const void *)q->signals.items[i].siginfo.data == signo)
			return true;
	return false;
}

/* What the parent has just been told it knew before, be it that it has waited for the child or that the signal has come. */
static int untell_parent(struct restore *rs, const struct rtask *child, uint64_t sigchld, uint64_t at_once,
			 struct cr_error *err)
{
	const img_task_ext *ext = child->cores[0]->tc->ext;
	struct rthread *parent = parent_of(rs, child);
	const uint64_t wait[6] = { P_PID, child->entry->pid, 0, WSTOPPED | WNOHANG },
		       take[6] = { sigchld, 0, at_once, 8 };
	const img_core_entry *core;
	int64_t result = 0;
	int r = 0;

	if (!parent)
		return 0;
	core = parent->task->cores[parent->index];
	if (ext && ext->has_stop_seen && ext->stop_seen)
		r = takeover_call(parent->hand, SYS_waitid, wait, &result, err);
	if (r == 0 && result < 0)
		r = cr_fail(err, (int)result, "wait for a stopped child");
	/* where the images have one waiting, ours was none more: such signals do not queue */
	if (r == 0 && !holds(parent->task->cores[0]->tc->signals_s, SIGCHLD) &&
	    !holds(core->thread_core->signals_p, SIGCHLD))
		r = takeover_call(parent->hand, SYS_rt_sigtimedwait, take, &result, err);
	return cr_within(err, r, "pid %u", parent->task->entry->pid);
}

static int load_stopped(struct restore *rs, const struct xstate_layout *layout, struct cr_error *err)
{
	const uint64_t sigchld = 1ull << (SIGCHLD - 1);
	const struct timespec none = { 0, 0 };
	uint64_t set = arena_put(&rs->program.arena, &sigchld, sizeof(sigchld), 8);
	uint64_t at_once = arena_put(&rs->program.arena, &none, sizeof(none), 8);
	int r = set && at_once ? 0 : cr_fail(err, -ENOSPC, "stop processes");

	for (size_t i = rs->threads.nr; r == 0 && i-- > 0;) {
		const struct rthread *first = &rs->threads.items[i];

		if (!first->first || !stays_stopped(rs, first->task))
			continue;
		r = takeover_unmap(first->hand, rs->region.all.start, rs->region.all.end - rs->region.all.start, err);
		for (size_t k = 0; r == 0 && k < threads_from(rs, i); k++)
			r = load_thread(rs, &rs->threads.items[i + k], layout, err);
		if (r == 0)
			r = stop_process(rs, i, err);
		if (r == 0)
			r = untell_parent(rs, first->task, set, at_once, err);
	}
	return r;
}

static int load_all(struct restore *rs, struct cr_error *err)
{
	struct xstate_layout layout;
	int r;

	xstate_layout_init(&layout);
	r = load_stopped(rs, &layout, err);
	if (r == 0)
		r = unmap_all(rs, err);
	for (size_t i = 0; r == 0 && i < rs->threads.nr; i++)
		if (!stays_stopped(rs, rs->threads.items[i].task))
			r = load_thread(rs, &rs->threads.items[i], &layout, err);
	return r;
}

static void release(struct restore *rs, struct rthread *t)
{
	struct cr_error gone = { 0 };

	/* a thread may be killed by one that runs already */
	if (takeover_release(t->hand, &gone) < 0)
		log_debug(&rs->ctx->log, "thread %d: %s", t->tid, gone.text);
	takeover_free(t->hand);
	t->hand = NULL;
}

/* Who is let go of in a group stop gets up and lies down again. */
static void await_stopped(pid_t tid)
{
	struct timespec tick = { 0, 100000 };

	for (int left = STOPPED_WITHIN_MS * 10; left > 0; left--) {
		autofree_by(proc_dir_close) struct proc_dir dir = { .fd = -1 };
		struct proc_stat st;

		if (proc_dir_open(AT_FDCWD, tid, &dir, NULL) < 0 || proc_stat_read(&dir, &st, NULL) < 0 ||
		    st.state == 'T')
			return;
		nanosleep(&tick, NULL);
	}
}

static int open_all(struct restore *rs, struct cr_error *err)
{
	if (!rs->guarded)
		return 0;
	control_release(program_control(&rs->program), RESTORE_STAGE_OPEN + 1);
	return restore_await(rs, ABI_NR_STAGES - 1, err);
}

static void end_all(void *arg)
{
	struct restore *rs = arg;

	for (size_t i = rs->nr_tasks; i-- > 0;)
		if (!rs->tasks[i].zombie)
			kill((pid_t)rs->tasks[i].entry->pid, SIGKILL);
}

/*
 * That a thread is not killed with its tracer is told to the kernel thread by thread. Within a process one is as good as all; of
 * several, none shall go on unless all do.
 */
static void keep_all(struct restore *rs)
{
	struct cr_error dead = { 0 };

	for (size_t i = 0; i < rs->threads.nr; i++)
		if (takeover_keep(rs->threads.items[i].hand, &dead) < 0)
			log_debug(&rs->ctx->log, "%s", dead.text);
}

int restore_resume(struct restore *rs, struct cr_error *err)
{
	struct last_will *will;
	int r = open_all(rs, err);

	if (r == 0)
		r = stop_all(rs, err);
	if (r == 0)
		r = load_all(rs, err);
	/* before connections are of any use: if those who have the memory keep the tree, they keep these as well */
	if (r == 0)
		r = restore_lazy_start(rs, err);
	if (r < 0)
		return r;
	/* made first, since that may take a while, and the tree should not end with us any more when its connections are told to go on */
	will = rs->nr_tasks > 1 ? last_will_make(end_all, rs) : NULL;
	r = connections_go_on(rs->files, err);
	if (r < 0) {
		last_will_revoke(will);
		return r;
	}
	/*
	 * From here on it is theirs. Letting go takes a while with many threads; a coordinator that is killed in the middle of it
	 * shall not leave a part of the tree.
	 */
	rs->resumed = true;
	rs->result->stopped = root_stays_stopped(rs);
	restore_give_terminal(rs);
	mm_segments_keep(rs->segments);
	keep_all(rs);
	last_will_revoke(will);
	/* names that the images need: not before the tree outlives us, since without it they have to be fit for another restore */
	files_commit(rs->files);
	for (size_t i = 0; i < rs->threads.nr; i++)
		if (stays_stopped(rs, rs->threads.items[i].task))
			release(rs, &rs->threads.items[i]);
	for (size_t i = 0; i < rs->threads.nr; i++)
		if (stays_stopped(rs, rs->threads.items[i].task))
			await_stopped(rs->threads.items[i].tid);
	for (size_t i = 0; i < rs->threads.nr; i++)
		if (rs->threads.items[i].hand)
			release(rs, &rs->threads.items[i]);
	restore_lazy_runs(rs);
	return 0;
}

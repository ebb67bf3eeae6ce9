/*
 * Restore: let the programs run. The coordinator forks the root, releases one stage after the other, takes hold of
 * every thread, and sees to it that a failure anywhere ends all of it.
 */
#include "base/clock.h"
#include "blob-jump.h"
#include "blob-layout.h"
#include "image/stream.h"
#include "infect/control.h"
#include "infect/takeover.h"
#include "infect/trace-right.h"
#include "kernel/stage.h"
#include "mm/unpack.h"
#include "procfs/proc-dir.h"
#include "procfs/stat.h"
#include "restore/restore-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TAKEN_FOR_MS   100  /* for the number of a process that was there a moment ago */
#define LOOK_EVERY_MS  100  /* between looks after tasks that died without a word */
#define SPARE_MAPPINGS 32   /* more than a task has too many at any time */
#define GONE_WITHIN_MS 5000 /* for killed tasks to be gone */

/* In the child: nothing but the blob from here on. The stack is switched, so nothing of this frame is needed again. */
static _Noreturn void enter_blob(const struct restore *rs)
{
	uint64_t *slots = (uint64_t *)(uintptr_t)(rs->region.leader_top - BLOB_SLOTS_BYTES);
	uint64_t top = rs->region.leader_top - BLOB_SLOTS_BYTES;

	memset(slots, 0, BLOB_SLOTS_BYTES);
	slots[SLOT_PIDFD] = (uint64_t)rs->pidfd;
	blob_jump(rs->region.entry, rs->program.control, rs->nodes[0].index, (uint64_t)(uintptr_t)slots, top);
}

/* A number is taken for a moment longer than its owner can be seen: release_task() in kernel/exit.c, Linux 6.15 and later. */
static long clone_root(struct clone_args *args)
{
	struct timespec tick = { 0, 2000000 };

	for (int left = TAKEN_FOR_MS / 2;; left--) {
		long pid = syscall(SYS_clone3, args, sizeof(*args));

		if (pid >= 0 || errno != EEXIST || !left)
			return pid;
		nanosleep(&tick, NULL);
	}
}

static int fork_root(struct restore *rs, struct cr_error *err)
{
	pid_t want = (pid_t)rs->tree.nodes.items[0].pid;
	bool sibling = rs->ctx->opts->foreground_sibling;
	struct clone_args args = {
		.flags = sibling ? CLONE_PARENT : 0,
		.exit_signal = sibling ? 0 : SIGCHLD,
		.set_tid = (uint64_t)(uintptr_t)&want,
		.set_tid_size = 1,
	};
	long pid = clone_root(&args);

	if (pid == 0)
		enter_blob(rs);
	if (pid < 0) {
		int code = -errno;

		cr_fail(err, code, "create pid %d", want);
		if (code == -EPERM)
			cr_advise(err,
				  "choosing pids needs CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN in the pid namespace");
		return code;
	}
	rs->root_pid = (pid_t)pid;
	log_debug(&rs->ctx->log, "root pid=%ld runs", pid);
	return 0;
}

/* Return: 0 runs on, 1 it has ended (or never was). */
static int has_ended(pid_t pid)
{
	autofree_by(proc_dir_close) struct proc_dir dir = { .fd = -1 };
	struct proc_stat st;

	if (proc_dir_open(AT_FDCWD, pid, &dir, NULL) < 0 || proc_stat_read(&dir, &st, NULL) < 0)
		return 1;
	/* a leader that has exited is a zombie as long as it has threads */
	return (st.state == 'Z' && st.num_threads <= 1) || st.state == 'X';
}

/* A task killed from outside or by a fault in our code cannot say so. */
static int look_for_dead(struct restore *rs, struct cr_error *err)
{
	const struct abi_control *c = program_control(&rs->program);

	for (size_t i = 0; i < rs->nr_tasks; i++) {
		const struct abi_routine *r = program_routine(&rs->program, rs->nodes[i].index);

		if (rs->tasks[i].zombie || __atomic_load_n(&r->state, __ATOMIC_SEQ_CST) == ABI_IDLE)
			continue;
		if (has_ended((pid_t)rs->tasks[i].entry->pid) && !__atomic_load_n(&c->failed, __ATOMIC_SEQ_CST))
			return cr_refuse(err, -ECHILD, "pid %u was killed while it was being restored",
					 rs->tasks[i].entry->pid);
	}
	return 0;
}

/* While a task is made it has a few mappings more than in the end: ours, and halves of some that are joined later. */
static void advise_of_mappings(const struct restore *rs, size_t node, struct cr_error *err)
{
	const struct mm_space *space = node < rs->nr_tasks ? rs->tasks[node].space : NULL;
	autofd int fd = open("/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC);
	char text[32] = "";
	size_t nr = space ? mm_space_entry(space)->vmas.nr : 0, max;

	if (!nr || fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		return;
	max = strtoul(text, NULL, 10);
	if (nr + SPARE_MAPPINGS > max)
		cr_advise(err, "it has %zu mappings, vm.max_map_count is %zu; allow more: sysctl vm.max_map_count=%zu",
			  nr, max, nr + 2 * SPARE_MAPPINGS);
}

/* EAGAIN: something is taken, or cannot be had yet. */
static void advise_of_rival(const struct restore *rs, uint32_t routine, pid_t ns_pid, struct cr_error *err)
{
	uint64_t arg = 0;
	pid_t holder;

	switch (program_failed_call(&rs->program, routine, &arg)) {
	case SYS_flock:
	case SYS_fcntl:
		holder = arg <= INT_MAX ? files_lock_holder(rs->files, ns_pid, (int)arg) : 0;
		if (holder)
			cr_advise(err, "process %d has a lock on it by now, see lslocks(8)", (int)holder);
		else
			cr_advise(err, "somebody else has a lock on that file by now, or, for a lease, has it open: see lslocks(8), fuser(1)");
		break;
	case SYS_semop:
		cr_advise(err, "somebody has taken the semaphore meanwhile, see ipcs -s -i %d", (int)arg);
		break;
	default:
		/* of other calls in programs, clone(2) alone fails that way */
		cr_advise(err, "see RLIMIT_NPROC of the user, pids.max of the cgroup, kernel.threads-max");
	}
}

static int explain(struct restore *rs, struct cr_error *err)
{
	uint32_t failed = program_control(&rs->program)->first_failed;
	uint64_t at;
	int r;

	if (!failed)
		return cr_refuse(err, -ECANCELED, "a task failed without saying why");
	r = program_explain(&rs->program, failed - 1, err);
	for (size_t i = 0; i < rs->tree.nodes.nr; i++) {
		/* threads have routines of their own, and those of the only process are its */
		if (rs->nodes[i].index != failed - 1 && rs->tree.nodes.nr > 1)
			continue;
		if (r == -ENOMEM)
			advise_of_mappings(rs, i, err);
		if (r == -EBADMSG && i < rs->nr_tasks && program_bad_page(&rs->program, failed - 1, &at))
			mm_space_blame(rs->tasks[i].space, at, r, err);
		if (r == -EAGAIN)
			advise_of_rival(rs, failed - 1, (pid_t)rs->tree.nodes.items[i].pid, err);
		return cr_within(err, r, "pid %u", rs->tree.nodes.items[i].pid);
	}
	return r;
}

/*
 * Signals wait while tasks are made (see enter() in restore.c), but somebody who wants us to end does not want the tree to
 * come up all the same. What was blocked before is none of our business, and neither is what would be ignored: a signal
 * that is blocked is queued whatever its action (sig_ignored() in kernel/signal.c).
 */
int restore_interrupted(const struct restore *rs, struct cr_error *err)
{
	static const int ends[] = { SIGTERM, SIGINT, SIGHUP };
	sigset_t pending;

	sigpending(&pending);
	for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
		struct sigaction sa;

		if (sigismember(&pending, ends[i]) == 1 && sigismember(&rs->signals, ends[i]) == 0 &&
		    sigaction(ends[i], NULL, &sa) == 0 && sa.sa_handler != SIG_IGN)
			return cr_refuse(err, -EINTR, "interrupted by SIG%s", sigabbrev_np(ends[i]));
	}
	return 0;
}

/* Those who bring pages through pipes. */
static int look_at_pages(struct restore *rs, struct cr_error *err)
{
	int r = image_stream_look(rs->set, err);

	return r < 0 ? r : unpacker_look(rs->unpacker, err);
}

static int begin_pages(struct restore *rs, struct cr_error *err)
{
	int r = image_stream_begin(rs->set, err);

	if (r == 0)
		r = unpacker_new(&rs->unpacker, err);
	for (size_t i = 0; r == 0 && i < rs->nr_tasks; i++)
		if (rs->tasks[i].space)
			r = unpacker_add(rs->unpacker, rs->tasks[i].space, err);
	return r < 0 ? r : unpacker_begin(rs->unpacker, err);
}

int restore_await(struct restore *rs, uint32_t stage, struct cr_error *err)
{
	struct abi_control *c = program_control(&rs->program);

	for (;;) {
		int r = restore_interrupted(rs, err);

		if (r == 0)
			r = look_at_pages(rs, err);
		if (r < 0)
			return r;
		r = c->expected[stage] ? control_wait(c, stage, LOOK_EVERY_MS) : 0;
		if (r == 0)
			return 0;
		if (r == -ECANCELED) {
			/* pages that end early may do so because of whoever brings them */
			r = look_at_pages(rs, err);
			return r < 0 ? r : explain(rs, err);
		}
		if (r == -ETIMEDOUT) {
			restore_show(rs);
			r = look_for_dead(rs, err);
			if (r < 0)
				return r;
		}
	}
}

/* From here on a coordinator that dies takes every thread with it, whatever the threads do with their death signals. */
static int seize_all(struct restore *rs, struct cr_error *err)
{
	int r = rs->ctx->opts->client_is_peer ? trace_right_raise(err) : 0;

	if (r < 0)
		return r;
	for (size_t i = 0; i < rs->threads.nr; i++) {
		struct rthread *t = &rs->threads.items[i];

		r = t->exits ? takeover_seize_leader(t->tid, &t->hand, err) : takeover_seize(t->tid, &t->hand, err);

		if (r < 0)
			return cr_within(err, r, "thread %d", t->tid);
	}
	return 0;
}

/* It has left its children to others when it is a zombie (exit_notify() in kernel/exit.c), and is not ours to wait for. */
static int await_zombie(pid_t pid, struct cr_error *err)
{
	struct timespec tick = { 0, 100000 };

	for (int left = GONE_WITHIN_MS * 10; left > 0; left--) {
		autofree_by(proc_dir_close) struct proc_dir dir = { .fd = -1 };
		struct proc_stat st;
		int r = proc_dir_open(AT_FDCWD, pid, &dir, err);

		if (r == 0)
			r = proc_stat_read(&dir, &st, err);
		if (r < 0 || st.state == 'Z')
			return r;
		nanosleep(&tick, NULL);
	}
	return cr_refuse(err, -ETIMEDOUT, "main thread %d does not end", pid);
}

/* Main threads that had exited do so now; from then on they are not among the threads at hand. */
static int end_leaders(struct restore *rs, struct cr_error *err)
{
	struct abi_control *c = program_control(&rs->program);
	int r = restore_await(rs, RESTORE_STAGE_FORGET, err);
	size_t left = 0;

	if (r < 0)
		return r;
	control_release(c, RESTORE_STAGE_FORGET + 1);
	for (size_t i = 0; i < rs->threads.nr; i++) {
		struct rthread *t = &rs->threads.items[i];

		if (!t->exits)
			continue;
		r = takeover_end(t->hand, thread_sigmask(t->task->cores[0], true), err);
		if (r == 0)
			r = await_zombie(t->tid, err);
		if (r < 0)
			return r;
	}
	r = restore_await(rs, RESTORE_STAGE_EXITED, err);
	if (r < 0)
		return r;
	control_release(c, RESTORE_STAGE_EXITED + 1);
	for (size_t i = 0; i < rs->threads.nr; i++) {
		if (rs->threads.items[i].exits)
			takeover_free(rs->threads.items[i].hand);
		else
			rs->threads.items[left++] = rs->threads.items[i];
	}
	rs->threads.nr = left;
	return 0;
}

int restore_run(struct restore *rs, struct cr_error *err)
{
	struct abi_control *c = program_control(&rs->program);
	uint64_t begin = monotonic_us();
	int r = fork_root(rs, err);

	if (r == 0)
		r = begin_pages(rs, err);
	for (uint32_t i = 0; r == 0 && i < rs->tree.nr_stages; i++) {
		r = restore_await(rs, i, err);
		if (r == 0)
			control_release(c, i + 1);
		if (i == 0)
			rs->fork_us = monotonic_us() - begin;
	}
	if (r == 0 && (rs->lazy || rs->lazy_go >= 0)) {
		r = rs->lazy ? restore_await(rs, RESTORE_STAGE_LAZY, err) : 0;
		if (r == 0)
			r = restore_lazy_begin(rs, err);
		if (r == 0)
			control_release(c, RESTORE_STAGE_LAZY + 1);
	}
	if (r == 0)
		r = files_seal(rs->files, err);
	if (r == 0)
		r = restore_await(rs, RESTORE_STAGE_SEIZE, err);
	/* all have their memory */
	if (r == 0)
		r = image_stream_end(rs->set, false, err);
	if (r == 0)
		r = seize_all(rs, err);
	if (r < 0)
		return r;
	control_release(c, RESTORE_STAGE_SEIZE + 1);
	r = rs->nr_exited_leaders ? end_leaders(rs, err) : 0;
	if (r == 0)
		r = restore_await(rs, rs->guarded ? RESTORE_STAGE_OPEN : ABI_NR_STAGES - 1, err);
	if (r == 0)
		task_notes_report(rs->ctx, &rs->program, &rs->notes);
	return r;
}

/* A leader ends after its threads, and those are waited for one by one while they are traced. Return: is it still there? */
static bool lingers(pid_t pid)
{
	int status = 0;
	pid_t got = waitpid(pid, &status, WNOHANG | __WALL);
	bool stopped = got == pid && WIFSTOPPED(status);

	if (stopped)
		ptrace(PTRACE_CONT, pid, NULL, NULL); /* it reports that it is about to exit */
	return got == 0 || stopped;
}

/* Kill what was made, and wait until it is gone: its pids are free again, and nothing runs behind the caller's back. */
void restore_kill(struct restore *rs)
{
	struct timespec tick = { 0, 1000000 };

	if (!rs->root_pid || rs->resumed)
		return;
	for (size_t i = rs->nr_tasks; i-- > 0;) {
		const struct abi_routine *r = program_routine(&rs->program, rs->nodes[i].index);

		if (__atomic_load_n(&r->state, __ATOMIC_SEQ_CST) != ABI_IDLE)
			kill((pid_t)rs->tasks[i].entry->pid, SIGKILL);
	}
	control_abort(program_control(&rs->program));
	kill(rs->root_pid, SIGKILL);
	for (int left = GONE_WITHIN_MS; left > 0; left--) {
		bool running = false;

		for (size_t i = 0; i < rs->threads.nr; i++)
			running |= rs->threads.items[i].hand && lingers(rs->threads.items[i].tid);
		for (size_t i = 0; i < rs->tree.nodes.nr; i++)
			running |= rs->tree.nodes.items[i].pid && lingers((pid_t)rs->tree.nodes.items[i].pid);
		if (!running)
			break;
		nanosleep(&tick, NULL);
	}
	for (size_t i = 0; i < rs->threads.nr; i++) {
		takeover_free(rs->threads.items[i].hand);
		rs->threads.items[i].hand = NULL;
	}
	rs->root_pid = 0;
}

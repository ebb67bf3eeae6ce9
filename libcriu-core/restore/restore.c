/* Restore: the table of stages and the verb. What each stage does is in the files beside this one. */
#include "base/clock.h"
#include "image/stats.h"
#include "image/stream.h"
#include "infect/takeover.h"
#include "kernel/stage-tables.h"
#include "mm/unpack.h"
#include "mm/used-up.h"
#include "restore/free-pid.h"
#include "restore/restore-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define FREE_PID_NS (3 * (uint64_t)1000000000) /* until a parent takes note of an end: on a machine with much to do */

static int notify(struct restore *rs, const char *script, pid_t pid, struct cr_error *err)
{
	const struct cr_observer *obs = rs->ctx->obs;
	int r = obs->notify ? obs->notify(obs->arg, script, pid) : 0;

	return r < 0 ? cr_fail(err, r, "notification %s was refused", script) : 0;
}

static int check_free(const struct restore *rs, struct cr_error *err)
{
	uint64_t deadline = monotonic_ns() + FREE_PID_NS;
	int r = 0;

	for (size_t i = 0; r == 0 && i < rs->tree.nodes.nr; i++)
		if (rs->tree.nodes.items[i].pid)
			r = free_pid_await((pid_t)rs->tree.nodes.items[i].pid, deadline, err);
	for (size_t i = 0; r == 0 && i < rs->nr_tasks; i++)
		for (size_t k = 1; r == 0 && k < rs->tasks[i].nr_threads; k++)
			r = free_pid_await((pid_t)rs->tasks[i].tids[k], deadline, err);
	return r;
}

static int stage_tree(void *op, struct cr_error *err)
{
	struct restore *rs = op;
	struct pstree_options opts = {
		.shell_job = rs->ctx->opts->rpc->shell_job,
		.own_pid = (uint32_t)getpid(),
		.own_sid = (uint32_t)getsid(0),
		.own_pgid = (uint32_t)getpgrp(),
	};
	struct pstree_input *in = calloc(rs->nr_tasks, sizeof(*in));
	int r;

	if (!in)
		return cr_fail(err, -ENOMEM, "plan the tree");
	for (size_t i = 0; i < rs->nr_tasks; i++)
		pstree_input_of(rs->tasks[i].entry, rs->tasks[i].zombie, &in[i]);
	r = pstree_plan_make(in, rs->nr_tasks, &opts, &rs->tree, err);
	free(in);
	return r < 0 ? r : check_free(rs, err);
}

static int fill_memfds(struct restore *rs, struct cr_error *err)
{
	for (size_t i = 0; i < files_nr_memfds_restored(rs->files); i++) {
		struct files_memfd m = files_memfd_restored(rs->files, i);
		int r = mm_fill(rs->ctx, rs->set, m.shmid, m.fd, m.size, err);

		if (r < 0)
			return cr_within(err, r, "memory file %u", m.shmid);
	}
	return 0;
}

static int make_shared_memory(void *arg, uint64_t size, struct cr_error *err)
{
	struct restore *rs = arg;

	return mm_shared_memory(rs->ctx, size, err);
}

static int open_message_queue(void *arg, const char *name, int flags, struct cr_error *err)
{
	struct restore *rs = arg;

	return ipc_ns_open_queue(rs->ipc, name, flags, err);
}

static int stage_open(void *op, struct cr_error *err)
{
	struct restore *rs = op;
	int r = notify(rs, "pre-restore", 0, err);

	if (r == 0)
		r = restorer_init(rs->ctx, &rs->restorer, err);
	files_set_shared_memory(rs->files, (struct files_shared_memory){ make_shared_memory, rs });
	if (rs->ipc)
		files_set_message_queues(rs->files, (struct files_message_queues){ open_message_queue, rs });
	if (r == 0)
		r = files_open(rs->files, rs->mnt ? mnt_ns_root(rs->mnt) : -1, err);
	if (r < 0)
		return r;
	rs->pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	return rs->pidfd < 0 ? cr_fail(err, -errno, "open a pidfd") : fill_memfds(rs, err);
}

/* The namespaces that the root of the tree will enter. */
static int stage_ipc(void *op, struct cr_error *err)
{
	struct restore *rs = op;
	struct ipc_memory m;
	int r = rs->ipc ? ipc_ns_make(rs->ipc, err) : 0;

	for (size_t i = 0; r == 0 && rs->ipc && ipc_ns_memory(rs->ipc, i, &m); i++)
		if (m.stored)
			r = cr_within(err, mm_fill(rs->ctx, rs->set, m.shmid, m.fd, m.size, err),
				      "System V segment %u", m.shmid);
	return r;
}

static int stage_mnt(void *op, struct cr_error *err)
{
	struct restore *rs = op;

	return rs->mnt ? mnt_ns_make(rs->mnt, rs->ipc ? ipc_ns_fd(rs->ipc) : -1, err) : 0;
}

static int stage_memory(void *op, struct cr_error *err)
{
	struct restore *rs = op;
	const struct mm_space **spaces = calloc(rs->nr_tasks, sizeof(*spaces));
	size_t nr = 0;
	int r;

	if (!spaces)
		return cr_fail(err, -ENOMEM, "list memory");
	for (size_t i = 0; i < rs->nr_tasks; i++)
		if (rs->tasks[i].space)
			spaces[nr++] = rs->tasks[i].space;
	r = mm_segments_open(rs->ctx, rs->set, spaces, nr, rs->ipc != NULL, rs->own.ipc, &rs->segments, err);
	free(spaces);
	return r;
}

/* Whether images can be freed when all is over shows now. */
static int open_used_up(struct restore *rs, struct cr_error *err)
{
	const rpc_criu_opts *rpc = rs->ctx->opts->rpc;

	if (!rpc->has_auto_dedup || !rpc->auto_dedup)
		return 0;
	if (rs->lazy || (rpc->has_lazy_pages && rpc->lazy_pages))
		return cr_refuse(err, -EINVAL, "--auto-dedup frees pages that a lazy restore is still to read");
	return mm_used_up_open(rs->set, &rs->used_up, err);
}

static int stage_read(void *op, struct cr_error *err)
{
	struct restore *rs = op;
	int r = rs->ctx->opts->stream ? notify(rs, "pre-stream", 0, err) : 0;

	if (r == 0)
		r = restore_lazy_check(rs, err);
	if (r == 0)
		r = restore_read(rs, err);
	return r < 0 ? r : open_used_up(rs, err);
}

static int stage_compile(void *op, struct cr_error *err)
{
	return restore_compile(op, err);
}

static int stage_run(void *op, struct cr_error *err)
{
	struct restore *rs = op;
	int r = restore_run(rs, err);

	return r == 0 && rs->ipc ? ipc_ns_settle(rs->ipc, err) : r;
}

static void undo_run(void *op)
{
	restore_kill(op);
}

static int write_pidfile(struct restore *rs, struct cr_error *err)
{
	const char *path = rs->ctx->opts->pidfile;
	autofd int fd = openat(rs->ctx->opts->work_dirfd, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0)
		return cr_fail(err, -errno, "create pidfile %s", path);
	rs->pidfile_written = true;
	return dprintf(fd, "%d", rs->root_pid) < 0 ? cr_fail(err, -errno, "write pidfile %s", path) : 0;
}

static int stage_announce(void *op, struct cr_error *err)
{
	struct restore *rs = op;
	/* whoever sets namespaces up from outside has to be told by which process they are reached */
	bool own = rs->ipc || rs->mnt;
	int r = own ? notify(rs, "setup-namespaces", rs->root_pid, err) : 0;

	if (r == 0 && own)
		r = notify(rs, "post-setup-namespaces", 0, err);
	if (r == 0)
		r = notify(rs, "post-restore", rs->root_pid, err);
	return r == 0 && rs->ctx->opts->pidfile ? write_pidfile(rs, err) : r;
}

static int stage_resume(void *op, struct cr_error *err)
{
	struct restore *rs = op;
	struct cr_error ignored;

	if (notify(rs, "pre-resume", 0, &ignored) < 0)
		log_warn(&rs->ctx->log, "%s, continuing", ignored.text);

	int r = restore_interrupted(rs, err);

	return r < 0 ? r : restore_resume(rs, err);
}

static void undo_announce(void *op)
{
	struct restore *rs = op;

	if (rs->pidfile_written)
		unlinkat(rs->ctx->opts->work_dirfd, rs->ctx->opts->pidfile, 0);
}

const struct stage restore_stages[] = {
	{ "read images", stage_read, NULL, false },
	{ "plan the tree", stage_tree, NULL, false },
	{ "IPC namespace", stage_ipc, NULL, false },
	{ "mount namespace", stage_mnt, NULL, false },
	{ "open files", stage_open, NULL, false },
	{ "shared memory", stage_memory, NULL, false },
	{ "plan", stage_compile, NULL, false },
	{ "create tasks", stage_run, undo_run, false },
	{ "announce", stage_announce, undo_announce, false },
	{ "resume", stage_resume, NULL, true },
};
const size_t nr_restore_stages = ARRAY_LEN(restore_stages);

static void restore_done(struct restore *rs)
{
	for (size_t i = 0; i < rs->threads.nr; i++)
		takeover_free(rs->threads.items[i].hand);
	image_stream_end(rs->set, true, NULL);
	unpacker_end(rs->unpacker);
	restore_drop_programs(rs);
	mm_segments_free(rs->segments);
	mm_used_up_free(rs->used_up);
	restore_drop_images(rs);
	restore_lazy_go(rs);
	pstree_plan_done(&rs->tree);
	restorer_done(&rs->restorer);
	if (rs->pidfd >= 0)
		close(rs->pidfd);
}

static void free_used_up(struct restore *rs)
{
	struct cr_error err = { 0 };
	uint64_t bytes = 0;

	if (!rs->used_up)
		return;
	if (mm_used_up_punch(rs->used_up, rs->ctx->opts->images_dirfd, &bytes, &err) < 0)
		log_warn(&rs->ctx->log, "free restored images: %s, continuing without", err.text);
	else
		log_info(&rs->ctx->log, "freed %llu bytes of the images, which are no set any more", (unsigned long long)bytes);
}

static void write_stats(struct restore *rs)
{
	struct mm_planned pages = { 0 };
	uint64_t equal;

	for (size_t i = 0; i < rs->nr_tasks; i++) {
		struct mm_planned one = rs->tasks[i].space ? mm_space_planned(rs->tasks[i].space) : (struct mm_planned){ 0 };

		pages.read += one.read;
		pages.compared += one.compared;
	}
	equal = program_equal_pages(&rs->program);
	img_restore_stats_entry restore = {
		.pages_compared = pages.compared,
		.pages_skipped_cow = equal,
		.forking_time = (uint32_t)rs->fork_us,
		.restore_time = (uint32_t)(monotonic_us() - rs->begin_us),
		.has_pages_restored = true,
		.pages_restored = pages.read + pages.compared - equal,
	};
	img_stats_entry stats = { .restore = &restore };
	struct cr_error err = { 0 };

	if (stats_write(rs->ctx->opts->work_dirfd, IMG_STATS_RESTORE, &stats, &err) < 0)
		log_warn(&rs->ctx->log, "%s, continuing without statistics", err.text);
}

/* Tasks are born with all signals blocked, and orphans of a failed tree come to us. */
static void enter(struct restore *rs)
{
	sigset_t all;
	int was = 0;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &rs->signals);
	prctl(PR_GET_CHILD_SUBREAPER, &was);
	rs->was_subreaper = was;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
}

static void leave(struct restore *rs)
{
	if (!rs->was_subreaper)
		prctl(PR_SET_CHILD_SUBREAPER, 0);
	pthread_sigmask(SIG_SETMASK, &rs->signals, NULL);
}

static int wait_root(struct restore *rs, struct cr_error *err)
{
	while (waitpid(rs->root_pid, &rs->result->exit_status, 0) < 0)
		if (errno != EINTR)
			return cr_fail(err, -errno, "wait for pid %d", rs->root_pid);
	return 0;
}

int cr_restore(struct cr_context *ctx, struct cr_restore_result *ret, struct cr_error *err)
{
	struct restore rs = { .ctx = ctx, .result = ret, .pidfd = -1, .lazy_go = -1, .begin_us = monotonic_us() };
	struct cr_error ignored = { 0 };
	int r;

	*ret = (struct cr_restore_result){ .pid = -1 };
	enter(&rs);
	r = stages_run(ctx, restore_stages, nr_restore_stages, &rs, ctx->opts->inject_stage, NULL, err);
	leave(&rs);
	if (r == 0) {
		ret->pid = rs.root_pid;
		write_stats(&rs);
		free_used_up(&rs);
		if (notify(&rs, "post-resume", 0, &ignored) < 0)
			log_warn(&ctx->log, "%s, continuing", ignored.text);
		log_info(&ctx->log, "Restore finished successfully. Tasks resumed.");
	}
	restore_done(&rs);
	if (r == 0 && !ctx->opts->detached && !ctx->opts->foreground_sibling)
		r = wait_root(&rs, err);
	return r;
}

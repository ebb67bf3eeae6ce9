/* Dump: the table of stages and the verbs dump and check --tree. What each stage does is in the files beside this one. */
#include "base/clock.h"
#include "dump/dump-internal.h"
#include "image/stats.h"
#include "image/stream.h"
#include "infect/freeze.h"
#include "kernel/last-will.h"
#include "kernel/stage-tables.h"
#include "mm/page-client.h"
#include "mm/smaps-before.h"
#include "net/connections.h"
#include "net/listeners.h"
#include "tasks/tasks.h"
#include "tasks/thread-share.h"

#include <errno.h>

static bool lives_on(const rpc_criu_opts *rpc)
{
	return rpc->leave_stopped || rpc->leave_running;
}

static int notify(struct dump *d, const char *script, struct cr_error *err)
{
	const struct cr_observer *obs = d->ctx->obs;
	int r = obs->notify ? obs->notify(obs->arg, script, 0) : 0;

	return r < 0 ? cr_fail(err, r, "notification %s was refused", script) : 0;
}

int dump_freeze(void *op, struct cr_error *err)
{
	struct dump *d = op;
	uint64_t begin;
	int r = d->look_only ? 0 : dump_open_parent(d, err);

	if (r == 0 && !d->look_only && !d->again && d->ctx->opts->stream) {
		r = notify(d, "pre-stream", err);
		if (r == 0)
			r = image_stream_there(d->ctx->opts->images_dirfd, true, err);
	}
	if (r == 0 && !d->look_only && !d->pre && !d->again)
		r = notify(d, "pre-dump", err);
	/* the last of a series is one whose moment counts */
	if (r == 0 && d->parent_pages && !d->pre)
		r = mm_early_look(d->ctx, d->ctx->opts->pid, &d->early, err);
	if (r < 0)
		return r;
	begin = monotonic_us();
	r = freeze_tree(d->ctx, d->ctx->opts->pid, &d->tree, err);
	d->frozen_since_us = begin;
	d->freezing_us = monotonic_us() - begin;
	return r;
}

int dump_thaw(struct dump *d, enum thaw how, struct cr_error *err)
{
	int r;

	if (!d->tree || d->thawed)
		return 0;
	d->thawed = true;
	r = thaw_tree(d->tree, how, err);
	/* what has been told to end is frozen no longer, however long the kernel takes to give its memory back */
	d->frozen_us = (d->tree->let_go_us ? d->tree->let_go_us : monotonic_us()) - d->frozen_since_us;
	return r;
}

void dump_undo_freeze(void *op)
{
	struct dump *d = op;
	struct cr_error err = { 0 };

	/* two of it must never run, and which one is whole only an operator can tell */
	if (d->elsewhere && !lives_on(d->ctx->opts->rpc))
		log_warn(&d->ctx->log, "the tree may have run at its destination, so it is left stopped here: SIGCONT lets it go on");
	if (dump_thaw(d, d->elsewhere && !lives_on(d->ctx->opts->rpc) ? THAW_STOPPED : THAW_RUNNING, &err) < 0)
		log_warn(&d->ctx->log, "let the tree go on: %s", err.text);
}

/* Whose tree is it? The service must not become a way to read other people's processes. */
int dump_check_rights(void *op, struct cr_error *err)
{
	struct dump *d = op;
	const struct cr_observer *obs = d->ctx->obs;

	if (obs->may_dump)
		for (size_t i = 0; i < d->tree->tasks.nr; i++) {
			const struct task *t = d->tree->tasks.items[i];
			int r = t->threads.nr ? 0 : obs->may_dump(obs->arg, t->host_pid, t->host_pid, err);

			for (size_t k = 0; r == 0 && k < t->threads.nr; k++)
				r = obs->may_dump(obs->arg, t->host_pid, t->threads.items[k].host_tid, err);
			if (r < 0)
				return r;
		}
	return d->look_only || d->pre || d->again ? 0 : notify(d, "query-ext-files", err);
}

/* Obstacles found so far do not end it here: some show only from inside, and one run is to name them all. */
int dump_stage_collect(void *op, struct cr_error *err)
{
	struct dump *d = op;
	int r = dump_collect(d, err);

	/* on its way out of the kernel a thread touches memory of its own (rseq), whatever it is to run */
	return r == 0 && obstacles_wait(&d->ctx->obstacles) ? dump_obstacles(d, err) : r;
}

int dump_stage_ask(void *op, struct cr_error *err)
{
	struct dump *d = op;
	int r = thread_share_begin(d->ctx, d->tree, &d->share, err);

	if (r == 0)
		r = dump_ask(d, err);
	if (d->share && thread_share_end(d->share, r < 0 ? NULL : err) < 0 && r == 0)
		r = -EIO;
	/* a task that cannot be asked may be one of those that cannot be dumped: the list says more */
	return d->ctx->obstacles.nr ? dump_obstacles(d, err) : r;
}

/* A tree that goes on keeps what comes in meanwhile. What ends must not have anything in its queues any more. */
int dump_stage_hold(void *op, struct cr_error *err)
{
	struct dump *d = op;
	int r = lives_on(d->ctx->opts->rpc) ? 0 : listeners_hold(d->listeners, d->files, d->run_id, err);

	if (r == 0)
		r = listeners_look(d->listeners, d->files, d->last, err);
	if (r == 0)
		r = dump_obstacles(d, err);
	return r == 0 ? connections_hold(d->files, d->run_id, err) : r;
}

void dump_undo_hold(void *op)
{
	struct dump *d = op;

	if (d->files)
		connections_let_go(d->files);
}

int dump_stage_write(void *op, struct cr_error *err)
{
	return dump_write(op, err);
}

int dump_memory(void *op, struct cr_error *err)
{
	struct dump *d = op;
	uint64_t begin = monotonic_us();
	int r;

	if (d->server)
		page_client_round(d->server, d->run_id);
	r = mm_dump_pages(d->mm, d->tree, d->set, &d->pages, err);

	d->memdump_us += monotonic_us() - begin;
	return r;
}

int dump_stage_commit(void *op, struct cr_error *err)
{
	return dump_inventory(op, err);
}

void dump_undo_commit(void *op)
{
	struct dump *d = op;

	if (d->set && !d->kept)
		image_set_withdraw(d->set);
}

/* A client that refuses the end of the dump keeps the images: they are whole, and the tree goes on. */
int dump_stage_announce(void *op, struct cr_error *err)
{
	struct dump *d = op;
	int r = notify(d, "post-dump", err);

	if (r < 0) {
		d->kept = true;
		file_table_commit(d->files);
	}
	return r;
}

/*
 * We were killed. It holds our descriptors of the sockets: as long as it does, that the tasks end is told to nobody.
 */
static void end_in_our_place(void *arg)
{
	struct dump *d = arg;

	if (connections_lock_may_go(d->files))
		return;
	tree_kill(d->tree);
	connections_vanish(d->files, NULL);
}

/*
 * From the moment on in which sockets are of no use to the tasks, these end with us if need be. A tree ends with its connections
 * locked and silent, or goes on with none of that, wherever we are killed in between.
 */
static int end_connections(struct dump *d, struct cr_error *err)
{
	struct last_will *will;
	int r;

	if (!connections_kept(d->files))
		return 0;
	r = connections_lock_for_good(d->files, err);
	if (r < 0)
		return r;
	will = last_will_make(end_in_our_place, d);
	connections_lock_stays(d->files, true);
	r = tree_doom(d->tree, true, err);
	if (r == 0)
		r = connections_vanish(d->files, err);
	if (r < 0) {
		tree_doom(d->tree, false, NULL);
		connections_lock_stays(d->files, false);
	}
	last_will_revoke(will);
	return r;
}

/* The images are whole: what they need is made to stay. */
static int end_files(struct dump *d, struct cr_error *err)
{
	int r = files_outlive(d->files, err);

	if (r < 0)
		return r;
	r = end_connections(d, err);
	if (r < 0)
		files_outlive_undo(d->files);
	return r;
}

static int stage_end(void *op, struct cr_error *err)
{
	struct dump *d = op;
	const rpc_criu_opts *rpc = d->ctx->opts->rpc;
	struct cr_error why = { 0 };

	if (lives_on(rpc)) {
		listeners_let_go(d->listeners);
		connections_let_go(d->files);
	} else if (end_files(d, err) < 0) {
		return err->code;
	}
	d->kept = true;
	file_table_commit(d->files);
	/* for the next round; after all that could have ended this one */
	if (lives_on(rpc) && rpc->has_track_mem && rpc->track_mem && mm_track(d->mm, d->tree, &why) < 0)
		log_warn(&d->ctx->log, "%s, continuing without", why.text);
	mm_early_end(d->early);
	return dump_thaw(d, rpc->leave_stopped ? THAW_STOPPED : rpc->leave_running ? THAW_RUNNING : THAW_KILLED, err);
}

const struct stage dump_stages[] = {
	{ "freeze", dump_freeze, dump_undo_freeze, false },
	{ "check rights", dump_check_rights, NULL, false },
	{ "collect", dump_stage_collect, NULL, false },
	{ "ask", dump_stage_ask, NULL, false },
	{ "hold connections", dump_stage_hold, dump_undo_hold, false },
	{ "write images", dump_stage_write, NULL, false },
	{ "write memory", dump_memory, NULL, false },
	{ "commit", dump_stage_commit, dump_undo_commit, false },
	{ "announce", dump_stage_announce, NULL, false },
	{ "give memory away", dump_stage_give, NULL, false },
	{ "end", stage_end, NULL, true },
};
const size_t nr_dump_stages = ARRAY_LEN(dump_stages);

/* check --tree goes only so far */
#define NR_LOOK_STAGES 4

void dump_done(struct dump *d)
{
	image_set_free(d->set);
	image_set_free(d->parent);
	thread_share_drop(d->share);
	for (size_t i = 0; d->tree && i < d->tree->tasks.nr; i++)
		if (d->tree->tasks.items[i]->mm)
			d->tree->tasks.items[i]->mm->ext = NULL; /* borrowed from tasks/ */
	mm_dump_free(d->mm);
	smaps_before_free(d->before);
	cgroup_limits_done(&d->limits);
	ipc_ns_free(d->ipc);
	mm_early_free(d->early);
	mm_parent_free(d->parent_pages);
	file_table_free(d->files);
	mnt_ns_free(d->mnt); /* the root that names of files are removed from */
	for (size_t i = 0; d->tree && i < d->tree->tasks.nr; i++)
		tasks_drop(d->tree->tasks.items[i]);
	tree_free(d->tree);
}

static void write_stats(struct dump *d)
{
	img_dump_stats_entry dump = {
		.freezing_time = (uint32_t)d->freezing_us, .frozen_time = (uint32_t)d->frozen_us,
		.memdump_time = (uint32_t)d->memdump_us, .memwrite_time = (uint32_t)d->pages.write_us,
		.pages_scanned = d->pages.pages_scanned, .pages_skipped_parent = d->pages.pages_skipped,
		.pages_written = d->pages.pages_written,
		.pages_lazy = d->pages.pages_left,
		.has_shpages_scanned = true, .shpages_scanned = d->pages.shpages_scanned,
		.has_shpages_written = true, .shpages_written = d->pages.shpages_written,
	};
	img_stats_entry stats = { .dump = &dump };
	struct cr_error err = { 0 };

	if (stats_write(d->ctx->opts->work_dirfd, IMG_STATS_DUMP, &stats, &err) < 0)
		log_warn(&d->ctx->log, "%s, continuing without statistics", err.text);
}

void dump_report(struct dump *d, struct cr_dump_result *ret)
{
	*ret = (struct cr_dump_result){ .frozen_us = d->frozen_us, .pages_written = d->pages.pages_written,
					.bytes_written = d->pages.bytes_written };
	write_stats(d);
}

/* A dump that tracks leaves that to a keeper; one that only looked gives back what it took from it. */
static void pass_tracking_on(struct dump *d, int result)
{
	struct cr_error err = { 0 };
	bool tracks = d->ctx->opts->rpc->has_track_mem && d->ctx->opts->rpc->track_mem;

	if (!d->mm || (result == 0 && !lives_on(d->ctx->opts->rpc)))
		return;
	if (result == 0 && tracks && mm_track_keep(d->mm, d->run_id, &err) < 0)
		log_warn(&d->ctx->log, "%s, continuing without: the next dump will store all pages", err.text);
	/* one of the series that does not track is its last */
	if (result < 0 || !d->parent)
		mm_track_return(d->mm);
}

bool dump_may_pass(const struct cr_context *ctx, int r)
{
	return r == -EBUSY && obstacles_pass(&ctx->obstacles);
}

int dump_once(struct cr_context *ctx, const struct dump_attempt *at, struct cr_dump_result *ret, struct cr_error *err)
{
	struct dump d = { .ctx = ctx, .result = ret, .begin_us = monotonic_us(), .again = at->again, .last = at->last,
			  .listeners = at->listeners, .server = at->server, .source = at->source, .sure = at->sure,
			  .unsparing = at->unsparing, .first_round = at->first_round,
			  .snapshot = ctx->opts->rpc->has_snapshot && ctx->opts->rpc->snapshot };
	int r;

	dump_run_id(&d);
	r = stages_run(ctx, d.snapshot ? snapshot_stages : dump_stages, d.snapshot ? nr_snapshot_stages : nr_dump_stages, &d,
		       ctx->opts->inject_stage, NULL, err);
	if (r == 0) {
		dump_dedup(&d);
		dump_report(&d, ret);
		log_info(&ctx->log, "Dumping finished successfully");
	} else if (dump_may_pass(ctx, r) && !at->last && listeners_hold(d.listeners, d.files, d.run_id, err) < 0) {
		r = -ENOMEM;
	}
	pass_tracking_on(&d, r);
	dump_done(&d);
	return r;
}

int cr_check_tree(struct cr_context *ctx, struct cr_error *err)
{
	struct dump d = { .ctx = ctx, .look_only = true };
	int r = stages_run(ctx, dump_stages, NR_LOOK_STAGES, &d, 0, NULL, err);

	dump_undo_freeze(&d);
	if (d.mm)
		mm_track_return(d.mm);
	dump_done(&d);
	return r;
}

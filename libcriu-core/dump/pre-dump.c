/*
 * Pre-dump: the memory of a tree that goes on running. The tasks are stopped to find their pages and to watch them from that
 * moment on, no longer. Contents are read while they run: what is written to before it was read is written to after it
 * was watched, so the next round stores it again.
 */
#include "base/clock.h"
#include "dump/dump-internal.h"
#include "infect/freeze.h"
#include "kernel/stage.h"
#include "mm/page-client.h"

#include <errno.h>
#include <time.h>

static int stage_collect(void *op, struct cr_error *err)
{
	struct dump *d = op;
	struct mm_dump_config config = {
		.memory_only = true, .parent = d->parent, .parent_pages = d->parent_pages,
		.parent_round = d->parent_round, .run_id = d->run_id, .sums = dump_makes_sums(d), .server = d->server,
	};
	int r = mm_dump_new(d->ctx, &config, &d->mm, err);

	for (size_t i = 0; r == 0 && i < d->tree->tasks.nr; i++) {
		struct task *t = d->tree->tasks.items[i];

		if (t->state == TASK_DEAD)
			continue;
		r = mm_begin(d->mm, t, err);
		if (r == 0)
			r = cr_within(err, mm_collect(d->mm, t, err), "pid %d (%s)", t->host_pid, t->comm);
	}
	return r == 0 ? dump_obstacles(d, err) : r;
}

static int stage_track(void *op, struct cr_error *err)
{
	struct dump *d = op;
	int r = mm_track(d->mm, d->tree, err);

	return r == 0 ? mm_prepare_running(d->mm, err) : r;
}

static int stage_thaw(void *op, struct cr_error *err)
{
	return dump_thaw(op, THAW_RUNNING, err);
}

static int stage_memory(void *op, struct cr_error *err)
{
	struct dump *d = op;
	int r = dump_begin_set(d, err);

	if (r == 0 && d->parent)
		r = image_set_link(d->set, d->ctx->opts->rpc->parent_img, err);
	return r == 0 ? dump_memory(d, err) : r;
}

static int stage_commit(void *op, struct cr_error *err)
{
	struct dump *d = op;
	const rpc_criu_opts *rpc = d->ctx->opts->rpc;
	img_inventory_entry inv = {
		.has_dump_uptime = true, .dump_uptime = dump_uptime(),
		.has_pre_dump_mode = true,
		.pre_dump_mode = rpc->has_pre_dump_mode ? (uint32_t)rpc->pre_dump_mode : rpc_criu_pre_dump_mode_SPLICE,
		.dump_criu_run_id = d->run_id,
	};

	return dump_commit(d, &inv, err);
}

static const struct stage pre_dump_stages[] = {
	{ "freeze", dump_freeze, dump_undo_freeze, false },
	{ "check rights", dump_check_rights, NULL, false },
	{ "collect memory", stage_collect, NULL, false },
	{ "track memory", stage_track, NULL, false },
	{ "thaw", stage_thaw, NULL, false },
	{ "write memory", stage_memory, NULL, false },
	{ "commit", stage_commit, NULL, false },
};

int cr_pre_dump(struct cr_context *ctx, struct cr_dump_result *ret, struct cr_error *err)
{
	struct dump d = { .ctx = ctx, .result = ret, .begin_us = monotonic_us(), .pre = true };
	autofree_by(page_client_free) struct page_client *server = NULL;
	struct cr_error keep = { 0 };
	int r = dump_open_server(ctx, &server, err);

	if (r < 0)
		return r;
	d.server = server;
	dump_run_id(&d);
	r = stages_run(ctx, pre_dump_stages, ARRAY_LEN(pre_dump_stages), &d, ctx->opts->inject_stage, NULL, err);
	if (r == 0) {
		d.kept = true;
		if (mm_track_keep(d.mm, d.run_id, &keep) < 0)
			log_warn(&ctx->log, "%s, continuing without: the next dump will store all pages", keep.text);
		dump_dedup(&d);
		dump_report(&d, ret);
		log_info(&ctx->log, "Pre-dumping finished successfully");
	} else if (d.mm) {
		mm_track_return(d.mm);
	}
	dump_done(&d);
	return r;
}

int cr_dedup(struct cr_context *ctx, struct cr_error *err)
{
	struct image_set *set = NULL;
	int r = image_set_open_any(ctx->opts->work_dirfd, &set, err);

	if (r == 0)
		r = mm_dedup(ctx, set, err);
	image_set_free(set);
	return r;
}

/*
 * Snapshot: a dump whose tasks are stopped only to collect their state and to copy their memory on write. Everything that
 * is not memory is written while they are stopped, as it would be in any dump; pages are written while they run.
 */
#include "dump/dump-internal.h"
#include "base/clock.h"
#include "mm/smaps-before.h"
#include "net/connections.h"

#include <errno.h>

static int may_look(void *arg, pid_t pid)
{
	const struct cr_observer *obs = arg;
	struct cr_error err = { 0 };

	return obs && obs->may_dump ? obs->may_dump(obs->arg, pid, pid, &err) : 0;
}

static int stage_look(void *op, struct cr_error *err)
{
	struct dump *d = op;

	(void)err;
	if (!d->sure)
		d->before = smaps_before_read(d->ctx->opts->pid, may_look, (void *)(uintptr_t)d->ctx->obs);
	return 0;
}

/* What copies of memory cannot have, from here on nothing more is read of the tasks */
static int stage_shared(void *op, struct cr_error *err)
{
	struct dump *d = op;
	uint64_t begin = monotonic_us();
	int r = mm_dump_shared(d->mm, d->set, &d->pages, err);

	d->memdump_us += monotonic_us() - begin;
	return r;
}

static int stage_thaw(void *op, struct cr_error *err)
{
	struct dump *d = op;
	const rpc_criu_opts *rpc = d->ctx->opts->rpc;
	struct cr_error why = { 0 };

	connections_let_go(d->files);
	if (rpc->has_track_mem && rpc->track_mem && mm_track(d->mm, d->tree, &why) < 0)
		log_warn(&d->ctx->log, "%s, continuing without", why.text);
	return dump_thaw(d, THAW_RUNNING, err);
}

static int write_pages(struct dump *d, struct cr_error *err)
{
	int r = mm_select_copied(d->mm, err);

	for (size_t i = 0; r == 0 && i < d->tree->tasks.nr; i++)
		if (d->tree->tasks.items[i]->state != TASK_DEAD)
			r = mm_write(d->mm, d->tree->tasks.items[i], d->set, err);
	return r == 0 ? dump_memory(d, err) : r;
}

/* A copy that was killed explains better what was wrong than the error that reading it gave. */
static int stage_memory(void *op, struct cr_error *err)
{
	struct dump *d = op;
	int r = write_pages(d, err), lost = mm_drop_copies(d->mm, err);

	return lost < 0 ? lost : r;
}

static int stage_end(void *op, struct cr_error *err)
{
	struct dump *d = op;

	(void)err;
	d->kept = true;
	file_table_commit(d->files);
	return 0;
}

const struct stage snapshot_stages[] = {
	{ "look", stage_look, NULL, false },
	{ "freeze", dump_freeze, dump_undo_freeze, false },
	{ "check rights", dump_check_rights, NULL, false },
	{ "collect", dump_stage_collect, NULL, false },
	{ "ask and copy", dump_stage_ask, NULL, false },
	{ "hold connections", dump_stage_hold, dump_undo_hold, false },
	{ "write images", dump_stage_write, NULL, false },
	{ "write shared memory", stage_shared, NULL, false },
	{ "thaw", stage_thaw, NULL, false },
	{ "write memory", stage_memory, NULL, false },
	{ "commit", dump_stage_commit, dump_undo_commit, false },
	{ "announce", dump_stage_announce, NULL, false },
	{ "end", stage_end, NULL, true },
};
const size_t nr_snapshot_stages = ARRAY_LEN(snapshot_stages);

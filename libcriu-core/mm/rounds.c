/* Incremental series: what a dump knows of the round before it, and what it leaves to the next. */
#include "mm/keeper-ask.h"
#include "mm/page-chain.h"
#include "mm/page-scan.h"
#include "mm/page-select.h"
#include "mm/track.h"

#include "infect/parasite.h"
#include "infect/task.h"
#include "kernel/context.h"
#include "procfs/proc-dir.h"
#include "procfs/stat.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

static int have_tracker(struct mm_dump *d, const struct task *task, struct cr_error *err)
{
	const struct task *root = task;

	if (d->tracker)
		return 0;
	while (root->parent)
		root = root->parent;
	return tracker_begin(d->ctx, root, &d->tracker, err);
}

/*
 * The parent must be the very round that the tracking refers to: pages that are unchanged since may have changed between
 * an older set and that one.
 */
int mm_rounds_begin(struct mm_dump *d, const struct task *task, struct cr_error *err)
{
	const struct tracker *t;
	int r;

	if (!d->config.parent || d->tracker)
		return 0;
	r = have_tracker(d, task, err);
	if (r < 0)
		return r;
	t = d->tracker;
	d->knows_parent = t->round[0] && strcmp(t->round, d->config.parent_round) == 0;
	if (!d->knows_parent)
		log_warn(&d->ctx->log,
			 "%s, continuing with all pages",
			 t->engine == TRACK_NONE ? "this kernel cannot tell which pages were written to"
			 : t->round[0]           ? "the parent is not the dump since which written pages are known"
						 : "nothing is known of pages written to since the parent was made");
	return 0;
}

int mm_rounds_distrust(struct mm_dump *d, struct mm_task *mt, struct cr_error *err)
{
	const struct track_ranges *unread = d->knows_parent ? tracker_unread(d->tracker, mt->task) : NULL;

	for (size_t i = 0; unread && i < unread->nr; i++) {
		struct mm_range *to = mm_ranges_add(&mt->stays);

		if (!to)
			return cr_fail(err, -ENOMEM, "note what the parent lacks");
		*to = (struct mm_range){ unread->items[i].start, unread->items[i].end };
	}
	return 0;
}

int mm_rounds_look(struct mm_dump *d, struct mm_task *mt, struct proc_vma *v, struct cr_error *err)
{
	const uint64_t uffd = PROC_VM_UM | PROC_VM_UW | PROC_VM_UI;
	struct mm_range *range;

	if (!(v->vm_flags & uffd) && !(d->tracker && d->tracker->engine == TRACK_SOFT_DIRTY))
		return 0;
	/* it may be ours, also of a dump that has no use for it */
	if (have_tracker(d, mt->task, err) < 0)
		return -ENOMEM;
	if (!tracker_owns(d->tracker, mt->task, v))
		return 0;
	v->vm_flags &= ~uffd;
	range = mm_ranges_add(&mt->tracked);
	if (!range)
		return cr_fail(err, -ENOMEM, "note what is watched");
	*range = (struct mm_range){ v->start, v->end };
	return 0;
}

bool mm_tracks_by_pages(struct cr_context *ctx)
{
	return track_engine(ctx) == TRACK_UFFD;
}

int mm_can_track(struct cr_context *ctx, struct cr_error *err)
{
	if (track_engine(ctx) != TRACK_NONE)
		return 0;
	cr_refuse(err, -EOPNOTSUPP, "this kernel cannot tell which pages are written to");
	cr_advise(err, "it takes userfaultfd and PAGEMAP_SCAN (Linux 6.7), or CONFIG_MEM_SOFT_DIRTY");
	return -EOPNOTSUPP;
}

static int renew(struct mm_dump *d, struct mm_task *mt, struct infect_aid *aid, struct cr_error *err)
{
	struct page_scan none = { 0 };
	int r = tracker_watch(d->tracker, mt, aid, err);

	if (r == 0 && d->config.memory_only)
		r = page_select(d, mt, &none, err);
	else if (r == 0 && mt->watched.nr)
		r = page_protect(d, mt, &mt->stale, err);
	if (r == 0 && mt->stale.nr) {
		r = tracker_clear_marks(d->tracker, mt, err);
		if (r == 0)
			r = page_protect(d, mt, NULL, err);
	}
	return r == 0 ? tracker_begin_round(d->tracker, mt, err) : r;
}

/* A pre-dump finds pages and begins a new round in one walk of the page tables; without a round it looks at all of them. */
static int track_task(struct mm_dump *d, struct mm_task *mt, struct infect_aid *aid, struct cr_error *err)
{
	struct page_scan none = { 0 };
	struct cr_error why = { 0 };

	if (renew(d, mt, aid, &why) == 0)
		return 0;
	log_warn(&d->ctx->log, "pid %d: %s, continuing without tracking its memory", mt->task->host_pid, why.text);
	tracker_drop(d->tracker, mt);
	if (!d->config.memory_only)
		return 0;
	page_runs_done(&mt->pages);
	mt->nr_scanned = 0;
	return page_select(d, mt, &none, err);
}

/*
 * Bits of pages are there once: what clears them for this series takes them from another. Who is in this one already is in no
 * other, and need not be asked about while the tree stands still.
 */
static void end_other_series(struct mm_dump *d, const struct task *task)
{
	bool may_be = d->tracker->engine == TRACK_SOFT_DIRTY && !tracker_unread(d->tracker, task);
	int keeper = may_be ? keeper_ask(task->host_pid) : -1;

	if (keeper < 0)
		return;
	if (keeper_let_go(keeper))
		log_warn(&d->ctx->log, "pid %d: was in a series of another tree, continuing without it there", task->host_pid);
	close(keeper);
}

int mm_track(struct mm_dump *d, const struct tree *tree, struct cr_error *err)
{
	struct infect_aid aid = { .leftovers = d->ctx->opts->leftovers };

	if (mm_can_track(d->ctx, err) < 0)
		return -EOPNOTSUPP;
	for (size_t i = 0; i < tree->tasks.nr; i++) {
		struct task *task = tree->tasks.items[i];
		int r;

		if (!task->mm_priv)
			continue;
		r = have_tracker(d, task, err);
		if (r == 0)
			end_other_series(d, task);
		if (r == 0)
			r = cr_within(err, track_task(d, task->mm_priv, &aid, err), "pid %d", task->host_pid);
		if (r < 0)
			return r;
	}
	d->tracks = true;
	return 0;
}

/* What could not be read, but may still be there unchanged, must not count as stored. */
static int note_unread(struct mm_dump *d)
{
	int r = 0;

	for (size_t i = 0; i < d->tasks.nr && r == 0; i++)
		if (d->tasks.items[i]->unread.nr)
			r = tracker_note_unread(d->tracker, d->tasks.items[i]->task->host_pid,
						&d->tasks.items[i]->unread);
	return r;
}

int mm_track_keep(struct mm_dump *d, const char *round, struct cr_error *err)
{
	if (!d->tracker || !d->tracks)
		return 0;
	if (note_unread(d) < 0)
		return cr_fail(err, -ENOMEM, "keep the tracking of memory");
	return tracker_keep(d->tracker, round, err);
}

void mm_track_return(struct mm_dump *d)
{
	struct cr_error err = { 0 };

	if (!d->tracker || !d->tracker->taken || d->tracker->spoiled)
		return;
	if (tracker_keep(d->tracker, d->tracker->round, &err) < 0)
		log_warn(&d->ctx->log, "%s, continuing without", err.text);
}

void mm_track_end(pid_t root)
{
	autoprocdir struct proc_dir dir = PROC_DIR_NONE;
	struct track_items items = { 0 };
	char round[TRACK_ROUND];
	struct proc_stat st;

	if (proc_dir_open(AT_FDCWD, root, &dir, NULL) == 0 && proc_stat_read(&dir, &st, NULL) == 0 &&
	    keeper_take(root, st.starttime, round, &items, NULL) == 0)
		track_items_close(&items);
}

int mm_prepare_running(struct mm_dump *d, struct cr_error *err)
{
	for (size_t i = 0; i < d->tasks.nr; i++) {
		struct mm_task *mt = d->tasks.items[i];
		int r = d->tasks.nr > 1 && mt->pages.nr ? page_select_shared(mt, err) : 0;

		if (r < 0)
			return r;
		mt->mem = proc_open(&mt->task->dir, "mem", O_RDONLY, err);
		if (mt->mem < 0)
			return cr_within(err, mt->mem, "pid %d", mt->task->host_pid);
	}
	d->running = true;
	return 0;
}

int mm_dedup(struct cr_context *ctx, struct image_set *set, struct cr_error *err)
{
	uint64_t bytes = 0;
	int r = page_chain_dedup(set, &bytes, err);

	if (r == 0)
		log_info(&ctx->log, "freed %" PRIu64 " bytes of earlier images", bytes);
	return r;
}

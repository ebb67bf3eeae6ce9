/*
 * Snapshots without a copy. fork(2) looks at every page of a task, 20 ms per GiB and more, for which the tree is stopped;
 * where an earlier set has nearly all of them as they still are, saving the others takes less. Which those are tells the
 * tracking of memory, as in any incremental dump.
 */
#include "mm/page-copy.h"
#include "mm/parent-pages.h"

#include "infect/task.h"
#include "kernel/context.h"

#define SPARE_SHARE 64u                        /* saving a page takes as long as forking so many */
#define SPARE_MOST  ((uint64_t)16 << 20)       /* that is held in memory until it is written */

static uint64_t bytes_of(const struct mm_ranges *l)
{
	uint64_t sum = 0;

	for (size_t i = 0; l && i < l->nr; i++)
		sum += l->items[i].end - l->items[i].start;
	return sum;
}

/* An estimate, since what the parent has is not looked up page by page: that it lacks is rare, and costs time alone. */
void snapshot_choose_spared(const struct mm_dump *d, struct mm_task *mt)
{
	uint64_t all = page_runs_bytes(&mt->pages), clean = 0, has, most;

	/* what a page server has is asked later */
	if (!d->knows_parent || d->config.server || d->config.unsparing)
		return;
	for (size_t i = 0; i < mt->pages.nr; i++)
		if (mt->pages.items[i].flags & MM_RUN_CLEAN)
			clean += mt->pages.items[i].end - mt->pages.items[i].start;
	has = bytes_of(mm_parent_find(d->config.parent_pages, (uint64_t)mt->task->ns_pid));
	most = all / SPARE_SHARE < SPARE_MOST ? all / SPARE_SHARE : SPARE_MOST;
	mt->copy->spared = all - (clean < has ? clean : has) <= most;
	log_debug(&d->ctx->log, "pid %d: %s, of %llu MiB of its memory an earlier set has %llu as they are", mt->task->host_pid,
		  mt->copy->spared ? "it is not copied" : "it is copied", (unsigned long long)(all >> 20),
		  (unsigned long long)(clean >> 20));
}

int snapshot_save_spared(struct mm_dump *d, struct mm_task *mt, struct cr_error *err)
{
	int r = pages_leave_to_parent(d, mt, err);

	return r == 0 ? snapshot_put_aside(mt, &mt->to_copy, err) : r;
}

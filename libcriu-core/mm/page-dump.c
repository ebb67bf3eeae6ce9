/*
 * pagemap-PID.img, pagemap-shmem-ID.img and the pages files behind them; and what else a shared segment needs to be
 * made again.
 */
#include "mm/page-copy.h"
#include "mm/page-select.h"
#include "mm/parent-pages.h"

#include "infect/task.h"
#include "infect/thread-image.h"
#include "kernel/context.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <sys/stat.h>

DEFINE_VEC(addr_vec, uint64_t)

static int by_address(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/*
 * Pages that threads have their stack pointers in. A lazy restore needs them at once: the kernel delivers signals there.
 */
static int stack_pages(const struct task *task, struct addr_vec *ret)
{
	for (size_t i = 0; i < task->threads.nr; i++) {
		uint64_t *at, sp = thread_sp(&task->threads.items[i]);

		if (!sp)
			continue;
		at = addr_vec_add(ret);
		if (!at)
			return -ENOMEM;
		*at = sp & ~(MM_PAGE - 1);
	}
	if (ret->nr)
		qsort(ret->items, ret->nr, sizeof(*ret->items), by_address);
	return 0;
}

static int write_entry(struct image_writer *w, uint64_t start, uint64_t end, uint32_t flags, struct cr_error *err)
{
	img_pagemap_entry e = {
		.vaddr = start,
		.has_flags = true,
		.flags = flags,
		.has_nr_pages = true,
		.nr_pages = (end - start) / MM_PAGE,
	};

	return start < end ? image_write(w, &e, err) : 0;
}

/* @eager: pages that must not be lazy, sorted. */
static int write_runs(struct image_writer *w, const struct page_runs *runs, const struct addr_vec *eager,
		      struct cr_error *err)
{
	size_t next = 0;
	int r = 0;

	for (size_t i = 0, n; i < runs->nr && r == 0; i += n) {
		const struct page_run *run = &runs->items[i];
		uint64_t at = run->start, end;

		/* how they are read is of no interest to who restores them */
		for (n = 1; i + n < runs->nr && run[n].start == run[n - 1].end && run[n].flags == run->flags; n++)
			;
		end = run[n - 1].end;
		for (; next < eager->nr && eager->items[next] < end && r == 0; next++) {
			uint64_t page = eager->items[next];

			if (page < at || !(run->flags & MM_PE_LAZY))
				continue;
			r = write_entry(w, at, page, run->flags, err);
			if (r == 0)
				r = write_entry(w, page, page + MM_PAGE, run->flags & ~(uint32_t)MM_PE_LAZY, err);
			at = page + MM_PAGE;
		}
		if (r == 0)
			r = write_entry(w, at, end, run->flags, err);
	}
	return r;
}

static int write_pagemap(struct image_set *set, enum img_type type, uint64_t id, uint32_t pages_id,
			 const struct page_runs *runs, const struct addr_vec *eager, struct cr_error *err)
{
	autofree_by(image_writer_drop) struct image_writer *w = NULL;
	img_pagemap_head head = { .pages_id = pages_id };
	int r = image_writer_open(set, type, id, &w, err);

	if (r == 0)
		r = image_write(w, &head, err);
	if (r == 0)
		r = write_runs(w, runs, eager, err);
	return r < 0 ? r : image_writer_close(take_ptr(&w), true, err);
}

/* Parts of an object that are not holes. */
static int segment_runs(const struct segment *s, struct page_runs *ret)
{
	off_t at = 0, size = (off_t)s->size;

	while (at < size) {
		off_t data = lseek(s->fd, at, SEEK_DATA), hole;

		if (data < 0 && errno == ENXIO)
			return 0;
		if (data < 0 && errno != EINVAL)
			return -errno;
		hole = data < 0 ? size : lseek(s->fd, data, SEEK_HOLE);
		data = data < 0 ? at : data;
		if (hole < 0)
			return -errno;
		hole = hole > size ? size : hole;
		if (data < hole &&
		    page_runs_put(ret, (uint64_t)data & ~(MM_PAGE - 1), ((uint64_t)hole + MM_PAGE - 1) & ~(MM_PAGE - 1),
				  MM_PE_PRESENT, false) < 0)
			return -ENOMEM;
		at = hole > data ? hole : size;
	}
	return 0;
}

/* System V segments of the dumper's own namespace, in the form that images have for those of an own one. */
static int write_sysv(struct mm_dump *d, struct image_set *set, struct cr_error *err)
{
	autofree_by(image_writer_drop) struct image_writer *w = NULL;
	int r = 0;

	for (size_t i = 0; i < d->segments.nr && r == 0; i++) {
		const struct segment *s = &d->segments.items[i];
		struct shmid_ds ds;

		if (!s->sysv)
			continue;
		if (shmctl((int)s->shmid, IPC_STAT, &ds) < 0)
			return cr_fail(err, -errno, "look at System V segment %" PRIu32, s->shmid);
		img_ipc_desc_entry desc = {
			.key = (uint32_t)ds.shm_perm.__key,
			.uid = ds.shm_perm.uid,
			.gid = ds.shm_perm.gid,
			.cuid = ds.shm_perm.cuid,
			.cgid = ds.shm_perm.cgid,
			.mode = ds.shm_perm.mode,
			.id = s->shmid,
		};
		img_ipc_shm_entry e = {
			.desc = &desc, .size = ds.shm_segsz, .has_in_pagemaps = true, .in_pagemaps = true
		};

		if (!w)
			r = image_writer_open(set, IMG_IPCNS_SHM, d->config.ipc_ns_id, &w, err);
		if (r == 0)
			r = image_write(w, &e, err);
	}
	return r < 0 || !w ? r : image_writer_close(take_ptr(&w), false, err);
}

/* Everything that page_copy() needs; the runs of segments live here. */
struct page_work {
	struct copy_job *jobs;
	size_t nr;
	struct page_runs *segment_runs;
	size_t nr_segments;
};

static void page_work_done(struct page_work *w)
{
	for (size_t i = 0; w->segment_runs && i < w->nr_segments; i++)
		page_runs_done(&w->segment_runs[i]);
	free(w->segment_runs);
	free(w->jobs);
}

/* What the parent has of a task. */
static int leave_out(struct mm_dump *d, struct mm_task *mt, const struct addr_vec *eager, struct cr_error *err)
{
	const struct mm_parent *parent = d->knows_parent ? d->config.parent_pages : NULL;

	for (size_t i = 0; i < eager->nr; i++) {
		struct mm_range *to = mm_ranges_add(&mt->stays);

		if (!to)
			return cr_fail(err, -ENOMEM, "note stacks");
		*to = (struct mm_range){ eager->items[i], eager->items[i] + MM_PAGE };
	}
	return page_select_unchanged(mt, mm_parent_find(parent, (uint64_t)mt->task->ns_pid), err);
}

static int add_task(struct mm_dump *d, struct mm_task *mt, struct image_set *set, struct page_work *w,
		    struct mm_dump_stats *stats, struct cr_error *err)
{
	struct addr_vec eager = { 0 };
	const struct page_runs *copied;
	uint32_t id = d->next_pages_id;
	int r;

	stats->pages_scanned += mt->nr_scanned;
	if (!mt->pages.nr)
		return 0;
	/* only relatives share memory copy-on-write; those that run may have ended, and are looked at before they do */
	r = d->tasks.nr > 1 && !d->running && !mt->copy ? page_select_shared(mt, err) : 0;
	if (r < 0)
		return r;
	r = stack_pages(mt->task, &eager);
	if (r < 0)
		cr_fail(err, r, "find stack pointers");
	if (r == 0 && d->config.parent)
		r = leave_out(d, mt, &eager, err);
	if (r == 0)
		r = write_pagemap(set, IMG_PAGEMAP, (uint64_t)mt->task->ns_pid, id, &mt->pages, &eager, err);
	addr_vec_done(&eager);
	if (r < 0)
		return r;
	d->next_pages_id++;
	copied = d->config.parent ? &mt->to_copy : &mt->pages;
	stats->pages_written += page_runs_bytes(copied) / MM_PAGE;
	stats->pages_skipped += (page_runs_bytes(&mt->pages) - page_runs_bytes(copied)) / MM_PAGE;
	w->jobs[w->nr] = (struct copy_job){
		.pages_id = id,
		.pid = mt->task->lead->host_tid,
		.dir = &mt->task->dir,
		.fd = -1,
		.runs = copied,
		.unread = d->running ? &mt->unread : NULL,
		.running_mem = mt->mem,
	};
	if (mt->copy)
		snapshot_source(mt->copy, &w->jobs[w->nr]);
	w->nr++;
	return 0;
}

static int add_segment(struct mm_dump *d, size_t i, struct image_set *set, struct page_work *w,
		       struct mm_dump_stats *stats, struct cr_error *err)
{
	const struct segment *s = &d->segments.items[i];
	const struct addr_vec none = { 0 };
	struct page_runs *runs = &w->segment_runs[i];
	uint32_t id = d->next_pages_id;
	int r = segment_runs(s, runs);

	stats->shpages_scanned += (s->size + MM_PAGE - 1) / MM_PAGE;
	if (r < 0)
		return cr_fail(err, r, "find the data of shared memory %" PRIu32, s->shmid);
	if (!runs->nr)
		return 0;
	r = write_pagemap(set, IMG_PAGEMAP_SHMEM, s->shmid, id, runs, &none, err);
	if (r < 0)
		return r;
	d->next_pages_id++;
	stats->shpages_written += page_runs_bytes(runs) / MM_PAGE;
	w->jobs[w->nr++] = (struct copy_job){ .pages_id = id, .fd = s->fd, .runs = runs };
	return 0;
}

int pages_dump(struct mm_dump *d, const struct tree *tree, bool segments, struct image_set *set, struct mm_dump_stats *ret,
	       struct cr_error *err)
{
	struct mm_dump_stats stats = *ret;
	struct page_work w = { .nr_segments = segments ? d->segments.nr : 0 };
	size_t nr_tasks = tree ? tree->tasks.nr : 0;
	int r = 0;

	w.jobs = calloc(nr_tasks + w.nr_segments + 1, sizeof(*w.jobs));
	w.segment_runs = calloc(w.nr_segments + 1, sizeof(*w.segment_runs));
	if (!w.jobs || !w.segment_runs)
		r = cr_fail(err, -ENOMEM, "prepare for %zu tasks", nr_tasks);
	for (size_t i = 0; i < nr_tasks && r == 0; i++) {
		const struct task *task = tree->tasks.items[i];

		if (task->mm_priv)
			r = cr_within(err, add_task(d, task->mm_priv, set, &w, &stats, err), "pid %d", task->host_pid);
	}
	for (size_t i = 0; i < w.nr_segments && r == 0; i++)
		r = add_segment(d, i, set, &w, &stats, err);
	if (r == 0 && segments)
		r = write_sysv(d, set, err);
	if (r == 0)
		r = page_copy(d, set, w.jobs, w.nr, err);
	page_work_done(&w);
	if (r < 0)
		return cr_within(err, r, "memory");
	stats.bytes_written = (stats.pages_written + stats.shpages_written) * MM_PAGE;
	*ret = stats;
	return 0;
}

int mm_dump_pages(struct mm_dump *d, const struct tree *tree, struct image_set *set, struct mm_dump_stats *ret,
		  struct cr_error *err)
{
	return pages_dump(d, tree, !d->segments_stored, set, ret, err);
}

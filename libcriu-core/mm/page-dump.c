/*
 * pagemap-PID.img, pagemap-shmem-ID.img and the pages files behind them; and what else a shared segment needs to be
 * made again.
 */
#include "mm/page-copy.h"
#include "mm/lazy-leave.h"
#include "mm/page-client.h"
#include "mm/page-entries.h"
#include "mm/page-select.h"
#include "mm/page-wire.h"
#include "mm/parent-pages.h"

#include "base/clock.h"
#include "infect/task.h"
#include "infect/thread-image.h"
#include "kernel/context.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <sys/stat.h>

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

static int write_pagemap(const struct mm_dump *d, struct image_set *set, const struct page_object *o, uint32_t pages_id,
			 struct cr_error *err)
{
	autofree_by(image_writer_drop) struct image_writer *w = NULL;
	uint8_t round[PAGE_ROUND_SIZE], parent[PAGE_ROUND_SIZE];
	img_pagemap_head_ext ext = { .has_with_inventory = true, .with_inventory = true };
	img_pagemap_head head = { .pages_id = pages_id, .ext = &ext };
	struct page_walk walk = { .of = o };
	struct map_entry at;
	int r = image_writer_open(set, o->type, o->id, &w, err);

	page_round_parse(d->config.run_id, round);
	ext.round = (struct proto_bytes){ .data = round, .len = sizeof(round) };
	if (d->config.parent && d->knows_parent) {
		page_round_parse(d->config.parent_round, parent);
		ext.parent_round = (struct proto_bytes){ .data = parent, .len = sizeof(parent) };
	}
	if (r == 0)
		r = image_write(w, &head, err);
	while (r == 0 && page_walk_next(&walk, &at)) {
		img_pagemap_entry e = {
			.vaddr = at.start,
			.has_flags = true,
			.flags = at.flags,
			.has_nr_pages = true,
			.nr_pages = (at.end - at.start) / MM_PAGE,
		};

		r = image_write(w, &e, err);
	}
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
	struct page_object *objects; /* one for each job */
	struct page_runs *segment_runs;
	size_t nr_segments;
};

static void page_work_done(struct page_work *w)
{
	for (size_t i = 0; w->segment_runs && i < w->nr_segments; i++)
		page_runs_done(&w->segment_runs[i]);
	for (size_t i = 0; w->objects && i < w->nr; i++)
		addr_vec_done(&w->objects[i].eager);
	free(w->segment_runs);
	free(w->objects);
	free(w->jobs);
}

/*
 * What of an address space needs a place among the images: its page map is here, or with the server; then none that an
 * older dump has left here may be taken for it. Also one without any page has a page map, for the same reason.
 */
static int add_job(struct mm_dump *d, struct image_set *set, struct page_work *w, struct page_object *o,
		   const struct copy_job *job, struct cr_error *err)
{
	int r = d->config.server ? image_set_clear(set, o->type, o->id, err)
				 : write_pagemap(d, set, o, d->next_pages_id, err);

	if (r < 0)
		return r;
	w->objects[w->nr] = *o;
	w->jobs[w->nr] = *job;
	w->jobs[w->nr].object = &w->objects[w->nr];
	w->jobs[w->nr++].pages_id = d->next_pages_id++;
	return 0;
}

static int note_stacks(struct mm_task *mt, const struct addr_vec *eager, struct cr_error *err)
{
	for (size_t i = 0; i < eager->nr; i++) {
		struct mm_range *to = mm_ranges_add(&mt->stays);

		if (!to)
			return cr_fail(err, -ENOMEM, "note stacks");
		*to = (struct mm_range){ eager->items[i], eager->items[i] + MM_PAGE };
	}
	return 0;
}

/* What the parent has of a task; the server's says so for the task as a whole, and refuses in the end what it does not have. */
static int leave_out(struct mm_dump *d, struct mm_task *mt, struct cr_error *err)
{
	const struct mm_parent *parent = d->knows_parent ? d->config.parent_pages : NULL;
	uint64_t ns_pid = (uint64_t)mt->task->ns_pid;
	struct mm_range everything = { 0, MM_ADDR_MAX };
	struct mm_ranges all = { .items = &everything, .nr = 1, .cap = 1 };

	if (!d->config.server)
		return page_select_unchanged(mt, mm_parent_find(parent, ns_pid), err);
	return page_select_unchanged(mt, page_client_parent_has(d->config.server, ns_pid) ? &all : NULL, err);
}

int pages_leave_to_parent(struct mm_dump *d, struct mm_task *mt, struct cr_error *err)
{
	struct addr_vec eager = { 0 };
	int r = stack_pages(mt->task, &eager);

	r = r < 0 ? cr_fail(err, r, "find stack pointers") : note_stacks(mt, &eager, err);
	if (r == 0)
		r = leave_out(d, mt, err);
	addr_vec_done(&eager);
	return r;
}

static int add_task(struct mm_dump *d, struct mm_task *mt, struct image_set *set, struct page_work *w,
		    struct mm_dump_stats *stats, struct cr_error *err)
{
	struct page_object o = { .type = IMG_PAGEMAP, .id = (uint64_t)mt->task->ns_pid, .runs = &mt->pages };
	struct copy_job job = { .pid = mt->task->lead->host_tid, .dir = &mt->task->dir, .fd = -1 };
	int r;

	stats->pages_scanned += mt->nr_scanned;
	/* one that runs may have gone */
	if (!mt->pages.nr && d->running)
		return image_set_clear(set, o.type, o.id, err);
	/* only relatives share memory copy-on-write; those that run may have ended, and are looked at before they do */
	r = d->tasks.nr > 1 && !d->running && !mt->copy ? page_select_shared(mt, err) : 0;
	if (r < 0)
		return r;
	r = stack_pages(mt->task, &o.eager);
	if (r < 0)
		cr_fail(err, r, "find stack pointers");
	if (r == 0 && d->config.parent && !(mt->copy && mt->copy->spared))
		r = pages_leave_to_parent(d, mt, err);
	if (r == 0 && d->config.leaves)
		r = lazy_leave(mt, &o.eager, err);
	job.runs = d->config.parent || d->config.leaves ? &mt->to_copy : &mt->pages;
	job.unread = d->running ? &mt->unread : NULL;
	job.running_mem = mt->mem;
	if (mt->copy)
		snapshot_source(mt->copy, &job);
	if (r == 0)
		r = add_job(d, set, w, &o, &job, err);
	if (r < 0) {
		addr_vec_done(&o.eager);
		return r;
	}
	stats->pages_written += page_runs_bytes(job.runs) / MM_PAGE;
	stats->pages_left += lazy_left_bytes(mt) / MM_PAGE;
	stats->pages_skipped += (page_runs_bytes(&mt->pages) - page_runs_bytes(job.runs) - lazy_left_bytes(mt)) / MM_PAGE;
	return 0;
}

static int add_segment(struct mm_dump *d, size_t i, struct image_set *set, struct page_work *w,
		       struct mm_dump_stats *stats, struct cr_error *err)
{
	const struct segment *s = &d->segments.items[i];
	struct page_runs *runs = &w->segment_runs[i];
	struct page_object o = { .type = IMG_PAGEMAP_SHMEM, .id = s->shmid, .runs = runs };
	int r = segment_runs(s, runs);

	stats->shpages_scanned += (s->size + MM_PAGE - 1) / MM_PAGE;
	if (r < 0)
		return cr_fail(err, r, "find the data of shared memory %" PRIu32, s->shmid);
	r = add_job(d, set, w, &o, &(struct copy_job){ .fd = s->fd, .runs = runs }, err);
	if (r == 0)
		stats->shpages_written += page_runs_bytes(runs) / MM_PAGE;
	return r;
}

/* All questions at once: one round trip for the whole tree. */
static int ask_server(struct mm_dump *d, const struct tree *tree, struct cr_error *err)
{
	int r = 0;

	if (!d->config.server || !d->config.parent || !d->knows_parent)
		return 0;
	for (size_t i = 0; i < tree->tasks.nr && r == 0; i++) {
		const struct task *task = tree->tasks.items[i];

		if (task->mm_priv)
			r = page_client_ask(d->config.server, (uint64_t)task->ns_pid, d->config.parent_round, err);
	}
	return r == 0 ? page_client_hear(d->config.server, err) : r;
}

int pages_dump(struct mm_dump *d, const struct tree *tree, bool segments, struct image_set *set, struct mm_dump_stats *ret,
	       struct cr_error *err)
{
	struct mm_dump_stats stats = *ret;
	struct page_work w = { .nr_segments = segments ? d->segments.nr : 0 };
	uint64_t begin, before = d->write_us;
	size_t nr_tasks = tree ? tree->tasks.nr : 0, most = nr_tasks + w.nr_segments + 1;
	int r = 0;

	w.jobs = calloc(most, sizeof(*w.jobs));
	w.objects = calloc(most, sizeof(*w.objects));
	w.segment_runs = calloc(w.nr_segments + 1, sizeof(*w.segment_runs));
	if (!w.jobs || !w.objects || !w.segment_runs)
		r = cr_fail(err, -ENOMEM, "prepare for %zu tasks", nr_tasks);
	if (r == 0 && tree)
		r = ask_server(d, tree, err);
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
	begin = monotonic_us();
	if (r == 0 && d->config.server)
		r = page_client_finish(d->config.server, err);
	stats.write_us += d->write_us - before + monotonic_us() - begin;
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

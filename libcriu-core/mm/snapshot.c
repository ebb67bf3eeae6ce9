/*
 * Snapshots: private memory is read from copies of the tasks (infect/twin.h), which share every page with them until
 * somebody writes to it, while the tasks run on. What fork(2) does not copy is saved while they are stopped: shared
 * memory, which has no copy-on-write; mappings with MADV_DONTFORK or MADV_WIPEONFORK; and pages of hugetlbfs, since a
 * task that writes to one that is shared needs another from a pool that may be empty, and is killed if it is
 * (hugetlb_wp() in mm/hugetlb.c). The copies give those up before the tasks run again.
 */
#include "mm/page-copy.h"
#include "mm/page-scan.h"
#include "mm/page-select.h"
#include "mm/smaps-before.h"

#include "base/io.h"
#include "infect/parasite.h"
#include "infect/task.h"
#include "infect/twin.h"
#include "kernel/context.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define CHUNK      ((size_t)256 * 1024)
#define MUCH_KIB   (UINT64_C(16) << 10) /* takes longer to copy than all else that the tree is stopped for */
#define NOT_COPIED (PROC_VM_DC | PROC_VM_WF | PROC_VM_DP | PROC_VM_HT)

int snapshot_begin(const struct mm_dump *d, struct mm_task *mt)
{
	struct snapshot_task *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->apart_fd = -1;
	s->plan = calloc(1, sizeof(*s->plan));
	if (!s->plan) {
		free(s);
		return -ENOMEM;
	}
	if (d->config.before)
		s->before = smaps_before_find(d->config.before, mt->task->host_pid, &mt->task->dir, &s->before_len);
	mt->copy = s;
	return 0;
}

void snapshot_free(struct snapshot_task *s)
{
	if (!s)
		return;
	twin_free(s->twin);
	routine_drop(&s->plan->routine);
	free(s->plan);
	mm_ranges_done(&s->drops);
	mm_ranges_done(&s->apart);
	page_runs_done(&s->apart_pages);
	if (s->apart_fd >= 0)
		close(s->apart_fd);
	free(s);
}

static int put_range(struct mm_ranges *l, uint64_t start, uint64_t end)
{
	struct mm_range *last = l->nr ? &l->items[l->nr - 1] : NULL;

	if (last && last->end == start) {
		last->end = end;
		return 0;
	}
	last = mm_ranges_add(l);
	if (!last)
		return -ENOMEM;
	*last = (struct mm_range){ start, end };
	return 0;
}

int snapshot_note(struct snapshot_task *s, const struct proc_vma *v, const struct vma_class *c)
{
	int r = 0;

	/* what is sealed cannot be unmapped; of shared memory a second holder does no harm */
	if ((v->shared && !(v->vm_flags & PROC_VM_SL)) || v->vm_flags & PROC_VM_HT)
		r = put_range(&s->drops, v->start, v->end);
	if (r == 0 && c->content != VMA_CONTENT_NONE && v->vm_flags & NOT_COPIED)
		r = put_range(&s->apart, v->start, v->end);
	return r;
}

/* What has been written to since the round before shows in the page tables of the task alone. */
bool snapshot_selects_late(const struct mm_dump *d)
{
	return d->config.snapshot && !d->config.parent;
}

/* ------------------------------------------------ making copies */

size_t snapshot_ask_size(const struct mm_task *mt)
{
	return mt->copy->spared ? 0 : twin_room(mt->copy->drops.nr);
}

int snapshot_ask(struct mm_task *mt, struct program *p, struct routine *r, struct cr_error *err)
{
	struct snapshot_task *s = mt->copy;

	if (s->spared)
		return 0;

	int e = twin_plan_begin(s->plan, p, err);

	for (size_t i = 0; e == 0 && i < s->drops.nr; i++)
		twin_plan_drop(s->plan, p, s->drops.items[i].start, s->drops.items[i].end);
	return e == 0 ? twin_plan_end(s->plan, p, r, err) : e;
}

int mm_take_copy(struct mm_dump *d, struct task *task, struct parasite *host, const struct xstate_layout *layout,
		 struct cr_error *err)
{
	struct mm_task *mt = task->mm_priv;
	int r;

	if (!mt->copy || mt->copy->spared)
		return 0;
	r = twin_take(mt->copy->plan, parasite_program(host), task, layout, d->ctx->opts->leftovers, &mt->copy->twin,
		      err);
	return r == 0 ? parasite_mend(host, twin_pid(mt->copy->twin), err) : r;
}

static int refuse_lost(const struct mm_task *mt, struct cr_error *err)
{
	int r = cr_refuse(err, -ENOMEM, "pid %d: its copy was killed before all of it was saved", mt->task->host_pid);

	cr_advise(err, "memory has run short: a snapshot takes what the tree writes to meanwhile once more");
	return r;
}

int mm_watch_copies(const struct mm_dump *d, struct cr_error *err)
{
	int r = 0;

	/* all that were killed: whoever needs memory waits for each of them */
	for (size_t i = 0; i < d->tasks.nr; i++) {
		const struct mm_task *mt = d->tasks.items[i];

		if (mt->copy && mt->copy->twin && twin_give_back(mt->copy->twin) && r == 0)
			r = refuse_lost(mt, err);
	}
	return r;
}

int mm_drop_copies(struct mm_dump *d, struct cr_error *err)
{
	int r = 0;

	for (size_t i = 0; i < d->tasks.nr; i++) {
		const struct mm_task *mt = d->tasks.items[i];

		if (r == 0 && mt->copy && mt->copy->twin && twin_is_lost(mt->copy->twin))
			r = refuse_lost(mt, err);
	}
	for (size_t i = 0; i < d->tasks.nr; i++) {
		const struct mm_task *mt = d->tasks.items[i];
		struct twin *twin = mt->copy ? take_ptr(&mt->copy->twin) : NULL;

		if (twin && twin_end(twin) < 0)
			log_warn(&d->ctx->log,
				 "pid %d: it has an ended copy as a child, and could not be made to reap it",
				 mt->task->host_pid);
	}
	return r;
}

/* ------------------------------------------------ pages that copies do not have */

static int make_apart(struct snapshot_task *s, struct cr_error *err)
{
	s->apart_fd = (int)syscall(SYS_memfd_create, "snapshot", MFD_CLOEXEC);
	return s->apart_fd < 0 ? cr_fail(err, -errno, "put memory aside") : 0;
}

static int put_aside(struct mm_task *mt, int mem, const struct page_runs *runs, char *buf, struct cr_error *err)
{
	struct snapshot_task *s = mt->copy;

	for (size_t i = 0; i < runs->nr; i++)
		for (uint64_t at = runs->items[i].start; at < runs->items[i].end;) {
			uint64_t left = runs->items[i].end - at;
			size_t len = left < CHUNK ? (size_t)left : CHUNK;
			ssize_t n = fd_pread_all(mem, buf, len, (off_t)at);
			int r = n < 0 ? (int)n : (size_t)n < len ? -EIO : 0;

			if (r == 0)
				r = fd_pwrite_all(s->apart_fd, buf, len, (off_t)at);
			if (r < 0)
				return cr_fail(err, r, "put memory of pid %d at %" PRIx64 " aside", mt->task->host_pid,
					       at);
			at += len;
		}
	return 0;
}

int snapshot_put_aside(struct mm_task *mt, const struct page_runs *runs, struct cr_error *err)
{
	autofd int mem = proc_open(&mt->task->dir, "mem", O_RDONLY, err);
	autofree char *buf = malloc(CHUNK);
	int r = mem < 0 ? mem : buf ? make_apart(mt->copy, err) : cr_fail(err, -ENOMEM, "put memory aside");

	return r == 0 ? put_aside(mt, mem, runs, buf, err) : r;
}

static int append(struct page_runs *to, const struct page_runs *from)
{
	for (size_t i = 0; i < from->nr; i++) {
		const struct page_run *run = &from->items[i];

		if (page_runs_put(to, run->start, run->end, run->flags, run->slow) < 0)
			return -ENOMEM;
	}
	return 0;
}

/* Selects pages of some mappings only, as @task shows them; guards among them become mappings of @mt. */
static int select_some(struct mm_dump *d, struct mm_task *mt, struct task *task, struct img_vmas *some,
		       bool keep_guards, struct page_runs *ret, struct cr_error *err)
{
	struct mm_task part = { .task = task, .vmas = *some };
	struct page_scan none = { 0 };
	size_t nr = some->nr;
	int r;

	/* the copy of the task has no shared memory */
	if (task == mt->task)
		part.guarded = mt->guarded;
	r = page_select(d, &part, &none, err);

	for (size_t i = nr; r == 0 && keep_guards && i < part.vmas.nr; i++) {
		img_vma_entry *guard = img_vmas_add(&mt->vmas);

		if (!guard)
			r = cr_fail(err, -ENOMEM, "note guards");
		else
			*guard = part.vmas.items[i];
	}
	if (r == 0)
		mt->nr_scanned += part.nr_scanned;
	*some = part.vmas;
	some->nr = nr;
	*ret = part.pages;
	return r;
}

static bool is_apart(const struct snapshot_task *s, const img_vma_entry *v)
{
	for (size_t i = 0; i < s->apart.nr; i++)
		if (s->apart.items[i].start <= v->start && v->end <= s->apart.items[i].end)
			return true;
	return false;
}

static int save_apart(struct mm_dump *d, struct mm_task *mt, struct cr_error *err)
{
	autofd int mem = proc_open(&mt->task->dir, "mem", O_RDONLY, err);
	autofree char *buf = malloc(CHUNK);
	bool late = snapshot_selects_late(d);
	size_t nr_vmas = mt->vmas.nr;
	int r = mem < 0 ? mem : 0;

	if (!buf)
		return cr_fail(err, -ENOMEM, "put memory aside");
	if (r == 0)
		r = make_apart(mt->copy, err);
	/* one mapping at a time: what lies between them is not looked at */
	for (size_t i = 0; r == 0 && i < nr_vmas; i++) {
		struct img_vmas one = { 0 };
		struct page_runs runs = { 0 };
		img_vma_entry *v;

		if (!is_apart(mt->copy, &mt->vmas.items[i]))
			continue;
		v = img_vmas_add(&one);
		if (!v)
			return cr_fail(err, -ENOMEM, "put memory aside");
		*v = mt->vmas.items[i];
		r = select_some(d, mt, mt->task, &one, late, &runs, err);
		if (r == 0)
			r = put_aside(mt, mem, &runs, buf, err);
		if (r == 0 && append(&mt->copy->apart_pages, &runs) < 0)
			r = cr_fail(err, -ENOMEM, "put memory aside");
		page_runs_done(&runs);
		img_vmas_done(&one);
	}
	return r;
}

static bool may_have_guards(const struct mm_task *mt, const img_vma_entry *v)
{
	for (size_t i = 0; i < mt->guarded.nr; i++)
		if (mt->guarded.items[i].start <= v->start && v->end <= mt->guarded.items[i].end)
			return true;
	return false;
}

static int keep_shared_guards(struct mm_dump *d, struct mm_task *mt, struct cr_error *err)
{
	size_t nr_vmas = mt->vmas.nr;
	int r = 0;

	for (size_t i = 0; r == 0 && i < nr_vmas; i++) {
		struct img_vmas one = { 0 };
		struct page_runs none = { 0 };
		img_vma_entry *v;

		if (!may_have_guards(mt, &mt->vmas.items[i]))
			continue;
		v = img_vmas_add(&one);
		if (!v)
			return cr_fail(err, -ENOMEM, "note guards");
		*v = mt->vmas.items[i];
		r = select_some(d, mt, mt->task, &one, true, &none, err);
		page_runs_done(&none);
		img_vmas_done(&one);
	}
	return r;
}

static void warn_of_time(struct mm_dump *d, uint64_t pages)
{
	uint64_t kib = pages * (MM_PAGE / 1024);

	if (kib > MUCH_KIB)
		log_warn(&d->ctx->log,
			 "%" PRIu64 " MiB of memory that is shared or cannot be copied on write were saved while the "
				    "tree was stopped",
			 kib >> 10);
}

int mm_dump_shared(struct mm_dump *d, struct image_set *set, struct mm_dump_stats *ret, struct cr_error *err)
{
	uint64_t pages = 0;
	int r = 0;

	for (size_t i = 0; r == 0 && i < d->tasks.nr; i++) {
		struct mm_task *mt = d->tasks.items[i];

		if (mt->copy->spared)
			r = cr_within(err, snapshot_save_spared(d, mt, err), "pid %d", mt->task->host_pid);
		else if (mt->copy->apart.nr)
			r = cr_within(err, save_apart(d, mt, err), "pid %d", mt->task->host_pid);
		if (r == 0 && mt->guarded.nr && snapshot_selects_late(d))
			r = cr_within(err, keep_shared_guards(d, mt, err), "pid %d", mt->task->host_pid);
		pages += page_runs_bytes(&mt->copy->apart_pages) / MM_PAGE;
	}
	if (r == 0) {
		d->more_follows = true;
		r = pages_dump(d, NULL, true, set, ret, err);
		d->more_follows = false;
	}
	if (r < 0)
		return r;
	d->segments_stored = true;
	warn_of_time(d, pages + ret->shpages_written);
	return 0;
}

/* ------------------------------------------------ pages of the copies */

void snapshot_source(const struct snapshot_task *s, struct copy_job *job)
{
	if (s->spared) {
		job->pid = 0;
		job->fd = s->apart_fd;
		return;
	}
	job->pid = twin_pid(s->twin);
	job->dir = twin_dir(s->twin);
	job->is_copy = true;
	if (s->apart.nr) {
		job->apart = &s->apart;
		job->apart_fd = s->apart_fd;
	}
}

/* Both ascending, and in different mappings */
static int merge(struct page_runs *to, const struct page_runs *a, const struct page_runs *b)
{
	size_t i = 0, k = 0;

	while (i < a->nr || k < b->nr) {
		bool first = k == b->nr || (i < a->nr && a->items[i].start < b->items[k].start);
		const struct page_run *run = first ? &a->items[i++] : &b->items[k++];

		if (page_runs_put(to, run->start, run->end, run->flags, run->slow) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int select_copied(struct mm_dump *d, struct mm_task *mt, struct cr_error *err)
{
	struct task copy = *mt->task;
	struct img_vmas some = { 0 };
	struct page_runs runs = { 0 };
	size_t nr_vmas = mt->vmas.nr;
	int r = 0;

	copy.dir = *twin_dir(mt->copy->twin);
	for (size_t i = 0; r == 0 && i < nr_vmas; i++) {
		img_vma_entry *v;

		if (mt->vmas.items[i].status & MM_ST_GUARD || is_apart(mt->copy, &mt->vmas.items[i]))
			continue;
		v = img_vmas_add(&some);
		if (v)
			*v = mt->vmas.items[i];
		else
			r = cr_fail(err, -ENOMEM, "find pages");
	}
	if (r == 0)
		r = select_some(d, mt, &copy, &some, true, &runs, err);
	if (r == 0 && merge(&mt->pages, &runs, &mt->copy->apart_pages) < 0)
		r = cr_fail(err, -ENOMEM, "find pages");
	page_runs_done(&runs);
	img_vmas_done(&some);
	/* it may have moved when guards were added */
	mt->entry.vmas = (struct img_vma_entry_vec){ .items = mt->vmas.items, .nr = mt->vmas.nr };
	return r;
}

/*
 * The copy shows what the task had at that instant, but for what it does not have itself; the task, which may have gone on
 * to something else, or have ended, shows that. Where there is no copy the task has to show it all.
 */
static int check_before(const struct mm_task *mt, struct cr_error *err)
{
	const struct snapshot_task *s = mt->copy;
	int r = s->spared ? 1 : smaps_same_flags(s->before, s->before_len, twin_dir(s->twin), SMAPS_OF_COPY, err);

	if (r > 0)
		r = smaps_same_flags(s->before, s->before_len, &mt->task->dir,
				     s->spared ? SMAPS_OF_TASK_ALONE : SMAPS_OF_TASK, err);
	if (s->spared && r < 0) {
		cr_error_clear(err);
		r = 0;
	}
	if (r == -ESRCH) {
		cr_error_clear(err);
		return 0;
	}
	return r ? (r < 0 ? r : 0) : cr_refuse(err, -ESTALE, "its mappings changed while the snapshot began");
}

int mm_select_copied(struct mm_dump *d, struct cr_error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < d->tasks.nr; i++) {
		struct mm_task *mt = d->tasks.items[i];

		r = mt->copy->before ? check_before(mt, err) : 0;
		if (r == 0 && snapshot_selects_late(d))
			r = select_copied(d, mt, err);
		cr_within(err, r, "pid %d", mt->task->host_pid);
	}
	return r;
}

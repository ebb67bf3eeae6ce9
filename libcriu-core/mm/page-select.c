/*
 * Page selection. Private memory: pages that are present or swapped out and do not belong to the file; the zero
 * page is nobody's. PAGEMAP_SCAN (6.7) answers this in runs; before, /proc/PID/pagemap tells it page by page, except for
 * the zero page, which then is copied and left out as a page of zeroes.
 */
#include "mm/page-select.h"
#include "mm/page-scan.h"

#include "infect/task.h"
#include "kernel/context.h"
#include "kernel/uapi.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/mman.h>

#define MAP_WORDS 4096

enum vma_content vma_content_of(const img_vma_entry *v)
{
	if (v->status & (MM_ST_VVAR | MM_ST_VSYSCALL | MM_ST_GUARD))
		return VMA_CONTENT_NONE;
	if (v->status & MM_ST_VDSO)
		return VMA_CONTENT_ALL;
	return v->status & (MM_ST_ANON_PRIVATE | MM_ST_FILE_PRIVATE) ? VMA_CONTENT_PRIVATE : VMA_CONTENT_NONE;
}

int page_runs_put(struct page_runs *runs, uint64_t start, uint64_t end, uint32_t flags, bool slow)
{
	struct page_run *last = runs->nr ? &runs->items[runs->nr - 1] : NULL;

	if (last && last->end == start && last->flags == flags && last->slow == slow) {
		last->end = end;
		return 0;
	}
	last = page_runs_add(runs);
	if (!last)
		return -ENOMEM;
	*last = (struct page_run){ .start = start, .end = end, .flags = flags, .slow = slow };
	return 0;
}

/* Only plain anonymous memory can come later, through userfaultfd; images-files.md calls it lazy. */
static uint32_t flags_for(const img_vma_entry *v)
{
	bool lazy =
		v->status & MM_ST_ANON_PRIVATE && !(v->status & MM_ST_VDSO) && !(v->flags & (MAP_HUGETLB | MAP_LOCKED));

	return MM_PE_PRESENT | (lazy ? MM_PE_LAZY : 0);
}

static int put_piece(struct page_runs *runs, const img_vma_entry *v, uint64_t start, uint64_t end, bool clean)
{
	uint64_t from = start > v->start ? start : v->start, to = end < v->end ? end : v->end;
	uint32_t flags = flags_for(v) | (clean ? MM_RUN_CLEAN : 0);

	return from < to ? page_runs_put(runs, from, to, flags, !(v->prot & PROT_READ)) : 0;
}

/* Is all of the mapping in one of the ranges? Asked in ascending order; @at: where the last answer was found. */
static bool is_inside(const struct mm_ranges *ranges, const img_vma_entry *v, size_t *at)
{
	while (*at < ranges->nr && ranges->items[*at].end <= v->start)
		++*at;
	return *at < ranges->nr && ranges->items[*at].start <= v->start && v->end <= ranges->items[*at].end;
}

/* Protection says nothing about pages of files (can_be_watched() in mm/track.c), soft-dirty bits do. */
static bool is_clean(const struct scanner *s, const img_vma_entry *v, const struct uapi_page_region *g)
{
	return !(g->categories & s->changed) && (v->status & MM_ST_ANON_PRIVATE || s->changed == PAGE_IS_SOFT_DIRTY);
}

static int scan_vma(struct scanner *s, struct page_runs *runs, const img_vma_entry *v, bool tracked)
{
	const struct uapi_page_region *g;
	int r;

	while ((r = scanner_peek(s, &g)) > 0 && g->start < v->end) {
		if (g->end > v->start) {
			r = put_piece(runs, v, g->start, g->end, tracked && is_clean(s, v, g));
			if (r < 0)
				return r;
		}
		if (g->end > v->end)
			return 0;
		s->next++;
	}
	return r < 0 ? r : 0;
}

static int put_guards(struct mm_task *mt, const struct page_runs *guards)
{
	for (size_t i = 0; i < guards->nr; i++) {
		img_vma_entry *v = img_vmas_add(&mt->vmas);

		if (!v)
			return -ENOMEM;
		*v = (img_vma_entry){
			.start = guards->items[i].start,
			.end = guards->items[i].end,
			.status = MM_ST_GUARD,
			.flags = MAP_PRIVATE | MAP_ANONYMOUS,
			.fd = -1,
		};
	}
	return 0;
}

/* What is asked of the mappings that are there. @only: nothing but those that are to be watched */
static int spans_of(const struct mm_task *mt, size_t nr_vmas, bool only, struct scan_spans *ret)
{
	size_t at = 0, guarded = 0, known = 0;
	int r = 0;

	for (size_t i = 0; i < nr_vmas && r == 0; i++) {
		const img_vma_entry *v = &mt->vmas.items[i];
		struct scan_span span = { .start = v->start, .end = v->end };

		/* pages of shared memory are a file's to this question: only its guards show */
		if (!only && vma_content_of(v) == VMA_CONTENT_NONE && is_inside(&mt->guarded, v, &guarded))
			r = scan_spans_put(ret, &span);
		if (vma_content_of(v) != VMA_CONTENT_PRIVATE)
			continue;
		span.protect = is_inside(&mt->watched, v, &at);
		if (only && !span.protect)
			continue;
		span.fresh = span.protect && !is_inside(&mt->tracked, v, &known);
		span.plain = v->status & MM_ST_ANON_PRIVATE && !(v->flags & MAP_HUGETLB) &&
			     (span.protect || v->end - v->start >= SPAN_PLAIN);
		r = scan_spans_put(ret, &span);
	}
	return r;
}

/* Makes a scanner of the mappings, or one that has everything already. */
static int scanner_init(struct scanner *s, const struct mm_task *mt, size_t nr_vmas, struct scan_spans *spans,
			struct page_scan *scan)
{
	int r;

	if (scan->done && scan->regions.nr) {
		s->vec = scan->regions.items;
		s->nr = scan->regions.nr;
		s->fd = -1;
		scan->regions = (struct region_vec){ 0 };
		return 0;
	}
	r = spans_of(mt, nr_vmas, false, spans);
	s->spans = spans;
	return r == 0 ? scanner_begin(s) : r;
}

static int select_by_scan(struct mm_dump *d, struct mm_task *mt, int fd, size_t nr_vmas, struct page_scan *scan)
{
	struct scan_spans spans = { 0 };
	struct scanner s = {
		.fd = fd,
		.stale = &mt->stale,
		.guards = kernel_has(&d->ctx->probes, KERNEL_PAGEMAP_GUARD),
		.changed = page_scan_changed(d),
	};
	const struct uapi_page_region *g;
	size_t at = 0;
	int r = scanner_init(&s, mt, nr_vmas, &spans, scan);

	for (size_t i = 0; i < nr_vmas && r >= 0; i++) {
		const img_vma_entry *v = &mt->vmas.items[i];
		enum vma_content content = vma_content_of(v);

		if (content == VMA_CONTENT_ALL)
			r = put_piece(&mt->pages, v, v->start, v->end, false);
		else if (content == VMA_CONTENT_PRIVATE)
			r = scan_vma(&s, &mt->pages, v, d->config.parent && is_inside(&mt->tracked, v, &at));
	}
	while (r >= 0 && (r = scanner_peek(&s, &g)) > 0)
		s.next++;
	if (r >= 0)
		r = put_guards(mt, &s.found_guards);
	scanner_done(&s);
	scan_spans_done(&spans);
	return r;
}

/*
 * Without scans there are soft-dirty bits only; those of swapped pages count as well. The zero page has no such bit, which here
 * cannot be told from a page that is unchanged: it comes when memory is read that was given up after it was stored. So
 * pages that are present must be the task's own to count as unchanged. That also stores what relatives share
 * copy-on-write in each round.
 */
static bool is_unchanged(uint64_t w)
{
	return !(w & UAPI_PM_SOFT_DIRTY) && (w & UAPI_PM_SWAP || w & UAPI_PM_MMAP_EXCLUSIVE);
}

static int pagemap_vma(struct mm_task *mt, int fd, const img_vma_entry *v, uint64_t *words, bool tracked)
{
	for (uint64_t at = v->start; at < v->end;) {
		uint64_t want = (v->end - at) / MM_PAGE;
		ssize_t n = pread(fd, words, (want < MAP_WORDS ? want : MAP_WORDS) * 8, (off_t)(at / MM_PAGE * 8));

		if (n < 8)
			return n < 0 ? -errno : -EIO;
		for (ssize_t i = 0; i < n / 8; i++, at += MM_PAGE) {
			uint64_t w = words[i];

			if (!(w & (UAPI_PM_PRESENT | UAPI_PM_SWAP)) || w & (UAPI_PM_FILE | UAPI_PM_GUARD_REGION))
				continue;
			if (put_piece(&mt->pages, v, at, at + MM_PAGE, tracked && is_unchanged(w)) < 0)
				return -ENOMEM;
		}
	}
	return 0;
}

static int select_by_pagemap(struct mm_dump *d, struct mm_task *mt, int fd, size_t nr_vmas)
{
	autofree uint64_t *words = calloc(MAP_WORDS, sizeof(*words));
	int r = words ? 0 : -ENOMEM;
	size_t tracked = 0;

	for (size_t i = 0; i < nr_vmas && r == 0; i++) {
		const img_vma_entry *v = &mt->vmas.items[i];
		enum vma_content content = vma_content_of(v);

		if (content == VMA_CONTENT_ALL)
			r = put_piece(&mt->pages, v, v->start, v->end, false);
		else if (content == VMA_CONTENT_PRIVATE)
			r = pagemap_vma(mt, fd, v, words, d->config.parent && is_inside(&mt->tracked, v, &tracked));
	}
	return r;
}

int page_select(struct mm_dump *d, struct mm_task *mt, struct page_scan *scan, struct cr_error *err)
{
	size_t nr_vmas = mt->vmas.nr;
	int r;

	for (size_t i = 0; i < nr_vmas; i++)
		if (vma_content_of(&mt->vmas.items[i]) != VMA_CONTENT_NONE)
			mt->nr_scanned += (mt->vmas.items[i].end - mt->vmas.items[i].start) / MM_PAGE;
	if (!mt->nr_scanned && !mt->guarded.nr)
		return 0;

	autofd int fd = proc_open(&mt->task->dir, "pagemap", O_RDONLY, err);

	if (fd < 0)
		return fd;
	if (kernel_has(&d->ctx->probes, KERNEL_PAGEMAP_SCAN))
		r = select_by_scan(d, mt, fd, nr_vmas, scan);
	else
		r = select_by_pagemap(d, mt, fd, nr_vmas);
	return r < 0 ? cr_fail(err, r, "find the pages of %d mappings", (int)nr_vmas) : 0;
}

int page_protect(struct mm_dump *d, struct mm_task *mt, struct mm_ranges *stale, struct cr_error *err)
{
	autofd int fd = proc_open(&mt->task->dir, "pagemap", O_RDONLY, err);
	struct scan_spans spans = { 0 };
	struct scanner s = {
		.fd = fd,
		.stale = stale,
		.guards = kernel_has(&d->ctx->probes, KERNEL_PAGEMAP_GUARD),
		.changed = PAGE_IS_WRITTEN,
		.only_changed = true,
		.spans = &spans,
	};
	const struct uapi_page_region *g;
	int r;

	if (fd < 0)
		return fd;
	r = spans_of(mt, mt->vmas.nr, true, &spans);
	if (r == 0)
		r = scanner_begin(&s);
	while (r >= 0 && (r = scanner_peek(&s, &g)) > 0)
		s.next++;
	scanner_done(&s);
	scan_spans_done(&spans);
	return r < 0 ? cr_fail(err, r, "write-protect memory") : 0;
}

/* The first range that ends above @at, from @i on */
static size_t skip_to(const struct mm_ranges *runs, size_t i, uint64_t at)
{
	while (i < runs->nr && runs->items[i].end <= at)
		i++;
	return i;
}

/* Splits a part of a run where pages begin or cease to be shared. */
static int split_part(struct page_runs *to, int fd, const struct page_run *run, uint64_t at, uint64_t end, uint64_t *words)
{
	while (at < end) {
		uint64_t want = (end - at) / MM_PAGE;
		ssize_t n = pread(fd, words, (want < MAP_WORDS ? want : MAP_WORDS) * 8, (off_t)(at / MM_PAGE * 8));

		if (n < 8)
			return n < 0 ? -errno : -EIO;
		for (ssize_t i = 0; i < n / 8; i++, at += MM_PAGE) {
			bool shared = (words[i] & (UAPI_PM_PRESENT | UAPI_PM_MMAP_EXCLUSIVE)) == UAPI_PM_PRESENT;

			if (page_runs_put(to, at, at + MM_PAGE, run->flags, run->slow || shared) < 0)
				return -ENOMEM;
		}
	}
	return 0;
}

/* What is known to be nobody else's is not asked for, which takes 12 ms a GiB. @i: where in @alone to look, moves on. */
static int split_run(struct page_runs *to, int fd, const struct page_run *run, const struct mm_ranges *alone, size_t *i,
		     uint64_t *words)
{
	int r = 0;

	for (uint64_t at = run->start, end; at < run->end && r == 0; at = end) {
		const struct mm_range *x;

		*i = skip_to(alone, *i, at);
		x = *i < alone->nr ? &alone->items[*i] : NULL;
		end = x && x->start <= at ? x->end : x && x->start < run->end ? x->start : run->end;
		if (end > run->end)
			end = run->end;
		r = x && x->start <= at ? page_runs_put(to, at, end, run->flags, run->slow) : split_part(to, fd, run, at, end, words);
	}
	return r;
}

int page_select_shared(struct mm_task *mt, struct cr_error *err)
{
	autofree uint64_t *words = calloc(MAP_WORDS, sizeof(*words));
	autofd int fd = proc_open(&mt->task->dir, "pagemap", O_RDONLY, err);
	struct page_runs split = { 0 };
	int r = words ? 0 : -ENOMEM;
	size_t at = 0;

	if (fd < 0)
		return fd;
	for (size_t i = 0; i < mt->pages.nr && r == 0; i++)
		r = split_run(&split, fd, &mt->pages.items[i], &mt->alone, &at, words);
	if (r < 0) {
		page_runs_done(&split);
		return cr_fail(err, r, "find pages that are shared");
	}
	page_runs_done(&mt->pages);
	mt->pages = split;
	return 0;
}

static int split_clean(struct page_runs *to, const struct page_run *run, const struct mm_ranges *parent, size_t *at)
{
	uint32_t here = run->flags & ~MM_RUN_CLEAN;
	int r = 0;

	for (uint64_t start = run->start; start < run->end && r == 0;) {
		const struct mm_range *p;
		uint64_t end = run->end;
		bool has;

		*at = skip_to(parent, *at, start);
		p = *at < parent->nr ? &parent->items[*at] : NULL;
		has = p && p->start <= start;
		if (p && !has && p->start < end)
			end = p->start;
		if (has && p->end < end)
			end = p->end;
		r = page_runs_put(to, start, end, has ? MM_PE_PARENT : here, !has && run->slow);
		start = end;
	}
	return r;
}

static int by_start(const void *a, const void *b)
{
	const struct mm_range *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

/* Sorted, and none inside of another. */
static void tidy(struct mm_ranges *l)
{
	size_t nr = 0;

	if (l->nr)
		qsort(l->items, l->nr, sizeof(*l->items), by_start);
	for (size_t i = 0; i < l->nr; i++) {
		if (nr && l->items[i].start <= l->items[nr - 1].end) {
			if (l->items[i].end > l->items[nr - 1].end)
				l->items[nr - 1].end = l->items[i].end;
		} else {
			l->items[nr++] = l->items[i];
		}
	}
	l->nr = nr;
}

/* Around what stays. @x, @at: where the run before has got to in both lists */
static int split_run_at_stays(struct page_runs *to, const struct page_run *run, const struct mm_ranges *parent,
			      const struct mm_ranges *stays, size_t *x, size_t *at)
{
	int r = 0;

	for (struct page_run piece = *run; piece.start < run->end && r == 0; piece.start = piece.end) {
		const struct mm_range *s;

		while (*x < stays->nr && stays->items[*x].end <= piece.start)
			++*x;
		s = *x < stays->nr ? &stays->items[*x] : NULL;
		piece.end = run->end;
		if (s && s->start <= piece.start) {
			piece.end = s->end < run->end ? s->end : run->end;
			r = page_runs_put(to, piece.start, piece.end, run->flags & ~MM_RUN_CLEAN, run->slow);
			continue;
		}
		if (s && s->start < run->end)
			piece.end = s->start;
		r = split_clean(to, &piece, parent, at);
	}
	return r;
}

int page_select_unchanged(struct mm_task *mt, const struct mm_ranges *parent, struct cr_error *err)
{
	const struct mm_ranges none = { 0 };
	struct page_runs all = { 0 };
	size_t at = 0, x = 0;
	int r = 0;

	tidy(&mt->stays);
	for (size_t i = 0; i < mt->pages.nr && r == 0; i++) {
		const struct page_run *run = &mt->pages.items[i];

		if (run->flags & MM_RUN_CLEAN)
			r = split_run_at_stays(&all, run, parent ? parent : &none, &mt->stays, &x, &at);
		else
			r = page_runs_put(&all, run->start, run->end, run->flags, run->slow);
	}
	for (size_t i = 0; i < all.nr && r == 0; i++)
		if (all.items[i].flags & MM_PE_PRESENT)
			r = page_runs_put(&mt->to_copy, all.items[i].start, all.items[i].end, all.items[i].flags,
					  all.items[i].slow);
	if (r < 0) {
		page_runs_done(&all);
		return cr_fail(err, r, "find pages that the parent has");
	}
	page_runs_done(&mt->pages);
	mt->pages = all;
	return 0;
}

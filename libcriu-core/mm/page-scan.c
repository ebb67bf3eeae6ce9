/* Scans of page tables; see page-scan.h. */
#include "mm/page-scan.h"

#include "infect/task.h"
#include "kernel/context.h"
#include "kernel/uapi.h"
#include "mm/page-select.h"
#include "mm/track.h"
#include "procfs/maps.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>

/* What do_pagemap_scan() collects in one pass (PAGEMAP_WALK_SIZE); fs/proc/task_mmu.c */
#define SCAN_REGIONS 512

#if defined(__x86_64__)
#define SCAN_END UINT64_C(0x7ffffffff000)
#else
#define SCAN_END (UINT64_C(1) << 48)
#endif

int scan_spans_put(struct scan_spans *spans, const struct scan_span *span)
{
	struct scan_span *last = spans->nr ? &spans->items[spans->nr - 1] : NULL;

	/* whatever is in a gap shows nothing to the common question, and is none of the business of the others */
	if (last && last->plain == span->plain && last->protect == span->protect && last->fresh == span->fresh &&
	    (last->end == span->start || !(span->plain || span->protect))) {
		last->end = span->end;
		return 0;
	}
	last = scan_spans_add(spans);
	if (!last)
		return -ENOMEM;
	*last = *span;
	return 0;
}

/*
 * A mapping that mremap() has brought to an end of a watched one, so that the kernel made one of both, loses the watch as a whole,
 * while pages keep the mark which says that they are protected, also when they are written to (seen with 6.18; up to 6.12 all
 * that is moved keeps it). PAGEMAP_SCAN does not protect what has that mark.
 */
static int note_stale(const struct scanner *s)
{
	for (size_t i = 0; i < s->nr; i++) {
		const struct uapi_page_region *g = &s->vec[i];
		struct mm_range *to;

		if (g->categories & PAGE_IS_WRITTEN)
			continue;
		to = mm_ranges_add(s->stale);
		if (!to)
			return -ENOMEM;
		*to = (struct mm_range){ g->start, g->end };
	}
	return 0;
}

/*
 * Only pages that are there are protected: the kernel would make page tables for holes. A page that comes later has no
 * protection, and so counts as written to.
 */
static int fetch(struct scanner *s)
{
	const struct scan_span *span = &s->spans->items[s->span];
	/* a guard page may lie in what is protected, and is not to get a mark of its own */
	const bool fresh = span->fresh && s->stale;
	const uint64_t none_of = (span->plain ? 0 : PAGE_IS_FILE) | PAGE_IS_PFNZERO |
				 (span->protect && s->guards ? PAGE_IS_GUARD : 0);
	struct uapi_pm_scan_arg arg = {
		.size = sizeof(arg),
		.flags = span->protect ? PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC : 0,
		.start = s->at > span->start ? s->at : span->start,
		.end = span->end,
		.vec = (uintptr_t)s->vec,
		.vec_len = SCAN_REGIONS,
		.category_inverted = none_of,
		.category_mask = none_of | (s->only_changed && !fresh ? s->changed : 0),
		.category_anyof_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
		.return_mask = (s->guards ? PAGE_IS_GUARD : PAGE_IS_PFNZERO) | s->changed |
			       (fresh ? PAGE_IS_WRITTEN : 0),
	};
	long n = ioctl(s->fd, UAPI_PAGEMAP_SCAN, &arg);

	if (n < 0)
		return -errno;
	if (arg.walk_end <= arg.start || (size_t)n > SCAN_REGIONS)
		return -EPROTO;
	/*
	 * An answer that has room left is the last. Its walk_end may say otherwise: with several passes it stays where the last
	 * but one ended (seen with 6.18), and what was reported would be reported again.
	 */
	s->at = (size_t)n < SCAN_REGIONS ? span->end : arg.walk_end;
	if (s->at >= span->end)
		s->span++;
	s->nr = (size_t)n;
	s->next = 0;
	return fresh ? note_stale(s) : 0;
}

int scanner_begin(struct scanner *s)
{
	s->vec = calloc(SCAN_REGIONS, sizeof(*s->vec));
	return s->vec ? 0 : -ENOMEM;
}

void scanner_done(struct scanner *s)
{
	page_runs_done(&s->found_guards);
	free(s->vec);
	s->vec = NULL;
}

int scanner_peek(struct scanner *s, const struct uapi_page_region **ret)
{
	for (;;) {
		while (s->next < s->nr) {
			const struct uapi_page_region *g = &s->vec[s->next];

			if (!(s->guards && g->categories & PAGE_IS_GUARD)) {
				*ret = g;
				return 1;
			}
			if (page_runs_put(&s->found_guards, g->start, g->end, 0, false) < 0)
				return -ENOMEM;
			s->next++;
		}
		if (s->fd < 0 || s->span == s->spans->nr)
			return 0;

		int r = fetch(s);

		if (r < 0)
			return r;
	}
}

/* ------------------------------------------------ scans made beforehand */

uint64_t page_scan_changed(const struct mm_dump *d)
{
	if (!d->config.parent)
		return 0;
	return track_engine(d->ctx) == TRACK_UFFD ? PAGE_IS_WRITTEN : PAGE_IS_SOFT_DIRTY;
}

void page_scan_open(struct mm_dump *d, struct task *task, bool large, struct page_scan *ret)
{
	*ret = (struct page_scan){ .task = task, .large = large };
	if (!kernel_has(&d->ctx->probes, KERNEL_PAGEMAP_SCAN))
		return;
	ret->guards = kernel_has(&d->ctx->probes, KERNEL_PAGEMAP_GUARD);
	ret->changed = page_scan_changed(d);
	ret->fd = proc_open(&task->dir, "pagemap", O_RDONLY, NULL);
	ret->opened = ret->fd >= 0;
}

/* Every address once, whatever is there; the large anonymous mappings by themselves. */
static int spans_of_all(const struct page_scan *scan, struct scan_spans *ret)
{
	autovmas struct proc_vma_list list = { 0 };
	uint64_t at = 0;
	int r = scan->large ? proc_maps_read(&scan->task->dir, &list, NULL) : 0;

	for (size_t i = 0; i < list.nr && r == 0; i++) {
		const struct proc_vma *v = &list.items[i];

		if (v->end > SCAN_END || v->shared || v->ino || proc_vma_path(&list, v)[0] == '/' ||
		    v->end - v->start < SPAN_PLAIN)
			continue;
		if (v->start > at)
			r = scan_spans_put(ret, &(struct scan_span){ .start = at, .end = v->start });
		if (r == 0)
			r = scan_spans_put(ret, &(struct scan_span){ .start = v->start, .end = v->end, .plain = true });
		at = v->end;
	}
	return r < 0 ? r : scan_spans_put(ret, &(struct scan_span){ .start = at, .end = SCAN_END });
}

void page_scan_run(struct page_scan *scan)
{
	struct scan_spans spans = { 0 };
	struct scanner s = { .fd = scan->fd, .changed = scan->changed, .spans = &spans, .guards = scan->guards };
	int r = 0;

	if (!scan->opened)
		return;
	r = spans_of_all(scan, &spans);
	if (r == 0)
		r = scanner_begin(&s);
	while (r == 0 && s.span < spans.nr) {
		r = fetch(&s);
		for (size_t i = 0; r == 0 && i < s.nr; i++) {
			struct uapi_page_region *g = region_vec_add(&scan->regions);

			if (g)
				*g = s.vec[i];
			else
				r = -ENOMEM;
		}
	}
	scanner_done(&s);
	scan_spans_done(&spans);
	scan->done = r == 0;
}

void page_scan_close(struct page_scan *scan)
{
	region_vec_done(&scan->regions);
	if (scan->opened)
		close(scan->fd);
	*scan = (struct page_scan){ 0 };
}

/*
 * What the kernel says about the pages of one address space (PAGEMAP_SCAN, Linux 6.7), in runs, in ascending order.
 *
 * To tell pages of files from others the kernel looks at the description of each page, which misses every cache: four
 * fifths of the time of a scan (measured with 6.18, 1 GiB of 4-KiB pages: 12 ms, without 3). Anonymous memory has no pages of
 * files. So an address space is asked about in spans, and large anonymous ones are spared that question.
 */
#ifndef CR_MM_PAGE_SCAN_H
#define CR_MM_PAGE_SCAN_H

#include "kernel/uapi.h"
#include "mm/mm-internal.h"

/* A range that is asked about in one way. */
struct scan_span {
	uint64_t start, end;
	bool plain;   /* anonymous memory only: no page of it is a file's */
	bool protect; /* write-protect what was written to, in the same walk; all of it is registered for that */
	bool fresh;   /* it was not registered before: marks on its pages are of an earlier time, struct scanner.stale */
};
DEFINE_VEC(scan_spans, struct scan_span)

/* Smaller mappings are not worth a span of their own. */
#define SPAN_PLAIN ((uint64_t)4 << 20)

/**
 * scan_spans_put() - go on with @span up to its end, joined with the one before where that asks the same
 * Return: 0, -ENOMEM.
 */
int scan_spans_put(struct scan_spans *spans, const struct scan_span *span);

/* Regions of scans, fetched as they are needed. */
struct scanner {
	int fd;           /* pagemap; -1: all regions are there already */
	bool guards;      /* the kernel knows of guard pages */
	uint64_t changed; /* category of pages that were written to; 0: not asked for */
	bool only_changed; /* others are not reported */
	const struct scan_spans *spans;
	size_t span;
	uint64_t at; /* in that span; below its start: it has not begun */
	struct uapi_page_region *vec;
	size_t nr, next;
	struct page_runs found_guards;
	struct mm_ranges *stale; /* gets the pages of fresh spans that look unchanged, and so were not protected */
};

/**
 * scanner_peek() - the region that the scan stands at; guards are put aside
 * ++s->next goes to the next one.
 * Return: 1; 0 at the end; negative errno.
 */
int scanner_peek(struct scanner *s, const struct uapi_page_region **ret);
/** scanner_begin() - room for regions; spans and all above are set. Return: 0, -ENOMEM */
int scanner_begin(struct scanner *s);
void scanner_done(struct scanner *s);

DEFINE_VEC(region_vec, struct uapi_page_region)

/* A scan of one task that was made beforehand. All zero: none. */
struct page_scan {
	struct task *task;
	bool guards, opened;
	bool large;       /* worth to look which mappings are plain */
	bool done;        /* it was carried out */
	uint64_t changed; /* category of pages that were written to, if it is wanted */
	int fd;           /* once it is opened */
	struct region_vec regions;
};

/** page_scan_changed() - category of pages that were written to since the round before; 0: nobody wants to know */
uint64_t page_scan_changed(const struct mm_dump *d);
/** page_scan_open() - prepare a scan of a task's whole address space; nothing to run where the kernel cannot scan */
void page_scan_open(struct mm_dump *d, struct task *task, bool large, struct page_scan *ret);
/** page_scan_run() - carry it out, in any thread. Failures show in page_select(), which then scans itself. */
void page_scan_run(struct page_scan *scan);
/** page_scan_close() - give everything back; safe in any state */
void page_scan_close(struct page_scan *scan);

#endif

/* Which pages of a task have content that only the task holds. */
#ifndef CR_MM_PAGE_SELECT_H
#define CR_MM_PAGE_SELECT_H

#include "mm/page-chain.h"
#include "mm/vma-class.h"

struct region_vec;

/** vma_content_of() - what is stored of a mapping that is in the image already. Pure. */
enum vma_content vma_content_of(const img_vma_entry *v);

/* A scan of one task that was made beforehand. All zero: none. */
struct page_scan {
	bool guards, written, done; /* what is asked for; it was carried out */
	bool opened;
	uint64_t changed; /* category of pages that were written to, if it is wanted */
	int fd; /* once it is opened */
	struct region_vec *regions;
};

/** page_scan_open() - prepare a scan of a task's whole address space; nothing to run where the kernel cannot scan */
void page_scan_open(struct mm_dump *d, struct task *task, struct page_scan *ret);
/** page_scan_run() - carry it out, in any thread. Failures show in page_select(), which then scans itself. */
void page_scan_run(struct page_scan *scan);
/** page_scan_close() - give everything back; safe in any state */
void page_scan_close(struct page_scan *scan);

/**
 * page_select() - fill mt->pages, ascending; and append guard pseudo-mappings to mt->vmas
 * Asks the kernel for the whole address space at once: the price is that of the page tables, not of the mappings.
 * @scan: what was found beforehand, used up; may be all zero.
 */
int page_select(struct mm_dump *d, struct mm_task *mt, struct page_scan *scan, struct cr_error *err);

/**
 * page_select_shared() - mark pages that are mapped by other processes, too, so that reading leaves them shared
 * process_vm_readv() pins what it reads, and pinning a page that is shared copy-on-write copies it first
 * (gup_must_unshare() in mm/gup.c, since 5.19): a dump that leaves the tree running would double its memory.
 */
int page_select_shared(struct mm_task *mt, struct cr_error *err);

/**
 * page_select_unchanged() - mark pages that @parent has and that were not written to since as in the parent
 * Except for those in mt->stays, which is put in order. @parent: NULL: none has
 */
int page_select_unchanged(struct mm_task *mt, const struct stored_runs *parent, struct cr_error *err);

/**
 * page_runs_put() - add a run, joined with the last one where it continues it
 * Return: 0, -ENOMEM.
 */
int page_runs_put(struct page_runs *runs, uint64_t start, uint64_t end, uint32_t flags, bool slow);

#endif

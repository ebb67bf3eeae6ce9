/* Which pages of a task have content that only the task holds. */
#ifndef CR_MM_PAGE_SELECT_H
#define CR_MM_PAGE_SELECT_H

#include "mm/mm-internal.h"
#include "mm/vma-class.h"

struct page_scan;

/** vma_content_of() - what is stored of a mapping that is in the image already. Pure. */
enum vma_content vma_content_of(const img_vma_entry *v);

/**
 * page_select() - fill mt->pages, ascending; and append guard pseudo-mappings to mt->vmas
 * Asks the kernel for the whole address space at once: the price is that of the page tables, not of the mappings.
 * What is in mt->watched is write-protected in the same walk; after a failure it may be, without being listed. Pages of which
 * that is not true afterwards are in mt->stale: tracker_clear_marks(), page_protect().
 * @scan: what was found beforehand, used up; may be all zero, and is if anything is to be protected.
 */
int page_select(struct mm_dump *d, struct mm_task *mt, struct page_scan *scan, struct cr_error *err);

/**
 * page_protect() - write-protect what was written to of mt->watched, for who knows the pages already
 * @stale: gets pages that have a mark of an earlier watch, and so are not protected; NULL: there are none, since they were cleared
 * Return: 0, negative errno.
 */
int page_protect(struct mm_dump *d, struct mm_task *mt, struct mm_ranges *stale, struct cr_error *err);

/**
 * page_select_shared() - mark pages that are mapped by other processes, too, so that reading leaves them shared
 * process_vm_readv() pins what it reads, and pinning a page that is shared copy-on-write copies it first
 * (gup_must_unshare() in mm/gup.c, since 5.19): a dump that leaves the tree running would double its memory.
 */
int page_select_shared(struct mm_task *mt, struct cr_error *err);

/**
 * page_select_unchanged() - mark pages that @parent has and that were not written to since as in the parent
 * Except for those in mt->stays, which is put in order. @parent: ascending; NULL: none has
 */
int page_select_unchanged(struct mm_task *mt, const struct mm_ranges *parent, struct cr_error *err);

/**
 * page_runs_put() - add a run, joined with the last one where it continues it
 * Return: 0, -ENOMEM.
 */
int page_runs_put(struct page_runs *runs, uint64_t start, uint64_t end, uint32_t flags, bool slow);

#endif

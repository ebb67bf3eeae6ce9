/* One address space as images describe it, and the small questions that planners ask about it. */
#ifndef CR_MM_SPACE_H
#define CR_MM_SPACE_H

#include "mm/page-chain.h"

/* Highest end of a mapping: 56 bits with five levels of page tables, less the page that the kernel keeps back. */
#define MM_SPACE_END ((UINT64_C(1) << 56) - MM_PAGE)

#define MM_SPECIALS 8

/* The kernel's own mappings of one process: [vdso], [vvar], [vvar_vclock], ... in ascending order. */
struct mm_specials {
	struct mm_range area[MM_SPECIALS];
	size_t nr;
	size_t vdso; /* index; meaningless while nr is 0 */
};

struct mm_space {
	pid_t ns_pid;
	img_mm_entry *entry;
	size_t nr_vmas;           /* real ones; guard pseudo-mappings follow in entry->vmas */
	struct stored_runs pages; /* ascending */
	uint64_t *later; /* for each real vma that is filled behind a running task: its first page; 0, or NULL: none is */
	bool left;                /* some are still with the process that was dumped, and have to come later */
	struct page_files files;  /* that they are in, the newest first as far as any is needed */
	struct mm_specials specials; /* where they are once the plan has run */
	struct mm_planned planned; /* once the plan has run */
	bool proxy_vdso;             /* the dumped vDSO lives on as ordinary memory that calls the kernel's */
};

static inline const img_vma_entry *space_vma(const struct mm_space *s, size_t i)
{
	return &s->entry->vmas.items[i];
}

/** space_find() - index of the first real vma that ends above @at; nr_vmas if there is none */
size_t space_find(const struct mm_space *s, uint64_t at);

/** space_first_run() - index of the first stored run that ends above @at */
size_t space_first_run(const struct mm_space *s, uint64_t at);

/** space_has_pages() - is anything stored of [start, end)? */
bool space_has_pages(const struct mm_space *s, uint64_t start, uint64_t end);

/** space_read_stored() - content of a range that is stored completely. Return: 0; 1 it is not stored; negative errno. Whole pages. */
int space_read_stored(const struct mm_space *s, uint64_t start, void *ret, size_t len, struct cr_error *err);

/**
 * space_comes_later() - are the pages of this vma left to a pager?
 * All or none: a page that the task reads itself may come as a huge one, with zeroes where others are still to come.
 */
static inline bool space_comes_later(const struct mm_space *s, size_t vma)
{
	return s->later && s->later[vma];
}

/** space_check() - is every number of the entry in range? pure. @s: entry set; fills nr_vmas */
int space_check(struct mm_space *s, struct cr_error *err);

/** space_check_run() - does a run follow the earlier ones, inside private memory? pure */
int space_check_run(const struct mm_space *s, uint64_t vaddr, uint64_t nr_pages, struct cr_error *err);

/** space_hole() - free addresses in one space, outside of @avoid. Return: 0 if there are none; UINT64_MAX if memory is short. */
uint64_t space_hole(const struct mm_space *s, struct mm_range avoid, uint64_t size);

/**
 * space_kept() - the mapping of @parent that a child forked with its parent's memory keeps for its own vma @v
 * Pure. Return: NULL if @v has to be made anew.
 */
const img_vma_entry *space_kept(const struct mm_space *parent, const img_vma_entry *v);

#endif

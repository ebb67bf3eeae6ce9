/*
 * The entries of a pagemap image, one after another, as they follow from what is stored of an address space or segment.
 * Nothing is kept but where it goes on, so that millions of runs take no more memory than they have already.
 */
#ifndef CR_MM_PAGE_ENTRIES_H
#define CR_MM_PAGE_ENTRIES_H

#include "mm/page-chain.h"

DEFINE_VEC(addr_vec, uint64_t)

/* One image. */
struct page_object {
	enum img_type type; /* IMG_PAGEMAP or IMG_PAGEMAP_SHMEM */
	uint64_t id;
	const struct page_runs *runs; /* ascending, those in the parent included; borrowed */
	struct addr_vec eager;        /* pages that must not be lazy, ascending */
};

/* Where it goes on; all zero but for the object: at the beginning. */
struct page_walk {
	const struct page_object *of;
	size_t run, eager;
	uint64_t at;  /* inside of the runs that join with that one; 0: their begin */
	uint64_t end; /* of these, and the run behind them; once at is not 0 */
	size_t next;
};

/** page_walk_next() - the next entry; its off is meaningless. Return: false there are no more */
bool page_walk_next(struct page_walk *w, struct map_entry *ret);

#endif

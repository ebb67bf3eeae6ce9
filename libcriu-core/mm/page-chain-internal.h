/* The levels of a chain, which page-chain.c and page-dedup.c share. */
#ifndef CR_MM_PAGE_CHAIN_INTERNAL_H
#define CR_MM_PAGE_CHAIN_INTERNAL_H

#include "mm/page-chain.h"

struct level {
	struct image_set *set; /* borrowed: sets own their parents */
	struct page_map map;
	uint32_t file;
	bool opened;
};
DEFINE_VEC(levels, struct level)

struct chain {
	enum img_type type;
	uint64_t id;
	enum page_left left;
	struct levels levels; /* read so far, the newest first */
	bool ends;            /* there are no more */
	struct stored_runs *runs;
	struct page_files *files;
};

/** page_chain_add() - read the page map of @set, the next level. Return: 0; 1 it has none; negative errno. */
int page_chain_add(struct chain *c, struct image_set *set, struct cr_error *err);
/** page_chain_reach() - have level @at read. Return: 0; 1 there is none; negative errno. */
int page_chain_reach(struct chain *c, size_t at, struct cr_error *err);
void page_chain_done(struct chain *c);

/** page_chain_parent() - image_set_parent(), with as many descriptors as there may be */
int page_chain_parent(struct image_set *set, struct image_set **ret, struct cr_error *err);

/** map_entries_find() - the first entry that ends behind @at; their number: none */
size_t map_entries_find(const struct page_map *m, uint64_t at);

#endif

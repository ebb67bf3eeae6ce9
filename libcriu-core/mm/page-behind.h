/*
 * Writing behind: contents of pages go into a file in a thread of its own, while what comes next is received. A few buffers
 * circulate between the two.
 */
#ifndef CR_MM_PAGE_BEHIND_H
#define CR_MM_PAGE_BEHIND_H

#include "base/array.h"
#include "base/error.h"
#include "base/own.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* One file at a time. */
struct page_behind;

/* Checksums, of a page each */
DEFINE_VEC(page_sum_vec, uint32_t)

/* What is done to pages on their way */
enum { PAGE_BEHIND_SUMS = 1, PAGE_BEHIND_PACKS = 2 };

/** page_behind_new() - without a thread: it begins when there is enough to write. @flags: PAGE_BEHIND_* */
int page_behind_new(unsigned int flags, struct page_behind **ret, struct cr_error *err);

/** page_behind_free() - also in the middle of a file, which the caller closes afterwards */
void page_behind_free(struct page_behind *b);
DEFINE_SLOT(struct page_behind, page_behind_free)

/** page_behind_begin() - what follows belongs into @fd, from its beginning; the caller's, open until the end or the drop */
void page_behind_begin(struct page_behind *b, int fd);

/**
 * page_behind_room() - where the next content is to be put
 * @ret_len: how much of it fits there: some pages
 * Waits until there is room. Return: 0; negative errno, if something before it could not be written.
 */
int page_behind_room(struct page_behind *b, char **ret, size_t *ret_len, struct cr_error *err);

/** page_behind_put() - the first @len bytes there are filled: whole pages. Those that are zero become holes, or frames of nothing. */
void page_behind_put(struct page_behind *b, size_t len);

/** page_behind_end() - write the rest, and wait for it. @ret_size: of all, before it was packed. Return: 0; negative errno, the first failure */
int page_behind_end(struct page_behind *b, off_t *ret_size, struct cr_error *err);

/**
 * page_behind_take_sums() - of all pages of the file that has ended; the caller's from now on
 * Fewer than there are pages: memory was short.
 */
void page_behind_take_sums(struct page_behind *b, struct page_sum_vec *ret);

/** page_behind_drop() - nothing is written to the file any more; what was not yet is forgotten */
void page_behind_drop(struct page_behind *b);

#endif

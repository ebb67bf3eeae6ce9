/*
 * Checksums of what is in the pages files of a set, in a file of their own beside them: pages.sum, which other readers of
 * images do not look at. All numbers are little-endian.
 *
 *     0  u32 magic 0x53554d50   4  u32 version 1     8  u32 kind of sum (1: page-sum.h)    12  u32 page size
 *    16  u32 number of files   20  u32 CRC-32C of all before the sums, counted with 0 here
 *    24  u64 size of this file
 *    32  the set's dump_criu_run_id (inventory.img), zeroes behind it, 64 bytes
 *    96  for each pages file, ascending: u32 number, u32 0, u64 pages
 *        for each pages file in this order: u32 sum of each page
 *
 * A sum for each page, since pages of older sets are freed one by one (dedup). Sums are those of the set whose id they
 * have: another program may have written its images over ours and left this file behind.
 */
#ifndef CR_IMAGE_PAGE_SUMS_H
#define CR_IMAGE_PAGE_SUMS_H

#include "image/image-set.h"

#define PAGE_SUMS_PAGE 4096
#define PAGE_SUMS_ROUND 64

/* One pages file. */
struct sums_of {
	uint32_t pages_id;
	uint64_t nr_pages;
	uint64_t at; /* of its first sum in pages.sum */
};

struct page_sums {
	int fd; /* -1: only parsed */
	char round[PAGE_SUMS_ROUND];
	struct sums_of *files; /* ascending by pages_id */
	size_t nr;
};

enum { PAGE_SUMS_NONE = 1, PAGE_SUMS_FOREIGN = 2, PAGE_SUMS_UNBOUND = 3 };

/**
 * page_sums_parse() - head and index. Pure.
 * @size: of the whole file. Return: 0; -EBADMSG; -EOPNOTSUPP a later version; -ENOMEM. @ret->fd is -1.
 */
int page_sums_parse(const void *bytes, size_t len, uint64_t size, struct page_sums *ret, struct cr_error *err);
/** page_sums_free() - NULL is fine */
void page_sums_free(struct page_sums *s);
DEFINE_SLOT(struct page_sums, page_sums_free)
/** page_sums_find() - of one pages file; NULL: it has none */
const struct sums_of *page_sums_find(const struct page_sums *s, uint32_t pages_id);

/**
 * page_sums_create() - begin the sums of a set that is being written
 * @files: ascending by pages_id; where their sums go is filled in. Whoever writes the pages writes those, all of them.
 * Return: descriptor, owned by the caller; negative errno.
 */
int page_sums_create(struct image_set *set, const char *round, struct sums_of *files, size_t nr, struct cr_error *err);

/**
 * image_set_sums() - those of a set that is read, which keeps them open
 * Return: 0; PAGE_SUMS_NONE; PAGE_SUMS_FOREIGN there are some, of another dump; PAGE_SUMS_UNBOUND the set has no inventory, as a
 * page server leaves it: whoever knows which dump its images are of compares that with @ret's round; -EBADMSG they are damaged; negative errno.
 */
int image_set_sums(struct image_set *set, const struct page_sums **ret, struct cr_error *err);

/** image_set_ignore_sums() - as if this set and its parents had none; before they are asked for */
void image_set_ignore_sums(struct image_set *set);

#endif

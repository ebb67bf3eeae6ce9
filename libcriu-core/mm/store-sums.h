/*
 * Checksums of what a page server stores. They wait in memory, which takes 1 MiB for each GiB, until it is known how many
 * there are of each file: pages.sum begins with that.
 */
#ifndef CR_MM_STORE_SUMS_H
#define CR_MM_STORE_SUMS_H

#include "base/error.h"
#include "image/image-set.h"
#include "mm/page-behind.h"
#include "mm/page-wire.h"

struct store_sums_file {
	uint32_t pages_id;
	struct page_sum_vec sums;
};
DEFINE_VEC(store_sums_files, struct store_sums_file)

struct store_sums {
	uint8_t round[PAGE_ROUND_SIZE]; /* of the first file */
	struct store_sums_files files;
	bool none; /* they cannot be bound to one dump, or are not complete */
};

/** store_sums_put() - of a file that is complete. @sums: taken over in any case. Not thread-safe */
void store_sums_put(struct store_sums *s, const uint8_t round[static PAGE_ROUND_SIZE], uint32_t pages_id, uint64_t nr_pages,
		    struct page_sum_vec *sums);

/** store_sums_join() - those of another connection are taken over; @from is empty afterwards */
void store_sums_join(struct store_sums *s, struct store_sums *from);

/** store_sums_write() - into @set, which is not kept yet. Return: 0; 1 there are none; negative errno */
int store_sums_write(struct store_sums *s, struct image_set *set, struct cr_error *err);

void store_sums_done(struct store_sums *s);

#endif

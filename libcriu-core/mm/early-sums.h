/*
 * Checksums of pages that are stored before it is known which pages files there will be: those of shared memory in a
 * snapshot. They wait in a memory file until pages.sum is made.
 */
#ifndef CR_MM_EARLY_SUMS_H
#define CR_MM_EARLY_SUMS_H

#include "base/error.h"
#include "image/page-sums.h"

#include <stddef.h>

struct copy_job;

struct early_sums {
	int fd;
	struct sums_of *files; /* at: in fd */
	size_t nr;             /* 0: there are none, and fd is no descriptor */
};

/** early_sums_begin() - of @jobs, whose sums_at is filled in. Return: descriptor for the sums, the caller's; negative errno. */
int early_sums_begin(struct early_sums *e, struct copy_job *jobs, size_t nr, struct cr_error *err);

/** early_sums_move() - to pages.sum, open as @fd, where @files, the first of which are the early ones, have their places */
int early_sums_move(const struct early_sums *e, int fd, const struct sums_of *files, struct cr_error *err);

/** early_sums_done() - safe if there are none */
void early_sums_done(struct early_sums *e);

#endif

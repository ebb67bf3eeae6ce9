/*
 * Images that are used up by their restore (--auto-dedup): once the tree runs, the memory that was read is freed in the pages
 * files, those of earlier sets included. Not before: a restore that fails leaves the images as they were.
 */
#ifndef CR_MM_USED_UP_H
#define CR_MM_USED_UP_H

#include "base/error.h"
#include "base/own.h"
#include "image/image-set.h"

struct cr_context;
struct mm_used_up;

/**
 * mm_used_up_open() - open all pages files that a restore of @set reads from for writing, before anything is made
 * Return: 0; -EROFS, -EACCES and the like: they could not be freed; -EBADMSG; negative errno.
 */
int mm_used_up_open(struct image_set *set, struct mm_used_up **ret, struct cr_error *err);

/**
 * mm_used_up_punch() - free what was read; sizes of files stay
 * The set has no inventory any more after this, and so does not look as if it could be restored again.
 * @dirfd: directory of the set
 * Return: 0; negative errno, some may have been freed.
 */
int mm_used_up_punch(const struct mm_used_up *u, int dirfd, uint64_t *ret_bytes, struct cr_error *err);

void mm_used_up_free(struct mm_used_up *u);
DEFINE_SLOT(struct mm_used_up, mm_used_up_free)

#endif

/* Parts of an image set that image-set.c and image-file.c share. */
#ifndef CR_IMAGE_IMAGE_SET_INTERNAL_H
#define CR_IMAGE_IMAGE_SET_INTERNAL_H

#include "base/array.h"
#include "image/image-set.h"

#include <pthread.h>

struct image_stream;

struct made_image {
	enum img_type type;
	uint64_t id;
	uint64_t name_hash;
	bool met; /* seen at the commit */
};

DEFINE_VEC(made_vec, struct made_image)

struct image_set {
	int dirfd; /* borrowed, of a parent its own */
	bool own_dirfd;
	bool parent_known, linked; /* @parent is final; the link was made by us */
	struct image_set *parent;
	const struct image_set *child; /* whose parent it is; NULL: nobody's */
	uint64_t dev, ino;             /* of the directory, once a parent was looked for */
	char *run_id; /* of the inventory, NULL: it was not asked for */
	bool sums_known, sums_ignored; /* @sums and @sums_state are final; of parents, too, there are to be none */
	int sums_state;
	struct page_sums *sums;
	bool writing, committed;
	struct image_stream *stream; /* NULL: the files of a directory */
	pthread_mutex_t lock; /* of made */
	struct made_vec made; /* what a set being written has created, in order */
};

/** image_set_over() - a set for reading, whether it is whole or not */
int image_set_over(int dirfd, struct image_set **ret, struct cr_error *err);

/* open an image by its name; never follows links. Return: descriptor */
int image_set_openat(struct image_set *set, enum img_type type, uint64_t id, int flags, struct cr_error *err);

#endif

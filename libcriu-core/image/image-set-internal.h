/* Parts of an image set that image-set.c and image-file.c share. */
#ifndef CR_IMAGE_IMAGE_SET_INTERNAL_H
#define CR_IMAGE_IMAGE_SET_INTERNAL_H

#include "base/array.h"
#include "image/image-set.h"

#include <pthread.h>

struct made_image {
	enum img_type type;
	uint64_t      id;
};

DEFINE_VEC(made_vec, struct made_image)

struct image_set {
	int             dirfd;      /* borrowed */
	bool            writing, committed;
	pthread_mutex_t lock;       /* of made */
	struct made_vec made;       /* what a set being written has created, in order */
};

/* remember that the set has this file now, so that an unfinished set can be removed */
int image_set_note(struct image_set *set, enum img_type type, uint64_t id, struct cr_error *err);
/* open an image by its name; never follows links. Return: descriptor */
int image_set_openat(struct image_set *set, enum img_type type, uint64_t id, int flags, struct cr_error *err);

#endif

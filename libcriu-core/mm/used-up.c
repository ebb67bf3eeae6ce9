/* Freeing images that were restored; see used-up.h. */
#include "mm/used-up.h"

#include "mm/page-chain.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

DEFINE_VEC(open_files, int)

struct mm_used_up {
	struct image_set *set;   /* borrowed, while it is read */
	struct stored_runs runs; /* file is the index in files */
	struct open_files files; /* for writing */
};

/* Through the descriptor, which is the very file that is read; what may be written to is asked anew. */
static int open_again(int fd, struct cr_error *err)
{
	char path[40];
	int again;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, O_RDWR | O_CLOEXEC);
	if (again >= 0)
		return again;
	cr_fail(err, -errno, "open a pages image for writing");
	cr_advise(err, "restore without --auto-dedup: it frees the pages of the images");
	return err->code;
}

static int add(struct mm_used_up *u, const struct stored_runs *runs, struct page_files *files, struct cr_error *err)
{
	uint32_t first = (uint32_t)u->files.nr;

	for (size_t i = 0; i < files->nr; i++) {
		int fd, *slot;

		if (files->items[i].unpack) {
			cr_refuse(err, -EOPNOTSUPP, "pages-%u.frames is compressed: its pages cannot be freed one by one",
				  files->items[i].pages_id);
			cr_advise(err, "restore without --auto-dedup, and remove the images");
			return -EOPNOTSUPP;
		}
		fd = open_again(files->items[i].fd, err);

		if (fd < 0)
			return fd;
		slot = open_files_add(&u->files);
		if (!slot) {
			close(fd);
			return cr_fail(err, -ENOMEM, "note what is to be freed");
		}
		*slot = fd;
	}
	for (size_t i = 0; i < runs->nr; i++) {
		struct stored_run *to = stored_runs_add(&u->runs);

		if (!to)
			return cr_fail(err, -ENOMEM, "note what is to be freed");
		*to = runs->items[i];
		to->file += first;
	}
	return 0;
}

static int add_image(void *arg, enum img_type type, uint64_t id, struct cr_error *err)
{
	struct mm_used_up *u = arg;
	struct stored_runs runs = { 0 };
	struct page_files files = { 0 };
	int r = page_chain_read(u->set, type, id, NULL, NULL, &runs, &files, err);

	if (r == 0)
		r = add(u, &runs, &files, err);
	stored_runs_done(&runs);
	page_files_close(&files);
	return r;
}

int mm_used_up_open(struct image_set *set, struct mm_used_up **ret, struct cr_error *err)
{
	autofree_by(mm_used_up_free) struct mm_used_up *u = calloc(1, sizeof(*u));
	int r;

	if (!u)
		return cr_fail(err, -ENOMEM, "note what is to be freed");
	u->set = set;
	r = image_set_each(set, IMG_PAGEMAP, add_image, u, err);
	if (r == 0)
		r = image_set_each(set, IMG_PAGEMAP_SHMEM, add_image, u, err);
	u->set = NULL;
	if (r == 0)
		*ret = take_ptr(&u);
	return r;
}

int mm_used_up_punch(const struct mm_used_up *u, int dirfd, uint64_t *ret_bytes, struct cr_error *err)
{
	char name[IMG_NAME_MAX];
	uint64_t bytes = 0;
	int r = img_name(IMG_INVENTORY, 0, name, sizeof(name));

	if (r < 0)
		return cr_fail(err, r, "name of the inventory");
	/* first: there must be no moment in which a set looks whole and is hollow */
	if (unlinkat(dirfd, name, 0) < 0)
		return cr_fail(err, -errno, "remove %s", name);
	for (size_t i = 0; i < u->runs.nr; i++) {
		const struct stored_run *run = &u->runs.items[i];

		if (fallocate(u->files.items[run->file], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)run->off,
			      (off_t)(run->end - run->start)) < 0)
			return cr_fail(err, -errno, "free pages");
		bytes += run->end - run->start;
	}
	*ret_bytes = bytes;
	return 0;
}

void mm_used_up_free(struct mm_used_up *u)
{
	if (!u)
		return;
	stored_runs_done(&u->runs);
	for (size_t i = 0; i < u->files.nr; i++)
		close(u->files.items[i]);
	open_files_done(&u->files);
	free(u);
}

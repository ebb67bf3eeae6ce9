/* Image sets: which files a set has, and when it exists; see image-set.h. The files' insides are image-file.c. */
#include "image/image-set.h"
#include "image/image-set-internal.h"

#include "base/map.h"
#include "base/own.h"
#include "image/page-sums.h"
#include "image/stream-internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What the inventory is called until it is whole; readers skip names they do not know */
#define INVENTORY_PART "inventory.img.part"

static int set_new(int dirfd, bool writing, struct image_set **ret, struct cr_error *err)
{
	struct image_set *set = calloc(1, sizeof(*set));

	if (!set)
		return cr_fail(err, -ENOMEM, "open image set");
	set->dirfd = dirfd;
	set->writing = writing;
	if (pthread_mutex_init(&set->lock, NULL)) {
		free(set);
		return cr_fail(err, -ENOMEM, "open image set");
	}
	*ret = set;
	return 0;
}

int image_set_over(int dirfd, struct image_set **ret, struct cr_error *err)
{
	return set_new(dirfd, false, ret, err);
}

static int remove_old(int dirfd, const char *name, struct cr_error *err)
{
	return unlinkat(dirfd, name, 0) < 0 && errno != ENOENT ? cr_fail(err, -errno, "remove the old %s", name) : 0;
}

int image_set_create(int dirfd, struct image_set **ret, struct cr_error *err)
{
	char name[IMG_NAME_MAX];
	int r;

	img_name(IMG_INVENTORY, 0, name, sizeof(name));
	r = remove_old(dirfd, name, err);
	if (r == 0)
		r = remove_old(dirfd, IMAGE_WHOLE_MARK, err);
	/* of pages that are about to be overwritten */
	img_name(IMG_PAGE_SUMS, 0, name, sizeof(name));
	if (r == 0)
		r = remove_old(dirfd, name, err);
	return r < 0 ? r : set_new(dirfd, true, ret, err);
}

int image_set_beside(const struct image_set *set, struct image_set **ret, struct cr_error *err)
{
	return set_new(set->dirfd, true, ret, err);
}

int image_set_open(int dirfd, struct image_set **ret, struct cr_error *err)
{
	char name[IMG_NAME_MAX];

	img_name(IMG_INVENTORY, 0, name, sizeof(name));
	if (faccessat(dirfd, name, R_OK, AT_EACCESS) < 0) {
		int code = -errno;

		cr_fail(err, code, "open %s", name);
		if (code == -ENOENT)
			cr_advise(err, "this directory holds no complete checkpoint: give the directory of one with "
				       "--images-dir");
		return code;
	}
	return set_new(dirfd, false, ret, err);
}

static int set_note(struct image_set *set, enum img_type type, uint64_t id, const char *name, struct cr_error *err)
{
	struct made_image *m;

	pthread_mutex_lock(&set->lock);
	m = made_vec_add(&set->made);
	if (m) {
		m->type = type;
		m->id = id;
		m->name_hash = map_mix_text(0, name);
	}
	pthread_mutex_unlock(&set->lock);
	return m ? 0 : cr_fail(err, -ENOMEM, "note an image");
}

static int stay_check(const struct image_set *set, const struct made_image *m, struct cr_error *err)
{
	char name[IMG_NAME_MAX];
	struct stat st;

	if (img_name(m->type, m->id, name, sizeof(name)) < 0 ||
	    fstatat(set->dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return 0;
	return cr_fail(err, -errno, "%s was removed while the others were written", name);
}

/* Names of the set that a walk of the directory meets; hashes are unlike enough among so few. */
static void meet_all(const struct image_set *set, const struct map *by_name)
{
	int fd = openat(set->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return; /* it may not be read: every name is looked at */
	}
	for (struct dirent *d; (d = readdir(dir));) {
		struct made_image *m = map_find(by_name, map_mix_text(0, d->d_name));

		if (m)
			m->met = true;
	}
	closedir(dir);
}

/*
 * Are all the files that were made still there? Whoever empties the directory meanwhile must not get a set that looks whole.
 * A walk of the directory takes a third of the time that a look at each name takes; what it does not show is looked at.
 */
static int all_stay_check(struct image_set *set, struct cr_error *err)
{
	struct map by_name = { 0 };
	int r = 0;

	for (size_t i = 0; r == 0 && i < set->made.nr; i++) {
		struct made_image *m = &set->made.items[i];

		m->met = false;
		if (!map_find(&by_name, m->name_hash))
			r = map_put(&by_name, m->name_hash, m);
	}
	if (r == 0)
		meet_all(set, &by_name);
	map_done(&by_name);
	r = 0;
	for (size_t i = 0; r == 0 && i < set->made.nr; i++)
		if (!set->made.items[i].met)
			r = stay_check(set, &set->made.items[i], err);
	return r;
}

int image_set_commit(struct image_set *set, const img_inventory_entry *inv, struct cr_error *err)
{
	char name[IMG_NAME_MAX];
	int r = image_write_single(set, IMG_INVENTORY, 0, inv, err);

	if (set->stream) {
		set->committed = r == 0;
		return r;
	}
	img_name(IMG_INVENTORY, 0, name, sizeof(name));
	if (r == 0 && renameat(set->dirfd, INVENTORY_PART, set->dirfd, name) < 0)
		r = cr_fail(err, -errno, "rename %s to %s", INVENTORY_PART, name);
	if (r < 0) {
		unlinkat(set->dirfd, INVENTORY_PART, 0);
		return r;
	}
	/* after the inventory is there, so that nothing that went before it stays unseen */
	r = all_stay_check(set, err);
	if (r < 0) {
		unlinkat(set->dirfd, name, 0);
		return r;
	}
	set->committed = true;
	return 0;
}

int image_set_keep(struct image_set *set, struct cr_error *err)
{
	int r = all_stay_check(set, err);

	if (r == 0)
		set->committed = true;
	return r;
}

int image_set_mark_whole(struct image_set *set, struct cr_error *err)
{
	autofd int fd = image_create(set->dirfd, IMAGE_WHOLE_MARK, O_WRONLY, err);

	return fd < 0 ? fd : 0;
}

int image_set_check_whole(struct image_set *set, struct cr_error *err)
{
	char name[IMG_NAME_MAX];

	if (set->stream)
		return 0;
	img_name(IMG_INVENTORY, 0, name, sizeof(name));
	if (faccessat(set->dirfd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0 ||
	    faccessat(set->dirfd, IMAGE_WHOLE_MARK, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return 0;
	return cr_fail(err, -errno, "look for %s or %s", name, IMAGE_WHOLE_MARK);
}

void image_set_withdraw(struct image_set *set)
{
	set->committed = false;
}

int image_set_run_id(struct image_set *set, const char **ret, struct cr_error *err)
{
	if (!set->run_id) {
		const img_inventory_entry *inv;
		void *entry = NULL;
		int r = image_read_single(set, IMG_INVENTORY, 0, &entry, err);

		if (r == 1)
			cr_error_clear(err);
		if (r != 0)
			return r;
		inv = entry;
		set->run_id = strdup(inv->dump_criu_run_id ? inv->dump_criu_run_id : "");
		img_entry_free(entry);
		if (!set->run_id)
			return cr_fail(err, -ENOMEM, "read the inventory");
	}
	*ret = set->run_id;
	return 0;
}

void image_set_free(struct image_set *set)
{
	if (!set)
		return;
	if (set->writing && !set->committed && !set->stream) {
		/* the inventory first, so that the set never looks whole while its parts go */
		for (size_t i = set->made.nr; i-- > 0;) {
			char name[IMG_NAME_MAX];

			if (img_name(set->made.items[i].type, set->made.items[i].id, name, sizeof(name)) == 0)
				unlinkat(set->dirfd, name, 0);
		}
		if (set->linked)
			unlinkat(set->dirfd, IMAGE_PARENT_LINK, 0);
	}
	/* in a loop, since chains may be long */
	for (struct image_set *p = take_ptr(&set->parent); p;) {
		struct image_set *next = take_ptr(&p->parent);

		image_set_free(p);
		p = next;
	}
	if (set->own_dirfd)
		close(set->dirfd);
	page_sums_free(set->sums);
	free(set->run_id);
	image_stream_free(set->stream);
	made_vec_done(&set->made);
	pthread_mutex_destroy(&set->lock);
	free(set);
}

int image_create(int dirfd, const char *name, int access, struct cr_error *err)
{
	autofd int fd = openat(dirfd, name, access | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0644);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return cr_fail(err, -errno, "open %s", name);
	/* a pipe would take it all, and nobody would have it */
	if (!S_ISREG(st.st_mode))
		return cr_refuse(err, -EEXIST, "%s is there and is not a regular file", name);
	return take_fd(&fd);
}

int image_set_clear(struct image_set *set, enum img_type type, uint64_t id, struct cr_error *err)
{
	char name[IMG_NAME_MAX];
	int r = img_name(type, id, name, sizeof(name));

	if (r < 0)
		return cr_fail(err, r, "name an image");
	if (set->stream || unlinkat(set->dirfd, name, 0) == 0 || errno == ENOENT)
		return 0;
	return cr_fail(err, -errno, "remove %s of an older set", name);
}

/* Of an older set there may be the same pages the other way. If they stayed, nobody could tell which are meant. */
static int drop_other(struct image_set *set, enum img_type type, uint64_t id, struct cr_error *err)
{
	if (type != IMG_PAGES && type != IMG_PAGES_PACKED)
		return 0;
	return image_set_clear(set, type == IMG_PAGES ? IMG_PAGES_PACKED : IMG_PAGES, id, err);
}

int image_set_openat(struct image_set *set, enum img_type type, uint64_t id, int flags, struct cr_error *err)
{
	char name[IMG_NAME_MAX];
	int fd, r;

	r = img_name(type, id, name, sizeof(name));
	if (r < 0)
		return cr_fail(err, r, "name an image");
	if (set->stream)
		return stream_open(set, type, id, name, err);
	if (flags & O_CREAT) {
		r = drop_other(set, type, id, err);
		if (r == 0)
			r = set_note(set, type, id, name, err);
		if (r < 0)
			return r;
		/* whoever is killed between opening and writing it leaves no inventory, rather than an empty one */
		if (type == IMG_INVENTORY)
			snprintf(name, sizeof(name), "%s", INVENTORY_PART);
		return image_create(set->dirfd, name, flags & O_ACCMODE, err);
	}
	/* A link or a special file under an image's name is not an image: nothing is followed, nothing blocks. */
	fd = openat(set->dirfd, name, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0644);
	if (fd < 0)
		return cr_fail(err, -errno, "open %s", name);
	return fd;
}

int image_open_raw(struct image_set *set, enum img_type type, uint64_t id, struct cr_error *err)
{
	return image_set_openat(set, type, id, set->writing ? O_RDWR | O_CREAT | O_TRUNC : O_RDONLY, err);
}

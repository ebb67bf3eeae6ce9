/* Links between image sets, and which images a directory has; see image-set.h. */
#include "image/image-set-internal.h"
#include "image/page-sums.h"

#include "base/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINKS_MAX 1024 /* as many sets as a chain may have */

int image_open_stored(struct image_set *set, enum img_type type, uint64_t id, int flags, struct cr_error *err)
{
	return image_set_openat(set, type, id, flags, err);
}

/* No chain ends that bites its tail. Return: 0; -ELOOP; negative errno */
static int check_descent(struct image_set *set, int parent_fd, struct cr_error *err)
{
	struct stat st;

	if (!set->ino) {
		if (fstat(set->dirfd, &st) < 0)
			return cr_fail(err, -errno, "look at a directory of images");
		set->dev = st.st_dev;
		set->ino = st.st_ino;
	}
	if (fstat(parent_fd, &st) < 0)
		return cr_fail(err, -errno, "look at the parent set");
	for (const struct image_set *s = set; s; s = s->child)
		if (s->dev == st.st_dev && s->ino == st.st_ino)
			return cr_refuse(err, -ELOOP, "the link to the parent set leads back to a set that it is a parent of");
	return 0;
}

int image_set_parent(struct image_set *set, struct image_set **ret, struct cr_error *err)
{
	if (!set->parent_known) {
		/* this link alone is followed: where it leads is for the owner of the directory to say */
		autofd int fd = open_by_name(set->dirfd, IMAGE_PARENT_LINK, O_RDONLY | O_DIRECTORY);

		if (fd < 0 && fd != -ENOENT)
			return cr_fail(err, fd, "open the parent set");
		if (fd < 0 && faccessat(set->dirfd, IMAGE_PARENT_LINK, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
			return cr_fail(err, -ENOENT, "open the parent set");
		if (fd >= 0) {
			int r = check_descent(set, fd, err);

			if (r == 0)
				r = image_set_over(fd, &set->parent, err);
			if (r < 0)
				return r;
			set->parent->own_dirfd = true;
			set->parent->child = set;
			if (set->sums_ignored)
				image_set_ignore_sums(set->parent);
			take_fd(&fd);
		}
		set->parent_known = true;
	}
	*ret = set->parent;
	return set->parent ? 0 : 1;
}

int image_set_open_any(int dirfd, struct image_set **ret, struct cr_error *err)
{
	return image_set_over(dirfd, ret, err);
}

static bool same_directory(int a, int b)
{
	struct stat x, y;

	return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/*
 * Do the sets from @fd upwards need what is in @dirfd? Where the links break off they need nothing more: whoever reads them
 * finds that out. Links that bite their tail elsewhere end at that depth.
 */
static int check_not_needed(int fd, int dirfd, struct cr_error *err)
{
	autofd int at = open_by_name(fd, IMAGE_PARENT_LINK, O_RDONLY | O_DIRECTORY);

	for (int depth = 0; at >= 0 && depth < LINKS_MAX; depth++) {
		int next;

		if (same_directory(at, dirfd)) {
			cr_refuse(err, -EINVAL, "the directory that is to be written has images that the previous ones need");
			cr_advise(err, "write into another directory: pages that did not change are stored there alone");
			return -EINVAL;
		}
		next = open_by_name(at, IMAGE_PARENT_LINK, O_RDONLY | O_DIRECTORY);
		close(at);
		at = next;
	}
	return 0;
}

int image_set_open_previous(int dirfd, const char *path, struct image_set **ret, struct cr_error *err)
{
	autofd int fd = open_by_name(dirfd, IMAGE_PARENT_LINK, O_RDONLY | O_DIRECTORY);
	int r;

	/* a link that leads nowhere would stay, and the new images could not be restored */
	if (fd == -ENOENT && faccessat(dirfd, IMAGE_PARENT_LINK, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
		fd = open_by_name(dirfd, path, O_RDONLY | O_DIRECTORY);
	if (fd < 0)
		return cr_fail(err, fd, "open the directory of previous images %s", path);
	if (same_directory(fd, dirfd))
		return cr_refuse(err, -EINVAL, "the directory of previous images is the one that is to be written");
	r = check_not_needed(fd, dirfd, err);
	if (r == 0)
		r = image_set_over(fd, ret, err);
	if (r == 0) {
		(*ret)->own_dirfd = true;
		take_fd(&fd);
	}
	return r;
}

int image_set_link(struct image_set *set, const char *path, struct cr_error *err)
{
	autofd int fd = open_by_name(set->dirfd, path, O_RDONLY | O_DIRECTORY);

	if (fd < 0)
		return cr_fail(err, fd, "open the directory of previous images %s", path);
	if (symlinkat(path, set->dirfd, IMAGE_PARENT_LINK) == 0)
		set->linked = true;
	else if (errno != EEXIST)
		return cr_fail(err, -errno, "make the link to %s", path);
	return 0;
}

/* The number in a name, if it is one of @type: the name is made again from it and compared. */
static bool is_of(const char *name, enum img_type type, uint64_t *ret_id)
{
	char again[IMG_NAME_MAX];
	const char *p = strrchr(name, '-');
	uint64_t id = 0;

	if (!p || p[1] < '0' || p[1] > '9')
		return false;
	id = strtoull(p + 1, NULL, 10);
	if (img_name(type, id, again, sizeof(again)) < 0 || strcmp(again, name) != 0)
		return false;
	*ret_id = id;
	return true;
}

int image_set_each(struct image_set *set, enum img_type type,
		   int (*fn)(void *arg, enum img_type type, uint64_t id, struct cr_error *err), void *arg,
		   struct cr_error *err)
{
	int fd = openat(set->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir) {
		r = cr_fail(err, -errno, "list the images");
		if (fd >= 0)
			close(fd);
		return r;
	}
	for (struct dirent *d; r == 0 && (d = readdir(dir));) {
		uint64_t id;

		if (is_of(d->d_name, type, &id))
			r = cr_within(err, fn(arg, type, id, err), "%s", d->d_name);
	}
	closedir(dir);
	return r;
}

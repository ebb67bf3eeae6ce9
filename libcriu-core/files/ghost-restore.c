/*
 * Making ghosts again. A ghost gets its old name for a moment, where that is free, so that the kernel shows the same text
 * for its descriptors as before; else a name next to it. Directories that are gone as well are made for that moment, which
 * is spent in a process of its own (apart.h), so that no name stays when the restorer is killed. Once the file exists all
 * descriptions of it are opened through /proc/self/fd, so the name can go at once.
 */
#include "files/restore-internal.h"

#include "base/io.h"
#include "base/own.h"
#include "files/xattr.h"
#include "kernel/apart.h"
#include "image/image-set.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define MAX_MADE_DIRS 64

struct ghost_source {
	uint32_t id;
	img_ghost_file_entry *entry;
	int fd;    /* the new file, O_PATH; -1 not made */
	int maker; /* the description that made it, if the file was one of O_TMPFILE and is still open in that way; -1 */
};

/* ----------------------------------------------------------------- reading */

static int ghost_entry_check(const img_ghost_file_entry *e, struct cr_error *err)
{
	switch (e->mode & S_IFMT) {
	case S_IFREG:
	case S_IFDIR:
	case S_IFIFO:
		break;
	case S_IFCHR:
	case S_IFBLK:
		if (!e->has_rdev)
			return cr_refuse(err, -EBADMSG, "a device without a number");
		break;
	case S_IFLNK:
		if (!e->symlnk_target || !e->symlnk_target[0] || strlen(e->symlnk_target) >= PATH_MAX)
			return cr_refuse(err, -EBADMSG, "a symbolic link without a target");
		break;
	default:
		return cr_refuse(err, -EBADMSG, "a file of mode 0%o", e->mode);
	}
	if ((e->mtim && e->mtim->tv_usec >= 1000000) || (e->atim && e->atim->tv_usec >= 1000000))
		return cr_refuse(err, -EBADMSG, "a time with more than a million microseconds");
	if (e->ext && (e->ext->atim_nsec >= 1000 || e->ext->mtim_nsec >= 1000))
		return cr_refuse(err, -EBADMSG, "a time with more than a thousand nanoseconds");
	if (e->has_size && e->size > INT64_MAX)
		return cr_refuse(err, -EBADMSG, "a size of %llu bytes", (unsigned long long)e->size);
	return e->ext ? xattrs_check(&e->ext->xattrs, err) : 0;
}

/* Walks the chunks to the end: what this accepts can be written without surprise. */
static int ghost_chunks_check(struct image_reader *rd, const img_ghost_file_entry *e, struct cr_error *err)
{
	uint64_t end = 0;
	void *rec;
	int r;

	if (!e->has_chunks || !e->chunks)
		return 0;
	if (!e->has_size || !S_ISREG(e->mode))
		return cr_refuse(err, -EBADMSG, "chunks without a size");
	while ((r = image_read_record(rd, IMG_MSG_ghost_chunk_entry, &rec, err)) == 1) {
		img_ghost_chunk_entry c = *(img_ghost_chunk_entry *)rec;

		img_entry_free(rec);
		if (c.off < end || c.off > e->size || c.len > e->size - c.off)
			return cr_refuse(err, -EBADMSG, "a chunk outside of the file or before the last one");
		end = c.off + c.len;
		r = image_reader_skip(rd, c.len, err);
		if (r < 0)
			return r;
	}
	return r;
}

static int ghost_read(struct files *fs, uint32_t id, struct cr_error *err)
{
	autofree_by(image_reader_close) struct image_reader *rd = NULL;
	struct ghost_source *g, **at;
	void *entry;
	int r;

	if (map_find(&fs->ghost_by_id, (uint64_t)id + 1))
		return 0;
	r = image_reader_open(fs->set, IMG_GHOST_FILE, id, &rd, err);
	if (r == 0)
		r = image_read(rd, &entry, err) == 1 ? 0 : cr_refuse(err, -EBADMSG, "no entry");
	else if (r == 1)
		r = cr_refuse(err, -EBADMSG, "no such image");
	if (r < 0)
		return r;
	g = pool_new(&fs->pool, struct ghost_source);
	at = g ? ghost_source_vec_add(&fs->ghosts) : NULL;
	if (!at) {
		img_entry_free(entry);
		return files_no_memory(err);
	}
	*at = g;
	g->id = id;
	g->fd = g->maker = -1;
	g->entry = entry;
	r = ghost_entry_check(entry, err);
	if (r == 0)
		r = ghost_chunks_check(rd, entry, err);
	return r < 0 ? r : map_put(&fs->ghost_by_id, (uint64_t)id + 1, g) < 0 ? files_no_memory(err) : 0;
}

int ghosts_read(struct files *fs, struct cr_error *err)
{
	autofree_by(image_reader_close) struct image_reader *rd = NULL;
	void *entry;
	int r = image_reader_open(fs->set, IMG_REMAP_FPATH, 0, &rd, err);

	if (r == 1)
		return 0;
	while (r >= 0 && (r = image_read(rd, &entry, err)) == 1) {
		img_remap_file_path_entry e = *(img_remap_file_path_entry *)entry;

		img_entry_free(entry);
		if (e.has_remap_type ? e.remap_type == img_remap_type_GHOST : e.remap_id >> 31)
			r = cr_within(err,
				      ghost_read(fs, e.has_remap_type ? e.remap_id : e.remap_id & 0x7fffffffu, err),
				      "ghost-file-%x.img", e.remap_id & 0x7fffffffu);
	}
	return r;
}

/* ------------------------------------------------------------------ content */

static int copy_in(struct image_reader *rd, int fd, uint64_t off, uint64_t len, struct cr_error *err)
{
	while (len) {
		size_t n = len < (256u << 10) ? (size_t)len : 256u << 10;
		const void *data;
		int r = image_read_raw(rd, n, &data, err);

		if (r < 0)
			return r;
		r = fd_pwrite_all(fd, data, n, (off_t)off);
		if (r < 0)
			return cr_fail(err, r, "write");
		off += n;
		len -= n;
	}
	return 0;
}

static int fill_chunks(struct image_reader *rd, int fd, const img_ghost_file_entry *e, struct cr_error *err)
{
	void *rec;
	int r;

	if (ftruncate(fd, (off_t)e->size) < 0)
		return cr_fail(err, -errno, "make it %llu bytes long", (unsigned long long)e->size);
	while ((r = image_read_record(rd, IMG_MSG_ghost_chunk_entry, &rec, err)) == 1) {
		img_ghost_chunk_entry c = *(img_ghost_chunk_entry *)rec;

		img_entry_free(rec);
		if (c.off > e->size || c.len > e->size - c.off)
			return cr_refuse(err, -EBADMSG, "a chunk outside of the file");
		r = copy_in(rd, fd, c.off, c.len, err);
		if (r < 0)
			return r;
	}
	return r;
}

static int fill(struct files *fs, const struct ghost_source *g, struct cr_error *err)
{
	autofree_by(image_reader_close) struct image_reader *rd = NULL;
	struct stat st;
	void *entry;
	uint64_t at;
	int r = image_reader_open(fs->set, IMG_GHOST_FILE, g->id, &rd, err);

	if (r == 0)
		r = image_read(rd, &entry, err) == 1 ? 0 : cr_refuse(err, -EBADMSG, "the image changed");
	if (r != 0)
		return r < 0 ? r : cr_refuse(err, -EBADMSG, "the image is gone");
	img_entry_free(entry);
	if (g->entry->has_chunks && g->entry->chunks)
		return fill_chunks(rd, g->fd, g->entry, err);
	if (fstat(image_reader_fd(rd), &st) < 0)
		return cr_fail(err, -errno, "stat the image");
	at = image_reader_tell(rd);
	return copy_in(rd, g->fd, 0, (uint64_t)st.st_size - at, err);
}

/* --------------------------------------------------------------------- name */

/* Directories made on the way to a name, deepest last. */
struct made_dirs {
	const char *path;
	size_t ends[MAX_MADE_DIRS]; /* lengths of their paths */
	size_t nr;
};

static void remove_dirs(const struct files *fs, struct made_dirs *m)
{
	while (m->nr) {
		size_t len = m->ends[--m->nr];
		char path[PATH_MAX];
		const char *base;

		memcpy(path, m->path, len);
		path[len] = '\0';
		autofd int dir = path_dir(fs, path, &base, NULL);
		if (dir >= 0)
			unlinkat(dir, base, AT_REMOVEDIR);
	}
}

/* Opens the directory of @path, which may have to be made. */
static int name_dir(const struct files *fs, const char *path, struct made_dirs *m, const char **ret_base,
		    struct cr_error *err)
{
	char part[PATH_MAX];
	const char *base;
	int fd = path_dir(fs, path, ret_base, err);

	m->path = path;
	if (fd != -ENOENT)
		return fd;
	cr_error_clear(err);
	for (const char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		size_t len = (size_t)(slash - path);

		if (len >= sizeof(part) || m->nr == MAX_MADE_DIRS)
			return cr_fail(err, -ENAMETOOLONG, "make the directory of %s", path);
		memcpy(part, path, len);
		part[len] = '\0';
		autofd int dir = path_dir(fs, part, &base, err);
		if (dir < 0)
			return dir;
		if (mkdirat(dir, base, 0700) == 0)
			m->ends[m->nr++] = len;
		else if (errno != EEXIST)
			return cr_fail(err, -errno, "make directory %s", part);
	}
	return path_dir(fs, path, ret_base, err);
}

static int create_at(const img_ghost_file_entry *e, int dir, const char *name)
{
	mode_t perm = e->mode & 07777;
	int r;

	switch (e->mode & S_IFMT) {
	case S_IFREG:
		return openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	case S_IFDIR:
		r = mkdirat(dir, name, 0700);
		break;
	case S_IFLNK:
		r = symlinkat(e->symlnk_target, dir, name);
		break;
	default:
		r = mknodat(dir, name, (e->mode & S_IFMT) | (perm & 0600), e->has_rdev ? e->rdev : 0);
	}
	if (r < 0)
		return -1;
	r = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (r < 0) {
		int code = errno;

		unlinkat(dir, name, S_ISDIR(e->mode) ? AT_REMOVEDIR : 0);
		errno = code;
	}
	return r;
}

static int create_named(struct ghost_source *g, int dir, const char *base, struct cr_error *err)
{
	char name[NAME_MAX + 1];

	snprintf(name, sizeof(name), "%s", base);
	for (unsigned int n = 0; n < 1000; n++) {
		g->fd = create_at(g->entry, dir, name);
		if (g->fd >= 0) {
			if (unlinkat(dir, name, S_ISDIR(g->entry->mode) ? AT_REMOVEDIR : 0) < 0)
				return cr_fail(err, -errno, "unlink");
			return 0;
		}
		if (errno != EEXIST)
			break;
		snprintf(name, sizeof(name), ".cr-ghost-%x-%u", g->id, n);
	}
	return cr_fail(err, -errno, "create");
}

static struct timespec time_of(const img_timeval *tv, uint32_t nsec)
{
	if (!tv)
		return (struct timespec){ .tv_nsec = UTIME_OMIT };
	return (struct timespec){ (time_t)tv->tv_sec, (long)tv->tv_usec * 1000 + nsec };
}

/* fchownat and friends with AT_EMPTY_PATH, or through /proc: the descriptor may be O_PATH */
static int set_attributes(const struct files *fs, const struct ghost_source *g, const char *name, struct cr_error *err)
{
	const img_ghost_file_entry *e = g->entry;
	struct timespec ts[2] = {
		time_of(e->atim, e->ext && e->ext->has_atim_nsec ? e->ext->atim_nsec : 0),
		time_of(e->mtim, e->ext && e->ext->has_mtim_nsec ? e->ext->mtim_nsec : 0),
	};
	char path[40];

	if (fchownat(g->fd, "", e->uid, e->gid, AT_EMPTY_PATH) < 0)
		return cr_fail(err, -errno, "give it to uid %u, gid %u", e->uid, e->gid);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", g->fd);
	/* links have no mode; the path leads to the link itself, not on to its target */
	if (!S_ISLNK(e->mode) && chmod(path, e->mode & 07777) < 0)
		return cr_fail(err, -errno, "set mode 0%o", e->mode);
	if (e->ext)
		xattrs_set(fs->ctx, g->fd, &e->ext->xattrs, name);
	return utimensat(AT_FDCWD, path, ts, 0) < 0 ? cr_fail(err, -errno, "set times") : 0;
}

/*
 * A file of O_TMPFILE never had a name, and can be given one: only another such file is like it. Where nobody has the description that
 * made it any more, the kernel tells by showing the inode number for a name (d_mark_tmpfile() in fs/dcache.c).
 */
static bool was_tmpfile(const struct ghost_source *g, const img_reg_file_entry *e)
{
	const char *slash = strrchr(e->name, '/');
	char name[32];

	if (!S_ISREG(g->entry->mode) || is_tmpfile(e->flags))
		return S_ISREG(g->entry->mode);
	snprintf(name, sizeof(name), "#%llu", (unsigned long long)g->entry->ino);
	return g->entry->has_ino && slash && strcmp(slash + 1, name) == 0;
}

/* The one description that has O_TMPFILE among its flags; NULL: nobody has it */
static const img_reg_file_entry *maker_of(const struct files *fs, const struct ghost_source *g)
{
	for (size_t i = 0; i < fs->files.nr; i++) {
		const struct restored_file *f = fs->files.items[i];

		if (f->ghost == g && f->entry->type == img_fd_types_REG && is_tmpfile(f->entry->reg->flags))
			return f->entry->reg;
	}
	return NULL;
}

/* Content is written by a description without flags that would be in the way (O_APPEND, O_DIRECT). Return: 0; 1 not here; negative errno */
static int create_tmpfile(const struct files *fs, struct ghost_source *g, int dir, struct cr_error *err)
{
	const img_reg_file_entry *by = maker_of(fs, g);
	autofd int fd = openat(dir, ".", by ? (int)open_flags(by->flags) : O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	/* EISDIR: a kernel that does not know O_TMPFILE */
	if (fd < 0 && !by && (errno == EOPNOTSUPP || errno == EISDIR))
		return 1;
	if (fd < 0)
		return cr_fail(err, -errno, "create");
	g->fd = fd_reopen(fd, O_RDWR | O_CLOEXEC, err);
	if (g->fd < 0)
		return g->fd;
	if (by)
		g->maker = take_fd(&fd);
	return 0;
}

/* An executable cannot be in use while somebody may write to it, so nothing but a path of it is kept. */
static int keep_path_only(struct ghost_source *g, struct cr_error *err)
{
	int fd = fd_reopen(g->fd, O_PATH | O_CLOEXEC, err);

	if (fd < 0)
		return fd;
	close(g->fd);
	g->fd = fd;
	return 0;
}

/* What is done between making the first name and removing the last one. */
struct naming {
	struct files *fs;
	struct ghost_source *g;
	const img_reg_file_entry *e;
	struct cr_error *err;
};

static int name_and_unname(void *arg)
{
	struct naming *n = arg;
	struct made_dirs made = { .nr = 0 };
	struct ghost_source *g = n->g;
	struct cr_error *err = n->err;
	const char *base;
	autofd int dir = name_dir(n->fs, n->e->name, &made, &base, err);
	int r = dir < 0 ? dir : 0;

	/* O_EXCL is not shown by the kernel; without it the file can be given a name, which is the more that it might need */
	if (r == 0)
		r = was_tmpfile(g, n->e) ? create_tmpfile(n->fs, g, dir, err) : 1;
	if (r == 1)
		r = create_named(g, dir, base, err);
	remove_dirs(n->fs, &made);
	return r;
}

/* Return: 0, with g->fd open for writing if it is a regular file; negative errno */
static int ghost_make(struct files *fs, struct ghost_source *g, const img_reg_file_entry *e, struct cr_error *err)
{
	struct naming n = { fs, g, e, err };
	int r = apart_run(name_and_unname, &n, err);

	if (r == 0 && S_ISREG(g->entry->mode))
		r = fill(fs, g, err);
	return r < 0 ? r : set_attributes(fs, g, e->name, err);
}

int ghost_open(struct files *fs, struct ghost_source *g, const img_reg_file_entry *e, uint32_t flags,
	       struct cr_error *err)
{
	bool fresh = g->fd < 0;
	int r = fresh ? ghost_make(fs, g, e, err) : 0;
	int fd;

	if (r < 0)
		return cr_within(err, r, "unlinked file %s", e->name);
	if (S_ISLNK(g->entry->mode)) {
		fd = fcntl(g->fd, F_DUPFD_CLOEXEC, 3);
		return fd < 0 ? cr_fail(err, -errno, "open %s", e->name) : fd;
	}
	r = fresh && S_ISREG(g->entry->mode) ? keep_path_only(g, err) : 0;
	if (r == 0 && is_tmpfile(flags) && g->maker >= 0)
		return take_fd(&g->maker);
	if (r == 0)
		r = fd_reopen(g->fd, named_flags(flags), err);
	return cr_within(err, r, "unlinked file %s", e->name);
}

void ghost_sources_done(struct files *fs)
{
	for (size_t i = 0; i < fs->ghosts.nr; i++) {
		if (fs->ghosts.items[i]->fd >= 0)
			close(fs->ghosts.items[i]->fd);
		if (fs->ghosts.items[i]->maker >= 0)
			close(fs->ghosts.items[i]->maker);
		img_entry_free(fs->ghosts.items[i]->entry);
	}
}

/*
 * Ghosts: files without a name that are still in use. Their content goes into the images, holes left out; the restorer
 * makes a new file, opens it, and removes its name again (ghost-restore.c).
 */
#include "files/dump-internal.h"

#include "base/io.h"
#include "base/own.h"
#include "files/xattr.h"
#include "image/image-set.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define GHOST_CHUNK  ((uint64_t)1 << 30) /* longest piece */
#define GHOST_BUFFER ((size_t)256 << 10)
#define GHOST_PLAIN  12288 /* smaller files are stored without chunks, as CRIU does whatever the page size */

struct ghost {
	uint32_t id;
	struct stat st;
	int fd;       /* readable for regular files, else O_PATH */
	char *target; /* of a symbolic link */
	struct img_xattr_vec xattrs;
};

static int ghost_open_copy(struct open_file *f, struct cr_error *err)
{
	bool content = S_ISREG(f->facts.st.st_mode);
	char path[40];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", f->fd);
	/* reading is not to be seen; only the owner and the superuser may ask for that */
	fd = open(path, (content ? O_RDONLY | O_NOATIME : O_PATH) | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 && content && errno == EPERM)
		fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	return fd < 0 ? cr_fail(err, -errno, "open unlinked file") : fd;
}

static int ghost_target(struct file_table *t, struct ghost *g, struct cr_error *err)
{
	char text[PATH_MAX];
	ssize_t len;

	if (!S_ISLNK(g->st.st_mode))
		return 0;
	len = readlinkat(g->fd, "", text, sizeof(text));
	if (len < 0 || (size_t)len >= sizeof(text))
		return cr_fail(err, len < 0 ? -errno : -ENAMETOOLONG, "read an unlinked symbolic link");
	g->target = pool_text(&t->pool, text, (size_t)len);
	return g->target ? 0 : pool_failed(err);
}

/* Return: 0 with the ghost, > 0 an obstacle was noted, negative errno */
static int ghost_make(struct file_table *t, struct open_file *f, struct ghost **ret, struct cr_error *err)
{
	const rpc_criu_opts *o = t->ctx->opts->rpc;
	const struct stat *st = &f->facts.st;
	struct ghost *g, **at;
	int r;

	if (S_ISSOCK(st->st_mode))
		return file_refuse(t, f, "", "unlinked socket file, %s", f->facts.link);
	if (S_ISREG(st->st_mode) && o->has_ghost_limit && (uint64_t)st->st_blocks * 512 > o->ghost_limit)
		return file_refuse(t, f, "--ghost-limit", "unlinked file of %llu bytes, %s",
				   (unsigned long long)st->st_blocks * 512, f->facts.link);
	g = pool_new(&t->pool, struct ghost);
	at = g ? ghost_vec_add(&t->ghosts) : NULL;
	if (!at)
		return pool_failed(err);
	*at = g;
	g->fd = -1;
	g->id = (uint32_t)t->ghosts.nr;
	g->st = *st;
	g->fd = ghost_open_copy(f, err);
	*ret = g;
	r = g->fd < 0 ? g->fd : ghost_target(t, g, err);
	return r < 0 ? r : xattrs_read(&t->pool, g->fd, &g->xattrs, err);
}

int ghost_note(struct file_table *t, struct open_file *f, uint32_t id, struct cr_error *err)
{
	uint64_t key = map_mix(map_mix(0, f->facts.st.st_dev), f->facts.st.st_ino);
	struct ghost *g = map_find(&t->ghost_by_inode, key);
	img_remap_file_path_entry *e;
	int r;

	if (!g) {
		r = ghost_make(t, f, &g, err);
		if (r != 0)
			return r;
		if (map_put(&t->ghost_by_inode, key, g) < 0)
			return pool_failed(err);
	}
	e = remap_vec_add(&t->remaps);
	if (!e)
		return pool_failed(err);
	e->orig_id = id;
	e->remap_id = g->id;
	e->has_remap_type = true;
	e->remap_type = img_remap_type_GHOST;
	return 0;
}

/* ------------------------------------------------------------------- write */

static int copy_range(const struct ghost *g, struct image_writer *w, char *buf, uint64_t off, uint64_t len,
		      struct cr_error *err)
{
	while (len) {
		size_t want = len < GHOST_BUFFER ? (size_t)len : GHOST_BUFFER;
		ssize_t n = fd_pread_all(g->fd, buf, want, (off_t)off);
		int r;

		if (n < 0)
			return cr_fail(err, (int)n, "read unlinked file");
		if ((size_t)n != want)
			return cr_refuse(err, -EAGAIN, "an unlinked file became shorter while it was read");
		r = image_write_raw(w, buf, want, err);
		if (r < 0)
			return r;
		off += want;
		len -= want;
	}
	return 0;
}

static int write_chunks(const struct ghost *g, struct image_writer *w, char *buf, struct cr_error *err)
{
	off_t end, off = 0;
	int r = 0;

	while (r == 0 && off < g->st.st_size) {
		off_t data = lseek(g->fd, off, SEEK_DATA);

		if (data < 0 && errno == ENXIO)
			break; /* only a hole is left */
		if (data < 0)
			return cr_fail(err, -errno, "look for data in an unlinked file");
		end = lseek(g->fd, data, SEEK_HOLE);
		if (end < 0)
			return cr_fail(err, -errno, "look for holes in an unlinked file");
		if (end > g->st.st_size)
			end = g->st.st_size;
		for (off = data; r == 0 && off < end;) {
			uint64_t len = (uint64_t)(end - off) < GHOST_CHUNK ? (uint64_t)(end - off) : GHOST_CHUNK;
			img_ghost_chunk_entry c = { .len = len, .off = (uint64_t)off };

			r = image_write_record(w, IMG_MSG_ghost_chunk_entry, &c, err);
			if (r == 0)
				r = copy_range(g, w, buf, (uint64_t)off, len, err);
			off += (off_t)len;
		}
	}
	return r;
}

static int ghost_write(const struct ghost *g, struct image_set *set, char *buf, struct cr_error *err)
{
	autofree_by(image_writer_drop) struct image_writer *w = NULL;
	img_ghost_file_ext ext = {
		.has_atim_nsec = true,
		.atim_nsec = (uint32_t)(g->st.st_atim.tv_nsec % 1000),
		.has_mtim_nsec = true,
		.mtim_nsec = (uint32_t)(g->st.st_mtim.tv_nsec % 1000),
		.xattrs = g->xattrs,
	};
	img_timeval at = { .tv_sec = (uint64_t)g->st.st_atim.tv_sec,
			   .tv_usec = (uint64_t)g->st.st_atim.tv_nsec / 1000 };
	img_timeval mt = { .tv_sec = (uint64_t)g->st.st_mtim.tv_sec,
			   .tv_usec = (uint64_t)g->st.st_mtim.tv_nsec / 1000 };
	bool content = S_ISREG(g->st.st_mode), chunks = content && g->st.st_size >= GHOST_PLAIN;
	img_ghost_file_entry e = {
		.uid = g->st.st_uid,
		.gid = g->st.st_gid,
		.mode = g->st.st_mode,
		.has_dev = true,
		/* the kernel's own layout of device numbers: major << 20 | minor */
		.dev = (uint32_t)major(g->st.st_dev) << 20 | minor(g->st.st_dev),
		.has_ino = true,
		.ino = g->st.st_ino,
		.atim = &at,
		.mtim = &mt,
		.has_chunks = chunks,
		.chunks = chunks,
		.has_size = chunks,
		.size = (uint64_t)g->st.st_size,
		.symlnk_target = g->target,
		.ext = &ext,
	};
	int r = image_writer_open(set, IMG_GHOST_FILE, g->id, &w, err);

	if (S_ISCHR(g->st.st_mode) || S_ISBLK(g->st.st_mode)) {
		e.has_rdev = true;
		e.rdev = (uint32_t)g->st.st_rdev;
	}
	if (r == 0)
		r = image_write(w, &e, err);
	if (r == 0 && chunks)
		r = write_chunks(g, w, buf, err);
	else if (r == 0 && content)
		r = copy_range(g, w, buf, 0, (uint64_t)g->st.st_size, err);
	return r < 0 ? r : image_writer_close(take_ptr(&w), true, err);
}

int ghosts_write(struct file_table *t, struct image_set *set, struct cr_error *err)
{
	autofree char *buf = t->ghosts.nr ? malloc(GHOST_BUFFER) : NULL;
	int r = t->ghosts.nr && !buf ? pool_failed(err) : 0;

	for (size_t i = 0; i < t->ghosts.nr && r == 0; i++)
		r = cr_within(err, ghost_write(t->ghosts.items[i], set, buf, err), "ghost file %u",
			      t->ghosts.items[i]->id);
	return r;
}

void ghosts_done(struct file_table *t)
{
	for (size_t i = 0; i < t->ghosts.nr; i++)
		if (t->ghosts.items[i]->fd >= 0)
			close(t->ghosts.items[i]->fd);
}

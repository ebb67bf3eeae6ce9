/* From handles to paths; see fs-watch.h. */
#include "files/fs-watch.h"

#include "base/own.h"
#include "files/irmap.h"
#include "files/tree-root.h"
#include "procfs/mountinfo.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

int watch_field(struct scan *s, const char *name, uint64_t *ret)
{
	scan_blanks(s);
	return scan_lit(s, name) < 0 || scan_hex(s, ret) < 0 ? -EINVAL : 0;
}

int watch_handle_parse(struct scan *s, struct watch_handle *ret)
{
	uint64_t bytes, type;

	ret->h.handle_bytes = 0;
	if (watch_field(s, "fhandle-bytes:", &bytes) < 0)
		return 0;
	scan_blanks(s);
	if (bytes > WATCH_HANDLE_MAX || watch_field(s, "fhandle-type:", &type) < 0 || type > INT_MAX)
		return -EINVAL;
	scan_blanks(s);
	if (scan_lit(s, "f_handle:") < 0 || scan_left(s) < bytes * 2)
		return -EINVAL;
	for (uint64_t i = 0; i < bytes; i++)
		ret->bytes[i] = (unsigned char)(scan_hex_digit(s->p[2 * i]) << 4 | scan_hex_digit(s->p[2 * i + 1]));
	ret->h.handle_type = (int)type;
	ret->h.handle_bytes = (unsigned int)bytes;
	return 0;
}

/* The name of what a handle stands for, by one mount. Return: its length in t->text, 0 if this mount does not lead to it */
static int name_on_mount(struct file_table *t, const struct proc_mount *m, struct watch_handle *h,
			 uint64_t ino, struct cr_error *err)
{
	autofd int mount = tree_open(t, m->mountpoint, O_RDONLY | O_NONBLOCK | O_NOCTTY);
	autofd int fd = mount < 0 ? -1 : open_by_handle_at(mount, &h->h, O_PATH | O_CLOEXEC);
	struct path_look look;
	struct stat st;
	int len;

	if (fd < 0)
		return 0;
	len = facts_read_link(t, fd, err);
	if (len < 0)
		return len == -ENAMETOOLONG ? 0 : len;
	look = tree_look(t, t->text);
	/* numbers of inodes are the same on many file systems */
	return t->text[0] == '/' && look.there && look.ino == ino && fstat(fd, &st) == 0 && look.dev == st.st_dev ? len : 0;
}

static int find_by_handle(struct file_table *t, const struct proc_mount_list *mounts, struct watch_handle *h, uint32_t dev,
			  uint64_t ino, img_fh_entry *e, struct cr_error *err)
{
	for (size_t i = 0; i < mounts->nr; i++) {
		const struct proc_mount *m = &mounts->items[i];
		int len;

		if ((m->dev_major << 20 | m->dev_minor) != dev || m->mountpoint[0] != '/')
			continue;
		len = name_on_mount(t, m, h, ino, err);
		if (len < 0)
			return len;
		if (len > 0) {
			e->path = pool_text(&t->pool, t->text, (size_t)len);
			return e->path ? 0 : pool_failed(err);
		}
	}
	return 0;
}

/*
 * A handle leads nowhere when the kernel has forgotten the name (the inode is held by the watch, its dentry by nobody), or
 * where the file system has none. Then, or at once with force_irmap, the request's directories are searched.
 */
static int find_by_walk(struct file_table *t, uint32_t dev, uint64_t ino, img_fh_entry *e, struct cr_error *err)
{
	size_t len = irmap_find(t->root_fd, t->ctx->opts->rpc, makedev(dev >> 20, dev & 0xfffff), ino, t->text, sizeof(t->text));

	if (!len)
		return 0;
	e->path = pool_text(&t->pool, t->text, len);
	return e->path ? 0 : pool_failed(err);
}

int watch_handle_entry(struct file_table *t, const struct proc_mount_list *mounts, struct watch_handle *h, uint32_t dev,
		       uint64_t ino, img_fh_entry **ret, struct cr_error *err)
{
	bool force = t->ctx->opts->rpc->has_force_irmap && t->ctx->opts->rpc->force_irmap;
	img_fh_entry *e = pool_new(&t->pool, img_fh_entry);
	int r;

	if (!e)
		return pool_failed(err);
	e->bytes = h->h.handle_bytes;
	e->type = h->h.handle_bytes ? (uint32_t)h->h.handle_type : 0;
	e->handle.items = pool_alloc(&t->pool, WATCH_HANDLE_MAX);
	if (!e->handle.items)
		return pool_failed(err);
	e->handle.nr = WATCH_HANDLE_MAX / 8;
	memcpy(e->handle.items, h->bytes, h->h.handle_bytes);
	r = force ? find_by_walk(t, dev, ino, e, err) : 0;
	if (r == 0 && !e->path && h->h.handle_bytes)
		r = find_by_handle(t, mounts, h, dev, ino, e, err);
	if (r == 0 && !e->path && !force)
		r = find_by_walk(t, dev, ino, e, err);
	*ret = e;
	return r;
}

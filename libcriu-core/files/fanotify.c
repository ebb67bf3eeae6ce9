/*
 * Descriptors made by fanotify_init(2). Marks are on files, mounts or whole file systems; all are set again by path, by the
 * coordinator, since that takes CAP_SYS_ADMIN for the last two. A group that is asked for permission is refused: whoever
 * restores it would have to ask it before it can answer. Events that were not read are lost, which the log says.
 */
#include "files/fs-watch.h"
#include "files/restore-internal.h"

#include "base/own.h"
#include "files/family.h"
#include "files/tree-root.h"
#include "procfs/fdinfo.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#ifndef FAN_OPEN_EXEC_PERM
#define FAN_OPEN_EXEC_PERM 0x00040000 /* 5.0 */
#endif
#define FAN_PRE_ACCESS_BIT  0x00100000 /* 6.14 */
#define FAN_MARK_EVICTABLE_ 0x00000200 /* 5.19 */
#define FAN_MARK_IGNORE_    0x00000400 /* 6.0 */
#define MASK_PERMISSION     (FAN_OPEN_PERM | FAN_ACCESS_PERM | FAN_OPEN_EXEC_PERM | FAN_PRE_ACCESS_BIT)
#define MARK_FLAGS          (FAN_MARK_IGNORED_SURV_MODIFY | FAN_MARK_EVICTABLE_ | FAN_MARK_IGNORE_)
#define MAX_MARKS           ((size_t)1 << 20)

static bool fanotify_claims(const struct file_facts *facts)
{
	return strcmp(facts->link, "anon_inode:[fanotify]") == 0;
}

/* -------------------------------------------------------------------- dump */

static int scan_u32(struct scan *s, const char *name, uint32_t *ret)
{
	uint64_t v;

	if (watch_field(s, name, &v) < 0 || v > UINT32_MAX)
		return -EINVAL;
	*ret = (uint32_t)v;
	return 0;
}

static int masks_parse(struct scan *s, img_fanotify_mark_entry *e)
{
	return scan_u32(s, "mflags:", &e->mflags) < 0 || scan_u32(s, "mask:", &e->mask) < 0 ||
			       scan_u32(s, "ignored_mask:", &e->ignored_mask) < 0 ?
		       -EINVAL :
		       0;
}

/* The path must lead to that very mount, and not to one that lies over it. */
static int mount_find(struct file_table *t, const struct proc_mount_list *mounts, uint32_t id, uint32_t dev, bool by_id,
		      img_fanotify_mount_mark_entry *e, struct cr_error *err)
{
	for (size_t i = 0; i < mounts->nr; i++) {
		const struct proc_mount *m = &mounts->items[i];
		struct path_look at;

		if (by_id ? (uint32_t)m->id != id : (m->dev_major << 20 | m->dev_minor) != dev)
			continue;
		if (m->mountpoint[0] != '/')
			continue;
		at = tree_look(t, m->mountpoint);
		if (!at.there || at.mnt_id != (uint32_t)m->id)
			continue;
		e->mnt_id = (uint32_t)m->id;
		e->path = pool_text(&t->pool, m->mountpoint, strlen(m->mountpoint));
		return e->path ? 0 : pool_failed(err);
	}
	return 0;
}

/* fanotify_fdinfo() in fs/notify/fdinfo.c, Linux 3.8 and later; marks of file systems since 4.20. Return: 0; -EINVAL; ... */
static int mark_parse(struct file_table *t, const struct proc_mount_list *mounts, struct scan s,
		      img_fanotify_mark_entry *e, struct cr_error *err)
{
	struct scan mount = s, inode = s;
	struct watch_handle h;
	uint32_t id = 0;
	uint64_t ino;

	if (scan_u32(&mount, "mnt_id:", &id) == 0 || scan_u32(&s, "sdev:", &e->s_dev) == 0) {
		bool by_id = !e->s_dev;

		e->type = img_mark_type_MOUNT;
		e->me = pool_new(&t->pool, img_fanotify_mount_mark_entry);
		e->ext = by_id ? NULL : pool_new(&t->pool, img_fanotify_mark_ext);
		if (!e->me || (!by_id && !e->ext))
			return pool_failed(err);
		if (e->ext)
			e->ext->has_file_system = e->ext->file_system = true;
		if (masks_parse(by_id ? &mount : &s, e) < 0)
			return cr_refuse(err, -EINVAL, "fdinfo of a fanotify descriptor is not understood");
		return mount_find(t, mounts, id, e->s_dev, by_id, e->me, err);
	}
	e->type = img_mark_type_INODE;
	e->ie = pool_new(&t->pool, img_fanotify_inode_mark_entry);
	if (!e->ie)
		return pool_failed(err);
	if (watch_field(&inode, "ino:", &ino) < 0 || scan_u32(&inode, "sdev:", &e->s_dev) < 0 || masks_parse(&inode, e) < 0 ||
	    watch_handle_parse(&inode, &h) < 0)
		return cr_refuse(err, -EINVAL, "fdinfo of a fanotify descriptor is not understood");
	e->ie->i_ino = ino;
	return watch_handle_entry(t, mounts, &h, e->s_dev, ino, &e->ie->f_handle, err);
}

static int mark_refused(struct file_table *t, struct open_file *f, const img_fanotify_mark_entry *e)
{
	if ((e->mask | e->ignored_mask) & MASK_PERMISSION)
		return file_refuse(t, f, "", "fanotify that is asked for permission to open or read");
	if (e->mflags & ~(uint32_t)MARK_FLAGS)
		return file_refuse(t, f, "", "fanotify with a mark that has flags 0x%x", e->mflags);
	if (e->ie && !e->ie->f_handle->path)
		return file_refuse(t, f, "--irmap-scan-path DIR", "fanotify watches a file (inode %llu) that no path leads to",
				   (unsigned long long)e->ie->i_ino);
	if (e->me && !e->me->path)
		return file_refuse(t, f, "", "fanotify watches a mount or file system that no path leads to");
	return 0;
}

static int marks_dump(struct file_table *t, struct open_file *f, struct scan rest, size_t nr,
		      img_fanotify_file_entry *e, struct cr_error *err)
{
	const struct proc_mount_list *mounts = NULL;
	struct scan line;
	int r = nr ? tree_mounts(t, &mounts, err) : 0;

	e->mark.items = pool_alloc(&t->pool, nr * sizeof(*e->mark.items));
	if (r == 0 && !e->mark.items)
		return pool_failed(err);
	while (r == 0 && e->mark.nr < nr && proc_fdinfo_next(&rest, &line)) {
		img_fanotify_mark_entry *m = &e->mark.items[e->mark.nr];
		struct scan probe = line;

		if (scan_lit(&line, "fanotify") < 0)
			continue;
		probe = line;
		scan_blanks(&probe);
		if (scan_lit(&probe, "flags:") == 0)
			continue;
		if (scan_lit(&probe, "mnt_ns:") == 0) /* Linux 6.14 */
			return file_refuse(t, f, "the process must close it before the dump",
					   "fanotify that watches a mount namespace (FAN_REPORT_MNT)");
		e->mark.nr++;
		m->id = f->id;
		r = mark_parse(t, mounts, line, m, err);
		if (r == 0)
			r = mark_refused(t, f, m);
	}
	return r;
}

/* Return: number of marks; -EINVAL the line about the group itself is missing */
static int group_parse(struct scan rest, img_fanotify_file_entry *e)
{
	struct scan line;
	bool seen = false;
	size_t nr = 0;

	while (proc_fdinfo_next(&rest, &line)) {
		if (scan_lit(&line, "fanotify") < 0)
			continue;
		nr++;
		if (!seen && scan_u32(&line, "flags:", &e->faflags) == 0)
			seen = scan_u32(&line, "event-flags:", &e->evflags) == 0;
	}
	return seen && nr <= MAX_MARKS ? (int)nr - 1 : -EINVAL;
}

static int fanotify_dump(struct file_table *t, struct open_file *f, struct cr_error *err)
{
	img_fanotify_file_entry *e = pool_new(&t->pool, img_fanotify_file_entry);
	struct scan rest;
	int r, nr, unread = 0;

	if (!e)
		return pool_failed(err);
	r = owned_begin_fdinfo(t, f, img_fd_types_FANOTIFY, OWNED_ENTRY(e), &rest, err);
	if (r != 0)
		return r;
	f->entry->ffy = e;
	nr = group_parse(rest, e);
	if (nr < 0)
		return cr_refuse(err, nr, "fdinfo of a fanotify descriptor is not understood");
	if (ioctl(f->fd, FIONREAD, &unread) == 0 && unread)
		log_warn(&t->ctx->log,
			 "pid %d: fd %d: fanotify events of %d bytes are not read yet, continuing without them",
			 f->task->host_pid, f->fd_there, unread);
	return marks_dump(t, f, rest, (size_t)nr, e, err);
}

/* ----------------------------------------------------------------- restore */

static const char *mark_path(const img_fanotify_mark_entry *m)
{
	if (m->type == img_mark_type_INODE)
		return m->ie && m->ie->f_handle ? m->ie->f_handle->path : NULL;
	return m->me ? m->me->path : NULL;
}

static int fanotify_check(const img_file_entry *e, struct cr_error *err)
{
	for (size_t i = 0; i < e->ffy->mark.nr; i++) {
		const img_fanotify_mark_entry *m = &e->ffy->mark.items[i];
		const char *path = mark_path(m);

		if (!path || path[0] != '/' || strlen(path) >= PATH_MAX)
			return cr_refuse(err, -ENOTSUP, "a mark of fanotify %u has no path", e->id);
		if ((m->mask | m->ignored_mask) & MASK_PERMISSION || m->mflags & ~(uint32_t)MARK_FLAGS)
			return cr_refuse(err, -ENOTSUP, "a mark of fanotify %u with mask 0x%x, flags 0x%x", e->id, m->mask,
					 m->mflags);
	}
	return fown_check(e->ffy->fown, err);
}

static int fanotify_open(struct files *fs, struct restored_file *f, struct cr_error *err)
{
	const img_fanotify_file_entry *e = f->entry->ffy;
	/* close-on-exec would stay among the flags of the group */
	int fd = fanotify_init(e->faflags, e->evflags);

	(void)fs;
	if (fd >= 0 && fcntl(fd, F_SETFD, FD_CLOEXEC) == 0)
		return fown_finish(fd, e->fown, err);
	if (fd >= 0) {
		close(fd);
		return cr_fail(err, -errno, "close-on-exec");
	}
	fd = cr_fail(err, -errno, "fanotify_init 0x%x", e->faflags);
	if (fd == -EPERM)
		cr_advise(err, "needs CAP_SYS_ADMIN");
	return fd;
}

static int mark_set(int fd, const img_fanotify_mark_entry *m, const char *path, struct cr_error *err)
{
	unsigned int on = m->type == img_mark_type_INODE			 ? FAN_MARK_INODE
			  : m->ext && m->ext->has_file_system && m->ext->file_system ? FAN_MARK_FILESYSTEM
										 : FAN_MARK_MOUNT;
	unsigned int ignore = m->mflags & FAN_MARK_IGNORE_ ? FAN_MARK_IGNORE_ : FAN_MARK_IGNORED_MASK;

	if (m->mask && fanotify_mark(fd, FAN_MARK_ADD | on | (m->mflags & FAN_MARK_EVICTABLE_), m->mask, AT_FDCWD, path) < 0)
		return cr_fail(err, -errno, "watch %s", mark_path(m));
	if (m->ignored_mask && fanotify_mark(fd, FAN_MARK_ADD | on | ignore | (m->mflags & (FAN_MARK_EVICTABLE_ |
					     FAN_MARK_IGNORED_SURV_MODIFY)), m->ignored_mask, AT_FDCWD, path) < 0)
		return cr_fail(err, -errno, "ignore %s", mark_path(m));
	return 0;
}

static int marks_settle(struct files *fs, const struct restored_file *f, struct cr_error *err)
{
	const img_fanotify_file_entry *e = f->entry->ffy;

	for (size_t i = 0; i < e->mark.nr; i++) {
		const img_fanotify_mark_entry *m = &e->mark.items[i];
		autofd int what = path_open_at(fs, mark_path(m), O_PATH | O_NOFOLLOW, 0, err);
		char path[40];
		int r;

		if (what < 0)
			return what;
		snprintf(path, sizeof(path), "/proc/self/fd/%d", what);
		r = mark_set(f->fd, m, path, err);
		if (r < 0)
			return r;
	}
	return fd_set_flags(f->fd, e->flags, err);
}

/* As late as can be: what the coordinator opens would be told. */
static int fanotifies_settle(struct files *fs, struct cr_error *err)
{
	int r = 0;

	for (size_t i = 0; i < fs->files.nr && r == 0; i++)
		if (fs->files.items[i]->entry->type == img_fd_types_FANOTIFY && fs->files.items[i]->fd >= 0)
			r = cr_within(err, marks_settle(fs, fs->files.items[i], err), "file %u", fs->files.items[i]->id);
	return r;
}

const struct file_family fanotify_family = {
	.name = "fanotify",
	.settle = fanotifies_settle,
};

const struct file_ops fanotify_ops = {
	.name = "fanotify descriptor",
	.type = img_fd_types_FANOTIFY,
	.claims = fanotify_claims,
	.dump = fanotify_dump,
	.check = fanotify_check,
	.open = fanotify_open,
};

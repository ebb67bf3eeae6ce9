/*
 * Descriptors made by inotify_init1(2). The kernel names what is watched by a file handle; the path that leads to it is
 * found by opening the handle on a mount of its file system. A file without a name can be watched as long as somebody has it
 * open. Watch numbers are given out upwards, so that a number is reached by making watches and dropping them. Events that were
 * not read are lost, which the log says, and the process is told (inotify-lost.h).
 */
#include "files/dump-internal.h"
#include "files/restore-internal.h"

#include "base/own.h"
#include "files/family.h"
#include "files/fs-watch.h"
#include "files/inotify-lost.h"
#include "files/tree-root.h"
#include "procfs/fdinfo.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define MAX_WATCHES  ((size_t)1 << 20)
#define MAX_NUMBER   ((uint32_t)1 << 22) /* of a watch: reaching it takes 20 s */
#define MASK_USER    (IN_ALL_EVENTS | IN_ONESHOT | IN_EXCL_UNLINK)

static bool inotify_claims(const struct file_facts *facts)
{
	return strcmp(facts->link, "anon_inode:inotify") == 0;
}

/* -------------------------------------------------------------------- dump */

/*
 * "inotify wd:1 ino:a7a2d3 sdev:fe00000 mask:300 ignored_mask:0 fhandle-bytes:8 fhandle-type:1 f_handle:d3a2a700...";
 * inotify_fdinfo() in fs/notify/fdinfo.c, Linux 3.8 and later. The handle is left out where the file system has none.
 */
static int watch_parse(struct scan s, img_inotify_wd_entry *e, struct watch_handle *ret)
{
	uint64_t wd, mask, ignored, dev;

	if (scan_lit(&s, "inotify") < 0 || watch_field(&s, "wd:", &wd) < 0 || watch_field(&s, "ino:", &e->i_ino) < 0 ||
	    watch_field(&s, "sdev:", &dev) < 0 || watch_field(&s, "mask:", &mask) < 0 ||
	    watch_field(&s, "ignored_mask:", &ignored) < 0)
		return -EINVAL;
	if (wd > INT_MAX || dev > UINT32_MAX || mask > UINT32_MAX || ignored > UINT32_MAX)
		return -ERANGE;
	e->wd = (uint32_t)wd;
	e->mask = (uint32_t)mask;
	e->ignored_mask = (uint32_t)ignored;
	e->s_dev = (uint32_t)dev;
	return watch_handle_parse(&s, ret);
}

static int watch_dump(struct file_table *t, const struct proc_mount_list *mounts, struct scan line,
		      img_inotify_wd_entry *e, struct cr_error *err)
{
	struct watch_handle h;
	int r = watch_parse(line, e, &h);

	if (r < 0)
		return cr_refuse(err, r, "fdinfo of an inotify descriptor is not understood");
	return watch_handle_entry(t, mounts, &h, e->s_dev, e->i_ino, &e->f_handle, err);
}

static int watches_dump(struct file_table *t, struct open_file *f, struct scan rest, img_inotify_file_entry *e,
			struct cr_error *err)
{
	const struct proc_mount_list *mounts = NULL;
	struct open_file **nameless = NULL;
	struct scan count = rest, line;
	size_t nr = 0;
	int r = 0;

	while (proc_fdinfo_next(&count, &line))
		nr += scan_lit(&line, "inotify ") == 0;
	if (nr > MAX_WATCHES)
		return cr_refuse(err, -E2BIG, "inotify with %zu watches", nr);
	if (nr)
		r = tree_mounts(t, &mounts, err);
	e->wd.items = pool_alloc(&t->pool, nr * sizeof(*e->wd.items));
	if (r == 0 && !e->wd.items)
		return pool_failed(err);
	while (r == 0 && e->wd.nr < nr && proc_fdinfo_next(&rest, &line)) {
		struct scan probe = line;

		if (scan_lit(&probe, "inotify ") != 0)
			continue;
		r = watch_dump(t, mounts, line, &e->wd.items[e->wd.nr++], err);
		if (r == 0 && e->wd.items[e->wd.nr - 1].wd > MAX_NUMBER)
			return file_refuse(t, f, "the process must make a new inotify descriptor",
					   "inotify has given out more than %u watch numbers, and they only grow", MAX_NUMBER);
		if (r == 0 && !e->wd.items[e->wd.nr - 1].f_handle->path && !nameless) {
			nameless = open_file_vec_add(&t->inotifies);
			if (!nameless)
				return pool_failed(err);
			*nameless = f;
		}
	}
	return r;
}

static int unread_dump(struct file_table *t, const struct open_file *f, img_inotify_file_entry *e, struct cr_error *err)
{
	int bytes = 0;

	if (ioctl(f->fd, FIONREAD, &bytes) < 0)
		return cr_fail(err, -errno, "length of an inotify queue");
	if (!bytes)
		return 0;
	log_warn(&t->ctx->log,
		 "pid %d: fd %d: inotify events of %d bytes are not read yet, continuing without them: IN_Q_OVERFLOW takes their place",
		 f->task->host_pid, f->fd_there, bytes);
	e->ext = pool_new(&t->pool, img_inotify_file_ext);
	if (!e->ext)
		return pool_failed(err);
	e->ext->has_unread = e->ext->unread = true;
	return 0;
}

static int inotify_dump(struct file_table *t, struct open_file *f, struct cr_error *err)
{
	img_inotify_file_entry *e = pool_new(&t->pool, img_inotify_file_entry);
	struct scan rest;
	int r;

	if (!e)
		return pool_failed(err);
	r = owned_begin_fdinfo(t, f, img_fd_types_INOTIFY, OWNED_ENTRY(e), &rest, err);
	if (r != 0)
		return r;
	f->entry->ify = e;
	r = unread_dump(t, f, e, err);
	if (r < 0)
		return r;
	return watches_dump(t, f, rest, e, err);
}

static bool is_same_file(const struct open_file *f, const img_inotify_wd_entry *e)
{
	uint32_t dev = (uint32_t)major(f->facts.st.st_dev) << 20 | minor(f->facts.st.st_dev);

	return f->entry && f->entry->type == img_fd_types_REG && f->facts.st.st_ino == e->i_ino && dev == e->s_dev;
}

static int nameless_collected(struct file_table *t, struct open_file *f, img_inotify_wd_entry *e, struct cr_error *err)
{
	for (size_t i = 0; i < t->files.nr; i++) {
		/* what is only mapped, or somebody's program, is not open at restore */
		if (!is_same_file(t->files.items[i], e) || t->files.items[i]->fd_there < 0)
			continue;
		e->ext = pool_new(&t->pool, img_inotify_wd_ext);
		if (!e->ext)
			return pool_failed(err);
		e->ext->has_file_id = true;
		e->ext->file_id = t->files.items[i]->id;
		return 0;
	}
	return file_refuse(t, f, "--irmap-scan-path DIR", "inotify watches a file (inode %llu) that no path leads to",
			   (unsigned long long)e->i_ino);
}

static int inotifies_collected(struct file_table *t, struct cr_error *err)
{
	int r = 0;

	for (size_t i = 0; i < t->inotifies.nr && r >= 0; i++) {
		struct open_file *f = t->inotifies.items[i];
		struct img_inotify_wd_entry_vec *v = f->entry ? &f->entry->ify->wd : NULL;

		/* an obstacle takes the entry away */
		for (size_t k = 0; v && k < v->nr && r == 0; k++)
			if (!v->items[k].f_handle->path)
				r = nameless_collected(t, f, &v->items[k], err);
		r = r > 0 ? 0 : r;
	}
	return r < 0 ? r : 0;
}

/* ----------------------------------------------------------------- restore */

static int inotify_check(const img_file_entry *e, struct cr_error *err)
{
	for (size_t i = 0; i < e->ify->wd.nr; i++) {
		const img_inotify_wd_entry *w = &e->ify->wd.items[i];

		if (w->wd == 0 || w->wd > MAX_NUMBER)
			return cr_refuse(err, -EBADMSG, "inotify %u has a watch %u", e->id, w->wd);
		if (w->ext && w->ext->has_file_id)
			continue;
		if (!w->f_handle->path || w->f_handle->path[0] != '/' || strlen(w->f_handle->path) >= PATH_MAX)
			return cr_refuse(err, -ENOTSUP, "watch %u of inotify %u has no path", w->wd, e->id);
	}
	return fown_check(e->ify->fown, err);
}

static int by_number(const void *a, const void *b)
{
	const img_inotify_wd_entry *x = *(const img_inotify_wd_entry *const *)a,
				   *y = *(const img_inotify_wd_entry *const *)b;

	return x->wd < y->wd ? -1 : x->wd > y->wd;
}

static int watch_add(struct files *fs, int fd, const img_inotify_wd_entry *w, struct cr_error *err)
{
	bool nameless = w->ext && w->ext->has_file_id;
	autofd int named = nameless ? -1 : path_open_at(fs, w->f_handle->path, O_PATH | O_NOFOLLOW, 0, err);
	const char *name = nameless ? "a file without a name" : w->f_handle->path;
	char path[40];
	int wd;

	if (!nameless && named < 0)
		return named;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", nameless ? files_find(fs, w->ext->file_id)->fd : named);
	for (;;) {
		wd = inotify_add_watch(fd, path, w->mask & MASK_USER);
		if (wd < 0)
			return cr_fail(err, -errno, "watch %s", name);
		if ((uint32_t)wd == w->wd)
			return 0;
		if ((uint32_t)wd > w->wd)
			return cr_refuse(err, -EBADMSG, "watch of %s is number %d, not %u", name, wd, w->wd);
		if (inotify_rm_watch(fd, wd) < 0)
			return cr_fail(err, -errno, "drop a watch of %s", name);
	}
}

/* Every dropped watch left an event. */
static int drain(int fd, struct cr_error *err)
{
	char events[4096];
	ssize_t n;

	while ((n = read(fd, events, sizeof(events))) > 0)
		;
	return n < 0 && errno != EAGAIN ? cr_fail(err, -errno, "read inotify events") : 0;
}

static int inotify_open(struct files *fs, struct restored_file *f, struct cr_error *err)
{
	const img_inotify_file_entry *e = f->entry->ify;
	int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);

	(void)fs;
	return fd < 0 ? cr_fail(err, -errno, "inotify_init1") : fown_finish(fd, e->fown, err);
}

static int tell_lost(struct files *fs, int fd, struct cr_error *err)
{
	struct cr_error why = { 0 };
	int r = inotify_tell_lost(fd, &why);

	if (r == -EOPNOTSUPP) {
		log_warn(&fs->ctx->log, "a process is not told that events of inotify are lost: %s, continuing", why.text);
		return 0;
	}
	return r < 0 ? cr_fail(err, r, "tell of lost events: %s", why.text) : 0;
}

/* Once all files are open, since some have no name. */
static int inotify_settle(struct files *fs, struct restored_file *f, struct cr_error *err)
{
	const img_inotify_file_entry *e = f->entry->ify;
	autofree const img_inotify_wd_entry **order = calloc(e->wd.nr + 1, sizeof(*order));
	int r = 0;

	if (!order)
		return files_no_memory(err);
	for (size_t i = 0; i < e->wd.nr; i++)
		order[i] = &e->wd.items[i];
	qsort(order, e->wd.nr, sizeof(order[0]), by_number);
	for (size_t i = 0; i < e->wd.nr && r == 0; i++)
		r = watch_add(fs, f->fd, order[i], err);
	if (r == 0)
		r = drain(f->fd, err);
	if (r == 0 && e->ext && e->ext->unread)
		r = tell_lost(fs, f->fd, err);
	return r < 0 ? r : fd_set_flags(f->fd, e->flags, err);
}

static int inotifies_settle(struct files *fs, struct cr_error *err)
{
	int r = 0;

	for (size_t i = 0; i < fs->files.nr && r == 0; i++)
		if (fs->files.items[i]->entry->type == img_fd_types_INOTIFY && fs->files.items[i]->fd >= 0)
			r = cr_within(err, inotify_settle(fs, fs->files.items[i], err), "file %u", fs->files.items[i]->id);
	return r;
}

static int inotifies_read(struct files *fs, struct cr_error *err)
{
	for (size_t i = 0; i < fs->files.nr; i++) {
		const img_file_entry *e = fs->files.items[i]->entry;

		for (size_t k = 0; e->type == img_fd_types_INOTIFY && k < e->ify->wd.nr; k++) {
			const img_inotify_wd_ext *ext = e->ify->wd.items[k].ext;
			const struct restored_file *target = ext && ext->has_file_id ? files_find(fs, ext->file_id) : NULL;

			if (ext && ext->has_file_id && (!target || !target->used || target->late))
				return cr_refuse(err, -EBADMSG, "inotify %u watches file %u, which is not there", e->id,
						 ext->file_id);
		}
	}
	return 0;
}

const struct file_ops inotify_ops = {
	.name = "inotify",
	.type = img_fd_types_INOTIFY,
	.claims = inotify_claims,
	.dump = inotify_dump,
	.check = inotify_check,
	.open = inotify_open,
};

const struct file_family inotify_family = {
	.name = "inotify",
	.collected = inotifies_collected,
	.read = inotifies_read,
	.settle = inotifies_settle,
};

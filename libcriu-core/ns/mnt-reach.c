/*
 * A mount that others hide: no path leads to it, so what hides it is taken away, in a copy of the namespace that is made for
 * that and ends with the thread that is in it.
 */
#include "ns/mnt-parts.h"

#include "kernel/mnt-thread.h"
#include "kernel/mount-calls.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#ifndef UMOUNT_NOFOLLOW
#define UMOUNT_NOFOLLOW 8
#endif

/* What lies at the place of @m, if it might be @m. Return: descriptor; -1 */
static int open_place(const struct proc_mount *m)
{
	struct open_how how = { .flags = O_PATH | O_NOFOLLOW | O_CLOEXEC, .resolve = RESOLVE_NO_SYMLINKS };
	autofd int fd = (int)syscall(SYS_openat2, AT_FDCWD, m->mountpoint, &how, sizeof(how));
	struct statx st;

	if (fd < 0 || statx(fd, "", AT_EMPTY_PATH | AT_NO_AUTOMOUNT, STATX_INO, &st) < 0 ||
	    st.stx_dev_major != m->dev_major || st.stx_dev_minor != m->dev_minor)
		return -1;
	if (st.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT && !(st.stx_attributes & STATX_ATTR_MOUNT_ROOT))
		return -1;
	return take_fd(&fd);
}

static const struct proc_mount *find(const struct proc_mount_list *list, int id)
{
	for (size_t i = 0; i < list->nr; i++)
		if (list->items[i].id == id)
			return &list->items[i];
	return NULL;
}

static const struct proc_mount *parent_of(const struct proc_mount_list *list, const struct proc_mount *m)
{
	const struct proc_mount *p = find(list, m->parent_id);

	return p == m ? NULL : p;
}

/* What lies on the whole of @m; NULL: nothing */
static const struct proc_mount *cover_of(const struct proc_mount_list *list, const struct proc_mount *m)
{
	for (size_t i = 0; i < list->nr; i++)
		if (list->items[i].parent_id == m->id && &list->items[i] != m &&
		    strcmp(list->items[i].mountpoint, m->mountpoint) == 0)
			return &list->items[i];
	return NULL;
}

/* A mount and all that lies on the whole of it, from the top. What is mounted elsewhere below it goes with it. */
static int take_away(const struct proc_mount_list *list, const struct proc_mount *m)
{
	for (size_t n = 0; m && n <= list->nr; n++, m = cover_of(list, m))
		if (syscall(SYS_umount2, m->mountpoint, MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
			return -errno;
	return 0;
}

/*
 * Mounts of @parent through which the path to its mount @next, or to itself where @next is NULL, leads: those on shorter paths
 * hide those on longer ones. Return: the first on a path longer than @min; NULL: none
 */
static const struct proc_mount *in_the_way(const struct proc_mount_list *list, const struct proc_mount *parent,
					   const struct proc_mount *next, size_t min)
{
	const char *path = next ? next->mountpoint : parent->mountpoint;
	const struct proc_mount *first = NULL;

	for (size_t i = 0; i < list->nr; i++) {
		const struct proc_mount *m = &list->items[i];

		if (m->parent_id == parent->id && m != parent && (!next || m->id != next->id) &&
		    strlen(m->mountpoint) > min && mnt_below(path, m->mountpoint) &&
		    (!first || strlen(m->mountpoint) < strlen(first->mountpoint)))
			first = m;
	}
	return first;
}

static int clear_way(const struct proc_mount_list *list, const struct proc_mount *parent, const struct proc_mount *next)
{
	size_t min = 0;

	for (;;) {
		const struct proc_mount *first = in_the_way(list, parent, next, min);
		int r;

		if (!first)
			return 0;
		min = strlen(first->mountpoint);
		r = take_away(list, first);
		if (r < 0)
			return r;
	}
}

/* From the root to @m. Return: 0; negative errno */
static int clear_all(const struct proc_mount_list *list, const struct proc_mount *m, size_t depth)
{
	const struct proc_mount *parent = parent_of(list, m);
	int r = 0;

	if (depth > list->nr)
		return -ELOOP;
	if (parent)
		r = clear_all(list, parent, depth + 1);
	return r == 0 && parent ? clear_way(list, parent, m) : r;
}

static bool is_hidden(const struct proc_mount_list *list, const struct proc_mount *m)
{
	const struct proc_mount *next = NULL;

	for (size_t n = 0; m && n <= list->nr; n++, next = m, m = parent_of(list, m))
		if (in_the_way(list, m, next, 0))
			return true;
	return false;
}

/* A directory of a file system may be mounted over the whole of it: by what the kernel tells of the place it might be either. */
static bool has_twin(const struct proc_mount_list *list, const struct proc_mount *m)
{
	for (size_t i = 0; i < list->nr; i++) {
		const struct proc_mount *o = &list->items[i];

		if (o != m && o->dev_minor == m->dev_minor && o->dev_major == m->dev_major && o->id != m->id &&
		    strcmp(o->mountpoint, m->mountpoint) == 0)
			return true;
	}
	return false;
}

int mnt_open_visible(const struct proc_mount_list *list, const struct proc_mount *m)
{
	autofd int fd = open_place(m);

	return fd >= 0 && has_twin(list, m) && is_hidden(list, m) ? -1 : take_fd(&fd);
}

struct reach {
	const struct proc_mount_list *list;
	const struct proc_mount *mount;
	int fd; /* out */
};

static int reach_in_thread(void *arg, struct cr_error *err)
{
	struct reach *w = arg;
	int r = mnt_thread_copy(err);

	if (r == 0)
		r = clear_all(w->list, w->mount, 0);
	if (r == 0)
		r = clear_way(w->list, w->mount, NULL);
	if (r == 0) {
		autofd int at = open_place(w->mount);

		w->fd = at < 0 ? -1 : mount_clone(at);
	}
	return 0;
}

int mnt_reach(int ns_fd, const struct proc_mount_list *list, const struct proc_mount *m)
{
	struct reach w = { .list = list, .mount = m, .fd = -1 };
	struct cr_error ignored = { 0 };

	mnt_thread_run(ns_fd, -1, reach_in_thread, &w, &ignored);
	return w.fd;
}

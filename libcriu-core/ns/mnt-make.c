/*
 * A mount namespace is built from descriptors. In a copy of ours, in which nothing reaches others, a memory file system is
 * the workshop: each file system that is to be had is mounted in a directory of it, and each mount of the tree is a copy of
 * (a part of) one of these or of what was given. A mount has its mount points looked up while nothing is mounted in it yet,
 * so it does not matter what hides what. In the end the tree's root becomes that of the namespace, and all else goes with
 * the old one. Nothing of this is anybody else's to see, and it goes with its last descriptor.
 */
#include "ns/mnt-parts.h"

#include "kernel/mnt-thread.h"
#include "kernel/mount-calls.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct build {
	struct mnt_ns *ns;
	struct mnt_mounts *list;
	int workshop, proc, old_root; /* -1: not open */
	int *origins;  /* by the index of a mount that is one: its file system in the workshop, else -1 */
	size_t *order; /* parents first */
};

/* A place of the workshop to mount @fd at. */
static int make_place(const struct build *w, const char *name, int fd, struct cr_error *err)
{
	struct stat st;
	int r = fstat(fd, &st);

	if (r == 0)
		r = S_ISDIR(st.st_mode) ? mkdirat(w->workshop, name, 0700)
					: mknodat(w->workshop, name, S_IFREG | 0600, 0);
	r = r < 0 ? -1 : openat(w->workshop, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	return r < 0 ? cr_fail(err, -errno, "workshop of mounts") : r;
}

static int attach_in_workshop(const struct build *w, const char *name, int fd, struct cr_error *err)
{
	autofd int place = make_place(w, name, fd, err);

	if (place < 0)
		return place;
	return mount_attach(fd, place) < 0 ? cr_fail(err, -errno, "mount it in the workshop (move_mount)") : 0;
}

static int make_workshop(struct build *w, struct cr_error *err)
{
	img_mnt_entry e = { .fstype = img_fstype_TMPFS, .source = (char *)"workshop", .options = (char *)"mode=700" };

	w->old_root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	w->proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (w->old_root < 0 || w->proc < 0)
		return cr_fail(err, -errno, "open %s", w->old_root < 0 ? "/" : "/proc");
	w->workshop = mnt_fs_make(&e, NULL, err);
	if (w->workshop < 0)
		return w->workshop;
	return mount_attach(w->workshop, w->old_root) < 0 ? cr_fail(err, -errno, "mount a workshop (move_mount)") : 0;
}

static int fill(const struct build *w, const struct mnt_mount *m, int fd, struct cr_error *err)
{
	autofd int image = image_open_raw(w->ns->set, IMG_TMPFS_DEV, m->e->root_dev, err);

	/* the name that they had before 2015 */
	if (image == -ENOENT)
		image = image_open_raw(w->ns->set, IMG_TMPFS_MNT, m->e->mnt_id, err);
	return image < 0 ? image : mnt_tmpfs_fill(w->ns->ctx, fd, image, m->e->ext, err);
}

static int make_fs(const struct build *w, const struct mnt_mount *m, struct cr_error *err)
{
	const char *device = NULL;
	char name[256];

	if (m->how == MNT_DEVICE) {
		if (mnt_device_name(m->e->source, name, sizeof(name)) < 0)
			return cr_refuse(err, -EBADMSG, "its source %.64s is no dev[NAME]", m->e->source);
		device = mnt_option(&w->ns->options, "dev", name);
		if (!device) {
			cr_refuse(err, -EINVAL, "it is of a block device, and nothing says which");
			cr_advise(err, "--external dev[%.100s]:DEVICE", name);
			return -EINVAL;
		}
	}
	return cr_within(err, mnt_fs_make(m->e, device, err), "%s%s", device ? device : "", device ? ": " : "");
}

/*
 * What mounts are copied from is attached, as kernels before 6.15 copy nothing else (__do_loopback() in fs/namespace.c), and
 * whole: of a block device, and of what is new.
 */
static int make_origin(struct build *w, size_t i, struct cr_error *err)
{
	struct mnt_mount *m = &w->list->items[i];
	bool given = mnt_is_given(m);
	const struct mnt_type *t = given || m->how == MNT_DEVICE ? NULL : mnt_type_of(m->e);
	autofd int fd = given ? take_fd(&m->spare) : make_fs(w, m, err);
	char name[32];
	int r;

	if (fd < 0)
		return fd;
	snprintf(name, sizeof(name), "%zu", i);
	r = attach_in_workshop(w, name, fd, err);
	if (r == 0 && t && t->content) {
		r = fill(w, m, fd, err);
		if (r == 0)
			r = mnt_fs_seal(m->e, fd, err);
	}
	if (r == 0)
		w->origins[i] = take_fd(&fd);
	return r;
}

static int make_mount(struct build *w, size_t i, struct cr_error *err)
{
	struct mnt_mount *m = &w->list->items[i];
	const struct mnt_mount *origin = m->origin >= 0 ? &w->list->items[m->origin] : NULL;
	const struct mnt_type *t = m->how == MNT_NEW ? mnt_type_of(m->e) : NULL;
	int r = 0;

	if (t && t->made == MNT_FS_THE_ONE && strcmp(m->e->root, "/") == 0) {
		/* each with a source of its own, which is but a name */
		m->fd = mnt_fs_make(m->e, NULL, err);
		if (m->fd < 0)
			return m->fd;
	} else if (!mnt_is_given(m)) {
		autofd int part = -1;
		const char *path = mnt_below(m->e->root, mnt_is_given(origin) ? origin->e->root : "/");

		if (w->origins[m->origin] < 0)
			r = make_origin(w, (size_t)m->origin, err);
		if (r < 0)
			return r;
		part = open_in_mount(w->origins[m->origin], path);
		if (part < 0)
			return cr_fail(err, -errno, "look for %.200s in its file system", m->e->root);
		m->fd = mount_clone(part);
		if (m->fd < 0)
			return cr_fail(err, -errno, "copy a mount (open_tree)");
	}
	return mnt_flags_apply(m->fd, m->e->flags, err);
}

/* Directories go on directories only, all else on all else. */
static int check_kinds(const struct mnt_mount *m, struct cr_error *err)
{
	struct stat what, at;
	int r;

	if (fstat(m->fd, &what) < 0 || fstat(m->at, &at) < 0)
		return cr_fail(err, -errno, "look at its root and its mount point");
	if (S_ISDIR(what.st_mode) == S_ISDIR(at.st_mode))
		return 0;
	r = cr_refuse(err, S_ISDIR(at.st_mode) ? -ENOTDIR : -EISDIR, "its mount point is %s, and what is to be mounted there %s",
		      S_ISDIR(at.st_mode) ? "a directory" : "a file", S_ISDIR(at.st_mode) ? "is none" : "is a directory");
	if (m->how == MNT_EXTERNAL)
		cr_advise(err, "--external mnt[%.100s]:PATH has to name %s", m->e->ext_key,
			  S_ISDIR(at.st_mode) ? "a directory" : "a file");
	return r;
}

static int find_place(struct build *w, size_t i, struct cr_error *err)
{
	struct mnt_mount *m = &w->list->items[i];
	const struct mnt_mount *parent = m->parent >= 0 ? &w->list->items[m->parent] : NULL;

	if (!parent)
		return 0;
	m->at = open_in_mount(parent->fd, mnt_below(m->e->mountpoint, parent->e->mountpoint));
	if (m->at < 0)
		return cr_fail(err, -errno, "look for its mount point in the mount at %.200s", parent->e->mountpoint);
	return check_kinds(m, err);
}

static int attach(struct build *w, size_t i, struct cr_error *err)
{
	struct mnt_mount *m = &w->list->items[i];

	if (m->parent < 0)
		return attach_in_workshop(w, "root", m->fd, err);
	return mount_attach(m->fd, m->at) < 0 ? cr_fail(err, -errno, "mount it (move_mount)") : 0;
}

static int for_each(struct build *w, int (*fn)(struct build *w, size_t i, struct cr_error *err), struct cr_error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < w->list->nr; i++)
		r = cr_within(err, fn(w, w->order[i], err), "mount at %.200s",
			      w->list->items[w->order[i]].e->mountpoint);
	return r;
}

/* pivot_root(2): the old root comes to lie on the new one, and is taken away with the workshop. */
static int change_root(struct build *w, struct cr_error *err)
{
	int root = w->list->items[w->order[0]].fd;

	if (fchdir(root) < 0 || syscall(SYS_pivot_root, ".", ".") < 0) {
		int r = cr_fail(err, -errno, "make it the root of the namespace (pivot_root)");

		cr_advise(err,
			  "the restorer's own root must be a mount, and not the initial file system of the kernel");
		return r;
	}
	/* the workshop lies on the old root, which lies on the new one */
	if (fchdir(w->workshop) < 0 || syscall(SYS_umount2, ".", MNT_DETACH) < 0 || fchdir(w->old_root) < 0 ||
	    syscall(SYS_umount2, ".", MNT_DETACH) < 0 || fchdir(root) < 0)
		return cr_fail(err, -errno, "leave the restorer's root");
	return 0;
}

static int keep_namespace(struct build *w, struct cr_error *err)
{
	w->ns->ns_fd = openat(w->proc, "thread-self/ns/mnt", O_RDONLY | O_CLOEXEC);
	if (w->ns->ns_fd < 0)
		return cr_fail(err, -errno, "open the namespace");
	w->ns->root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return w->ns->root_fd < 0 ? cr_fail(err, -errno, "open its root") : 0;
}

static int build_in_thread(void *arg, struct cr_error *err)
{
	struct build *w = arg;
	int r = make_workshop(w, err);

	if (r == 0)
		r = for_each(w, make_mount, err);
	if (r == 0)
		r = for_each(w, find_place, err);
	if (r == 0)
		r = for_each(w, attach, err);
	if (r == 0)
		r = change_root(w, err);
	if (r == 0)
		r = mnt_sharing_make(w->list, err);
	return r == 0 ? keep_namespace(w, err) : r;
}

static void build_done(struct build *w)
{
	int *fds[] = { &w->workshop, &w->proc, &w->old_root };

	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		if (*fds[i] >= 0)
			close(*fds[i]);
	for (size_t i = 0; w->origins && i < w->list->nr; i++)
		if (w->origins[i] >= 0)
			close(w->origins[i]);
	free(w->origins);
	free(w->order);
}

int mnt_build(struct mnt_ns *ns, int ipc_fd, struct cr_error *err)
{
	struct build w = { .ns = ns, .list = &ns->list, .workshop = -1, .proc = -1, .old_root = -1 };
	int r = -ENOMEM;

	w.origins = malloc(ns->list.nr * sizeof(*w.origins));
	w.order = calloc(ns->list.nr, sizeof(*w.order));
	if (!w.origins || !w.order) {
		cr_fail(err, r, "list mounts");
	} else {
		memset(w.origins, 0xff, ns->list.nr * sizeof(*w.origins));
		mnt_list_order(&ns->list, w.order);
		r = mnt_thread_run(MNT_THREAD_NEW, ipc_fd, build_in_thread, &w, err);
	}
	build_done(&w);
	return r;
}

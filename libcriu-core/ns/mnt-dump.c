/*
 * The dump's half of a mount namespace. A thread goes there, and then on in a copy of it, in which what the tree's mounts hold can be
 * looked at without anybody noticing. Each mount is either made again, or shows a part of another, or is one of outside: its
 * file system is mounted in our namespace as well. What is none of these is refused.
 */
#include "ns/mnt.h"

#include "base/buf.h"
#include "base/io.h"
#include "image/stream.h"
#include "kernel/mnt-thread.h"
#include "kernel/mount-calls.h"
#include "ns/mnt-look.h"
#include "ns/others.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/* ---------------------------------------------------------- what is there */

static bool is_skipped(const struct mnt_look *k, const struct proc_mount *m)
{
	const rpc_criu_opts *rpc = k->ns->options.rpc;

	for (size_t i = 0; i < rpc->skip_mnt.nr; i++)
		if (strcmp(rpc->skip_mnt.items[i], m->mountpoint) == 0)
			return true;
	return false;
}

bool mnt_is_covered(const struct mnt_look *k, const struct proc_mount *m)
{
	for (size_t i = 0; i < k->in.nr; i++)
		if (k->in.items[i].parent_id == m->id && &k->in.items[i] != m &&
		    strcmp(k->in.items[i].mountpoint, m->mountpoint) == 0)
			return true;
	return false;
}

static int key_by_options(struct mnt_look *k, const struct proc_mount *m, img_mnt_entry *e)
{
	const struct mnt_options *o = &k->ns->options;
	const char *name = mnt_is_covered(k, m) ? NULL : mnt_option(o, "mnt", m->mountpoint);

	if (name) {
		e->ext_key = (char *)name;
		return 0;
	}
	name = m->dev_major ? mnt_option_dev(o, m->dev_major, m->dev_minor) : NULL;
	if (!name)
		return 0;
	e->fstype = img_fstype_AUTO;
	e->fsname = (char *)m->fstype;
	e->ext_key = (char *)MNT_KEY_DEVICE;
	e->source = pool_printf(&k->ns->pool, "dev[%s]", name);
	return e->source ? 0 : -ENOMEM;
}

static int fill_entry(struct mnt_look *k, const struct proc_mount *m, img_mnt_entry *e, struct cr_error *err)
{
	const struct mnt_type *t = mnt_type_named(m->fstype);
	const char *word = "";
	int r;

	*e = (img_mnt_entry){
		.fstype = t && (!t->asked || mnt_type_allowed(t, k->ns->options.rpc)) ? t->number
										      : img_fstype_UNSUPPORTED,
		.mnt_id = (uint32_t)m->id,
		.root_dev = mnt_dev_of(m),
		.parent_mnt_id = (uint32_t)m->parent_id,
		.root = (char *)m->root,
		.mountpoint = (char *)m->mountpoint,
		.source = (char *)m->source,
		.has_shared_id = true,
		.shared_id = (uint32_t)m->shared,
		.has_master_id = true,
		.master_id = (uint32_t)m->master,
		.has_sb_flags = true,
	};
	if (e->fstype == img_fstype_AUTO)
		e->fsname = (char *)m->fstype;
	r = mnt_flags_parse(m->options, &e->flags, &word);
	if (r < 0) {
		char text[64];

		snprintf(text, sizeof(text), "has a flag that cannot be kept: %.*s", (int)strcspn(word, ","), word);
		r = mnt_note(k, m, "", text, err);
	}
	if (r < 0)
		return r;
	if (m->unbindable)
		e->flags |= MS_UNBINDABLE;
	r = mnt_sb_flags_parse(m->sb_options, &k->ns->pool, &e->sb_flags, &e->options);
	if (r == 0 && mnt_line_of(k, m->parent_id))
		r = key_by_options(k, m, e);
	return r < 0 ? cr_fail(err, r, "list mounts") : 0;
}

static int list_mounts(struct mnt_look *k, struct cr_error *err)
{
	int r = 0;

	k->of = calloc(k->in.nr + 1, sizeof(const struct proc_mount *));
	if (!k->of)
		return cr_fail(err, -ENOMEM, "list mounts");
	for (size_t i = 0; r == 0 && i < k->in.nr; i++) {
		const struct proc_mount *m = &k->in.items[i], *parent = mnt_line_of(k, m->parent_id);
		img_mnt_entry *e;

		if (is_skipped(k, m))
			continue;
		if (parent && parent != m && is_skipped(k, parent)) {
			r = mnt_note(k, m, "--skip-mnt for it, too", "is below one that is left out", err);
			continue;
		}
		if (strlen(m->root) > 9 && strcmp(m->root + strlen(m->root) - 9, "//deleted") == 0) {
			r = mnt_note(k, m, "", "shows a file or directory that is deleted", err);
			continue;
		}
		e = pool_new(&k->ns->pool, img_mnt_entry);
		r = e ? fill_entry(k, m, e, err) : cr_fail(err, -ENOMEM, "list mounts");
		if (r == 0)
			r = mnt_list_add(&k->ns->list, e, err);
		if (r == 0)
			k->of[k->ns->list.nr - 1] = m;
	}
	return r;
}

/* ------------------------------------------------------------------ stages */

static int read_inside(struct mnt_look *k, struct cr_error *err)
{
	autobuf struct buf text = BUF_INIT(PROC_MOUNTINFO_MAX);
	int r;

	k->ns->root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (k->ns->root_fd < 0)
		return cr_fail(err, -errno, "open its root");
	r = file_read_buf(k->proc, "thread-self/mountinfo", &text);
	if (r < 0)
		return cr_fail(err, r, "read its mounts");
	return proc_mountinfo_parse(text.data, text.len, &k->in, err);
}

static int look_around(void *arg, struct cr_error *err)
{
	struct mnt_look *k = arg;
	int r = read_inside(k, err);

	if (r == 0)
		r = mnt_thread_copy(err);
	if (r < 0)
		return r;
	k->ns->ns_fd = openat(k->proc, "thread-self/ns/mnt", O_RDONLY | O_CLOEXEC);
	if (k->ns->ns_fd < 0)
		return cr_fail(err, -errno, "open a copy of it");
	r = list_mounts(k, err);
	if (r == 0 && !k->ns->ctx->obstacles.nr)
		r = mnt_decide(k, err);
	return r;
}

static int open_all(struct mnt_look *k, const struct tree *tree, struct cr_error *err)
{
	autoprocdir struct proc_dir self = PROC_DIR_NONE;
	struct stat st;
	int r;

	k->ns_fd = openat(tree->root->dir.fd, "ns/mnt", O_RDONLY | O_CLOEXEC);
	if (k->ns_fd < 0 || fstat(k->ns_fd, &st) < 0)
		return cr_fail(err, -errno, "open the mount namespace");
	k->proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	k->outer_root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (k->proc < 0 || k->outer_root < 0)
		return cr_fail(err, -errno, "open %s", k->proc < 0 ? "/proc" : "/");
	ns_warn_of_others(k->ns->ctx, tree, "mnt", "mount", st.st_ino);
	r = proc_dir_open(AT_FDCWD, getpid(), &self, err);
	return r < 0 ? r : proc_mountinfo_read(&self, &k->out, err);
}

/* What is left out is none of the tree's for those who ask for its mounts: their files would be found in what it lies over. */
static int keep_lines(struct mnt_look *k, struct cr_error *err)
{
	struct proc_mount_list *kept = &k->ns->kept;

	kept->items = calloc(k->ns->list.nr + 1, sizeof(*kept->items));
	if (!kept->items)
		return cr_fail(err, -ENOMEM, "list mounts");
	for (; kept->nr < k->ns->list.nr; kept->nr++)
		kept->items[kept->nr] = *k->of[kept->nr];
	kept->cap = kept->nr;
	return 0;
}

/* Texts of entries lead into the list of mounts, which stays with the namespace. */
static void look_done(struct mnt_look *k)
{
	int fds[] = { k->ns_fd, k->proc, k->outer_root };

	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	proc_mount_list_done(&k->out);
	free(k->of);
	k->ns->lines = k->in;
}

int mnt_ns_collect(struct cr_context *ctx, const struct tree *tree, uint32_t id, int ipc_fd, struct mnt_ns **ret,
		   struct cr_error *err)
{
	autofree_by(mnt_ns_free) struct mnt_ns *ns = NULL;
	struct mnt_look k = { .root = tree->root, .ns_fd = -1, .proc = -1, .outer_root = -1 };
	int r = mnt_ns_new(ctx, id, &ns, err);

	if (r < 0)
		return r;
	if (ctx->opts->client_is_peer || !kernel_has(&ctx->probes, KERNEL_MOVE_MOUNT_SET_GROUP)) {
		const char *advice = ctx->opts->client_is_peer
					     ? "ask as root"
					     : "it takes Linux 5.15; or dump and restore from inside of it (nsenter)";

		r = obstacle_add(&ctx->obstacles, tree->root->host_pid, tree->root->comm, "", advice, "own mount namespace");
		*ret = take_ptr(&ns);
		return r < 0 ? cr_fail(err, r, "note an obstacle") : 0;
	}
	k.ns = ns;
	r = open_all(&k, tree, err);
	if (r == 0)
		r = mnt_thread_run(k.ns_fd, ipc_fd, look_around, &k, err);
	if (r == 0)
		r = keep_lines(&k, err);
	look_done(&k);
	if (r < 0)
		return cr_within(err, r, "mount namespace");
	*ret = take_ptr(&ns);
	return 0;
}

struct opening {
	struct mnt_ns *ns;
	uint32_t dev;
	int fd; /* out */
};

static int open_in_thread(void *arg, struct cr_error *err)
{
	struct opening *o = arg;
	struct mnt_look k = { .ns = o->ns, .in = o->ns->lines };

	(void)err;
	o->fd = mnt_open_whole(&k, o->dev);
	return 0;
}

/* What goes to a streamer takes its time, and tells by us that it was called off: it is kept until then. */
static int stream_one(const struct cr_context *ctx, struct image_set *set, int from, int fd, int image,
		      struct cr_error *err)
{
	char part[16384];
	ssize_t n = 0;
	int r = mnt_tmpfs_save(ctx, fd, from, err);

	if (r < 0)
		return r;
	for (off_t at = 0; r == 0 && (n = fd_pread_all(from, part, sizeof(part), at)) > 0; at += n)
		r = image_set_write(set, image, part, (size_t)n);
	if (r == 0 && n < 0)
		r = (int)n;
	return r < 0 ? cr_fail(err, r, "send its content") : 0;
}

static int save_in_set(const struct cr_context *ctx, struct image_set *set, const struct mnt_mount *m, int fd,
		       struct cr_error *err)
{
	autofd int image = image_open_raw(set, IMG_TMPFS_DEV, m->e->root_dev, err), spool = -1;
	int r;

	if (image < 0)
		return image;
	spool = image_set_streams(set) ? memfd_create("tmpfs", MFD_CLOEXEC) : -1;
	if (spool < 0 && image_set_streams(set))
		return cr_fail(err, -errno, "memory for its content");
	r = spool < 0 ? mnt_tmpfs_save(ctx, fd, image, err) : stream_one(ctx, set, spool, fd, image, err);
	if (r < 0)
		return r;
	r = image_set_close(set, take_fd(&image));
	return r < 0 ? cr_fail(err, r, spool < 0 ? "write its content" : "send its content") : 0;
}

/* Only its root is looked for inside: tar is a program of ours, not of the tree. */
static int save_one(struct mnt_ns *ns, const struct mnt_mount *m, struct image_set *set, struct cr_error *err)
{
	struct opening o = { .ns = ns, .dev = m->e->root_dev, .fd = -1 };
	int r = mnt_thread_run(ns->ns_fd, -1, open_in_thread, &o, err);
	autofd int fd = o.fd;

	if (r == 0 && fd < 0)
		r = cr_refuse(err, -ENOENT, "it is not there any more");
	if (r == 0)
		r = save_in_set(ns->ctx, set, m, fd, err);
	return cr_within(err, r, "mount at %.200s", m->e->mountpoint);
}

int mnt_ns_write(struct mnt_ns *ns, struct image_set *set, struct cr_error *err)
{
	autofree_by(image_writer_drop) struct image_writer *w = NULL;
	int r = image_writer_open(set, IMG_MOUNTPOINTS, ns->id, &w, err);

	for (size_t i = 0; r == 0 && i < ns->list.nr; i++)
		r = image_write(w, ns->list.items[i].e, err);
	if (r == 0)
		r = image_writer_close(take_ptr(&w), true, err);
	for (size_t i = 0; r == 0 && i < ns->list.nr; i++) {
		const struct mnt_mount *m = &ns->list.items[i];
		const struct mnt_type *t = m->how == MNT_NEW && m->origin == (int)i ? mnt_type_of(m->e) : NULL;

		if (t && t->content)
			r = save_one(ns, m, set, err);
	}
	return cr_within(err, r, "mount namespace");
}

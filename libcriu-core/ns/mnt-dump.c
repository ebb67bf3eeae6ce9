/*
 * The dump's half of a mount namespace. A thread goes there, and then on in a copy of it, in which what the tree's mounts hold can be
 * looked at without anybody noticing. Each mount is either made again, or shows a part of another, or is one of outside: its
 * file system is mounted in our namespace as well. What is none of these is refused.
 */
#include "ns/mnt.h"

#include "base/buf.h"
#include "base/io.h"
#include "kernel/mnt-thread.h"
#include "kernel/mount-calls.h"
#include "ns/mnt-parts.h"
#include "procfs/mountinfo.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

struct look {
	struct mnt_ns *ns;
	const struct task *root;
	int ns_fd;             /* of the tree */
	int proc, outer_root;  /* of ours */
	struct proc_mount_list in, out;
	const struct proc_mount **of; /* of ns->list: its line */
};

static int obstacle(const struct look *k, const struct proc_mount *m, const char *advice, const char *why)
{
	return obstacle_add(&k->ns->ctx->obstacles, k->root->host_pid, k->root->comm, "", advice, "mount at %.60s (%.20s) %s",
			    m->mountpoint, m->fstype, why);
}

static int note(const struct look *k, const struct proc_mount *m, const char *advice, const char *why, struct cr_error *err)
{
	int r = obstacle(k, m, advice, why);

	return r < 0 ? cr_fail(err, r, "note an obstacle") : 0;
}

static uint32_t dev_of(const struct proc_mount *m)
{
	return m->dev_major << 20 | m->dev_minor;
}

static const struct proc_mount *find_outside(const struct look *k, uint32_t dev)
{
	for (size_t i = 0; i < k->out.nr; i++)
		if (dev_of(&k->out.items[i]) == dev)
			return &k->out.items[i];
	return NULL;
}

/* Return: 0 none of outside is in that group */
static bool group_outside(const struct look *k, int group)
{
	for (size_t i = 0; group && i < k->out.nr; i++)
		if (k->out.items[i].shared == group)
			return true;
	return false;
}

static bool group_inside(const struct look *k, int group)
{
	for (size_t i = 0; group && i < k->in.nr; i++)
		if (k->in.items[i].shared == group)
			return true;
	return false;
}

/* ---------------------------------------------------------- what is there */

static bool is_skipped(const struct look *k, const struct proc_mount *m)
{
	const rpc_criu_opts *rpc = k->ns->options.rpc;

	for (size_t i = 0; i < rpc->skip_mnt.nr; i++)
		if (strcmp(rpc->skip_mnt.items[i], m->mountpoint) == 0)
			return true;
	return false;
}

static const struct proc_mount *line_of(const struct look *k, int id)
{
	for (size_t i = 0; i < k->in.nr; i++)
		if (k->in.items[i].id == id)
			return &k->in.items[i];
	return NULL;
}

/* Is another mount on top of the whole of it? */
static bool is_covered(const struct look *k, const struct proc_mount *m)
{
	for (size_t i = 0; i < k->in.nr; i++)
		if (k->in.items[i].parent_id == m->id && &k->in.items[i] != m && strcmp(k->in.items[i].mountpoint, m->mountpoint) == 0)
			return true;
	return false;
}

static int key_by_options(struct look *k, const struct proc_mount *m, img_mnt_entry *e)
{
	const struct mnt_options *o = &k->ns->options;
	const char *name = is_covered(k, m) ? NULL : mnt_option(o, "mnt", m->mountpoint);

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

static int fill_entry(struct look *k, const struct proc_mount *m, img_mnt_entry *e, struct cr_error *err)
{
	const struct mnt_type *t = mnt_type_named(m->fstype);
	const char *word = "";
	int r;

	*e = (img_mnt_entry){
		.fstype = t && (!t->asked || mnt_type_allowed(t, k->ns->options.rpc)) ? t->number : img_fstype_UNSUPPORTED,
		.mnt_id = (uint32_t)m->id,
		.root_dev = dev_of(m),
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
		r = note(k, m, "", text, err);
	}
	if (r < 0)
		return r;
	if (m->unbindable)
		e->flags |= MS_UNBINDABLE;
	r = mnt_sb_flags_parse(m->sb_options, &k->ns->pool, &e->sb_flags, &e->options);
	if (r == 0 && line_of(k, m->parent_id))
		r = key_by_options(k, m, e);
	return r < 0 ? cr_fail(err, r, "list mounts") : 0;
}

static int list_mounts(struct look *k, struct cr_error *err)
{
	int r = 0;

	k->of = calloc(k->in.nr + 1, sizeof(const struct proc_mount *));
	if (!k->of)
		return cr_fail(err, -ENOMEM, "list mounts");
	for (size_t i = 0; r == 0 && i < k->in.nr; i++) {
		const struct proc_mount *m = &k->in.items[i], *parent = line_of(k, m->parent_id);
		img_mnt_entry *e;

		if (is_skipped(k, m))
			continue;
		if (parent && parent != m && is_skipped(k, parent)) {
			r = note(k, m, "--skip-mnt for it, too", "is below one that is left out", err);
			continue;
		}
		if (strlen(m->root) > 9 && strcmp(m->root + strlen(m->root) - 9, "//deleted") == 0) {
			r = note(k, m, "", "shows a file or directory that is deleted", err);
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

/* ---------------------------------------------------- how each is to come back */

/* In the copy of the namespace. Return: descriptor of its root; -1: another mount hides it */
static int open_visible(const struct proc_mount *m)
{
	struct open_how how = { .flags = O_PATH | O_NOFOLLOW | O_CLOEXEC, .resolve = RESOLVE_NO_SYMLINKS };
	autofd int fd = (int)syscall(SYS_openat2, AT_FDCWD, m->mountpoint, &how, sizeof(how));
	struct statx st;

	if (fd < 0 || statx(fd, "", AT_EMPTY_PATH | AT_NO_AUTOMOUNT, STATX_INO, &st) < 0 || st.stx_dev_major != m->dev_major ||
	    st.stx_dev_minor != m->dev_minor)
		return -1;
	if (st.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT && !(st.stx_attributes & STATX_ATTR_MOUNT_ROOT))
		return -1;
	return take_fd(&fd);
}

static bool is_same_file(int a, int b)
{
	struct stat x, y;

	return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* Where it is seen in our namespace: a text in the pool; NULL: nowhere */
static char *path_outside(const struct look *k, const struct proc_mount *m)
{
	autofd int inside = open_visible(m);

	for (size_t i = 0; i < k->out.nr; i++) {
		const struct proc_mount *o = &k->out.items[i];
		const char *rest = dev_of(o) == dev_of(m) ? mnt_below(m->root, o->root) : NULL;
		struct open_how how = { .flags = O_PATH | O_NOFOLLOW | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS };
		autofd int there = -1;
		struct statx st;
		char *path;

		if (!rest || o->mountpoint[0] != '/')
			continue;
		path = pool_printf(&k->ns->pool, "%s%s%s", o->mountpoint, *rest && o->mountpoint[1] ? "/" : "", rest);
		there = path ? (int)syscall(SYS_openat2, k->outer_root, path, &how, sizeof(how)) : -1;
		/* what hides it there is another mount */
		if (there < 0 || statx(there, "", AT_EMPTY_PATH | AT_NO_AUTOMOUNT, STATX_MNT_ID, &st) < 0 ||
		    (st.stx_mask & STATX_MNT_ID && st.stx_mnt_id != (uint64_t)o->id))
			continue;
		if (inside < 0 || is_same_file(inside, there))
			return path;
	}
	return NULL;
}

enum verdict { FINE, OUTSIDE, SAID }; /* SAID: an obstacle is noted */

static int say(const struct look *k, const struct proc_mount *m, const char *advice, const char *why, struct cr_error *err)
{
	int r = note(k, m, advice, why, err);

	return r < 0 ? r : SAID;
}

/* The processes that procfs shows are those of one pid namespace; it is ours if we have our number there. */
static int judge_proc(const struct look *k, const struct proc_mount *m, struct cr_error *err)
{
	char self[24] = "", pid[24];

	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	for (size_t i = 0; i < k->in.nr; i++) {
		autofd int fd = -1;

		if (dev_of(&k->in.items[i]) != dev_of(m) || strcmp(k->in.items[i].root, "/") != 0)
			continue;
		fd = open_visible(&k->in.items[i]);
		if (fd < 0)
			continue;
		return readlinkat(fd, "self", self, sizeof(self) - 1) > 0 && strcmp(self, pid) == 0
			       ? FINE
			       : say(k, m, "", "shows processes of another pid namespace", err);
	}
	return find_outside(k, dev_of(m)) ? FINE : say(k, m, "", "is hidden, and may show processes of another pid namespace", err);
}

static int judge_only_one(const struct look *k, size_t i, struct cr_error *err)
{
	const struct proc_mount *m = k->of[i];
	struct cr_error why = { 0 };
	autofd int fd = mnt_fs_make(k->ns->list.items[i].e, NULL, &why);
	struct stat st;

	if (fd >= 0 && fstat(fd, &st) == 0 && major(st.st_dev) == m->dev_major && minor(st.st_dev) == m->dev_minor)
		return FINE;
	if (find_outside(k, dev_of(m)))
		return OUTSIDE;
	return say(k, m, "--external mnt[MOUNTPOINT]:NAME", "belongs to namespaces that are not the dumper's", err);
}

static bool is_empty(int fd)
{
	autofd int again = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = again < 0 ? NULL : fdopendir(again);
	size_t nr = 0;

	if (!d)
		return false;
	(void)take_fd(&again);
	while (readdir(d))
		nr++;
	closedir(d);
	return nr <= 2;
}

/* A mount of the whole file system, alone, whose use is not seen. Return: descriptor; -1: no mount shows all of it */
static int open_whole(const struct look *k, uint32_t dev)
{
	for (size_t i = 0; i < k->in.nr; i++) {
		autofd int at = -1, fd = -1;

		if (dev_of(&k->in.items[i]) != dev || strcmp(k->in.items[i].root, "/") != 0)
			continue;
		at = open_visible(&k->in.items[i]);
		fd = at < 0 ? -1 : mount_clone(at);
		if (fd >= 0 && mount_change(fd, MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME, MS_PRIVATE) == 0)
			return take_fd(&fd);
	}
	return -1;
}

static int judge_own(struct look *k, size_t i, const struct mnt_type *t, struct cr_error *err)
{
	struct mnt_mount *list = k->ns->list.items;
	const struct proc_mount *m = k->of[i];
	autofd int fd = -1;
	const char *why = NULL;
	int r = 0;

	if (strcmp(t->name, "proc") == 0)
		return judge_proc(k, m, err);
	if (find_outside(k, dev_of(m)))
		return OUTSIDE;
	/* content is looked at once, with the mount that stands for all of its file system */
	if (list[i].origin != (int)i || (!t->content && !t->asked))
		return FINE;
	fd = open_whole(k, dev_of(m));
	if (fd < 0)
		return say(k, m, "", "is not to be seen as a whole: part of it is mounted, or it is hidden by another mount", err);
	if (t->asked)
		return is_empty(fd) ? FINE : say(k, m, "", "is not empty", err);
	r = mnt_tmpfs_look(fd, &k->ns->pool, &((img_mnt_entry *)list[i].e)->ext, &why, err);
	return r < 0 ? r : why ? say(k, m, "", why, err) : FINE;
}

/* It has to be found in the mount that it is taken from. */
static int judge_bind(const struct look *k, size_t i, struct cr_error *err)
{
	const struct mnt_mount *m = &k->ns->list.items[i], *o = &k->ns->list.items[m->origin];
	autofd int its = open_visible(k->of[i]), at = -1, alone = -1, there = -1;

	if (!mnt_is_given(o))
		return FINE;
	at = open_visible(k->of[m->origin]);
	alone = at < 0 ? -1 : mount_clone(at);
	there = alone < 0 ? -1 : open_in_mount(alone, mnt_below(m->e->root, o->e->root));
	if (alone < 0 || (there >= 0 && (its < 0 || is_same_file(its, there))))
		return FINE;
	return find_outside(k, dev_of(k->of[i])) ? OUTSIDE
						 : say(k, k->of[i], "--external mnt[MOUNTPOINT]:NAME", "shows what its path does not lead to", err);
}

/* Peers and masters: those of outside take options, and a mount that is itself of outside. */
static int judge_group(const struct look *k, size_t i, struct cr_error *err)
{
	struct mnt_mount *mount = &k->ns->list.items[i];
	const struct proc_mount *m = k->of[i];
	bool shared = group_outside(k, m->shared), slave = m->master && !group_inside(k, m->master);
	const struct mnt_options *o = &k->ns->options;

	if (!shared && !slave)
		return FINE;
	if (slave && !shared && !group_outside(k, m->master))
		return say(k, m, "", "is a slave of a mount that is nowhere to be seen", err);
	if (!mnt_is_given(mount))
		return OUTSIDE;
	if (shared && !o->sharing)
		return say(k, m, "--enable-external-sharing, or --external mnt[]:s", "is a peer of a mount outside", err);
	if (slave && !shared && !o->masters)
		return say(k, m, "--enable-external-masters, or --external mnt[]:m", "is a slave of a mount outside", err);
	return FINE;
}

static int judge(struct look *k, size_t i, struct cr_error *err)
{
	const struct mnt_mount *m = &k->ns->list.items[i];
	const struct mnt_type *t = mnt_type_of(m->e);
	int r = judge_group(k, i, err);

	if (r != FINE)
		return r;
	if (m->how == MNT_NEW)
		return t->made == MNT_FS_OWN ? judge_own(k, i, t, err) : judge_only_one(k, i, err);
	if (m->how == MNT_BIND)
		return judge_bind(k, i, err);
	return m->how == MNT_UNKNOWN ? OUTSIDE : FINE;
}

/* It is taken from outside if that is allowed, or refused. */
static int take_from_outside(struct look *k, size_t i, struct cr_error *err)
{
	img_mnt_entry *e = (img_mnt_entry *)k->ns->list.items[i].e;
	const struct proc_mount *m = k->of[i];
	char advice[160], *path;

	if (!find_outside(k, dev_of(m))) {
		if (!m->dev_major)
			snprintf(advice, sizeof(advice), "--external mnt[%.100s]:NAME", m->mountpoint);
		else
			snprintf(advice, sizeof(advice), "--external dev[%u/%u]:NAME, or --external mnt[%.80s]:NAME", m->dev_major, m->dev_minor,
				 m->mountpoint);
		return note(k, m, advice, "is of a kind that is not made again", err);
	}
	if (!k->ns->options.find) {
		snprintf(advice, sizeof(advice), "--external mnt[%.80s]:NAME, or --external mnt[] for all such mounts", m->mountpoint);
		return note(k, m, advice, "is mounted outside as well", err);
	}
	path = path_outside(k, m);
	if (!path) {
		snprintf(advice, sizeof(advice), "--external mnt[%.100s]:NAME", m->mountpoint);
		return note(k, m, advice, "is one of outside, where nothing leads to it", err);
	}
	e->ext_key = (char *)MNT_KEY_AUTO;
	e->source = path;
	return 0;
}

/* A root of outside is given to the restore; one that is the tree's own is saved like any other. */
static void choose_root(struct look *k)
{
	for (size_t i = 0; i < k->ns->list.nr; i++) {
		img_mnt_entry *e = (img_mnt_entry *)k->ns->list.items[i].e;
		const struct mnt_type *t = mnt_type_named(k->of[i]->fstype);

		if (line_of(k, k->of[i]->parent_id) && k->of[i]->parent_id != k->of[i]->id)
			continue;
		if (t && t->content && !find_outside(k, dev_of(k->of[i])))
			k->ns->list.items[i].how = MNT_NEW;
		else
			e->fstype = img_fstype_UNSUPPORTED;
	}
}

static int decide(struct look *k, struct cr_error *err)
{
	struct mnt_mounts *list = &k->ns->list;
	int r, changed = 0;

	choose_root(k);
	r = mnt_list_arrange(list, err);
	for (size_t i = 0; r >= 0 && i < list->nr; i++) {
		r = judge(k, i, err);
		changed |= r == OUTSIDE;
		if (r == OUTSIDE)
			r = take_from_outside(k, i, err);
	}
	if (r < 0 || k->ns->ctx->obstacles.nr)
		return r < 0 ? r : 0;
	if (changed) {
		choose_root(k);
		r = mnt_list_arrange(list, err);
	}
	/* what had no group of outside may have one now that it is one of outside */
	for (size_t i = 0; r >= 0 && changed && i < list->nr; i++)
		r = judge_group(k, i, err);
	for (size_t i = 0; r >= 0 && i < list->nr; i++) {
		img_mnt_entry *e = (img_mnt_entry *)list->items[i].e;

		if (!mnt_is_given(&list->items[i]) || !e->shared_id)
			continue;
		e->has_internal_sharing = e->internal_sharing = !group_outside(k, (int)e->shared_id);
	}
	return r < 0 ? r : 0;
}

static int check_groups(struct look *k, struct cr_error *err)
{
	struct cr_error why = { 0 };
	size_t which = 0;
	int r = mnt_sharing_check(&k->ns->list, &which, &why);

	if (r == 0 || r == -ENOMEM)
		return r < 0 ? cr_fail(err, r, "groups of mounts") : 0;
	return note(k, k->of[which], "", why.text, err);
}

/* ------------------------------------------------------------------ stages */

static int read_inside(struct look *k, struct cr_error *err)
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
	struct look *k = arg;
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
		r = decide(k, err);
	if (r == 0 && !k->ns->ctx->obstacles.nr)
		r = check_groups(k, err);
	return r;
}

/* Who else is in it stays in the old one. */
static int warn_of_others(struct cr_context *ctx, const struct tree *tree, ino_t ino)
{
	DIR *proc = opendir("/proc");
	size_t others = 0;
	struct dirent *d;
	struct stat st;
	char path[64];

	if (!proc)
		return -errno;
	while ((d = readdir(proc)) != NULL) {
		snprintf(path, sizeof(path), "%.20s/ns/mnt", d->d_name);
		if (isdigit((unsigned char)d->d_name[0]) && fstatat(dirfd(proc), path, &st, 0) == 0 && st.st_ino == ino)
			others++;
	}
	closedir(proc);
	for (size_t i = 0; i < tree->tasks.nr && others; i++)
		others -= tree->tasks.items[i]->state != TASK_DEAD;
	if (others)
		log_warn(&ctx->log,
			 "%zu processes outside of the tree are in its mount namespace, continuing: "
			 "the restored tree will have one without them",
			 others);
	return 0;
}

static int open_all(struct look *k, const struct tree *tree, struct cr_error *err)
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
	if (warn_of_others(k->ns->ctx, tree, st.st_ino) < 0)
		log_warn(&k->ns->ctx->log, "continuing without looking for other processes in the mount namespace");
	r = proc_dir_open(AT_FDCWD, getpid(), &self, err);
	return r < 0 ? r : proc_mountinfo_read(&self, &k->out, err);
}

/* Texts of entries lead into the list of mounts, which stays with the namespace. */
static void look_done(struct look *k)
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
	struct look k = { .root = tree->root, .ns_fd = -1, .proc = -1, .outer_root = -1 };
	int r = mnt_ns_new(ctx, id, &ns, err);

	if (r < 0)
		return r;
	if (ctx->opts->client_is_peer) {
		r = obstacle_add(&ctx->obstacles, tree->root->host_pid, tree->root->comm, "", "ask as root", "own mount namespace");
		*ret = take_ptr(&ns);
		return r < 0 ? cr_fail(err, r, "note an obstacle") : 0;
	}
	k.ns = ns;
	r = open_all(&k, tree, err);
	if (r == 0)
		r = mnt_thread_run(k.ns_fd, ipc_fd, look_around, &k, err);
	look_done(&k);
	if (r < 0)
		return cr_within(err, r, "mount namespace");
	*ret = take_ptr(&ns);
	return 0;
}

struct saving {
	struct mnt_ns *ns;
	struct image_set *set;
};

static int save_content(void *arg, struct cr_error *err)
{
	struct saving *s = arg;
	const struct mnt_mounts *list = &s->ns->list;
	struct look k = { .ns = s->ns, .in = s->ns->lines };
	int r = 0;

	for (size_t i = 0; r == 0 && i < list->nr; i++) {
		const struct mnt_mount *m = &list->items[i];
		const struct mnt_type *t = m->how == MNT_NEW && m->origin == (int)i ? mnt_type_of(m->e) : NULL;
		autofd int fd = -1, image = -1;

		if (!t || !t->content)
			continue;
		fd = open_whole(&k, m->e->root_dev);
		if (fd < 0)
			return cr_refuse(err, -ENOENT, "mount at %.200s is not there any more", m->e->mountpoint);
		image = image_open_raw(s->set, IMG_TMPFS_DEV, m->e->root_dev, err);
		r = image < 0 ? image : mnt_tmpfs_save(fd, image, err);
		r = cr_within(err, r, "mount at %.200s", m->e->mountpoint);
	}
	return r;
}

int mnt_ns_write(struct mnt_ns *ns, struct image_set *set, struct cr_error *err)
{
	autofree_by(image_writer_drop) struct image_writer *w = NULL;
	struct saving s = { ns, set };
	int r = image_writer_open(set, IMG_MOUNTPOINTS, ns->id, &w, err);

	for (size_t i = 0; r == 0 && i < ns->list.nr; i++)
		r = image_write(w, ns->list.items[i].e, err);
	if (r == 0)
		r = image_writer_close(take_ptr(&w), true, err);
	if (r == 0)
		r = mnt_thread_run(ns->ns_fd, -1, save_content, &s, err);
	return cr_within(err, r, "mount namespace");
}

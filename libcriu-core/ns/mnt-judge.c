/*
 * How a mount of a tree is to come back: it is made again, or shows a part of another, or is one of outside, whose file system is
 * mounted in our namespace as well. What is none of these is refused. All of this is asked in the copy of the namespace.
 */
#include "ns/mnt-look.h"

#include "kernel/mount-calls.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

static int obstacle(const struct mnt_look *k, const struct proc_mount *m, const char *advice, const char *why)
{
	return obstacle_add(&k->ns->ctx->obstacles, k->root->host_pid, k->root->comm, "", advice,
			    "mount at %.60s (%.20s) %s", m->mountpoint, m->fstype, why);
}

int mnt_note(const struct mnt_look *k, const struct proc_mount *m, const char *advice, const char *why,
	     struct cr_error *err)
{
	int r = obstacle(k, m, advice, why);

	return r < 0 ? cr_fail(err, r, "note an obstacle") : 0;
}

const struct proc_mount *mnt_line_of(const struct mnt_look *k, int id)
{
	for (size_t i = 0; i < k->in.nr; i++)
		if (k->in.items[i].id == id)
			return &k->in.items[i];
	return NULL;
}

static const struct proc_mount *find_outside(const struct mnt_look *k, uint32_t dev)
{
	for (size_t i = 0; i < k->out.nr; i++)
		if (mnt_dev_of(&k->out.items[i]) == dev)
			return &k->out.items[i];
	return NULL;
}

/* Return: 0 none of outside is in that group */
static bool group_outside(const struct mnt_look *k, int group)
{
	for (size_t i = 0; group && i < k->out.nr; i++)
		if (k->out.items[i].shared == group)
			return true;
	return false;
}

static bool group_inside(const struct mnt_look *k, int group)
{
	for (size_t i = 0; group && i < k->in.nr; i++)
		if (k->in.items[i].shared == group)
			return true;
	return false;
}

/* ---------------------------------------------------- how each is to come back */

static bool is_same_file(int a, int b)
{
	struct stat x, y;

	return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* Where it is seen in our namespace: a text in the pool; NULL: nowhere */
static char *path_outside(const struct mnt_look *k, const struct proc_mount *m)
{
	autofd int inside = mnt_open_visible(&k->in, m);

	for (size_t i = 0; i < k->out.nr; i++) {
		const struct proc_mount *o = &k->out.items[i];
		const char *rest = mnt_dev_of(o) == mnt_dev_of(m) ? mnt_below(m->root, o->root) : NULL;
		struct open_how how = { .flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
					.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS };
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

static int say(const struct mnt_look *k, const struct proc_mount *m, const char *advice, const char *why,
	       struct cr_error *err)
{
	int r = mnt_note(k, m, advice, why, err);

	return r < 0 ? r : SAID;
}

static int judge_only_one(const struct mnt_look *k, size_t i, struct cr_error *err)
{
	const struct proc_mount *m = k->of[i];
	struct cr_error why = { 0 };
	autofd int fd = mnt_fs_make(k->ns->list.items[i].e, NULL, &why);
	struct stat st;

	if (fd >= 0 && fstat(fd, &st) == 0 && major(st.st_dev) == m->dev_major && minor(st.st_dev) == m->dev_minor)
		return FINE;
	if (find_outside(k, mnt_dev_of(m)))
		return OUTSIDE;
	return say(k, m, "--external mnt[MOUNTPOINT]:NAME", "belongs to namespaces that are not the dumper's", err);
}

/* Nothing is in it that would not be in a new one, where the kernel may put something of its own (bpf). */
static bool is_as_new(const img_mnt_entry *e, int fd)
{
	struct cr_error ignored = { 0 };
	autofd int new = mnt_fs_make(e, NULL, &ignored), again = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = again < 0 || new < 0 ? NULL : fdopendir(again);
	bool same = true;
	struct dirent *entry;

	if (!d)
		return false;
	(void)take_fd(&again);
	while (same && (entry = readdir(d)) != NULL)
		same = faccessat(new, entry->d_name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
	closedir(d);
	return same;
}

int mnt_open_whole(const struct mnt_look *k, uint32_t dev)
{
	for (size_t i = 0; i < k->in.nr; i++) {
		autofd int at = -1, fd = -1;

		if (mnt_dev_of(&k->in.items[i]) != dev || strcmp(k->in.items[i].root, "/") != 0)
			continue;
		at = mnt_open_visible(&k->in, &k->in.items[i]);
		/* what cannot be bound can be copied in another copy of the namespace only */
		fd = at < 0 || k->in.items[i].unbindable ? mnt_reach(k->ns->ns_fd, &k->in, &k->in.items[i])
							 : mount_clone(at);
		if (fd >= 0 && mount_change(fd, MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME, MS_PRIVATE) == 0)
			return take_fd(&fd);
	}
	return -1;
}

/*
 * The processes that procfs shows are those of one pid namespace; it is ours if we have our number there. One of outside that is
 * hidden is never seen.
 */
static int judge_proc(const struct mnt_look *k, const struct proc_mount *m, struct cr_error *err)
{
	char self[24] = "", pid[24];
	autofd int seen = mnt_open_visible(&k->in, m), fd = -1;

	if (seen < 0 && find_outside(k, mnt_dev_of(m)))
		return FINE;
	fd = mnt_open_whole(k, mnt_dev_of(m));
	if (fd < 0)
		return find_outside(k, mnt_dev_of(m))
			       ? FINE
			       : say(k, m, "", "may show processes of another pid namespace", err);
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	return readlinkat(fd, "self", self, sizeof(self) - 1) > 0 && strcmp(self, pid) == 0
		       ? FINE
		       : say(k, m, "", "shows processes of another pid namespace", err);
}

static int judge_own(struct mnt_look *k, size_t i, const struct mnt_type *t, struct cr_error *err)
{
	struct mnt_mount *list = k->ns->list.items;
	const struct proc_mount *m = k->of[i];
	autofd int fd = -1;
	const char *why = NULL;
	int r = 0;

	if (strcmp(t->name, "proc") == 0)
		return judge_proc(k, m, err);
	if (find_outside(k, mnt_dev_of(m)))
		return OUTSIDE;
	/* content is looked at once, with the mount that stands for all of its file system */
	if (list[i].origin != (int)i || (!t->content && !t->asked))
		return FINE;
	fd = mnt_open_whole(k, mnt_dev_of(m));
	if (fd < 0)
		return say(k, m, "",
			   "is not to be seen as a whole: part of it is mounted, or it is hidden by another mount",
			   err);
	if (t->asked)
		return is_as_new(list[i].e, fd) ? FINE : say(k, m, "", "is not empty", err);
	r = mnt_tmpfs_look(fd, &k->ns->pool, &((img_mnt_entry *)list[i].e)->ext, &why, err);
	return r < 0 ? r : why ? say(k, m, "", why, err) : FINE;
}

/* It has to be found in the mount that it is taken from. */
static int judge_bind(const struct mnt_look *k, size_t i, struct cr_error *err)
{
	const struct mnt_mount *m = &k->ns->list.items[i], *o = &k->ns->list.items[m->origin];
	autofd int its = mnt_open_visible(&k->in, k->of[i]), at = -1, alone = -1, there = -1;

	if (!mnt_is_given(o))
		return FINE;
	at = mnt_open_visible(&k->in, k->of[m->origin]);
	alone = at < 0 ? -1 : mount_clone(at);
	there = alone < 0 ? -1 : open_in_mount(alone, mnt_below(m->e->root, o->e->root));
	if (alone < 0 || (there >= 0 && (its < 0 || is_same_file(its, there))))
		return FINE;
	return find_outside(k, mnt_dev_of(k->of[i])) ? OUTSIDE
						     : say(k, k->of[i], "--external mnt[MOUNTPOINT]:NAME",
							   "shows what its path does not lead to", err);
}

/* Peers and masters: those of outside take options, and a mount that is itself of outside. */
static int judge_group(const struct mnt_look *k, size_t i, struct cr_error *err)
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
		return say(k, m, "--enable-external-sharing, or --external mnt[]:s", "is a peer of a mount outside",
			   err);
	if (slave && !shared && !o->masters)
		return say(k, m, "--enable-external-masters, or --external mnt[]:m", "is a slave of a mount outside",
			   err);
	return FINE;
}

/* Restored file systems are there before the tree: what it brings itself (processes, terminals) can neither be shown nor mounted on. */
static int judge_fleeting(const struct mnt_look *k, size_t i, struct cr_error *err)
{
	const struct mnt_mounts *list = &k->ns->list;
	const struct mnt_mount *m = &list->items[i], *parent = m->parent >= 0 ? &list->items[m->parent] : NULL;
	const struct mnt_type *t = m->how == MNT_NEW ? mnt_type_of(m->e) : NULL;
	char advice[160];

	snprintf(advice, sizeof(advice), "unmount it, or --external mnt[%.100s]:NAME", m->e->mountpoint);
	if (t && m->e->root[0] == '/' && mnt_is_fleeting(t, m->e->root + 1))
		return say(k, k->of[i], advice, "shows a process or terminal of the tree", err);
	t = parent && parent->how == MNT_NEW ? mnt_type_of(parent->e) : NULL;
	/* the whole of what it lies on is part of what is shown there */
	if (t && strcmp(parent->e->root, "/") == 0 &&
	    mnt_is_fleeting(t, mnt_below(m->e->mountpoint, parent->e->mountpoint)))
		return say(k, k->of[i], "unmount it, or --skip-mnt", "lies on a file of a process or terminal", err);
	return FINE;
}

static int judge(struct mnt_look *k, size_t i, struct cr_error *err)
{
	const struct mnt_mount *m = &k->ns->list.items[i];
	const struct mnt_type *t = mnt_type_of(m->e);
	int r = judge_group(k, i, err);

	if (r == FINE)
		r = judge_fleeting(k, i, err);
	if (r != FINE)
		return r;
	if (m->how == MNT_NEW)
		return t->made == MNT_FS_OWN ? judge_own(k, i, t, err) : judge_only_one(k, i, err);
	if (m->how == MNT_BIND)
		return judge_bind(k, i, err);
	return m->how == MNT_UNKNOWN ? OUTSIDE : FINE;
}

/* It is taken from outside if that is allowed, or refused. */
static int take_from_outside(struct mnt_look *k, size_t i, struct cr_error *err)
{
	img_mnt_entry *e = (img_mnt_entry *)k->ns->list.items[i].e;
	const struct proc_mount *m = k->of[i];
	char advice[160], *path;

	if (!find_outside(k, mnt_dev_of(m))) {
		if (mnt_type_named(m->fstype) && mnt_type_named(m->fstype)->asked)
			snprintf(advice, sizeof(advice), "--enable-fs %s", m->fstype);
		else if (!m->dev_major)
			snprintf(advice, sizeof(advice), "--external mnt[%.100s]:NAME", m->mountpoint);
		else
			snprintf(advice, sizeof(advice), "--external dev[%u/%u]:NAME, or --external mnt[%.80s]:NAME",
				 m->dev_major, m->dev_minor, m->mountpoint);
		return mnt_note(k, m, advice, "is of a kind that is not made again", err);
	}
	if (!k->ns->options.find) {
		snprintf(advice, sizeof(advice), "--external mnt[%.80s]:NAME, or --external mnt[] for all such mounts",
			 m->mountpoint);
		return mnt_note(k, m, advice, "is mounted outside as well", err);
	}
	path = path_outside(k, m);
	if (!path) {
		/* a name would be taken for that of the mount over it */
		if (mnt_is_covered(k, m))
			snprintf(advice, sizeof(advice), "unmount what lies over it, or --skip-mnt %.80s for both",
				 m->mountpoint);
		else
			snprintf(advice, sizeof(advice), "--external mnt[%.100s]:NAME", m->mountpoint);
		return mnt_note(k, m, advice, "is one of outside, where nothing leads to it", err);
	}
	e->ext_key = (char *)MNT_KEY_AUTO;
	e->source = path;
	return 0;
}

/* A root of outside is given to the restore; one that is the tree's own is saved like any other. */
static void choose_root(struct mnt_look *k)
{
	for (size_t i = 0; i < k->ns->list.nr; i++) {
		img_mnt_entry *e = (img_mnt_entry *)k->ns->list.items[i].e;
		const struct mnt_type *t = mnt_type_named(k->of[i]->fstype);

		if (mnt_line_of(k, k->of[i]->parent_id) && k->of[i]->parent_id != k->of[i]->id)
			continue;
		if (t && t->content && !find_outside(k, mnt_dev_of(k->of[i])))
			k->ns->list.items[i].how = MNT_NEW;
		else
			e->fstype = img_fstype_UNSUPPORTED;
	}
}

static int decide(struct mnt_look *k, struct cr_error *err)
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

static int check_groups(struct mnt_look *k, struct cr_error *err)
{
	struct cr_error why = { 0 };
	size_t which = 0;
	int r = mnt_sharing_check(&k->ns->list, &which, &why);

	if (r == 0 || r == -ENOMEM)
		return r < 0 ? cr_fail(err, r, "groups of mounts") : 0;
	return mnt_note(k, k->of[which], "", why.text, err);
}

int mnt_decide(struct mnt_look *k, struct cr_error *err)
{
	int r = decide(k, err);

	return r == 0 && !k->ns->ctx->obstacles.nr ? check_groups(k, err) : r;
}

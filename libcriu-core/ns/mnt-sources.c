/*
 * What a restore is given: the root directory (--root), mounts by name, and those that a dump has found outside. They are copied
 * where they are, one by one, and made private at once: nothing that is mounted in them later is to be seen there.
 */
#include "ns/mnt-parts.h"

#include "kernel/mount-calls.h"
#include "procfs/mountinfo.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

/* Where it is; NULL: nobody says, which is in @err */
static const char *source_path(const struct mnt_ns *ns, const struct mnt_mount *m, struct cr_error *err)
{
	const rpc_criu_opts *rpc = ns->options.rpc;
	const char *path;

	if (m->how == MNT_ROOT)
		return rpc->root ? rpc->root : "/";
	if (m->how == MNT_AUTO && ns->options.find)
		return m->e->source;
	if (m->how == MNT_AUTO) {
		cr_refuse(err, -EINVAL,
			  "it was found outside at %.200s, and nothing says that it may be taken from there",
			  m->e->source);
		cr_advise(err, "--external mnt[] allows that for all such mounts");
		return NULL;
	}
	path = mnt_option(&ns->options, "mnt", m->e->ext_key);
	if (!path || !*path) {
		cr_refuse(err, -EINVAL, "it is one of outside, and nothing says which");
		cr_advise(err, "--external mnt[%.100s]:PATH", m->e->ext_key);
		return NULL;
	}
	return path;
}

static int clone_private(int at, struct cr_error *err)
{
	autofd int fd = mount_clone(at);

	if (fd < 0) {
		int r = cr_fail(err, -errno, "copy it (open_tree)");

		if (errno == EINVAL)
			cr_advise(err, "it must be a mount of the restorer's namespace that is not unbindable");
		return r;
	}
	if (mount_change(fd, 0, 0, MS_PRIVATE) < 0)
		return cr_fail(err, -errno, "make it private (mount_setattr, Linux 5.12)");
	return take_fd(&fd);
}

/* The root of the mount that @fd is in. */
static int open_mount_root(int fd, struct cr_error *err)
{
	autoprocdir struct proc_dir self = PROC_DIR_NONE;
	automounts struct proc_mount_list mounts = { 0 };
	struct statx its, there;
	int r = proc_dir_open(AT_FDCWD, getpid(), &self, err);

	if (r == 0)
		r = proc_mountinfo_read(&self, &mounts, err);
	if (r == 0 && statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &its) < 0)
		r = cr_fail(err, -errno, "statx");
	for (size_t i = 0; r == 0 && i < mounts.nr; i++) {
		autofd int root = -1;

		if ((uint64_t)mounts.items[i].id != its.stx_mnt_id)
			continue;
		root = open(mounts.items[i].mountpoint, O_PATH | O_NOFOLLOW | O_CLOEXEC);
		if (root >= 0 && statx(root, "", AT_EMPTY_PATH, STATX_MNT_ID, &there) == 0 &&
		    there.stx_mnt_id == its.stx_mnt_id)
			return take_fd(&root);
	}
	return r < 0 ? r : cr_refuse(err, -ENOENT, "nothing leads to the root of the mount that it is in");
}

/* Peers and masters outside have to be asked for again: what is mounted here would be seen there. */
static int open_peers(struct mnt_ns *ns, size_t i, int fd, struct cr_error *err)
{
	struct mnt_mount *m = &ns->list.items[i];
	bool shared = mnt_shared_outside(&ns->list, i), slave = mnt_master_outside(&ns->list, i);
	int r = 0;

	if (shared && !ns->options.sharing) {
		r = cr_refuse(err, -EINVAL, "it was a peer of a mount outside");
		cr_advise(err, "--enable-external-sharing, or --external mnt[]:s");
	} else if (slave && !ns->options.masters) {
		r = cr_refuse(err, -EINVAL, "its master was a mount outside");
		cr_advise(err, "--enable-external-masters, or --external mnt[]:m");
	} else if (shared || slave) {
		m->peers = open_mount_root(fd, err);
		r = m->peers < 0 ? m->peers : 0;
	}
	return r;
}

static int open_source(struct mnt_ns *ns, size_t i, struct cr_error *err)
{
	struct mnt_mount *m = &ns->list.items[i];
	const char *path = source_path(ns, m, err);
	autofd int fd = -1;
	bool lends = false;
	int r;

	if (!path)
		return -EINVAL;
	fd = open(path, O_PATH | O_CLOEXEC);
	if (fd < 0)
		return cr_fail(err, -errno, "open %.200s", path);
	m->fd = clone_private(fd, err);
	if (m->fd < 0)
		return cr_within(err, m->fd, "%.200s", path);
	for (size_t k = 0; k < ns->list.nr && !lends; k++)
		lends = ns->list.items[k].how == MNT_BIND && ns->list.items[k].origin == (int)i;
	if (lends) {
		m->spare = clone_private(fd, err);
		if (m->spare < 0)
			return m->spare;
	}
	r = open_peers(ns, i, fd, err);
	return cr_within(err, r, "%.200s", path);
}

/* By its number, or by the name of its device, as numbers may be others after a reboot. */
static bool is_same_fs(const struct proc_mount *here, const img_mnt_entry *e)
{
	return (here->dev_major << 20 | here->dev_minor) == e->root_dev ||
	       (here->source[0] == '/' && strcmp(here->source, e->source) == 0);
}

/* Without --root the restorer's own is taken, if that is what it was. */
static int check_root(const struct mnt_ns *ns, const struct mnt_mount *m, struct cr_error *err)
{
	autoprocdir struct proc_dir self = PROC_DIR_NONE;
	automounts struct proc_mount_list mounts = { 0 };
	int r = ns->options.rpc->root ? 1 : proc_dir_open(AT_FDCWD, getpid(), &self, err);

	if (r == 0)
		r = proc_mountinfo_read(&self, &mounts, err);
	for (size_t i = 0; r == 0 && i < mounts.nr; i++)
		if (strcmp(mounts.items[i].mountpoint, "/") == 0 && strcmp(mounts.items[i].root, m->e->root) == 0 &&
		    is_same_fs(&mounts.items[i], m->e))
			return 0;
	if (r != 0)
		return r < 0 ? r : 0;
	r = cr_refuse(err, -EINVAL, "the root directory of the tree was %.200s of %.100s, which the restorer's is not",
		      m->e->root, m->e->source);
	cr_advise(err, "--root PATH says where it is now");
	return r;
}

/* Up to four descriptors for each mount are open at a time. What is missing then shows when it is missed. */
static void make_room(size_t nr)
{
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl) < 0 || rl.rlim_cur >= 4 * nr + 128)
		return;
	rl.rlim_cur = rl.rlim_max < 4 * nr + 128 ? rl.rlim_max : 4 * nr + 128;
	setrlimit(RLIMIT_NOFILE, &rl);
}

int mnt_sources_open(struct mnt_ns *ns, struct cr_error *err)
{
	int r = 0;

	make_room(ns->list.nr);

	for (size_t i = 0; r == 0 && i < ns->list.nr; i++) {
		const struct mnt_mount *m = &ns->list.items[i];

		if (!mnt_is_given(m))
			continue;
		if (m->how == MNT_ROOT)
			r = check_root(ns, m, err);
		if (r == 0)
			r = cr_within(err, open_source(ns, i, err), "mount at %.200s", m->e->mountpoint);
	}
	return r;
}

static void drop(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void mnt_sources_close(struct mnt_ns *ns)
{
	for (size_t i = 0; i < ns->list.nr; i++) {
		struct mnt_mount *m = &ns->list.items[i];

		drop(&m->fd);
		drop(&m->at);
		drop(&m->spare);
		drop(&m->peers);
	}
}

/*
 * Restore: giving sockets their addresses. bind(2) resolves a path where the caller is, and keeps the bytes; so it is called by a
 * short-lived thread whose working directory and root are as those of the task were. A file that has no name any more is bound on a tmpfs that is mounted nowhere.
 */
#include "net/unix-internal.h"

#include "base/own.h"
#include "files/xattr.h"
#include "kernel/uapi.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define UAPI_FSCONFIG_CMD_CREATE 6 /* enumerator of linux/mount.h */

socklen_t unix_address(struct proto_bytes name, int path_fd, struct sockaddr_un *ret)
{
	size_t head = offsetof(struct sockaddr_un, sun_path);
	size_t len = name.len < sizeof(ret->sun_path) ? name.len : sizeof(ret->sun_path);

	memset(ret, 0, sizeof(*ret));
	ret->sun_family = AF_UNIX;
	if (path_fd >= 0)
		return (socklen_t)(head + 1 +
				   (size_t)snprintf(ret->sun_path, sizeof(ret->sun_path), "/proc/self/fd/%d", path_fd));
	if (len)
		memcpy(ret->sun_path, name.data, len);
	return (socklen_t)(head + len);
}

/* In a thread with a working directory and a root of its own. */
struct elsewhere {
	int (*fn)(void *arg);
	void *arg;
	int result;
};

static void *elsewhere_main(void *arg)
{
	struct elsewhere *e = arg;

	e->result = unshare(CLONE_FS) < 0 ? -errno : e->fn(e->arg);
	return NULL;
}

static int elsewhere_run(int (*fn)(void *arg), void *arg)
{
	struct elsewhere e = { .fn = fn, .arg = arg };
	pthread_t thread;
	int r = pthread_create(&thread, NULL, elsewhere_main, &e);

	if (r != 0)
		return -r;
	pthread_join(thread, NULL);
	return e.result;
}

struct binding {
	int fd;
	struct sockaddr_un addr;
	socklen_t len;
	char name[UNIX_NAME_MAX + 1]; /* the same as a text */
	int root;                     /* to be the root, where a name that is relative begins in @dir; -1: ours is */
	int dir;                      /* to go to, -1: where we are */
	bool chroot, nowhere;
	const struct map *live;
	const img_file_perms_entry *perms;
	/* out */
	int path_fd;
	bool was_there;
	struct stat old;
	const char *failed; /* what did, with errno as the result */
};

static void binding_init(struct binding *b, int fd, struct proto_bytes name)
{
	size_t len;

	memset(b, 0, sizeof(*b));
	b->fd = fd;
	b->len = unix_address(name, -1, &b->addr);
	len = b->len - offsetof(struct sockaddr_un, sun_path);
	memcpy(b->name, b->addr.sun_path, len);
	b->root = b->dir = b->path_fd = -1;
}

static int failed(struct binding *b, const char *what)
{
	b->failed = what;
	return errno ? -errno : -EIO;
}

/* The directories of a name on an empty file system. Each ".." in front leads out of one that must be there. */
static int make_parents(struct binding *b)
{
	char *p = b->name;

	for (const char *up = b->name; (up = strstr(up, "..")) != NULL; up += 2)
		if ((mkdir("d", 0755) < 0 && errno != EEXIST) || chdir("d") < 0)
			return failed(b, "make a directory");
	while ((p = strchr(p + 1, '/')) != NULL) {
		*p = '\0';
		if (mkdir(b->name, 0755) < 0 && errno != EEXIST)
			return failed(b, "make a directory");
		*p = '/';
	}
	return 0;
}

static uint64_t file_hash(uint32_t major_nr, uint32_t minor_nr, uint64_t ino)
{
	return map_mix(map_mix(map_mix(0, major_nr), minor_nr), (uint32_t)ino);
}

/* A file without a socket, as they are left behind, makes room; anything else stays. */
static int make_room(struct binding *b)
{
	struct stat st;

	if (lstat(b->name, &st) < 0)
		return errno == ENOENT ? 0 : failed(b, "look for an older file");
	errno = EEXIST;
	if (!S_ISSOCK(st.st_mode))
		return failed(b, "something that is no socket is there");
	errno = EADDRINUSE;
	if (map_find(b->live, file_hash(major(st.st_dev), minor(st.st_dev), st.st_ino)))
		return failed(b, "a socket of somebody else is there");
	b->was_there = true;
	b->old = st;
	return unlink(b->name) < 0 ? failed(b, "remove the older file") : 0;
}

static int put_back(const char *name, mode_t mode, uid_t uid, gid_t gid)
{
	if (mknod(name, S_IFSOCK | (mode & 07777), 0) < 0 || lchown(name, uid, gid) < 0)
		return -errno;
	return chmod(name, mode & 07777) < 0 ? -errno : 0;
}

/* @root: to be the root directory, unless @as_root says that @dir is; each may be -1 */
static int go_to(int root, int dir, bool as_root)
{
	if (root >= 0 && !as_root && (fchdir(root) < 0 || chroot(".") < 0))
		return -1;
	return dir >= 0 && (fchdir(dir) < 0 || (as_root && chroot(".") < 0)) ? -1 : 0;
}

static int bind_there(void *arg)
{
	struct binding *b = arg;
	int r;

	if (go_to(b->root, b->dir, b->chroot) < 0)
		return failed(b, "go to its directory");
	r = b->nowhere ? make_parents(b) : b->live ? make_room(b) : 0;
	if (r < 0)
		return r;
	if (bind(b->fd, (struct sockaddr *)&b->addr, b->len) < 0) {
		r = failed(b, "bind");
		if (b->was_there)
			put_back(b->name, b->old.st_mode, b->old.st_uid, b->old.st_gid);
		return r;
	}
	b->path_fd = open(b->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	r = b->path_fd < 0 ? failed(b, "open its file") : 0;
	/* where it is going to be nameless nobody but us can connect to it, in whatever guise */
	if (!b->perms)
		chmod(b->name, 0777);
	else if (r == 0 &&
		 (lchown(b->name, b->perms->uid, b->perms->gid) < 0 || chmod(b->name, b->perms->mode & 07777) < 0))
		r = failed(b, "owner and mode of its file");
	if ((r < 0 || !b->live) && unlink(b->name) < 0 && r == 0)
		r = failed(b, "remove its file");
	if (r < 0 && b->was_there)
		put_back(b->name, b->old.st_mode, b->old.st_uid, b->old.st_gid);
	return r;
}

static int run_binding(struct binding *b, struct cr_error *err)
{
	int r;

	errno = 0;
	r = elsewhere_run(bind_there, b);
	if (r >= 0)
		return 0;
	if (b->path_fd >= 0)
		close(b->path_fd);
	b->path_fd = -1;
	return cr_fail(err, r, "UNIX socket %s: %s", b->addr.sun_path, b->failed ? b->failed : "begin a thread");
}

/* ----------------------------------------------------------------- nowhere */

/* Return: descriptor; -1 we may not mount, even where nobody sees it */
static int nowhere_fd(struct unix_set *set)
{
	if (!set->nowhere) {
		autofd int fs = (int)syscall(__NR_fsopen, "tmpfs", 1 /* FSOPEN_CLOEXEC */);

		set->nowhere = -1;
		if (fs >= 0 && syscall(__NR_fsconfig, fs, UAPI_FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
			set->nowhere = (int)syscall(__NR_fsmount, fs, 1 /* FSMOUNT_CLOEXEC */, 0);
	}
	return set->nowhere;
}

static int bind_abstract(int fd, struct proto_bytes name, struct cr_error *err)
{
	struct sockaddr_un addr;
	socklen_t len = unix_address(name, -1, &addr);

	if (bind(fd, (struct sockaddr *)&addr, len) == 0)
		return 0;
	return cr_fail(err, -errno, "UNIX socket @%.*s: bind", (int)(name.len - 1), addr.sun_path + 1);
}

int unix_bind_nowhere(struct files *fs, int fd, struct proto_bytes name, int *ret_path_fd, struct cr_error *err)
{
	struct binding b;
	int r;

	*ret_path_fd = -1;
	if (!unix_name_is_path(name))
		return bind_abstract(fd, name, err);
	binding_init(&b, fd, name);
	b.dir = nowhere_fd(fs->sockets);
	b.nowhere = b.chroot = b.dir >= 0;
	r = run_binding(&b, err);
	if (r < 0 && !b.nowhere)
		cr_advise(err, "with CAP_SYS_ADMIN a name that is taken can be had nevertheless");
	if (r == 0)
		*ret_path_fd = b.path_fd;
	return r;
}

/* --------------------------------------------------------------- its place */

/* Files that sockets of this machine are bound to: a name that leads to one of them is not ours to take. */
static int learn_live(struct unix_set *set, struct cr_error *err)
{
	struct unix_facts here = { 0 };
	int r = set->live_known ? 1 : unix_facts_read(&here, err);

	for (size_t i = 0; r == 0 && i < here.all.nr; i++) {
		const struct unix_fact *f = &here.all.items[i];
		uint64_t key = file_hash(f->vfs_dev >> 20, f->vfs_dev & 0xfffff, f->vfs_ino);

		if (f->vfs_ino && !map_find(&set->live, key) && map_put(&set->live, key, set) < 0)
			r = files_no_memory(err);
	}
	set->live_known = true;
	unix_facts_done(&here);
	return r < 0 ? r : 0;
}

/* Where the name is to be resolved. @ret_dir: owned by the caller; -1 where we are */
static int open_place(struct files *fs, const img_unix_sk_entry *e, int *ret_dir, bool *ret_chroot,
		      struct cr_error *err)
{
	const char *root = e->ext && e->ext->name_root ? e->ext->name_root : "/";
	int dir;

	*ret_dir = -1;
	*ret_chroot = e->name.data[0] == '/';
	if (*ret_chroot && fs->root_fd < 0 && strcmp(root, "/") == 0)
		return 0;
	if (!*ret_chroot && (!e->name_dir || !e->name_dir[0]))
		return cr_refuse(err, -EBADMSG, "UNIX socket %.*s: nobody knows in which directory", (int)e->name.len,
				 (const char *)e->name.data);
	dir = path_open_at(fs, *ret_chroot ? root : e->name_dir, O_PATH | O_DIRECTORY, 0, err);
	if (dir < 0)
		return dir;
	*ret_dir = dir;
	return 0;
}

int unix_bind(struct files *fs, struct restored_sock *s, struct cr_error *err)
{
	const img_unix_sk_entry *e = s->e;
	struct binding b;
	int r;

	if (!unix_name_is_path(e->name))
		return bind_abstract(s->fd, e->name, err);
	if (e->has_deleted && e->deleted)
		return unix_bind_nowhere(fs, s->fd, e->name, &s->path_fd, err);
	binding_init(&b, s->fd, e->name);
	r = learn_live(fs->sockets, err);
	if (r < 0)
		return r;
	r = open_place(fs, e, &b.dir, &b.chroot, err);
	if (r < 0)
		return r;
	b.root = fs->root_fd;
	b.live = &fs->sockets->live;
	b.perms = e->file_perms;
	r = run_binding(&b, err);
	if (b.dir >= 0)
		close(b.dir);
	if (r < 0)
		return r;
	s->path_fd = b.path_fd;
	s->made_file = true;
	if (e->ext)
		xattrs_set(fs->ctx, s->path_fd, &e->ext->xattrs, b.name);
	s->was_there = b.was_there;
	s->old_mode = b.old.st_mode;
	s->old_uid = b.old.st_uid;
	s->old_gid = b.old.st_gid;
	return 0;
}

/* -------------------------------------------------------------------- undo */

struct unbinding {
	char name[UNIX_NAME_MAX + 1];
	int root, dir;
	bool chroot;
	struct stat own;
	const struct restored_sock *s;
};

static int unbind_there(void *arg)
{
	struct unbinding *u = arg;
	struct stat st;

	if (go_to(u->root, u->dir, u->chroot) < 0)
		return -errno;
	if (lstat(u->name, &st) < 0 || st.st_ino != u->own.st_ino || st.st_dev != u->own.st_dev)
		return 0; /* somebody has taken the name since */
	if (unlink(u->name) < 0)
		return -errno;
	return u->s->was_there ? put_back(u->name, u->s->old_mode, u->s->old_uid, u->s->old_gid) : 0;
}

void unix_unbind(struct files *fs, struct restored_sock *s)
{
	struct cr_error err = { 0 };
	struct unbinding u = { .root = fs->root_fd, .dir = -1, .s = s };
	int r = s->path_fd < 0 || fstat(s->path_fd, &u.own) < 0 ? -EBADF : 0;

	if (r == 0) {
		memcpy(u.name, s->e->name.data, s->e->name.len < UNIX_NAME_MAX ? s->e->name.len : UNIX_NAME_MAX);
		r = open_place(fs, s->e, &u.dir, &u.chroot, &err);
		if (r == 0)
			r = elsewhere_run(unbind_there, &u);
		if (u.dir >= 0)
			close(u.dir);
	}
	if (r < 0)
		log_warn(&fs->ctx->log, "the file of UNIX socket %s is left behind", u.name);
	s->made_file = false;
}

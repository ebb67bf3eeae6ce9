/*
 * Names of files. The kernel tells the name under which a file was opened; whether that name still leads to the file is
 * found out by looking. If it does not, the file was unlinked (then its content is saved, or a link to it made), or
 * something else was put in its place.
 */
#include "files/dump-internal.h"

#include "base/own.h"
#include "files/build-id.h"
#include "files/tree-root.h"
#include "kernel/uapi.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef FUSE_SUPER_MAGIC
#define FUSE_SUPER_MAGIC 0x65735546
#endif
#define DELETED " (deleted)"

enum path_state {
	PATH_GOOD,     /* leads to the file */
	PATH_GONE,     /* no name leads to the file any more */
	PATH_UNLINKED, /* this name does not, but others do */
	PATH_HIDDEN,   /* something lies over it */
	PATH_OUTSIDE,  /* it is open through a mount that is not the tree's, where its name does not lead to it */
};

static bool ends_deleted(const char *text, size_t *ret_len)
{
	size_t len = strlen(text), tail = strlen(DELETED);

	if (len <= tail || strcmp(text + len - tail, DELETED) != 0)
		return false;
	*ret_len = len - tail;
	return true;
}

static bool leads_to(const struct path_look *at, const struct stat *is)
{
	return at->there && at->dev == is->st_dev && at->ino == is->st_ino;
}

/*
 * The name was given to it again, or was only forgotten: of /proc/net, and of file systems that ask a server, each look makes the
 * kernel forget who was there before (d_invalidate() in fs/dcache.c), and call open files deleted.
 */
static bool leads_there_again(const struct file_table *t, const char *text, size_t len, const struct stat *is)
{
	char name[PATH_MAX];
	struct path_look at;

	if (len >= sizeof(name))
		return false;
	memcpy(name, text, len);
	name[len] = '\0';
	at = tree_look(t, name);
	return leads_to(&at, is);
}

bool path_is_stand_in(uint32_t fs_type, const char *name)
{
	const char *slash = strrchr(name, '/'), *base = slash ? slash + 1 : name;

	return (fs_type == NFS_SUPER_MAGIC && strncmp(base, ".nfs", 4) == 0 &&
		strspn(base + 4, "0123456789abcdef") >= 16 && base[4 + strspn(base + 4, "0123456789abcdef")] == '\0') ||
	       (fs_type == FUSE_SUPER_MAGIC && strncmp(base, ".fuse_hidden", 12) == 0);
}

/* @ret_mnt_id: of the mount that it is on in the tree, 0 unknown */
static enum path_state path_state(const struct file_table *t, const struct open_file *f, size_t *ret_len,
				  uint32_t *ret_mnt_id)
{
	const char *text = f->facts.link;
	const struct stat *is = &f->facts.st;
	struct path_look at = f->look.done ? f->look : tree_look(t, text);

	*ret_len = strlen(text);
	*ret_mnt_id = f->mnt_id;
	if (!tree_has_mount(t, f->mnt_id)) {
		*ret_mnt_id = at.mnt_id;
		return tree_same_file(t, f, &at) ? PATH_GOOD : PATH_OUTSIDE;
	}
	if (S_ISREG(is->st_mode) && leads_to(&at, is) && path_is_stand_in(f->facts.fs_type, text))
		return PATH_GONE;
	/* a mount of the same directory may lie over the one that it is open through, and forbid what that allows */
	if (leads_to(&at, is))
		return !at.mnt_id || at.mnt_id == f->mnt_id || tree_same_limits(t, f) ? PATH_GOOD : PATH_HIDDEN;
	if (ends_deleted(text, ret_len) && is->st_nlink && leads_there_again(t, text, *ret_len, is))
		return PATH_GOOD;
	if (ends_deleted(text, ret_len))
		/* some file systems (btrfs) keep the link count of a removed directory at one; it has no other name */
		return is->st_nlink == 0 || S_ISDIR(is->st_mode) ? PATH_GONE : PATH_UNLINKED;
	if (is->st_nlink == 0)
		return PATH_GONE;
	/* overlayfs: a file opened for reading before it was copied up may show the numbers of the lower one */
	if (at.there && f->facts.fs_type == OVERLAYFS_SUPER_MAGIC && (at.mode & S_IFMT) == (is->st_mode & S_IFMT))
		return PATH_GOOD;
	return PATH_HIDDEN;
}

/* A lease for writing, of a descriptor of the tree: who opens the file has it broken, also for reading. */
static bool is_leased(const struct file_table *t, const struct open_file *f)
{
	for (size_t i = 0; i < t->files.nr; i++) {
		const struct open_file *o = t->files.items[i];
		autofd int copy = -1;

		if (o->fd_there < 0 || o->facts.st.st_ino != f->facts.st.st_ino || o->facts.st.st_dev != f->facts.st.st_dev)
			continue;
		copy = (int)syscall(__NR_pidfd_getfd, o->task->pidfd, o->fd_there, 0);
		if (copy >= 0 && fcntl(copy, F_GETLEASE) == F_WRLCK)
			return true;
	}
	return false;
}

static void reg_build_id(struct file_table *t, const struct open_file *f, img_reg_file_entry *e)
{
	char path[32];
	uint8_t id[BUILD_ID_MAX];
	int len;

	if (is_leased(t, f))
		return;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", f->fd);
	autofd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return;
	memset(id, 0, sizeof(id));
	len = build_id_read(fd, id);
	if (len <= 0)
		return;
	e->build_id.items = pool_alloc(&t->pool, BUILD_ID_MAX);
	if (!e->build_id.items)
		return;
	memcpy(e->build_id.items, id, sizeof(id));
	e->build_id.nr = ((size_t)len + 3) / 4;
}

/* Of the inode, in the kernel's memory alone: who opens it anew may find another one, or none. Linux 4.13 */
static int reg_write_hint(struct file_table *t, const struct open_file *f, img_reg_file_entry *e, struct cr_error *err)
{
	uint64_t hint = 0;

	if (fcntl(f->fd, F_GET_RW_HINT, &hint) < 0 || !hint)
		return 0;
	if (!e->more && !(e->more = pool_new(&t->pool, img_reg_file_ext)))
		return pool_failed(err);
	e->more->has_write_hint = true;
	e->more->write_hint = hint;
	return 0;
}

void path_mount(const struct file_table *t, uint32_t mnt_id, img_reg_file_entry *e)
{
	e->has_mnt_id = t->root_fd >= 0 && mnt_id && mnt_id <= INT32_MAX;
	e->mnt_id = e->has_mnt_id ? (int32_t)mnt_id : 0;
}

static int reg_fill(struct file_table *t, struct open_file *f, uint32_t id, uint32_t flags, bool validate,
		    size_t name_len, img_reg_file_entry *e, struct cr_error *err)
{
	const struct stat *st = &f->facts.st;
	int r;

	e->id = id;
	e->flags = flags;
	e->pos = (uint64_t)f->facts.pos;
	e->fown = fown_dump(t, f, &r, err);
	if (!e->fown)
		return r;
	e->name = name_len == strlen(f->facts.link) ? (char *)f->facts.link
						    : pool_text(&t->pool, f->facts.link, name_len);
	if (!e->name)
		return pool_failed(err);
	e->has_mode = true;
	e->mode = st->st_mode;
	if (!S_ISREG(st->st_mode) || !validate)
		return 0;
	/* a file that is only appended to grows while nobody looks: its size proves nothing */
	e->has_size = (flags & (O_ACCMODE | O_APPEND)) != (O_WRONLY | O_APPEND);
	e->size = e->has_size ? (uint64_t)st->st_size : 0;
	if (f->fd_there < 0)
		reg_build_id(t, f, e);
	return f->fd_there < 0 ? 0 : reg_write_hint(t, f, e, err);
}

static int path_outside(struct file_table *t, struct open_file *f)
{
	char advice[96] = "";

	/* only descriptors are given to a restore */
	if (f->fd_there >= 0)
		snprintf(advice, sizeof(advice), "--external file[%x:%llx], and --inherit-fd for the restore", f->mnt_id,
			 (unsigned long long)f->facts.st.st_ino);
	return file_refuse(t, f, advice, "file of a mount outside of the tree's mount namespace, %s", f->facts.link);
}

static int path_elsewhere(struct file_table *t, struct open_file *f, enum path_state state, uint32_t id,
			  const char *name, struct cr_error *err)
{
	if (state == PATH_OUTSIDE)
		return path_outside(t, f);
	if (f->facts.fs_type == PROC_SUPER_MAGIC)
		return file_refuse(t, f, "close it, or end the program that uses it",
				   "file of a process that has ended, %s", f->facts.link);
	switch (state) {
	case PATH_GONE:
		f->unlinked = true;
		return ghost_note(t, f, id, err);
	case PATH_UNLINKED:
		f->unlinked = true;
		if (t->ctx->opts->rpc->has_link_remap && t->ctx->opts->rpc->link_remap)
			return link_remap_note(t, f, id, name, err);
		return file_refuse(t, f, "--link-remap", "unlinked file that has other names, %s", name);
	default:
		return file_refuse(t, f, "", "file hidden under another mount or in another mount namespace, %s",
				   f->facts.link);
	}
}

/* What stands behind @before at *@at, which moves behind it. Return: 0 there is none */
static pid_t proc_number(const char **at, const char *before)
{
	size_t len = strlen(before);
	unsigned long n = 0;
	char *end;

	if (strncmp(*at, before, len) == 0 && (*at)[len] >= '1' && (*at)[len] <= '9') {
		n = strtoul(*at + len, &end, 10);
		*at = end;
	}
	return n <= INT_MAX ? (pid_t)n : 0;
}

/* "/proc/41/task/42/..." gives 41 and 42, or 0 where there is none. */
static void proc_numbers(const char *name, pid_t *ret_pid, pid_t *ret_tid)
{
	*ret_pid = proc_number(&name, "/proc/");
	*ret_tid = *ret_pid ? proc_number(&name, "/task/") : 0;
}

/*
 * What is below /proc of the tree is opened when its processes exist, by descriptors' owners and for working directories. Threads
 * come later than that; a root directory, and what is in the queue of a socket, is needed earlier.
 */
static int path_in_proc(struct file_table *t, struct open_file *f, struct cr_error *err)
{
	pid_t pid, tid, known = 0;
	int r;

	if (f->facts.fs_type != PROC_SUPER_MAGIC)
		return 0;
	proc_numbers(f->facts.link, &pid, &tid);
	r = pid > 0 ? owner_pid(t, pid, F_OWNER_PID, &known, err) : 0;
	if (r < 0 || known <= 0)
		return r;
	if (tid > 0 && tid != pid)
		return file_refuse(t, f, "close it, or end the program that uses it",
				   "file of a thread, which comes later than what is open, %s", f->facts.link);
	if (f->fd_there < 0 && !(f->where && strcmp(f->where, "working directory") == 0))
		return file_refuse(t, f, "", "file of a process of the tree, %s", f->facts.link);
	return 0;
}

/* Opened before the mount became nodev: nobody can open it again. */
static bool is_barred_device(const struct open_file *f, uint32_t flags)
{
	struct statvfs fs;

	return (S_ISCHR(f->facts.st.st_mode) || S_ISBLK(f->facts.st.st_mode)) && !(flags & O_PATH) &&
	       fstatvfs(f->fd, &fs) == 0 && fs.f_flag & ST_NODEV;
}

int path_dump(struct file_table *t, struct open_file *f, uint32_t id, uint32_t flags, bool validate,
	      img_reg_file_entry **ret, struct cr_error *err)
{
	img_reg_file_entry *e = pool_new(&t->pool, img_reg_file_entry);
	const char *key = f->fd_there >= 0 ? external_file_key(t, f) : NULL;
	enum path_state state = PATH_GOOD;
	size_t len = strlen(f->facts.link);
	uint32_t mnt_id = f->mnt_id;
	int r;

	if (!e)
		return pool_failed(err);
	if (file_is_memfd(&f->facts)) /* through a path: as executable */
		return file_refuse(t, f, "", "executable in a memory file, %s", f->facts.link);
	if (!key && f->facts.link[0] != '/')
		return file_refuse(t, f, "", "file that cannot be reached from here, %s", f->facts.link);
	if (!key && is_barred_device(f, flags))
		return file_refuse(t, f, "remount it with dev", "device on a mount that has become nodev since, %s",
				   f->facts.link);
	if (!key)
		state = path_state(t, f, &len, &mnt_id);
	r = reg_fill(t, f, id, flags, validate, len, e, err);
	if (r != 0)
		return r;
	path_mount(t, mnt_id, e);
	if (key) {
		e->name = (char *)key;
		e->has_ext = e->ext = true;
		e->has_size = false;
	}
	if (state != PATH_GOOD)
		r = path_elsewhere(t, f, state, id, e->name, err);
	else if (!key)
		r = path_in_proc(t, f, err);
	if (r == 0)
		*ret = e;
	return r;
}

/*
 * Opening files again, by the paths of the images or where their content is now, and making sure that it is the file that
 * was dumped.
 */
#include "files/restore-internal.h"

#include "base/own-proc.h"
#include "base/own.h"
#include "kernel/apart.h"
#include "files/build-id.h"
#include "files/evasive.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Where a file can signal, O_ASYNC registers the number of the descriptor too, so the task itself has to set it. */
uint32_t open_flags(uint32_t flags)
{
	return (flags & ~(uint32_t)(O_CREAT | O_EXCL | O_TRUNC | O_ASYNC)) | O_CLOEXEC | O_NOCTTY;
}

/* Files and directories never signal: for them it is a flag like others, and only open(2) sets it. */
bool async_at_open(const img_reg_file_entry *e)
{
	return e->flags & O_ASYNC && e->has_mode && (S_ISREG(e->mode) || S_ISDIR(e->mode));
}

/* O_TMPFILE without O_DIRECTORY, which it includes */
#define TMPFILE_BIT ((uint32_t)O_TMPFILE & ~(uint32_t)O_DIRECTORY)

bool is_tmpfile(uint32_t flags)
{
	return flags & TMPFILE_BIT && !(flags & O_PATH);
}

/* For a file that is there: O_TMPFILE would make another one in a directory, or fail. */
uint32_t named_flags(uint32_t flags)
{
	return is_tmpfile(flags) ? flags & ~(uint32_t)O_TMPFILE : flags;
}

/* openat2(2) refuses what openat(2) leaves out of account: flags that it does not know, and most of them beside O_PATH. */
static uint32_t strict_flags(uint32_t flags)
{
	const uint32_t path = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, large_file = 0100000;

	if (flags & O_PATH)
		return flags & path;
	return flags & (path | large_file | O_ACCMODE | O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_APPEND | O_NONBLOCK |
			O_SYNC | O_ASYNC | O_DIRECT | O_NOATIME | O_TMPFILE);
}

/*
 * What images name: in the root of the tree, if it has one of its own. Links of procfs to what a process has open are no
 * names. They would lead to what we have open, of which the programs of tasks can be written to.
 */
static int open_named(const struct files *fs, const char *path, uint32_t flags, uint32_t mode)
{
	bool rooted = fs->root_fd >= 0;
	struct open_how how = { .flags = strict_flags(flags | O_CLOEXEC),
				.mode = mode,
				.resolve = RESOLVE_NO_MAGICLINKS | (rooted ? RESOLVE_IN_ROOT : 0) };
	int fd = (int)syscall(SYS_openat2, rooted ? fs->root_fd : AT_FDCWD, path, &how, sizeof(how));

	if (fd < 0 && errno == ENOSYS && !rooted && !fs->ctx->opts->client_is_peer)
		fd = open(path, (int)(flags | O_CLOEXEC), mode); /* before Linux 5.6 */
	return fd;
}

static int open_once(const struct files *fs, int dir, const char *path, uint32_t flags, uint32_t mode)
{
	return fs ? open_named(fs, path, flags, mode) : openat(dir, path, (int)(flags | O_CLOEXEC), mode);
}

/*
 * Without waiting for anybody: images may name a fifo, or one may lie where a file was, and nobody may ever open its other
 * end. Only a lease of somebody else is worth waiting for; its holder has /proc/sys/fs/lease-break-time. Return: as open(2)
 */
static int open_at_once(const struct files *fs, int dir, const char *path, uint32_t flags, uint32_t mode)
{
	bool blocking = !(flags & (O_PATH | O_NONBLOCK));
	int fd = open_once(fs, dir, path, blocking ? flags | O_NONBLOCK : flags, mode);

	if (fd < 0 && errno == EWOULDBLOCK && blocking)
		return open_once(fs, dir, path, flags, mode);
	if (fd >= 0 && blocking && fcntl(fd, F_SETFL, flags) < 0) {
		int e = errno;

		close(fd);
		errno = e;
		return -1;
	}
	return fd;
}

int path_open_at(const struct files *fs, const char *path, uint32_t flags, uint32_t mode, struct cr_error *err)
{
	int fd = open_at_once(fs, AT_FDCWD, path, flags, mode);

	if (fd < 0)
		return cr_fail(err, -errno, "open %s", path);
	if (!proc_is_own(fd))
		return fd;
	close(fd);
	return cr_refuse(err, -EPERM, "open %s: it belongs to the restorer itself", path);
}

int path_dir(const struct files *fs, const char *path, const char **ret_base, struct cr_error *err)
{
	const char *slash = strrchr(path, '/');
	char dir[PATH_MAX];
	int fd;

	if (!slash || !slash[1] || (size_t)(slash - path) >= sizeof(dir))
		return cr_refuse(err, -EBADMSG, "%s is not a name in a directory", path);
	memcpy(dir, path, (size_t)(slash - path));
	dir[slash - path] = '\0';
	fd = path_open_at(fs, slash == path ? "/" : dir, O_PATH | O_DIRECTORY, 0, err);
	if (fd >= 0)
		*ret_base = slash + 1;
	return fd;
}

int fd_reopen(int fd, uint32_t flags, struct cr_error *err)
{
	char path[40];
	int r;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	r = open_at_once(NULL, AT_FDCWD, path, flags & ~(uint32_t)O_NOFOLLOW, 0);
	return r < 0 ? cr_fail(err, -errno, "open a file again") : r;
}

int fd_set_flags(int fd, uint32_t flags, struct cr_error *err)
{
	return fcntl(fd, F_SETFL, flags & ~(uint32_t)O_ASYNC) < 0 ? cr_fail(err, -errno, "set open flags 0x%x", flags)
								  : 0;
}

struct link_naming {
	int dir, link_dir;
	const char *base, *link_base, *name;
	uint32_t flags;
	bool taken; /* out: the old name was not free, nothing was done */
	struct cr_error *err;
};

static int open_as_before(void *arg)
{
	struct link_naming *n = arg;
	int fd;

	n->taken = linkat(n->link_dir, n->link_base, n->dir, n->base, 0) < 0;
	if (n->taken)
		return 0;
	fd = open_at_once(NULL, n->dir, n->base, n->flags, 0);
	if (fd < 0)
		fd = cr_fail(n->err, -errno, "open %s", n->name);
	if (unlinkat(n->dir, n->base, 0) < 0) {
		int r = cr_fail(n->err, -errno, "remove %s again", n->name);

		if (fd >= 0)
			close(fd);
		return r;
	}
	return fd;
}

/*
 * The file lies under the name of a link that the dump made next to its old name. Where that is free it gets the old name
 * while it is opened, since the name it is opened by is what the kernel shows from then on.
 */
static int link_open(const struct files *fs, const char *name, const char *link, uint32_t flags, struct cr_error *err)
{
	struct link_naming n = { .name = name, .flags = flags, .err = err };
	autofd int dir = path_dir(fs, name, &n.base, NULL);
	autofd int link_dir = path_dir(fs, link, &n.link_base, NULL);
	int r;

	if (dir < 0 || link_dir < 0)
		return path_open_at(fs, link, flags, 0, err);
	n.dir = dir;
	n.link_dir = link_dir;
	r = apart_run(open_as_before, &n, err);
	return n.taken ? path_open_at(fs, link, flags, 0, err) : r;
}

int path_open(struct files *fs, struct restored_file *f, uint32_t flags, struct cr_error *err)
{
	const img_reg_file_entry *e = f->entry->reg;
	int fd, other;

	if (f->ghost)
		return ghost_open(fs, f->ghost, e, flags, err);
	flags = named_flags(flags);
	if (f->link)
		return link_open(fs, e->name, f->link->entry->reg->name, flags, err);
	fd = path_open_at(fs, e->name, flags, 0, err);
	if (fd != -ENOENT)
		return fd;
	other = evasive_open(fs, e, flags, err);
	f->elsewhere = other >= 0;
	return f->elsewhere ? other : fd;
}

/* -------------------------------------------------------------- validation */

static int build_id_validate(const img_reg_file_entry *e, int fd, struct cr_error *err)
{
	char path[40];
	uint8_t id[BUILD_ID_MAX] = { 0 };
	int len;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	autofd int rd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (rd < 0)
		return cr_fail(err, -errno, "read the build id of %s", e->name);
	len = build_id_read(rd, id);
	if (len < 0)
		return cr_fail(err, len, "read the build id of %s", e->name);
	if (((size_t)len + 3) / 4 != e->build_id.nr || memcmp(id, e->build_id.items, e->build_id.nr * 4) != 0)
		return cr_refuse(err, -EINVAL, "%s is another build than the one that was dumped", e->name);
	return 0;
}

int reg_validate(struct files *fs, const img_reg_file_entry *e, int fd, bool remapped, struct cr_error *err)
{
	const rpc_criu_opts *o = fs->ctx->opts->rpc;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return cr_fail(err, -errno, "stat %s", e->name);
	if (e->has_mode && (st.st_mode & S_IFMT) != (e->mode & S_IFMT))
		return cr_refuse(err, -EINVAL, "%s is of another type than it was (mode 0%o, was 0%o)", e->name,
				 st.st_mode, e->mode);
	if (e->has_mode && st.st_mode != e->mode && !(o->has_skip_file_rwx_check && o->skip_file_rwx_check)) {
		cr_refuse(err, -EINVAL, "%s has mode 0%o, it had 0%o", e->name, st.st_mode, e->mode);
		cr_advise(err, "--skip-file-rwx-check");
		return -EINVAL;
	}
	if (!S_ISREG(st.st_mode) || remapped)
		return 0;
	if (e->build_id.nr && fs->ctx->opts->file_validation == CR_VALIDATE_BUILDID)
		return build_id_validate(e, fd, err);
	if (e->has_size && e->size != (uint64_t)st.st_size)
		return cr_refuse(err, -EINVAL, "%s has %llu bytes, it had %llu", e->name,
				 (unsigned long long)st.st_size, (unsigned long long)e->size);
	return 0;
}

/* ------------------------------------------------------------ regular files */

static int reg_inherited(struct files *fs, const img_reg_file_entry *e, struct cr_error *err)
{
	uint32_t kind = e->has_mode ? e->mode : 0;

	if (e->has_ext && e->ext) {
		int fd = inherit_find(fs, e->name, kind, e->flags, err);

		if (fd == -ENOENT) {
			cr_refuse(err, -ENOENT, "file %s comes from outside and was not given", e->name);
			cr_advise(err, "--inherit-fd fd[N]:%s", e->name);
		}
		return fd;
	}
	return e->name[1] ? inherit_find(fs, e->name + 1, kind, e->flags, err) : -ENOENT;
}

static void set_write_hint(struct files *fs, int fd, const img_reg_file_entry *e)
{
	uint64_t hint = e->more ? e->more->write_hint : 0;

	if (hint && fcntl(fd, F_SET_RW_HINT, &hint) < 0)
		log_warn(&fs->ctx->log,
			 "%s: the hint of how long its data lives cannot be given (%s), continuing without", e->name,
			 strerror(errno));
}

int regular_open(struct files *fs, struct restored_file *f, struct cr_error *err)
{
	const img_reg_file_entry *e = f->entry->reg;
	bool ext = e->has_ext && e->ext;
	autofd int fd = -1;
	int r;

	if (e->more && e->more->message_queue)
		return message_queue_open(fs, e, err);
	fd = reg_inherited(fs, e, err);
	if (fd >= 0)
		return take_fd(&fd);
	if (ext || fd != -ENOENT)
		return fd;
	fd = path_open(fs, f, open_flags(e->flags) | (async_at_open(e) ? O_ASYNC : 0), err);
	if (fd < 0)
		return fd;
	r = f->elsewhere ? 0 : reg_validate(fs, e, fd, f->ghost || f->link, err);
	if (r < 0)
		return r;
	if (e->flags & O_PATH)
		return take_fd(&fd);
	if (e->pos != 0 && e->pos != UINT64_MAX && lseek(fd, (off_t)e->pos, SEEK_SET) < 0 && errno != ESPIPE)
		return cr_fail(err, -errno, "go to position %llu of %s", (unsigned long long)e->pos, e->name);
	set_write_hint(fs, fd, e);
	return cr_within(err, fown_finish(take_fd(&fd), e->fown, err), "%s", e->name);
}

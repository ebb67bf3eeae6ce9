/*
 * What is in a memory file system: an archive of GNU tar, compressed by gzip, as other programs that read such images expect.
 * tar runs in the root of a mount of its own that nothing is mounted in, so it sees all that is there and nothing else, and
 * its reading is not seen (noatime). What it has to say is taken for a failure: something would be missing.
 */
#include "ns/mnt-parts.h"

#include "base/spawn.h"
#include "kernel/last-will.h"
#include "kernel/mount-calls.h"
#include "kernel/stage.h"

#include <errno.h>
#include <fts.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#define SAID_MAX 400u

/* GNU tar would run gzip by a shell, which does not like to be where no name leads. */
struct child {
	char *const *argv;
	int dir, in, out;   /* working directory, -1: ours; standard input and output, -1: /dev/null */
	volatile pid_t pid; /* -1: it does not run */
};

/* Nobody would wait for them: of many gigabytes they would be at work for minutes. */
static void end_both(void *arg)
{
	struct child **both = arg;

	for (size_t i = 0; i < 2; i++)
		if (both[i]->pid > 0)
			kill(both[i]->pid, SIGKILL);
}

/* Descriptors that stay have to be where nothing else is put. */
static int add_actions(const struct child *c, int said, posix_spawn_file_actions_t *acts)
{
	int r = c->in >= 0 ? posix_spawn_file_actions_adddup2(acts, c->in, 0)
			   : posix_spawn_file_actions_addopen(acts, 0, "/dev/null", O_RDONLY, 0);

	if (!r)
		r = c->out >= 0 ? posix_spawn_file_actions_adddup2(acts, c->out, 1)
				: posix_spawn_file_actions_addopen(acts, 1, "/dev/null", O_WRONLY, 0);
	if (!r)
		r = posix_spawn_file_actions_adddup2(acts, said, 2);
	return r || c->dir < 0 ? r : posix_spawn_file_actions_addfchdir_np(acts, c->dir);
}

/* The environment is ours: TAR_OPTIONS and GZIP of whoever started us would make another archive of it. */
static int spawn(struct child *c, int said)
{
	static const char standard[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
	static char *const env[] = { (char *)standard, (char *)"LC_ALL=C", NULL };
	posix_spawn_file_actions_t acts;
	int r = posix_spawn_file_actions_init(&acts);
	pid_t pid = -1;

	if (r)
		return -r;
	r = -add_actions(c, said, &acts);
	if (r == 0)
		r = program_start(c->argv[0], true, &acts, c->argv, env, &pid);
	if (r == 0)
		c->pid = pid;
	posix_spawn_file_actions_destroy(&acts);
	return r;
}

/*
 * Until both have ended. All of it is read, so that nobody waits for us; the beginning is kept.
 * Return: 0; -ECANCELED they were told to end, since nobody waits for the result
 */
static int listen_to(const struct cr_context *ctx, struct child **both, int fd, char *ret, size_t size,
		     struct cr_error *err)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	size_t len = 0;
	char more[256];
	ssize_t n = 1;
	int r = 0;

	while (n) {
		int ready = poll(&p, 1, 200);

		if (ready == 0 && r == 0) {
			r = stage_called_off(ctx, err);
			if (r < 0)
				end_both(both);
		}
		if (ready <= 0)
			continue;
		n = read(fd, more, sizeof(more));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			break;
		for (ssize_t i = 0; i < n && len + 1 < size; i++)
			ret[len++] = (char)((unsigned char)more[i] < ' ' ? ' ' : more[i]);
	}
	ret[len] = '\0';
	return r;
}

/* Both run until their end, whatever comes of it. Return: 0; negative errno: the first that could not be had */
static int spawn_both(struct child **both, int said, struct cr_error *err)
{
	for (size_t i = 0; i < 2; i++) {
		int r = spawn(both[i], said);

		if (r < 0) {
			cr_fail(err, r, "run %s", both[i]->argv[0]);
			cr_advise(err, "GNU tar and gzip are needed for what is in memory file systems");
			return r;
		}
	}
	return 0;
}

static int wait_for(struct child *c, const char *said, int r, struct cr_error *err)
{
	int status = 0;

	if (c->pid < 0)
		return r;
	while (waitpid(c->pid, &status, 0) < 0)
		if (errno != EINTR)
			return r < 0 ? r : cr_fail(err, -errno, "wait for %s", c->argv[0]);
	c->pid = -1;
	if (r < 0 || status == 0)
		return r;
	if (WIFSIGNALED(status))
		return cr_refuse(err, -EIO, "%s was ended by signal %d: %s", c->argv[0], WTERMSIG(status), said);
	return cr_refuse(err, -EIO, "%s has failed with status %d: %s", c->argv[0], WEXITSTATUS(status), said);
}

/* @fd: where tar works; @image is read by @extract, or written to */
static int run(const struct cr_context *ctx, char *const *tar_argv, char *const *gzip_argv, int fd, int image,
	       bool extract, struct cr_error *err)
{
	struct child tar = { .argv = tar_argv, .dir = fd, .in = -1, .out = -1, .pid = -1 };
	struct child gzip = { .argv = gzip_argv, .dir = -1, .in = -1, .out = -1, .pid = -1 }, *both[] = { &tar, &gzip };
	autofd int read_end = -1, write_end = -1, hear = -1, said_to = -1;
	char said[SAID_MAX] = "";
	struct last_will *will;
	int between[2], news[2], r, off;

	if (pipe2(between, O_CLOEXEC) < 0)
		return cr_fail(err, -errno, "pipe");
	read_end = between[0];
	write_end = between[1];
	if (pipe2(news, O_CLOEXEC) < 0)
		return cr_fail(err, -errno, "pipe");
	hear = news[0];
	said_to = news[1];
	*(extract ? &gzip.in : &gzip.out) = image;
	*(extract ? &gzip.out : &tar.out) = write_end;
	*(extract ? &tar.in : &gzip.in) = read_end;
	will = last_will_make(end_both, both);
	r = spawn_both(both, said_to, err);
	close(take_fd(&read_end));
	close(take_fd(&write_end));
	close(take_fd(&said_to));
	off = listen_to(ctx, both, hear, said, sizeof(said), err);
	r = wait_for(&tar, said, r < 0 ? r : off, err);
	r = wait_for(&gzip, said, r, err);
	last_will_revoke(will);
	return r == 0 && said[0] ? cr_refuse(err, -EIO, "tar says: %s", said) : r;
}

int mnt_tmpfs_save(const struct cr_context *ctx, int fd, int image, struct cr_error *err)
{
	char *const argv[] = { (char *)"tar",
			       (char *)"--create",
			       (char *)"--format=posix",
			       (char *)"--sparse",
			       (char *)"--numeric-owner",
			       (char *)"--acls",
			       (char *)"--xattrs",
			       (char *)"--xattrs-include=*",
			       (char *)"--one-file-system",
			       (char *)"--warning=no-file-ignored", /* sockets: mnt_tmpfs_look() has them */
			       (char *)"--file=-",
			       (char *)".",
			       NULL };
	/* the first level is five times as fast as the usual one, and a tenth larger */
	char *const gzip[] = { (char *)"gzip", (char *)"-1", (char *)"-c", NULL };

	return run(ctx, argv, gzip, fd, image, false, err);
}

/* ------------------------------------------------------------ what tar leaves out */

static int note_socket(struct pool *pool, img_mnt_ext **ret, const FTSENT *f, struct cr_error *err)
{
	const struct stat *st = f->fts_statp;
	img_mnt_ext *ext = *ret ? *ret : pool_new(pool, img_mnt_ext);
	/* "./name" */
	char *path = pool_text(pool, f->fts_path + 2, f->fts_pathlen - 2);
	img_mnt_socket_ext *s =
		ext && path ? pool_vec_add(pool, (void **)&ext->sockets.items, &ext->sockets.nr, sizeof(*s)) : NULL;

	if (!s)
		return cr_fail(err, -ENOMEM, "list sockets");
	*s = (img_mnt_socket_ext){
		.path = path,
		.mode = st->st_mode & 07777,
		.uid = st->st_uid,
		.gid = st->st_gid,
		.mtime = st->st_mtim.tv_sec,
		.mtime_nsec = (uint32_t)st->st_mtim.tv_nsec,
	};
	*ret = ext;
	return 0;
}

static int too_long(const FTSENT *f, struct pool *pool, const char **ret_why, struct cr_error *err)
{
	*ret_why = pool_printf(pool, "holds a path that is too long for tar, %.40s...", f->fts_path + 2);
	return *ret_why ? 0 : cr_fail(err, -ENOMEM, "look at %.200s", f->fts_path);
}

/* Flags of files (chattr(1)) on tmpfs: Linux 6.6. */
static int look_at(FTSENT *f, struct pool *pool, img_mnt_ext **ret, const char **ret_why, struct cr_error *err)
{
	struct statx st;

	switch (f->fts_info) {
	case FTS_DP:
		return 0;
	case FTS_DNR:
	case FTS_ERR:
	case FTS_NS:
		if (f->fts_errno == ENAMETOOLONG)
			return too_long(f, pool, ret_why, err);
		return cr_fail(err, -f->fts_errno, "look at %.200s", f->fts_path);
	default:
		break;
	}
	if (S_ISSOCK(f->fts_statp->st_mode) && f->fts_statp->st_nlink > 1) {
		*ret_why = pool_printf(pool, "holds %.80s, a socket with several names (hard links)", f->fts_path + 2);
		return *ret_why ? 0 : cr_fail(err, -ENOMEM, "look at %.200s", f->fts_path);
	}
	if (S_ISSOCK(f->fts_statp->st_mode))
		return note_socket(pool, ret, f, err);
	if (statx(AT_FDCWD, f->fts_accpath, AT_SYMLINK_NOFOLLOW, STATX_TYPE, &st) < 0)
		return errno == ENAMETOOLONG ? too_long(f, pool, ret_why, err)
					     : cr_fail(err, -errno, "look at %.200s", f->fts_path);
	if (st.stx_attributes & (STATX_ATTR_IMMUTABLE | STATX_ATTR_APPEND)) {
		*ret_why = pool_printf(pool, "holds %.80s, which cannot be changed (chattr +%c)", f->fts_path + 2,
				       st.stx_attributes & STATX_ATTR_IMMUTABLE ? 'i' : 'a');
		return *ret_why ? 0 : cr_fail(err, -ENOMEM, "look at %.200s", f->fts_path);
	}
	return 0;
}

int mnt_tmpfs_look(int fd, struct pool *pool, img_mnt_ext **ret, const char **ret_why, struct cr_error *err)
{
	char dot[] = ".", *const paths[] = { dot, NULL };
	img_mnt_ext *ext = NULL;
	FTS *walk = NULL;
	FTSENT *f;
	int r = 0;

	*ret_why = NULL;
	if (fchdir(fd) < 0 || !(walk = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, NULL)))
		return cr_fail(err, -errno, "look into it");
	while (r == 0 && !*ret_why && (errno = 0, f = fts_read(walk)) != NULL)
		r = look_at(f, pool, &ext, ret_why, err);
	if (r == 0 && !*ret_why && errno)
		r = cr_fail(err, -errno, "look into it");
	fts_close(walk);
	if (r == 0 && ext)
		*ret = ext;
	return r;
}

/* ---------------------------------------------------------------- restore */

int mnt_ext_check(const img_mnt_ext *ext, struct cr_error *err)
{
	for (size_t i = 0; i < ext->sockets.nr; i++) {
		const img_mnt_socket_ext *s = &ext->sockets.items[i];

		if (!*s->path || *s->path == '/' || s->mode & ~07777u || s->mtime_nsec >= 1000000000u)
			return cr_refuse(err, -EBADMSG, "name of a socket: %.64s", s->path);
	}
	return 0;
}

/* Its directory is to have been changed when it was. */
static int make_socket(int root, const img_mnt_socket_ext *s, struct cr_error *err)
{
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { s->mtime, s->mtime_nsec } };
	const char *slash = strrchr(s->path, '/'), *name = slash ? slash + 1 : s->path;
	char path[PATH_MAX];
	autofd int dir = -1;
	struct stat st;
	int r;

	snprintf(path, sizeof(path), "%.*s", slash ? (int)(slash - s->path) : 0, s->path);
	dir = open_in_mount(root, path);
	r = dir < 0 || fstat(dir, &st) < 0 ? -1 : mknodat(dir, name, S_IFSOCK | s->mode, 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", dir, name);
	/* what its directory gives to all that is new in it (a default list), which its mode would then be a part of */
	if (r < 0 || (lremovexattr(path, "system.posix_acl_access") < 0 && errno != ENODATA && errno != EOPNOTSUPP) ||
	    fchownat(dir, name, s->uid, s->gid, AT_SYMLINK_NOFOLLOW) < 0 || fchmodat(dir, name, s->mode, 0) < 0 ||
	    utimensat(dir, name, times, AT_SYMLINK_NOFOLLOW) < 0)
		return cr_fail(err, -errno, "make the name of socket %.200s", s->path);
	times[0] = st.st_atim;
	times[1] = st.st_mtim;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", dir);
	return utimensat(AT_FDCWD, path, times, 0) < 0 ? cr_fail(err, -errno, "time of a directory") : 0;
}

int mnt_tmpfs_fill(const struct cr_context *ctx, int fd, int image, const img_mnt_ext *ext, struct cr_error *err)
{
	char *const argv[] = { (char *)"tar",
			       (char *)"--extract",
			       (char *)"--numeric-owner",
			       (char *)"--same-owner",
			       (char *)"--preserve-permissions",
			       (char *)"--acls",
			       (char *)"--xattrs",
			       (char *)"--xattrs-include=*",
			       (char *)"--delay-directory-restore",
			       (char *)"--warning=no-timestamp", /* of the future, or before 1970: that is how it was */
			       (char *)"--file=-",
			       NULL };
	char *const gzip[] = { (char *)"gzip", (char *)"-d", (char *)"-c", NULL };
	int r;

	/* one that a streamer gave was written to by us */
	if (lseek(image, 0, SEEK_SET) < 0)
		return cr_fail(err, -errno, "read it from its beginning");
	r = run(ctx, argv, gzip, fd, image, true, err);
	for (size_t i = 0; r == 0 && ext && i < ext->sockets.nr; i++)
		r = make_socket(fd, &ext->sockets.items[i], err);
	return r;
}

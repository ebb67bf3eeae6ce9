/*
 * Descriptors that the caller of a restore gives in the place of dumped files. Another kind of file may be meant: who has a log
 * written into a file that was a terminal wants just that, and is told. One that cannot do what it is to do is refused.
 */
#include "files/inherit.h"

#include "base/own.h"
#include "files/restore-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CAN_READ = 1, CAN_WRITE = 2 };

int inherit_begin(struct files *fs, struct cr_error *err)
{
	size_t nr = fs->ctx->opts->rpc->inherit_fd.nr;

	if (nr && !(fs->asked = calloc(nr, sizeof(*fs->asked))))
		return files_no_memory(err);
	return 0;
}

void inherit_end(const struct files *fs)
{
	const struct rpc_inherit_fd_vec *v = &fs->ctx->opts->rpc->inherit_fd;

	for (size_t i = 0; fs->asked && i < v->nr; i++)
		if (!fs->asked[i])
			log_warn(&fs->ctx->log,
				 "inherited descriptor %d (%s) stands for nothing in the images, continuing",
				 v->items[i].fd, v->items[i].key);
}

static unsigned int uses(uint32_t flags)
{
	if (flags & O_PATH)
		return 0;
	return ((flags & O_ACCMODE) != O_WRONLY ? CAN_READ : 0) | ((flags & O_ACCMODE) != O_RDONLY ? CAN_WRITE : 0);
}

static const char *kind_name(uint32_t kind)
{
	switch (kind & S_IFMT) {
	case S_IFIFO:
		return "pipe";
	case S_IFSOCK:
		return "socket";
	case S_IFCHR:
		return "character device";
	case S_IFDIR:
		return "directory";
	default:
		return "file";
	}
}

/* @fd: a duplicate of @number. Return: a descriptor in its place; negative errno, @fd is closed then. */
static int fit(const struct files *fs, int number, const char *key, int fd, uint32_t kind, uint32_t flags,
	       struct cr_error *err)
{
	autofd int given = fd;
	int now = fcntl(given, F_GETFL);
	struct stat st;
	unsigned int lacks;

	if (now < 0 || fstat(given, &st) < 0)
		return cr_fail(err, -errno, "inherited descriptor %d (%s)", number, key);
	lacks = uses(flags) & ~uses((uint32_t)now);
	if (kind && (kind & S_IFMT) != (st.st_mode & S_IFMT))
		log_warn(&fs->ctx->log, "inherited descriptor %d (%s) is a %s, and not a %s, continuing", number, key,
			 kind_name(st.st_mode), kind_name(kind));
	if (!lacks)
		return take_fd(&given);
	/* both ends of a pipe have the same name; the end that was not given is made of the other */
	if ((kind & S_IFMT) == S_IFIFO && S_ISFIFO(st.st_mode))
		return cr_within(err, fd_reopen(given, (flags & (O_ACCMODE | O_NONBLOCK)) | O_CLOEXEC, err),
				 "inherited descriptor %d (%s)", number, key);
	if (lacks == uses(flags))
		return cr_refuse(err, -EINVAL, "inherited descriptor %d (%s) cannot be %s, which is what it is for",
				 number, key,
				 lacks == CAN_READ    ? "read"
				 : lacks == CAN_WRITE ? "written to"
						      : "used");
	log_warn(&fs->ctx->log, "inherited descriptor %d (%s) cannot be %s, continuing", number, key,
		 lacks == CAN_READ ? "read" : "written to");
	return take_fd(&given);
}

static bool same_file(int a, int b)
{
	struct stat x, y;

	return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

int inherit_find(const struct files *fs, const char *key, uint32_t kind, uint32_t flags, struct cr_error *err)
{
	const struct rpc_inherit_fd_vec *v = &fs->ctx->opts->rpc->inherit_fd;
	int number = -1, fd;
	bool asked;

	for (size_t i = 0; i < v->nr; i++) {
		if (!inherit_key_matches(v->items[i].key, key))
			continue;
		/* files are opened by several threads */
		asked = __atomic_exchange_n(&fs->asked[i], true, __ATOMIC_RELAXED);
		/* runc gives two where standard output and error were one pipe, and are none any more */
		if (number < 0)
			number = v->items[i].fd;
		else if (!asked && !same_file(number, v->items[i].fd))
			log_warn(&fs->ctx->log,
				 "inherited descriptor %d (%s) is not used, %d stands for that, continuing",
				 v->items[i].fd, key, number);
	}
	if (number < 0)
		return -ENOENT;
	fd = fcntl(number, F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		return cr_fail(err, errno == EMFILE ? -EMFILE : -EBADF, "inherited descriptor %d (%s)", number, key);
	return fit(fs, number, key, fd, kind, flags, err);
}

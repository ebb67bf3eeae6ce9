/* Opening tasks and their files; see proc-dir.h. */
#include "procfs/proc-dir.h"

#include "base/buf.h"
#include "base/error.h"
#include "base/io.h"
#include "base/own.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static int dir_open(int procfd, const char *path, pid_t pid, struct proc_dir *ret, struct cr_error *err)
{
	char full[64];
	int fd;

	snprintf(full, sizeof(full), "%s%s", procfd == AT_FDCWD ? "/proc/" : "", path);
	fd = openat(procfd, full, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return cr_fail(err, errno == ENOENT ? -ESRCH : -errno, "open /proc/%s", path);
	*ret = (struct proc_dir){ .fd = fd, .pid = pid };
	return 0;
}

int proc_dir_open(int procfd, pid_t pid, struct proc_dir *ret, struct cr_error *err)
{
	char path[24];

	snprintf(path, sizeof(path), "%d", pid);
	return dir_open(procfd, path, pid, ret, err);
}

int proc_dir_open_task(int procfd, pid_t pid, pid_t tid, struct proc_dir *ret, struct cr_error *err)
{
	char path[48];

	snprintf(path, sizeof(path), "%d/task/%d", pid, tid);
	return dir_open(procfd, path, tid, ret, err);
}

void proc_dir_close(struct proc_dir *d)
{
	if (d->fd >= 0)
		close(d->fd);
	d->fd = -1;
}

/*
 * A lookup below the directory of a task that is gone answers ENOENT like one of a file that this kernel does not have.
 * "stat" is always there, and tells the two apart.
 */
static int missing_why(const struct proc_dir *d, int code)
{
	struct stat st;

	if (code == -ENOENT && fstatat(d->fd, "stat", &st, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
		return -ESRCH;
	return code;
}

int proc_open(const struct proc_dir *d, const char *name, int flags, struct cr_error *err)
{
	int fd = openat(d->fd, name, flags | O_CLOEXEC);

	if (fd < 0)
		return cr_fail(err, missing_why(d, -errno), "open %s of %d", name, d->pid);
	return fd;
}

int proc_read_buf(const struct proc_dir *d, const char *name, struct buf *text, struct cr_error *err)
{
	autofd int fd = proc_open(d, name, O_RDONLY, err);
	int r;

	if (fd < 0)
		return fd;
	r = fd_read_buf(fd, text);
	if (r < 0)
		return cr_fail(err, r, "read %s of %d", name, d->pid);
	return 0;
}

static ssize_t read_into(const struct proc_dir *d, const char *name, bool record, char *ret, size_t size, struct cr_error *err)
{
	autofd int fd = proc_open(d, name, O_RDONLY, err);
	ssize_t n;

	if (fd < 0)
		return fd;
	n = record ? read(fd, ret, size) : fd_read_all(fd, ret, size);
	if (record && n < 0)
		n = -errno;
	if (n >= 0 && (size_t)n == size)
		n = -EFBIG;
	if (n < 0)
		return cr_fail(err, (int)n, "read %s of %d", name, d->pid);
	return n;
}

ssize_t proc_read_small(const struct proc_dir *d, const char *name, char *ret, size_t size, struct cr_error *err)
{
	return read_into(d, name, false, ret, size, err);
}

ssize_t proc_read_record(const struct proc_dir *d, const char *name, char *ret, size_t size, struct cr_error *err)
{
	return read_into(d, name, true, ret, size, err);
}

int proc_base_read_buf(int procfd, const char *name, struct buf *text, struct cr_error *err)
{
	char full[64];
	int r;

	snprintf(full, sizeof(full), "%s%s", procfd == AT_FDCWD ? "/proc/" : "", name);
	r = file_read_buf(procfd, full, text);
	if (r < 0)
		return cr_fail(err, r, "read /proc/%s", name);
	return 0;
}

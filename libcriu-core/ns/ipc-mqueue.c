/* POSIX message queues of an IPC namespace. */
#include "ns/ipc-parts.h"

#include "base/own.h"
#include "infect/task.h"
#include "kernel/uapi.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define UAPI_FSCONFIG_CMD_CREATE 6 /* enumerator of linux/mount.h */

/* The calling thread's queues have a file system, which is mounted nowhere for this. Return: descriptor; negative errno. */
static int open_queues(void)
{
	autofd int fs = (int)syscall(__NR_fsopen, "mqueue", 1 /* FSOPEN_CLOEXEC */);
	int fd;

	if (fs < 0)
		return -errno;
	if (syscall(__NR_fsconfig, fs, UAPI_FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	fd = (int)syscall(__NR_fsmount, fs, 1 /* FSMOUNT_CLOEXEC */, 0);
	if (fd < 0)
		return -errno;

	autofd int mount = fd;

	fd = openat(mount, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int ipc_mqueues_collect(struct cr_context *ctx, const struct task *root, struct cr_error *err)
{
	int r = 0, fd = open_queues();
	struct dirent *d;
	DIR *dir;

	if (fd == -ENODEV) /* a kernel without them */
		return 0;
	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		r = cr_fail(err, fd < 0 ? fd : -errno, "list POSIX message queues");
		if (fd >= 0)
			close(fd);
		return r;
	}
	while (r == 0 && (d = readdir(dir)) != NULL)
		if (d->d_name[0] != '.' || (d->d_name[1] && strcmp(d->d_name, "..") != 0))
			r = obstacle_add(&ctx->obstacles, root->host_pid, root->comm, "IPC namespace", "",
					 "POSIX message queue /%s", d->d_name);
	closedir(dir);
	return r < 0 ? cr_fail(err, r, "note an obstacle") : 0;
}

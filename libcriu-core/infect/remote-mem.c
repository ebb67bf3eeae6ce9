#include "infect/remote-mem.h"

#include "base/io.h"
#include "base/own.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/uio.h>

/* process_vm_readv() moves at most MAX_RW_COUNT bytes and stops early at a hole */
static int move_all(pid_t pid, uint64_t at, char *local, size_t len,
		    ssize_t (*move)(pid_t, const struct iovec *, unsigned long, const struct iovec *, unsigned long, unsigned long))
{
	while (len) {
		struct iovec l = { local, len };
		struct iovec r = { (void *)(uintptr_t)at, len };
		ssize_t n = move(pid, &l, 1, &r, 1, 0);

		if (n <= 0)
			return n < 0 ? -errno : -EFAULT;
		local += n;
		at += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

int remote_read(pid_t pid, uint64_t at, void *ret, size_t len)
{
	return move_all(pid, at, ret, len, process_vm_readv);
}

int remote_write(pid_t pid, uint64_t at, const void *data, size_t len)
{
	return move_all(pid, at, (char *)(uintptr_t)data, len, process_vm_writev);
}

int remote_force_write(pid_t pid, uint64_t at, const void *data, size_t len)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);

	autofd int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return fd_pwrite_all(fd, data, len, (off_t)at);
}

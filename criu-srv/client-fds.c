/* Descriptors of the client; see client-fds.h. */
#include "client-fds.h"

#include "base/error.h"
#include "base/own.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438 /* 5.6 */
#endif

static int check_there(const struct peer *p, int fd, const char *what, struct cr_error *err)
{
	if (p->pid <= 0)
		return cr_refuse(err, -ESRCH, "%s: the client cannot be seen from this pid namespace", what);
	return fd < 0 ? cr_refuse(err, -EBADF, "%s: descriptor %d", what, fd) : 0;
}

/*
 * Without O_NONBLOCK a pipe that nobody reads would be waited for. The file is opened anew, with the file system identity
 * of the client: it is his own, or he is told so.
 */
int client_open_status(const struct peer *p, int fd, struct cr_error *err)
{
	autofd int status = -1;
	char path[64];
	int r = check_there(p, fd, "status_fd", err);

	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)p->pid, fd);
	status = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (status < 0)
		return cr_fail(err, -errno, "status_fd: descriptor %d of client %d", fd, (int)p->pid);
	if (peer_is_gone(p))
		return cr_refuse(err, -ESRCH, "status_fd: client %d has gone", (int)p->pid);
	return take_fd(&status);
}

static int option_of(int sock, int option)
{
	int v = -1;
	socklen_t len = sizeof(v);

	return getsockopt(sock, SOL_SOCKET, option, &v, &len) < 0 ? -1 : v;
}

int client_check_store(const struct peer *p, int fd, struct cr_error *err)
{
	autofd int sock = -1;
	int r = check_there(p, fd, "pidfd_store_sk", err);

	if (r < 0)
		return r;
	if (p->pidfd < 0)
		return cr_refuse(err, -ESRCH, "pidfd_store_sk: this kernel gives no pidfd of the client");
	sock = (int)syscall(SYS_pidfd_getfd, p->pidfd, fd, 0);
	if (sock < 0)
		return cr_fail(err, -errno, "pidfd_store_sk: descriptor %d of client %d", fd, (int)p->pid);
	if (option_of(sock, SO_DOMAIN) != AF_UNIX || option_of(sock, SO_TYPE) != SOCK_DGRAM)
		return cr_refuse(err, -EINVAL, "pidfd_store_sk: descriptor %d of client %d is no UNIX datagram socket",
				 fd, (int)p->pid);
	return 0;
}

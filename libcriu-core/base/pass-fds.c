/* Descriptors that travel with a message; see pass-fds.h. */
#include "base/pass-fds.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

union control {
	struct cmsghdr head;
	char room[CMSG_SPACE(PASS_FDS_MAX * sizeof(int))];
};

ssize_t pass_fds_send(int sock, const void *bytes, size_t len, const int *fds, size_t nr)
{
	union control control = { 0 };
	struct iovec iov = { (void *)(uintptr_t)bytes, len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (nr > PASS_FDS_MAX)
		return -EINVAL;
	if (nr) {
		struct cmsghdr *c = &control.head;

		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(nr * sizeof(int));
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(nr * sizeof(int));
		memcpy(CMSG_DATA(c), fds, nr * sizeof(int));
	}
	ssize_t n = sendmsg(sock, &msg, MSG_NOSIGNAL);

	return n < 0 ? -errno : n;
}

/* Room is made in steps of eight bytes: there may be one more than was asked for. Return: how many came */
static size_t take_fds(struct msghdr *msg, int *fds)
{
	size_t nr = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t here = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		memcpy(fds + nr, CMSG_DATA(c), here * sizeof(int));
		nr += here;
	}
	return nr;
}

ssize_t pass_fds_receive(int sock, void *bytes, size_t len, int *fds, size_t nr)
{
	union control control;
	struct iovec iov = { bytes, len };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
	};
	int came[sizeof(control) / sizeof(int)];
	size_t nr_came;
	ssize_t n;

	for (size_t i = 0; i < nr; i++)
		fds[i] = -1;
	n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
	if (n < 0)
		return -errno;
	nr_came = take_fds(&msg, came);
	if (nr_came <= nr && !(msg.msg_flags & MSG_CTRUNC)) {
		memcpy(fds, came, nr_came * sizeof(int));
		return n;
	}
	for (size_t i = 0; i < nr_came; i++)
		close(came[i]);
	return -EPROTO;
}

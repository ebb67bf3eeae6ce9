/* The connection with an image streamer; see stream.h. Requests and answers are framed messages, pipes go by SCM_RIGHTS. */
#include "image/stream-internal.h"
#include "proto/buf.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define LOOK_EVERY_MS 200
#define REQUEST_MAX   4096
#define REPLY_MAX     64        /* a message of one truth value, and what later versions may add */
#define PIPE_SIZE     (1 << 20) /* what pipe-max-size lets everybody have; with less it takes longer */

static const char *socket_name(bool out)
{
	return out ? "streamer-capture.sock" : "streamer-serve.sock";
}

int image_stream_there(int dirfd, bool out, struct cr_error *err)
{
	struct stat st;

	if (fstatat(dirfd, socket_name(out), &st, AT_SYMLINK_NOFOLLOW) < 0) {
		int code = cr_fail(err, -errno, "image streamer: %s", socket_name(out));

		cr_advise(err, "--stream needs an image streamer that listens in the directory of the images");
		return code;
	}
	return S_ISSOCK(st.st_mode) ? 0 : cr_refuse(err, -ENOTSOCK, "image streamer: %s is no socket", socket_name(out));
}

int stream_connect(int dirfd, bool out, struct image_stream **ret, struct cr_error *err)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int r = image_stream_there(dirfd, out, err);

	if (r < 0)
		return r;

	autofd int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct image_stream *st;

	if (sock < 0)
		return cr_fail(err, -errno, "image streamer: socket");
	/* the directory's own path may be too long for a socket's */
	snprintf(to.sun_path, sizeof(to.sun_path), "/proc/self/fd/%d/%s", dirfd, socket_name(out));
	if (connect(sock, (struct sockaddr *)&to, sizeof(to)) < 0)
		return cr_fail(err, -errno, "connect to the image streamer (%s)", socket_name(out));
	st = calloc(1, sizeof(*st));
	if (!st || pthread_mutex_init(&st->lock, NULL)) {
		free(st);
		return cr_fail(err, -ENOMEM, "connect to the image streamer");
	}
	st->sock = take_fd(&sock);
	st->out = out;
	*ret = st;
	return 0;
}

/* A streamer may take its time, but not keep us when we are told to end; a restore has these signals blocked. */
int stream_called_off(const struct image_stream *st)
{
	static const int ends[] = { SIGTERM, SIGINT, SIGHUP };
	sigset_t pending;

	if (st->guard && getppid() != st->guard)
		return -ECANCELED;
	sigpending(&pending);
	for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
		struct sigaction sa;

		if (sigismember(&pending, ends[i]) == 1 && sigaction(ends[i], NULL, &sa) == 0 && sa.sa_handler != SIG_IGN)
			return -EINTR;
	}
	return 0;
}

int stream_await(const struct image_stream *st, int fd, short events)
{
	struct pollfd p = { .fd = fd, .events = events };

	for (;;) {
		int n = poll(&p, 1, LOOK_EVERY_MS), r;

		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
		r = stream_called_off(st);
		if (r < 0)
			return r;
	}
}

static int send_all(struct image_stream *st, struct msghdr *msg, size_t left)
{
	while (left) {
		ssize_t n = sendmsg(st->sock, msg, MSG_NOSIGNAL | MSG_DONTWAIT);
		int r = 0;

		if (n < 0 && errno == EAGAIN)
			r = stream_await(st, st->sock, POLLOUT);
		else if (n < 0 && errno != EINTR)
			r = -errno;
		if (r < 0)
			return r;
		if (n <= 0)
			continue;
		left -= (size_t)n;
		msg->msg_iov->iov_base = (char *)msg->msg_iov->iov_base + n;
		msg->msg_iov->iov_len -= (size_t)n;
		msg->msg_controllen = 0;
	}
	return 0;
}

static int receive(struct image_stream *st, void *buf, size_t len)
{
	for (char *at = buf; len;) {
		int r = stream_await(st, st->sock, POLLIN);
		ssize_t n = r < 0 ? 0 : recv(st->sock, at, len, MSG_DONTWAIT);

		if (r < 0)
			return r;
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		if (n == 0)
			return -ECONNRESET;
		if (n > 0) {
			at += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

static int answer(struct image_stream *st, struct cr_error *err)
{
	struct proto_error perr = { 0 };
	img_img_streamer_reply_entry *reply = NULL;
	char bytes[REPLY_MAX];
	uint32_t size;
	int r = receive(st, &size, sizeof(size));

	if (r == 0 && size > sizeof(bytes))
		return cr_refuse(err, -EBADMSG, "an answer of %u bytes", size);
	if (r == 0)
		r = receive(st, bytes, size);
	if (r < 0)
		return cr_fail(err, r, "receive an answer");
	r = img_img_streamer_reply_entry_decode(bytes, size, &reply, &perr);
	if (r < 0)
		return cr_refuse(err, r, "answer: %s", perr.text);
	r = reply->exists;
	img_entry_free(reply);
	return r;
}

int stream_ask(struct image_stream *st, const char *name, struct cr_error *err)
{
	img_img_streamer_request_entry e = { .filename = (char *)(uintptr_t)name };
	struct proto_buf buf = proto_buf_of(REQUEST_MAX);
	struct proto_error perr = { 0 };
	int r = img_img_streamer_request_entry_encode(&e, &buf, &perr);
	struct iovec iov = { buf.data, buf.len };

	if (r < 0)
		cr_refuse(err, r, "image streamer: %s: %s", name, perr.text);
	else if ((r = send_all(st, &(struct msghdr){ .msg_iov = &iov, .msg_iovlen = 1 }, buf.len)) < 0)
		cr_fail(err, r, "image streamer: ask for %s", name);
	else
		r = st->out ? 1 : cr_within(err, answer(st, err), "image streamer: %s", name);
	proto_buf_done(&buf);
	return r;
}

int stream_give(struct image_stream *st, int fd, struct cr_error *err)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { { 0 } };
	char byte = 0;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	int r;

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	r = send_all(st, &msg, 1);
	return r < 0 ? cr_fail(err, r, "image streamer: pass a pipe") : 0;
}

int stream_pipe(int ret[2], struct cr_error *err)
{
	if (pipe2(ret, O_CLOEXEC) < 0)
		return cr_fail(err, -errno, "make a pipe");
	fcntl(ret[1], F_SETPIPE_SZ, PIPE_SIZE);
	return 0;
}

/* Sets that go to a streamer; see stream.h. */
#include "image/image-set-internal.h"
#include "image/stream-internal.h"

#include "base/clock.h"
#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>

#define HANG_UP_MS 10000

int stream_open_out(struct image_stream *st, const char *name, struct cr_error *err)
{
	int ends[2], r = stream_pipe(ends, err);

	if (r < 0)
		return r;
	r = stream_ask(st, name, err);
	if (r > 0)
		r = stream_give(st, ends[0], err);
	close(ends[0]);
	if (r == 0 && fcntl(ends[1], F_SETFL, O_NONBLOCK) < 0)
		r = cr_fail(err, -errno, "image streamer: %s", name);
	if (r == 0)
		return ends[1];
	close(ends[1]);
	return r;
}

int image_set_write(struct image_set *set, int fd, const void *data, size_t len)
{
	const char *at = data;

	if (!set->stream)
		return fd_write_all(fd, data, len);
	while (len) {
		ssize_t n = write(fd, at, len);
		int r = 0;

		if (n < 0 && errno == EAGAIN)
			r = stream_await(set->stream, fd, POLLOUT);
		else if (n < 0 && errno != EINTR)
			r = -errno;
		if (r < 0)
			return r;
		at += n > 0 ? n : 0;
		len -= n > 0 ? (size_t)n : 0;
	}
	return 0;
}

/* Nothing tells that a pipe has become empty; a streamer that reads does so within microseconds. */
static int await_empty(const struct image_stream *st, int fd)
{
	for (struct timespec pause = { 0, 10000 };; pause.tv_nsec = pause.tv_nsec < 2000000 ? pause.tv_nsec * 2 : 2000000) {
		struct pollfd p = { .fd = fd };
		int left = 0, r;

		if (ioctl(fd, FIONREAD, &left) < 0)
			return -errno;
		if (!left)
			return 0;
		if (poll(&p, 1, 0) == 1 && p.revents & POLLERR)
			return -EPIPE;
		r = stream_called_off(st);
		if (r < 0)
			return r;
		nanosleep(&pause, NULL);
	}
}

int image_set_close(struct image_set *set, int fd)
{
	int r = set->stream && set->writing ? await_empty(set->stream, fd) : 0;

	/* file systems over a network say only here that a disk or quota is full; interrupted is closed as well (Linux) */
	if (close(fd) < 0 && errno != EINTR && r == 0)
		r = -errno;
	return r;
}

int image_stream_finish(struct image_set *set, struct cr_error *err)
{
	struct image_stream *st = set->stream;
	struct pollfd p = { .events = POLLIN };
	int64_t until = monotonic_ms() + HANG_UP_MS, left;
	char byte;

	if (!st)
		return 0;
	p.fd = st->sock;
	if (poll(&(struct pollfd){ .fd = st->sock, .events = POLLRDHUP }, 1, 0) != 0)
		return cr_fail(err, -EPIPE, "image streamer: it has hung up before the end");
	shutdown(st->sock, SHUT_WR);
	while ((left = until - monotonic_ms()) > 0) {
		ssize_t n = poll(&p, 1, (int)left) == 1 ? recv(st->sock, &byte, 1, MSG_DONTWAIT) : -1;

		/* the protocol has no answers here: what it says tells only that it is still there */
		if (n == 0 || (n < 0 && errno == ECONNRESET))
			return 0;
	}
	return 1;
}

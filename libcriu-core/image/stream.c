/* Sets that come from a streamer, and what both ways share; see stream.h. The connection is stream-wire.c. */
#include "image/stream.h"
#include "image/image-set-internal.h"
#include "image/stream-internal.h"

#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>

#define TAKE_STEP   (256u << 10)
#define TAKE_MAX    (UINT64_C(16) << 30) /* of one image other than pages: it is kept in memory */

void image_stream_free(struct image_stream *st)
{
	if (!st)
		return;
	close(st->sock);
	for (size_t i = 0; i < st->images.nr; i++)
		if (st->images.items[i].fd >= 0)
			close(st->images.items[i].fd);
	for (size_t i = 0; i < st->pipes.nr; i++)
		if (st->pipes.items[i].fd >= 0)
			close(st->pipes.items[i].fd);
	stream_images_done(&st->images);
	stream_pipes_done(&st->pipes);
	pthread_mutex_destroy(&st->lock);
	free(st);
}

bool image_set_streams(const struct image_set *set)
{
	return set->stream != NULL;
}

static int set_over(int dirfd, bool out, struct image_set **ret, struct cr_error *err)
{
	struct image_stream *st = NULL;
	int r = stream_connect(dirfd, out, &st, err);

	if (r == 0)
		r = image_set_over(dirfd, ret, err);
	if (r < 0) {
		image_stream_free(st);
		return r;
	}
	(*ret)->stream = st;
	(*ret)->writing = out;
	(*ret)->parent_known = true; /* there is none */
	return 0;
}

int image_set_stream_out(int dirfd, pid_t guard, struct image_set **ret, struct cr_error *err)
{
	int r = set_over(dirfd, true, ret, err);

	if (r == 0)
		(*ret)->stream->guard = guard;
	return r;
}

int image_set_stream_in(int dirfd, struct image_set **ret, struct cr_error *err)
{
	struct image_set *set = NULL;
	int r = set_over(dirfd, false, &set, err), fd;

	if (r < 0)
		return r;
	fd = image_set_openat(set, IMG_INVENTORY, 0, O_RDONLY, err);
	if (fd < 0) {
		image_set_free(set);
		return fd;
	}
	close(fd);
	*ret = set;
	return 0;
}

ssize_t image_set_read(struct image_set *set, int fd, void *buf, size_t len)
{
	size_t got = 0;

	while (got < len) {
		int r = stream_await(set->stream, fd, POLLIN);
		ssize_t n = r < 0 ? 0 : read(fd, (char *)buf + got, len - got);

		if (r < 0 || (n < 0 && errno != EINTR))
			return r < 0 ? r : -errno;
		if (n == 0)
			break;
		got += n > 0 ? (size_t)n : 0;
	}
	return (ssize_t)got;
}

static int take_all(struct image_set *set, int from, int to, struct cr_error *err)
{
	autofree char *buf = malloc(TAKE_STEP);
	uint64_t total = 0;

	if (!buf)
		return cr_fail(err, -ENOMEM, "take it");
	for (;;) {
		ssize_t n = image_set_read(set, from, buf, TAKE_STEP);
		int r;

		if (n <= 0)
			return n < 0 ? cr_fail(err, (int)n, "take it") : 0;
		total += (uint64_t)n;
		if (total > TAKE_MAX)
			return cr_refuse(err, -EFBIG, "it has more than %llu bytes", (unsigned long long)TAKE_MAX);
		r = fd_write_all(to, buf, (size_t)n);
		if (r < 0)
			return cr_fail(err, r, "keep it in memory");
	}
}

/* Return: descriptor of memory that holds all of the image; -ENOENT; negative errno */
static int take(struct image_set *set, const char *name, struct cr_error *err)
{
	struct image_stream *st = set->stream;
	int ends[2], r = stream_ask(st, name, err);

	if (r <= 0)
		return r < 0 ? r : cr_fail(err, -ENOENT, "open %s", name);

	autofd int fd = memfd_create(name, MFD_CLOEXEC);

	if (fd < 0)
		return cr_fail(err, -errno, "keep %s in memory", name);
	r = stream_pipe(ends, err);
	if (r < 0)
		return r;
	r = stream_give(st, ends[1], err);
	close(ends[1]);
	if (r == 0)
		r = cr_within(err, take_all(set, ends[0], fd, err), "image streamer: %s", name);
	close(ends[0]);
	return r < 0 ? r : take_fd(&fd);
}

static int copy_of(int fd, const char *name, struct cr_error *err)
{
	int copy = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3);

	return copy < 0 ? cr_fail(err, fd < 0 ? -ENOENT : -errno, "open %s", name) : copy;
}

/* One answer for each name, since the streamer may forget an image that it has given. */
static int open_in(struct image_set *set, enum img_type type, uint64_t id, const char *name, struct cr_error *err)
{
	struct image_stream *st = set->stream;
	struct stream_image *m;
	int fd;

	for (size_t i = 0; i < st->images.nr; i++)
		if (st->images.items[i].type == type && st->images.items[i].id == id)
			return copy_of(st->images.items[i].fd, name, err);
	fd = take(set, name, err);
	if (fd < 0 && fd != -ENOENT)
		return fd;
	m = stream_images_add(&st->images);
	if (!m) {
		if (fd >= 0)
			close(fd);
		return cr_fail(err, -ENOMEM, "open %s", name);
	}
	*m = (struct stream_image){ type, id, fd < 0 ? -1 : fd };
	return fd < 0 ? fd : copy_of(fd, name, err);
}

/* Two descriptors for each process: large trees need more than the usual limit. */
static int open_pipe(struct image_stream *st, uint32_t pages_id, struct cr_error *err)
{
	struct stream_pipe *p;
	struct rlimit lim;
	int ends[2], r = stream_pipe(ends, err);

	if (r == -EMFILE && getrlimit(RLIMIT_NOFILE, &lim) == 0 && lim.rlim_cur < lim.rlim_max) {
		lim.rlim_cur = lim.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &lim) == 0)
			r = stream_pipe(ends, err);
	}
	if (r < 0)
		return r;
	p = stream_pipes_add(&st->pipes);
	if (!p) {
		close(ends[0]);
		close(ends[1]);
		return cr_fail(err, -ENOMEM, "open pages");
	}
	*p = (struct stream_pipe){ pages_id, ends[1] };
	return ends[0];
}

int stream_open(struct image_set *set, enum img_type type, uint64_t id, const char *name, struct cr_error *err)
{
	struct image_stream *st = set->stream;
	int r;

	pthread_mutex_lock(&st->lock);
	if (st->out)
		r = stream_open_out(st, name, err);
	else if (type == IMG_PAGES)
		r = open_pipe(st, (uint32_t)id, err);
	else
		r = open_in(set, type, id, name, err);
	pthread_mutex_unlock(&st->lock);
	return r;
}

static int deliver(struct image_stream *st, struct stream_pipe *p, struct cr_error *err)
{
	char name[IMG_NAME_MAX];
	int r;

	img_name(IMG_PAGES, p->pages_id, name, sizeof(name));
	r = stream_ask(st, name, err);
	if (r == 0)
		r = cr_refuse(err, -ENOENT, "image streamer: it has no %s", name);
	else if (r > 0)
		r = stream_give(st, p->fd, err);
	/* whoever waits at the other end gets what there is, or its end */
	close(p->fd);
	p->fd = -1;
	return r;
}

int image_stream_deliver(struct image_set *set, uint32_t pages_id, struct cr_error *err)
{
	struct image_stream *st = set->stream;

	for (size_t i = 0; i < st->pipes.nr; i++)
		if (st->pipes.items[i].pages_id == pages_id && st->pipes.items[i].fd >= 0)
			return deliver(st, &st->pipes.items[i], err);
	return cr_refuse(err, -ENOENT, "image streamer: pages-%u.img is not open", pages_id);
}

static void *deliver_rest(void *arg)
{
	struct image_stream *st = arg;
	struct cr_error err = { 0 };
	int r = 0;

	for (size_t i = 0; r >= 0 && i < st->pipes.nr; i++)
		if (st->pipes.items[i].fd >= 0)
			r = deliver(st, &st->pipes.items[i], &err);
	if (r < 0) {
		pthread_mutex_lock(&st->lock);
		st->failed = r;
		st->err = err;
		pthread_mutex_unlock(&st->lock);
	}
	return NULL;
}

int image_stream_begin(struct image_set *set, struct cr_error *err)
{
	struct image_stream *st = set->stream;

	if (!st)
		return 0;
	/* the thread has all signals blocked, since a restore has */
	if (pthread_create(&st->thread, NULL, deliver_rest, st))
		return cr_fail(err, -EAGAIN, "image streamer: start a thread");
	st->running = true;
	return 0;
}

int image_stream_look(struct image_set *set, struct cr_error *err)
{
	struct image_stream *st = set->stream;
	int r;

	if (!st)
		return 0;
	pthread_mutex_lock(&st->lock);
	r = st->failed;
	if (r < 0 && err)
		*err = st->err;
	pthread_mutex_unlock(&st->lock);
	return r;
}

int image_stream_end(struct image_set *set, bool call_off, struct cr_error *err)
{
	struct image_stream *st = set ? set->stream : NULL;

	if (!st || !st->running)
		return 0;
	if (call_off)
		shutdown(st->sock, SHUT_RDWR);
	pthread_join(st->thread, NULL);
	st->running = false;
	return image_stream_look(set, err);
}

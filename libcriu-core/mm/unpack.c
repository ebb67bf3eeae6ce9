/* Compressed pages through pipes; see unpack.h. */
#include "mm/unpack.h"
#include "mm/space.h"

#include "base/own.h"
#include "base/thread.h"
#include "image/frames.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#define PIPE_BYTES  (1 << 20) /* what anybody may have, by default */
#define LOOK_MS     50        /* how long a thread takes to see that it is called off */
#define THREADS_MAX 4

int unpack_new(int fd, uint64_t bytes, struct unpack **ret, struct cr_error *err)
{
	struct unpack *u = calloc(1, sizeof(*u));
	int r = u ? frames_open(fd, bytes, &u->frames, err) : cr_fail(err, -ENOMEM, "unpack pages");

	if (r < 0) {
		free(u);
		return r;
	}
	u->in = u->out = -1;
	atomic_flag_clear(&u->busy);
	*ret = u;
	return 0;
}

void unpack_free(struct unpack *u)
{
	if (!u)
		return;
	if (u->in >= 0)
		close(u->in);
	if (u->out >= 0)
		close(u->out);
	unpack_parts_done(&u->parts);
	frame_scratch_free(u->kept);
	frames_free(u->frames);
	free(u);
}

static int read_with_own(const struct unpack *u, void *buf, size_t len, uint64_t off)
{
	autofree_by(frame_scratch_free) struct frame_scratch *s = frame_scratch_new();

	return s ? frames_read(u->frames, s, buf, len, off, NULL) : -ENOMEM;
}

/* Nobody waits for another: he takes the frame apart by himself. */
int unpack_read(struct unpack *u, void *buf, size_t len, uint64_t off)
{
	int r;

	if (atomic_flag_test_and_set(&u->busy))
		return read_with_own(u, buf, len, off);
	if (!u->kept)
		u->kept = frame_scratch_new();
	r = u->kept ? frames_read(u->frames, u->kept, buf, len, off, NULL) : -ENOMEM;
	atomic_flag_clear(&u->busy);
	return r;
}

int unpack_pipe(struct unpack *u, struct cr_error *err)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return cr_fail(err, -errno, "make a pipe for pages");
	u->in = ends[0];
	u->out = ends[1];
	/* without it, whoever writes waits for a reader that is gone; the size saves switches only, and may be refused */
	if (fcntl(u->out, F_SETFL, O_NONBLOCK) < 0)
		return cr_fail(err, -errno, "prepare a pipe for pages");
	fcntl(u->out, F_SETPIPE_SZ, PIPE_BYTES);
	return 0;
}

int unpack_want(struct unpack *u, uint64_t off, uint64_t len)
{
	struct unpack_part *last = u->parts.nr ? &u->parts.items[u->parts.nr - 1] : NULL;

	if (last && last->off + last->len == off) {
		last->len += len;
		return 0;
	}
	last = unpack_parts_add(&u->parts);
	if (!last)
		return -ENOMEM;
	*last = (struct unpack_part){ off, len };
	return 0;
}

DEFINE_VEC(packed_files, struct unpack *)

struct unpacker {
	struct packed_files files;
	_Atomic size_t next;
	_Atomic int stop;
	pthread_mutex_t lock; /* of what follows */
	int failed;
	struct cr_error err;
	pthread_t threads[THREADS_MAX];
	size_t nr_threads;
};

/* Return: 0; 1 called off, or the reader is gone, which others notice; negative errno */
static int send_all(struct unpacker *w, int fd, const char *buf, size_t len)
{
	while (len) {
		struct pollfd p = { fd, POLLOUT, 0 };
		ssize_t n = write(fd, buf, len);

		if (n < 0 && errno == EPIPE)
			return 1;
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		if (atomic_load(&w->stop))
			return 1;
		if (n < 0)
			poll(&p, 1, LOOK_MS);
		buf += n > 0 ? n : 0;
		len -= n > 0 ? (size_t)n : 0;
	}
	return 0;
}

static int fill(struct unpacker *w, const struct unpack *u, struct frame_scratch *s, char *buf, struct cr_error *err)
{
	for (size_t i = 0; i < u->parts.nr; i++) {
		uint64_t off = u->parts.items[i].off, end = off + u->parts.items[i].len;

		while (off < end) {
			/* up to the end of a frame, so that each is taken apart once */
			uint64_t stop = (off / FRAME_BYTES + 1) * FRAME_BYTES;
			size_t len = (size_t)((stop < end ? stop : end) - off);
			int r = frames_read(u->frames, s, buf, len, off, err);

			if (r < 0)
				return r;
			r = send_all(w, u->out, buf, len);
			if (r != 0)
				return r < 0 ? cr_fail(err, r, "hand over unpacked pages") : 1;
			off += len;
		}
	}
	return 0;
}

static void *work(void *arg)
{
	struct unpacker *w = arg;
	autofree_by(frame_scratch_free) struct frame_scratch *s = frame_scratch_new();
	autofree char *buf = malloc(FRAME_BYTES);
	struct cr_error err = { 0 };
	int r = s && buf ? 0 : cr_fail(&err, -ENOMEM, "unpack pages");
	size_t i;

	while (r == 0 && (i = atomic_fetch_add(&w->next, 1)) < w->files.nr) {
		struct unpack *u = w->files.items[i];

		r = fill(w, u, s, buf, &err);
		if (r < 0)
			break;
		/* this is the end of it; who reads on reads too much */
		close(u->out);
		u->out = -1;
	}
	if (r < 0) {
		pthread_mutex_lock(&w->lock);
		if (!w->failed) {
			w->failed = r;
			w->err = err;
		}
		pthread_mutex_unlock(&w->lock);
	}
	return NULL;
}

int unpacker_new(struct unpacker **ret, struct cr_error *err)
{
	struct unpacker *w = calloc(1, sizeof(*w));

	if (!w)
		return cr_fail(err, -ENOMEM, "unpack pages");
	pthread_mutex_init(&w->lock, NULL);
	*ret = w;
	return 0;
}

int unpacker_add(struct unpacker *w, const struct mm_space *s, struct cr_error *err)
{
	for (size_t i = 0; i < s->files.nr; i++) {
		struct unpack *u = s->files.items[i].unpack, **slot;

		if (!u || u->out < 0)
			continue;
		slot = packed_files_add(&w->files);
		if (!slot)
			return cr_fail(err, -ENOMEM, "unpack pages");
		*slot = u;
	}
	return 0;
}

int unpacker_begin(struct unpacker *w, struct cr_error *err)
{
	unsigned int n = processors_usable();
	size_t want = n > THREADS_MAX ? THREADS_MAX : n;

	while (w->nr_threads < want && w->nr_threads < w->files.nr &&
	       thread_begin(&w->threads[w->nr_threads], work, w) == 0)
		w->nr_threads++;
	return w->nr_threads || !w->files.nr ? 0 : cr_fail(err, -EAGAIN, "unpack pages: start a thread");
}

int unpacker_look(struct unpacker *w, struct cr_error *err)
{
	int r;

	if (!w)
		return 0;
	pthread_mutex_lock(&w->lock);
	r = w->failed;
	if (r < 0 && err)
		*err = w->err;
	pthread_mutex_unlock(&w->lock);
	return r;
}

void unpacker_end(struct unpacker *w)
{
	if (!w)
		return;
	atomic_store(&w->stop, 1);
	for (size_t i = 0; i < w->nr_threads; i++)
		pthread_join(w->threads[i], NULL);
	pthread_mutex_destroy(&w->lock);
	packed_files_done(&w->files);
	free(w);
}

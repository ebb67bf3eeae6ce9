/* What the two sides of stream.h share: the connection. */
#ifndef CR_IMAGE_STREAM_INTERNAL_H
#define CR_IMAGE_STREAM_INTERNAL_H

#include "base/array.h"
#include "image/stream.h"

#include <pthread.h>

/* An image that was taken whole. */
struct stream_image {
	enum img_type type;
	uint64_t id;
	int fd; /* -1: there is none */
};
DEFINE_VEC(stream_images, struct stream_image)

/* A pages file that is not asked for yet. */
struct stream_pipe {
	uint32_t pages_id;
	int fd; /* to be written to by the streamer; -1: it has it */
};
DEFINE_VEC(stream_pipes, struct stream_pipe)

struct image_stream {
	int sock;
	bool out;
	pid_t guard;
	pthread_mutex_t lock; /* one request at a time; @failed and @err */
	struct stream_images images;
	struct stream_pipes pipes;
	bool running; /* @thread is to be waited for */
	pthread_t thread;
	int failed;
	struct cr_error err;
};

/** stream_open() - an image, as image_set_openat() */
int stream_open(struct image_set *set, enum img_type type, uint64_t id, const char *name, struct cr_error *err);
/** stream_open_out() - the same of one that is written; with the lock held */
int stream_open_out(struct image_stream *st, const char *name, struct cr_error *err);
void image_stream_free(struct image_stream *st);

int stream_connect(int dirfd, bool out, struct image_stream **ret, struct cr_error *err);
/** stream_await() - until @fd is ready for @events. Return: 0; -ECANCELED, -EINTR called off; negative errno */
int stream_await(const struct image_stream *st, int fd, short events);
/** stream_called_off() - Return: 0 no; -ECANCELED, -EINTR */
int stream_called_off(const struct image_stream *st);
/** stream_ask() - name an image; of a set that is read, hear whether it is there. Return: 1 it is; 0 it is not; negative errno */
int stream_ask(struct image_stream *st, const char *name, struct cr_error *err);
/** stream_give() - the end of a pipe */
int stream_give(struct image_stream *st, int fd, struct cr_error *err);
/** stream_pipe() - Return: 0, both ends; negative errno */
int stream_pipe(int ret[2], struct cr_error *err);

#endif

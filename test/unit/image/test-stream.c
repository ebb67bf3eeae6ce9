/* Sets through a streamer that the test plays: what it is asked for and in which order, and what becomes of it when it dies. */
#include "image/page-sums.h"
#include "image/stream.h"

#include "base/array.h"
#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define MAX_IMAGES 16
#define MAX_BYTES  400000

struct image {
	char name[64];
	char *data;
	size_t len;
};

struct streamer {
	char dir[40], path[80];
	int dirfd, listener;
	bool out; /* of the client */
	pthread_t thread;
	struct image image[MAX_IMAGES];
	size_t nr;
	int answer; /* instead of a true answer: 1 a size that is none, 2 nothing, 3 a message that is none */
	size_t dies_after; /* bytes; 0: does not */
};

static int get_fd(int sock)
{
	char byte, control[CMSG_SPACE(sizeof(int))];
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
	struct cmsghdr *c;
	int fd = -1;

	if (recvmsg(sock, &msg, 0) == 1 && (c = CMSG_FIRSTHDR(&msg)))
		memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	return fd;
}

static bool get_name(int sock, char ret[64])
{
	uint32_t size;
	char message[128];

	if (recv(sock, &size, sizeof(size), MSG_WAITALL) != sizeof(size) || size < 3 || size > 64 ||
	    recv(sock, message, size, MSG_WAITALL) != (ssize_t)size || message[0] != 0x0a || message[1] != (char)(size - 2))
		return false;
	memcpy(ret, message + 2, size - 2);
	ret[size - 2] = 0;
	return true;
}

static bool take_image(struct streamer *s, int fd, struct image *m)
{
	ssize_t n = 0;

	m->data = malloc(MAX_BYTES);
	while (m->len < MAX_BYTES && (!s->dies_after || m->len < s->dies_after) &&
	       (n = read(fd, m->data + m->len, 1000)) > 0)
		m->len += (size_t)n;
	close(fd);
	return n == 0;
}

static struct image *find(struct streamer *s, const char *name)
{
	for (size_t i = 0; i < s->nr; i++)
		if (strcmp(s->image[i].name, name) == 0)
			return &s->image[i];
	return NULL;
}

static bool give_image(struct streamer *s, int sock, const char *name)
{
	struct image *m = find(s, name);
	char answer[6] = { 2, 0, 0, 0, 8, m != NULL };

	if (s->answer)
		answer[s->answer == 1 ? 3 : 4] = 0x7f;
	if (s->answer == 2 || send(sock, answer, sizeof(answer), MSG_NOSIGNAL) != sizeof(answer))
		return false;
	if (!m || s->answer)
		return true;

	int fd = get_fd(sock);
	bool good = fd >= 0 && fd_write_all(fd, m->data, m->len) == 0;

	/* one answer for each name */
	m->name[0] = 0;
	if (fd >= 0)
		close(fd);
	return good;
}

static void *play(void *arg)
{
	struct streamer *s = arg;
	int sock = accept(s->listener, NULL, NULL);
	char name[64];

	while (sock >= 0 && get_name(sock, name)) {
		if (!s->out && !give_image(s, sock, name))
			break;
		if (!s->out)
			continue;

		struct image *m = &s->image[s->nr++];

		memcpy(m->name, name, sizeof(name));
		if (!take_image(s, get_fd(sock), m))
			break;
	}
	if (sock >= 0)
		close(sock);
	return NULL;
}

static void streamer_begin(struct streamer *s, bool out)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };

	signal(SIGPIPE, SIG_IGN);
	s->out = out;
	snprintf(s->dir, sizeof(s->dir), "/tmp/test-stream-XXXXXX");
	assert_non_null(mkdtemp(s->dir));
	s->dirfd = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	snprintf(s->path, sizeof(s->path), "%s/%s", s->dir, out ? "streamer-capture.sock" : "streamer-serve.sock");
	snprintf(at.sun_path, sizeof(at.sun_path), "%s", s->path);
	s->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(s->listener, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(s->listener, 1), 0);
	assert_int_equal(pthread_create(&s->thread, NULL, play, s), 0);
}

/* Fails if anything is left in the directory. */
static void streamer_end(struct streamer *s, bool keep)
{
	pthread_join(s->thread, NULL);
	close(s->listener);
	close(s->dirfd);
	unlink(s->path);
	assert_int_equal(rmdir(s->dir), 0);
	for (size_t i = 0; i < s->nr && !keep; i++)
		free(s->image[i].data);
}

static char pattern(size_t i)
{
	return (char)(i * 7 + i / 4096);
}

static int write_set(struct streamer *s, size_t bytes, struct cr_error *err)
{
	static char data[MAX_BYTES];
	img_inventory_entry inv = { .img_version = 2, .dump_criu_run_id = (char *)(uintptr_t)"id" };
	img_task_kobj_ids_entry ids = { .files_id = 3 };
	struct image_set *set;
	struct image_writer *w;
	int r = image_set_stream_out(s->dirfd, 0, &set, err), fd;

	assert_int_equal(r, 0);
	assert_true(image_set_streams(set));
	for (size_t i = 0; i < bytes; i++)
		data[i] = pattern(i);
	r = image_write_single(set, IMG_IDS, 7, &ids, err);
	/* an image without entries is none */
	if (r == 0 && (r = image_writer_open(set, IMG_FILES, 0, &w, err)) == 0)
		r = image_writer_close(w, false, err);
	fd = r == 0 ? image_open_raw(set, IMG_PAGES, 1, err) : -1;
	if (r == 0 && fd < 0)
		r = fd;
	if (r == 0) {
		r = image_set_write(set, fd, data, bytes);
		if (r == 0)
			r = image_set_close(set, fd);
		else
			close(fd);
	}
	if (r == 0)
		r = image_set_commit(set, &inv, err);
	if (r == 0)
		r = image_stream_finish(set, err);
	image_set_free(set);
	return r;
}

static void test_written(void **state)
{
	struct streamer s = { 0 };
	struct cr_error err = { 0 };

	(void)state;
	streamer_begin(&s, true);
	assert_int_equal(write_set(&s, 300000, &err), 0);
	streamer_end(&s, true);
	assert_int_equal(s.nr, 3);
	assert_string_equal(s.image[0].name, "ids-7.img");
	assert_string_equal(s.image[1].name, "pages-1.img");
	assert_string_equal(s.image[2].name, "inventory.img");
	assert_int_equal(s.image[1].len, 300000);
	for (size_t i = 0; i < 300000; i++)
		if (s.image[1].data[i] != pattern(i))
			fail_msg("byte %zu", i);
	for (size_t i = 0; i < s.nr; i++)
		free(s.image[i].data);
}

/* Also when everything is in the pipe already: that it is nobody will read. */
static void test_dies_while_written(void **state)
{
	static const size_t sizes[] = { 2000, 300000 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		struct streamer s = { .dies_after = 1000 };
		struct cr_error err = { 0 };

		streamer_begin(&s, true);
		assert_true(write_set(&s, sizes[i], &err) < 0);
		streamer_end(&s, false);
	}
}

static void add_images(struct streamer *s, size_t pages)
{
	struct streamer from = { 0 };
	struct cr_error err = { 0 };

	streamer_begin(&from, true);
	assert_int_equal(write_set(&from, pages, &err), 0);
	streamer_end(&from, true);
	memcpy(s->image, from.image, sizeof(s->image));
	s->nr = from.nr;
}

static void test_read(void **state)
{
	static char data[MAX_BYTES];
	struct streamer s = { 0 };
	struct cr_error err = { 0 };
	struct image_set *set, *parent;
	struct image_reader *reader;
	const struct page_sums *sums;
	void *entry;
	int fd;

	(void)state;
	add_images(&s, 300000);
	streamer_begin(&s, false);
	assert_int_equal(image_set_stream_in(s.dirfd, &set, &err), 0);
	/* asked for twice, given once */
	for (int i = 0; i < 2; i++) {
		assert_int_equal(image_read_single(set, IMG_INVENTORY, 0, &entry, &err), 0);
		img_entry_free(entry);
		assert_int_equal(image_read_single(set, IMG_IDS, 7, &entry, &err), 0);
		assert_int_equal(((img_task_kobj_ids_entry *)entry)->files_id, 3);
		img_entry_free(entry);
		assert_int_equal(image_reader_open(set, IMG_FILES, 0, &reader, &err), 1);
	}
	assert_int_equal(image_set_parent(set, &parent, &err), 1);
	assert_int_equal(image_set_sums(set, &sums, &err), PAGE_SUMS_NONE);
	fd = image_open_raw(set, IMG_PAGES, 1, &err);
	assert_true(fd >= 0);
	assert_int_equal(image_stream_deliver(set, 1, &err), 0);
	assert_int_equal(image_set_read(set, fd, data, 299000), 299000);
	assert_int_equal(image_set_read(set, fd, data + 299000, 5000), 1000);
	close(fd);
	for (size_t i = 0; i < 300000; i++)
		if (data[i] != pattern(i))
			fail_msg("byte %zu", i);
	/* nobody has opened that */
	assert_int_equal(image_stream_deliver(set, 2, &err), -ENOENT);
	image_set_free(set);
	streamer_end(&s, false);
}

/* By the thread, for readers that come when they like. */
static void test_rest(void **state)
{
	struct streamer s = { 0 };
	struct cr_error err = { 0 };
	struct image_set *set;
	char data[100];
	int fd, missing;

	(void)state;
	add_images(&s, 100);
	streamer_begin(&s, false);
	assert_int_equal(image_set_stream_in(s.dirfd, &set, &err), 0);
	fd = image_open_raw(set, IMG_PAGES, 1, &err);
	missing = image_open_raw(set, IMG_PAGES, 2, &err);
	assert_true(fd >= 0 && missing >= 0);
	assert_int_equal(image_stream_begin(set, &err), 0);
	assert_int_equal(fd_read_all(fd, data, sizeof(data)), 100);
	assert_int_equal(data[99], pattern(99));
	/* one that the streamer lacks ends at once, and is told of */
	assert_int_equal(fd_read_all(missing, data, sizeof(data)), 0);
	assert_int_equal(image_stream_end(set, false, &err), -ENOENT);
	assert_non_null(strstr(err.text, "pages-2.img"));
	close(fd);
	close(missing);
	image_set_free(set);
	streamer_end(&s, false);
}

static void test_called_off(void **state)
{
	struct streamer s = { 0 };
	struct cr_error err = { 0 };
	struct image_set *set;
	int fd;

	(void)state;
	add_images(&s, 300000);
	streamer_begin(&s, false);
	assert_int_equal(image_set_stream_in(s.dirfd, &set, &err), 0);
	fd = image_open_raw(set, IMG_PAGES, 1, &err);
	assert_true(fd >= 0);
	assert_int_equal(image_stream_begin(set, &err), 0);
	image_stream_end(set, true, NULL);
	close(fd);
	image_set_free(set);
	streamer_end(&s, false);
}

static void test_bad_answers(void **state)
{
	(void)state;
	for (int answer = 1; answer <= 3; answer++) {
		struct streamer s = { .answer = answer };
		struct cr_error err = { 0 };
		struct image_set *set = NULL;

		streamer_begin(&s, false);
		assert_true(image_set_stream_in(s.dirfd, &set, &err) < 0);
		assert_null(set);
		assert_non_null(strstr(err.text, "image streamer"));
		streamer_end(&s, false);
	}
}

static void test_no_inventory(void **state)
{
	struct streamer s = { 0 };
	struct cr_error err = { 0 };
	struct image_set *set = NULL;

	(void)state;
	streamer_begin(&s, false);
	assert_int_equal(image_set_stream_in(s.dirfd, &set, &err), -ENOENT);
	streamer_end(&s, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_written),    cmocka_unit_test(test_dies_while_written),
		cmocka_unit_test(test_read),       cmocka_unit_test(test_rest),
		cmocka_unit_test(test_called_off), cmocka_unit_test(test_bad_answers),
		cmocka_unit_test(test_no_inventory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* A client of the service in a few functions, for programs that ask it very often: requests are written by hand. */
#ifndef TEST_BENCH_SERVICE_CLIENT_H
#define TEST_BENCH_SERVICE_CLIENT_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* numbers of criu_req_type */
enum { REQ_DUMP = 1, REQ_CHECK = 3, REQ_PRE_DUMP = 4, REQ_VERSION = 10, REQ_SINGLE_PRE_DUMP = 13 };

#define REQUEST_MAX 64

static inline double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static inline void die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

/* Return: descriptor, -1 with errno */
static inline int connect_to(const char *path)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	struct timeval patience = { .tv_sec = 60 };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
	if (connect(fd, (struct sockaddr *)&at, sizeof(at)) == 0)
		return fd;
	close(fd);
	return -1;
}

static inline size_t put_number(unsigned char *at, unsigned long n)
{
	size_t len = 0;

	for (; n > 0x7f; n >>= 7)
		at[len++] = (unsigned char)(n | 0x80);
	at[len++] = (unsigned char)n;
	return len;
}

/* criu_req { type = 1, keep_open = 4 } */
static inline size_t put_plain(unsigned char *at, int type, int keep_open)
{
	at[0] = 1 << 3;
	at[1] = (unsigned char)type;
	if (!keep_open)
		return 2;
	at[2] = 4 << 3;
	at[3] = 1;
	return 4;
}

/* criu_req { type = 1, opts = 2 { images_dir_fd = 1, pid = 2, leave_running = 3, log_level = 9 } } */
static inline size_t put_dump(unsigned char *at, int type, int dir, pid_t pid)
{
	unsigned char opts[32];
	size_t len = 0, used = put_plain(at, type, 0);

	opts[len++] = 1 << 3;
	len += put_number(opts + len, (unsigned long)dir);
	opts[len++] = 2 << 3;
	len += put_number(opts + len, (unsigned long)pid);
	opts[len++] = 3 << 3;
	opts[len++] = 1;
	opts[len++] = 9 << 3;
	opts[len++] = 1;
	at[used++] = 2 << 3 | 2;
	used += put_number(at + used, len);
	memcpy(at + used, opts, len);
	return used + len;
}

/* One request and its answer. Return: 0 success; -1 with errno, 0 if the answer is no */
static inline int ask(int fd, const unsigned char *req, size_t len)
{
	unsigned char answer[1024];
	ssize_t got = send(fd, req, len, MSG_NOSIGNAL) < 0 ? -1 : recv(fd, answer, sizeof(answer), 0);

	/* type as asked, success */
	if (got >= 4 && answer[1] == req[1] && answer[2] == 2 << 3 && answer[3] == 1)
		return 0;
	if (got >= 0)
		errno = 0;
	return -1;
}

#endif

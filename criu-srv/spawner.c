/* A thread with a table of descriptors of its own; see spawner.h. */
#include "spawner.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* newer than the oldest headers that this must compile with */
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434 /* 5.3 */
#endif
#ifndef SYS_close_range
#define SYS_close_range 436 /* 5.9 */
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438 /* 5.6 */
#endif

struct order {
	const int *fds;
	spawner_fn *fn;
	void *arg;
};

/* What the thread begins with: numbers in the table that it shares until it has its own. */
struct birth {
	int orders, answers;
	int pidfd; /* of the process: the table of its first thread is what descriptors are taken from */
};

static int compare_fds(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

/* All but the standard ones and @keep, of which those below 0 are none. */
static int close_others(const int *keep, size_t nr)
{
	int sorted[SPAWNER_FDS];
	unsigned int from = 3;

	memcpy(sorted, keep, nr * sizeof(*keep));
	qsort(sorted, nr, sizeof(*sorted), compare_fds);
	for (size_t i = 0; i < nr; i++) {
		if (sorted[i] < (int)from)
			continue;
		if (sorted[i] > (int)from && syscall(SYS_close_range, from, sorted[i] - 1, 0) < 0)
			return -errno;
		from = (unsigned int)sorted[i] + 1;
	}
	return syscall(SYS_close_range, from, ~0u, 0) < 0 ? -errno : 0;
}

static pid_t fork_with(const int fds[static SPAWNER_FDS], spawner_fn *fn, void *arg)
{
	pid_t pid = fork();

	if (pid == 0) {
		int own[SPAWNER_FDS];

		memcpy(own, fds, sizeof(own));
		close_others(own, SPAWNER_FDS);
		fn(arg, own);
		_exit(1);
	}
	return pid < 0 ? -errno : pid;
}

/* In the thread, which is the same process: no rights are asked for. */
static pid_t carry_out(const struct birth *b, const struct order *o)
{
	int own[SPAWNER_FDS], taken = 0;
	pid_t r = 0;

	for (; taken < SPAWNER_FDS && r == 0; taken++) {
		int fd = o->fds[taken];

		own[taken] = fd > 2 ? (int)syscall(SYS_pidfd_getfd, b->pidfd, fd, 0) : fd;
		if (fd > 2 && own[taken] < 0)
			r = -errno;
	}
	if (r == 0)
		r = fork_with(own, o->fn, o->arg);
	while (taken-- > 0)
		if (own[taken] > 2)
			close(own[taken]);
	return r;
}

static void *run(void *arg)
{
	struct birth b = *(struct birth *)arg;
	const int keep[] = { b.orders, b.answers, b.pidfd };
	struct order *o;
	pid_t r = unshare(CLONE_FILES) < 0 ? -errno : close_others(keep, sizeof(keep) / sizeof(keep[0]));
	int probe = r == 0 ? (int)syscall(SYS_pidfd_getfd, b.pidfd, b.pidfd, 0) : -1;

	if (r == 0 && probe < 0)
		r = -errno;
	if (probe >= 0)
		close(probe);
	if (write(b.answers, &r, sizeof(r)) != sizeof(r) || r < 0)
		return NULL; /* with a table that may be shared still: nothing is closed here */
	while (read(b.orders, &o, sizeof(o)) == sizeof(o)) {
		r = carry_out(&b, o);
		if (write(b.answers, &r, sizeof(r)) != sizeof(r))
			break;
	}
	/* the table goes with the thread */
	return NULL;
}

static pid_t answer_of(int fd)
{
	pid_t r;
	ssize_t got;

	do {
		got = read(fd, &r, sizeof(r));
	} while (got < 0 && errno == EINTR);
	return got == sizeof(r) ? r : -EIO;
}

void spawner_start(struct spawner *s)
{
	int orders[2] = { -1, -1 }, answers[2] = { -1, -1 };
	struct birth b = { .pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0) };

	*s = (struct spawner){ .orders = -1, .answers = -1 };
	if (b.pidfd >= 0 && pipe2(orders, O_CLOEXEC) == 0 && pipe2(answers, O_CLOEXEC) == 0) {
		b.orders = orders[0];
		b.answers = answers[1];
		s->running = pthread_create(&s->thread, NULL, run, &b) == 0;
	}
	if (s->running && answer_of(answers[0]) < 0) {
		pthread_join(s->thread, NULL);
		s->running = false;
	}
	if (s->running) {
		s->orders = orders[1];
		s->answers = answers[0];
		orders[1] = answers[0] = -1;
	}
	/* the thread has its own of these */
	const int mine[] = { orders[0], orders[1], answers[0], answers[1], b.pidfd };
	for (size_t i = 0; i < sizeof(mine) / sizeof(mine[0]); i++)
		if (mine[i] >= 0)
			close(mine[i]);
}

pid_t spawner_fork(struct spawner *s, const int fds[static SPAWNER_FDS], spawner_fn *fn, void *arg)
{
	struct order o = { fds, fn, arg }, *at = &o;

	if (!s->running)
		return fork_with(fds, fn, arg);
	if (write(s->orders, &at, sizeof(at)) != sizeof(at))
		return -EIO;
	return answer_of(s->answers);
}

void spawner_stop(struct spawner *s)
{
	if (!s->running)
		return;
	s->running = false;
	close(s->orders);
	pthread_join(s->thread, NULL);
	close(s->answers);
}

/* Tasks that die with their pager; see lazy-bond.h. */
#include "mm/lazy-bond.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#define HIGH_AT_FIRST 1024 /* number of the highest descriptor; more than that is a tree with hundreds of processes */

static void close_one(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* Moves a descriptor to the lowest free number from @from on. */
static int renumber(int *fd, int from)
{
	int to = fcntl(*fd, F_DUPFD_CLOEXEC, from);

	if (to < 0)
		return -errno;
	close(*fd);
	*fd = to;
	return 0;
}

static void allow_many(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) == 0 && lim.rlim_cur < lim.rlim_max) {
		lim.rlim_cur = lim.rlim_max;
		setrlimit(RLIMIT_NOFILE, &lim);
	}
}

int lazy_bond_init(struct lazy_bond *b)
{
	int pipes[2][2], r;

	*b = (struct lazy_bond)LAZY_BOND_NONE;
	allow_many();
	for (int i = 0; i < 2; i++) {
		if (pipe2(pipes[i], O_CLOEXEC) < 0)
			return -errno;
		b->read[i] = pipes[i][0];
		b->write[i] = pipes[i][1];
	}
	/* the lowest: the read end has it, since pipe2() takes it first */
	r = renumber(&b->read[0], 3);
	if (r == 0)
		r = renumber(&b->write[0], 3);
	if (r == 0)
		r = renumber(&b->read[0], 3);
	return r == 0 ? renumber(&b->write[1], HIGH_AT_FIRST) : r;
}

int lazy_bond_raise(struct lazy_bond *b, int fd)
{
	if (fd < b->write[1])
		return 0;
	/* some room, so that not each of many descriptors moves it; or what the limit leaves */
	return renumber(&b->write[1], 2 * fd) == 0 ? 0 : renumber(&b->write[1], fd + 1);
}

/* A read end of its own, since owner and signal belong to the open description. */
static int open_reader(int fd, const struct f_owner_ex *owner, int *ret)
{
	char path[40];
	int reader;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	reader = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (reader < 0)
		return -errno;
	*ret = reader;
	if (fcntl(reader, F_SETSIG, SIGKILL) < 0 || fcntl(reader, F_SETOWN_EX, owner) < 0 ||
	    fcntl(reader, F_SETFL, O_ASYNC | O_NONBLOCK) < 0)
		return -errno;
	return 0;
}

static int tie(struct lazy_bond *b, const struct f_owner_ex *owner, struct lazy_tie *ret)
{
	struct lazy_tie t = LAZY_TIE_NONE;
	int r = 0;

	for (int i = 0; r == 0 && i < 2; i++) {
		r = open_reader(b->read[i], owner, &t.fd[i]);
		if (r == 0)
			r = lazy_bond_raise(b, t.fd[i]);
	}
	if (r < 0)
		lazy_untie(&t);
	*ret = t;
	return r;
}

int lazy_tie(struct lazy_bond *b, pid_t pid, struct lazy_tie *ret)
{
	const struct f_owner_ex owner = { .type = F_OWNER_PID, .pid = pid };

	return tie(b, &owner, ret);
}

int lazy_tie_group(struct lazy_bond *b, pid_t pgid, struct lazy_tie *ret)
{
	const struct f_owner_ex owner = { .type = F_OWNER_PGRP, .pid = pgid };

	return tie(b, &owner, ret);
}

void lazy_untie(struct lazy_tie *t)
{
	close_one(&t->fd[0]);
	close_one(&t->fd[1]);
}

void lazy_bond_snap(struct lazy_bond *b)
{
	close_one(&b->write[0]);
	close_one(&b->write[1]);
}

void lazy_bond_done(struct lazy_bond *b)
{
	for (int i = 0; i < 2; i++) {
		close_one(&b->read[i]);
		close_one(&b->write[i]);
	}
}

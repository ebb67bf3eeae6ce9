/* The process that watches over a pager; see lazy-guard.h. */
#include "mm/lazy-guard.h"

#include "kernel/uapi.h"
#include "mm/lazy-io.h"
#include "mm/mm-internal.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MESSAGES 16
#define LOOK_MS  200 /* between looks whether processes are gone */

DEFINE_VEC(uffds, int)

static bool is_uffd(int dirfd, const char *name)
{
	char text[64];
	ssize_t n = readlinkat(dirfd, name, text, sizeof(text) - 1);

	if (n < 0)
		return false;
	text[n] = '\0';
	return strcmp(text, "anon_inode:[userfaultfd]") == 0;
}

/* Those that the pager had last: some are younger than this process. */
static int find_uffds(struct uffds *ret)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *e;

	if (!dir)
		return -errno;
	while ((e = readdir(dir)) != NULL) {
		int *slot = is_uffd(dirfd(dir), e->d_name) ? uffds_add(ret) : NULL;

		if (slot)
			*slot = (int)strtol(e->d_name, NULL, 10);
	}
	closedir(dir);
	return 0;
}

/* Whoever is still there asks in vain. Where the kernel cannot poison pages, he waits until he is killed. */
static void turn_down(struct uffds *fds, size_t i)
{
	struct uffd_msg msg[MESSAGES];
	int n = lazy_read(fds->items[i], msg, MESSAGES);

	for (int k = 0; k < n; k++) {
		if (msg[k].event == UFFD_EVENT_PAGEFAULT) {
			uint64_t page = msg[k].arg.pagefault.address & ~(MM_PAGE - 1);

			if (lazy_poison(fds->items[i], page) == LAZY_AGAIN)
				lazy_wake(fds->items[i], page, MM_PAGE);
		} else if (msg[k].event == UFFD_EVENT_FORK) {
			int *slot = uffds_add(fds);

			if (slot)
				*slot = (int)msg[k].arg.fork.ufd;
		}
	}
}

static void drop_ended(struct uffds *fds)
{
	for (size_t i = fds->nr; i-- > 0;) {
		if (!lazy_is_over(fds->items[i]))
			continue;
		close(fds->items[i]);
		fds->items[i] = fds->items[--fds->nr];
	}
}

/*
 * The tied ones have been killed. What is left are children whose number the pager had not learnt yet, and who is on his
 * way out: nobody of them may go on with zeroes, so the descriptors stay open until the last one has ended.
 */
static void hold_until_gone(void)
{
	struct uffds fds = { 0 };
	struct pollfd *polls = NULL;

	if (find_uffds(&fds) < 0)
		for (;;) /* better that they wait for ever */
			pause();
	for (size_t i = 0; i < fds.nr; i++)
		lazy_wake_all(fds.items[i]); /* those whose question the pager took with it ask again */
	for (drop_ended(&fds); fds.nr; drop_ended(&fds)) {
		size_t nr = fds.nr;
		struct pollfd *more = realloc(polls, nr * sizeof(*polls));

		if (!more) {
			poll(NULL, 0, LOOK_MS);
			continue;
		}
		polls = more;
		for (size_t i = 0; i < nr; i++)
			polls[i] = (struct pollfd){ .fd = fds.items[i], .events = POLLIN };
		if (poll(polls, nr, LOOK_MS) <= 0)
			continue;
		for (size_t i = 0; i < nr; i++)
			if (polls[i].revents & POLLIN)
				turn_down(&fds, i);
	}
	free(polls);
	uffds_done(&fds);
}

/* Owns nothing that must be given back: the descriptors are the pager's as well. */
static _Noreturn void guard(struct lazy_bond *b, int pager)
{
	struct pollfd p = { .fd = pager, .events = POLLIN };

	prctl(PR_SET_NAME, "criu-lazy-guard");
	while (poll(&p, 1, -1) < 0 && errno == EINTR)
		;
	lazy_bond_snap(b);
	hold_until_gone();
	_exit(1);
}

int lazy_guard_start(struct lazy_bond *b, struct lazy_guard *ret)
{
	struct lazy_guard g = LAZY_GUARD_NONE;
	int r = 0;

	g.self = (int)syscall(SYS_pidfd_open, getpid(), 0);
	if (g.self < 0)
		return -errno;
	/* one table of descriptors: what comes later is the guard's, too */
	g.pid = (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
	if (g.pid == 0)
		guard(b, g.self);
	if (g.pid > 0)
		g.pidfd = (int)syscall(SYS_pidfd_open, g.pid, 0);
	if (g.pid < 0 || g.pidfd < 0)
		r = -errno;
	if (r == 0)
		r = lazy_bond_raise(b, g.self > g.pidfd ? g.self : g.pidfd);
	if (r < 0)
		lazy_guard_end(&g);
	*ret = g;
	return r;
}

void lazy_guard_end(struct lazy_guard *g)
{
	if (g->pid > 0) {
		kill(g->pid, SIGKILL);
		while (waitpid(g->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	if (g->pidfd >= 0)
		close(g->pidfd);
	if (g->self >= 0)
		close(g->self);
	*g = (struct lazy_guard)LAZY_GUARD_NONE;
}

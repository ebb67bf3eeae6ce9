/*
 * What makes tasks die with their pager. When the last descriptor of a userfaultfd is closed, pages that are missing read as
 * zeroes from then on; so a task that still misses some must be dead before. Its pager may be killed at any instant, and the
 * kernel has to see to it: SIGKILL is the signal of an asynchronous read descriptor of a pipe, the task is its owner, and the
 * pager alone holds the other end (fcntl(2), O_ASYNC, F_SETSIG, F_SETOWN).
 *
 * It all hangs on which descriptor of a process that ends is closed first: the write end before the read end, and that
 * before the userfaultfd. Linux closes the highest first (the works of exit_task_work() are a stack; seen with 6.18), which is
 * not promised anywhere. So there are two pipes: one whose write end has the lowest number of all, and one with the highest.
 */
#ifndef CR_MM_LAZY_BOND_H
#define CR_MM_LAZY_BOND_H

#include <sys/types.h>

struct lazy_bond {
	int read[2], write[2]; /* of the two pipes; -1: none */
};

/* One process that is tied. */
struct lazy_tie {
	int fd[2];
};

#define LAZY_BOND_NONE         \
	{                      \
		{ -1, -1 },    \
		{              \
			-1, -1 \
		}              \
	}
#define LAZY_TIE_NONE          \
	{                      \
		{              \
			-1, -1 \
		}              \
	}

/** lazy_bond_init() - in a process that has no descriptors but standard ones and userfaultfds. Return: 0, negative errno */
int lazy_bond_init(struct lazy_bond *b);

/** lazy_bond_raise() - a new descriptor @fd, below which everything has to be that a pager has. Return: 0, negative errno */
int lazy_bond_raise(struct lazy_bond *b, int fd);

/** lazy_tie() - from now on the process ends with whoever holds the bond. Return: 0, negative errno */
int lazy_tie(struct lazy_bond *b, pid_t pid, struct lazy_tie *ret);

/** lazy_tie_group() - the same of all processes that a process group has by then. Return: 0, negative errno */
int lazy_tie_group(struct lazy_bond *b, pid_t pgid, struct lazy_tie *ret);

/** lazy_untie() - it lives on */
void lazy_untie(struct lazy_tie *t);

/** lazy_bond_done() - nobody is tied any more */
void lazy_bond_done(struct lazy_bond *b);

/** lazy_bond_snap() - kill all who are tied, now; by whoever is the last to hold it */
void lazy_bond_snap(struct lazy_bond *b);

#endif

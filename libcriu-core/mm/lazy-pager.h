/*
 * The pager of a lazy restore: a process of its own that brings memory in while the tree runs already. What is touched comes
 * at once, all the rest in large pieces in between; what a task unmaps, moves, drops, or leaves to a child by fork, is
 * followed by the kernel's messages. It ends when there is nothing left to bring.
 */
#ifndef CR_MM_LAZY_PAGER_H
#define CR_MM_LAZY_PAGER_H

#include "base/error.h"
#include "base/log.h"
#include "mm/lazy-bond.h"
#include "mm/lazy-guard.h"
#include "mm/lazy-runs.h"
#include "mm/page-chain.h"

/* One address space that is not complete. */
struct lazy_space {
	int uffd;
	pid_t pid;    /* 0: a child that has not been heard of yet */
	pid_t parent; /* of such a child */
	pid_t ns_pid; /* as the images call it */
	struct lazy_tie tie;
	int pagemap;             /* -1: while it is not known whose it is */
	struct lazy_runs firsts; /* what is to be there before the task runs */
	struct lazy_runs todo;   /* the file of a run is an index of the pages files of all */
	bool over;               /* nobody lives in it any more */
};
DEFINE_VEC(lazy_spaces, struct lazy_space)

struct lazy_group {
	pid_t pgid;
	struct lazy_tie tie;
};
DEFINE_VEC(lazy_groups, struct lazy_group)

/* All that is to be brought in, and where it is. */
struct lazy_load {
	struct lazy_spaces spaces;
	struct page_files files;
};

/* All of it belongs to the process that calls lazy_pager_run(), and to nobody else. */
struct lazy_pager {
	struct lazy_spaces spaces;
	struct page_files files;
	int go; /* as long as its other end is open nothing comes without being asked for; -1: it was closed */
	struct cr_log log;
	struct lazy_bond bond;
	struct lazy_guard guard;
	struct lazy_groups groups; /* process groups that are tied, since children are born into them */
	pid_t outside;             /* the session in which the restore was asked for: not all in it are of the tree */
	char *buffer;
	size_t turn;                 /* space that is next to be filled */
	uint64_t nr_asked, nr_bytes; /* faults that were answered, and all that was brought in */
};

/** lazy_pager_init() - before the process has a userfaultfd that it did not inherit. Return: 0, negative errno */
int lazy_pager_init(struct lazy_pager *p, struct cr_error *err);

/**
 * lazy_pager_tie() - tie the tasks to this process, and have a guard
 * @p: spaces, files, go, outside and log are set
 * Return: 0; negative errno: the caller must end
 */
int lazy_pager_tie(struct lazy_pager *p, struct cr_error *err);

/**
 * lazy_pager_run() - until all is in, or nobody is left; gives back all that the pager has
 * Return: 0; negative errno: it cannot go on, and the caller must end at once, so that the guard ends the tasks
 */
int lazy_pager_run(struct lazy_pager *p, struct cr_error *err);

#endif

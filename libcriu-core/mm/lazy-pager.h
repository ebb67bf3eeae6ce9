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
	struct lazy_runs todo;   /* the file of a run is an index of the pages files of all, or PAGES_AT_SOURCE */
	struct lazy_runs fresh;  /* with a source: what of todo was not asked for yet; see lazy-fetch.c */
	uint64_t id;             /* with a source: which one it is, among all there have been; 0: not asked about yet */
	size_t nr_asked;         /* questions that are open */
	bool over;               /* nobody lives in it any more */
};
DEFINE_VEC(lazy_spaces, struct lazy_space)

struct lazy_group {
	pid_t pgid;
	struct lazy_tie tie;
};
DEFINE_VEC(lazy_groups, struct lazy_group)

#define LAZY_ASKS 256
#define LAZY_PIECE ((uint64_t)2 << 20) /* brought in at a time without being asked for */

/* The file of a run, where files of a space begin at number @first. */
static inline uint32_t lazy_file(size_t first, uint32_t file)
{
	return file & PAGES_AT_SOURCE ? file : (uint32_t)first + file;
}

static inline bool lazy_at_source(const struct lazy_run *run)
{
	return (run->file & PAGES_AT_SOURCE) != 0;
}

/* Pages that were asked for. */
struct lazy_ask {
	uint64_t space; /* its id */
	struct lazy_run run;
	bool wanted; /* somebody waits for them */
};

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
	bool hears_start; /* go is a restore that says when its tasks are about to run, and that they do */
	bool started;     /* it has said the first of it */
	struct lazy_remote *remote; /* where pages are that were left at their source; NULL: nowhere */
	struct lazy_ask asks[LAZY_ASKS]; /* open questions to it */
	size_t nr_asks;
	uint64_t under_way, nr_spaces; /* bytes that were asked for; ids that were given */
	int64_t heard_ms;              /* when it has said something, or was asked after a pause */
	struct cr_log log;
	struct lazy_bond bond;
	struct lazy_guard guard;
	struct lazy_groups groups; /* process groups that are tied, since children are born into them */
	pid_t outside;             /* the session in which the restore was asked for: not all in it are of the tree */
	char *buffer;
	size_t turn;                 /* space that is next to be filled */
	uint64_t nr_asked, nr_bytes; /* faults that were answered, and all that was brought in */
};

/** lazy_pager_stay() - from here on what ends shells and sessions is ignored, pending or not: it must not end the tree */
void lazy_pager_stay(void);

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

/**
 * lazy_bring() - pages that are here: read them, and put them in place
 * Return: enum lazy_answer of lazy-io.h, negative errno
 */
int lazy_bring(struct lazy_pager *p, struct lazy_space *s, const struct lazy_run *run, struct cr_error *err);

/** lazy_place() - the same of pages that were read; @bytes: as many as @run has */
int lazy_place(struct lazy_pager *p, struct lazy_space *s, const struct lazy_run *run, const char *bytes,
	       struct cr_error *err);

#endif

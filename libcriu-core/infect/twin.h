/*
 * A twin: a process with a copy of another one's memory as it was at one instant, copy-on-write. It executes nothing of the
 * program, has none of its descriptors, and ends with us in whatever way we end.
 *
 * It is a child of the process with an exit signal of 0: the process gets no signal of it, and no wait sees it but one with
 * __WALL or __WCLONE. Nobody else could be the parent: an orphan would be given to a subreaper, which may be of the tree,
 * and be seen there. So in the end it is reaped where it is (infect/remote-reap.h).
 *
 * The program that runs in the process anyhow does not fork itself, since a fork of much memory takes long: a helper, which is
 * a process in the same memory, does that for it (CLONE_PARENT), with real-time priority if it may have that, and ends.
 */
#ifndef CR_INFECT_TWIN_H
#define CR_INFECT_TWIN_H

#include "base/error.h"
#include "base/own.h"
#include "infect/program.h"
#include "procfs/proc-dir.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct cr_leftovers;
struct task;
struct twin;
struct xstate_layout;

/* What was put into a program for a twin, and has to be known once it has run */
struct twin_plan {
	struct routine routine; /* of the twin, while it is being put together */
	uint32_t own, helper;   /* numbers of its routine and of that which forks it */
	uint64_t ready, token;  /* the twin says so by a word of its memory */
};

#define TWIN_ROUTINES 2u
#define TWIN_NAME     "criu-snapshot" /* comm, from its first moments on */

/** twin_room() - arena bytes for a twin that gives up @nr_ranges */
size_t twin_room(size_t nr_ranges);

/**
 * twin_plan_begin(), twin_plan_drop(), twin_plan_end() - put it into program @p
 * drop: a range of addresses that the twin is to unmap at once: what it holds there would be noticed.
 * end: emits what makes it into the routine @of of a thread; where that gets no process the program fails.
 * Return: 0; negative errno: of the program, which is not to be run then.
 */
int twin_plan_begin(struct twin_plan *plan, struct program *p, struct cr_error *err);
void twin_plan_drop(struct twin_plan *plan, struct program *p, uint64_t start, uint64_t end);
int twin_plan_end(struct twin_plan *plan, struct program *p, struct routine *of, struct cr_error *err);

/**
 * twin_take() - get hold of the twin of @task once the program has run and its answers are read
 * From here on it dies with us; it is stopped, and the first that the kernel kills if memory runs short.
 * @left: outlives it; NULL: nobody looks there
 * Return: 0, @ret is the caller's; -EAGAIN, -ENOMEM it could not be made (twin_advise()); negative errno, and it ends by itself.
 */
int twin_take(const struct twin_plan *plan, const struct program *p, const struct task *task,
	      const struct xstate_layout *layout, struct cr_leftovers *left, struct twin **ret, struct cr_error *err);

/** twin_advise() - what to do about it if no process could be had for one */
void twin_advise(int r, struct cr_error *err);

pid_t twin_pid(const struct twin *t);
const struct proc_dir *twin_dir(const struct twin *t);

/** twin_is_lost() - has somebody killed it? What was read of it since then is not to be trusted. For the thread that took it. */
bool twin_is_lost(const struct twin *t);

/**
 * twin_give_back() - if somebody has killed it, have the kernel take its memory back at once
 * Return: has somebody? Before Linux 5.15 nothing can be told. In any thread.
 */
bool twin_give_back(const struct twin *t);

/** twin_end() - end it, and have its parent reap it. Return: 0; negative errno: a zombie stays until the parent ends. Frees @t. */
int twin_end(struct twin *t);
/** twin_free() - the same; NULL is fine */
void twin_free(struct twin *t);
DEFINE_SLOT(struct twin, twin_free)

#endif

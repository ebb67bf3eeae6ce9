/* Shared by freeze.c (the tree), freeze-process.c (one process of it) and freeze-order.c (who belongs where). */
#ifndef CR_INFECT_FREEZE_INTERNAL_H
#define CR_INFECT_FREEZE_INTERNAL_H

#include "infect/freeze.h"
#include "procfs/lists.h"

struct freezer {
	struct cr_context *ctx;
	struct tree       *tree;
	uint64_t           deadline;
	struct task      **by_pid;      /* open addressing by host pid, a power of two, at most half full */
	size_t             by_pid_size;
	struct exec_guard *guard;       /* made for the first process with several threads */
};

struct task *freezer_find(const struct freezer *f, pid_t pid);
int freezer_index(struct freezer *f, struct task *task);

/** process_seize() - seize a thread of @task and ask it to stop. Return: 0; 1 it has ended; negative errno. */
int process_seize(struct freezer *f, struct task *task, pid_t tid, struct cr_error *err);

/**
 * process_collect() - all threads to a stop, until there are as many as the kernel counts
 * A process that has ended meanwhile becomes a zombie of the tree.
 * Return: 0; 1 it is gone; negative errno.
 */
int process_collect(struct freezer *f, struct task *task, struct cr_error *err);

/** task_free() - give one process back: its threads run on */
void task_free(struct task *task);

/**
 * tree_order() - parents as procfs has them now, parents before children; processes that are no longer below the root are
 * let go. Numbers of the tree's own pid namespace are filled in.
 */
int tree_order(struct freezer *f, struct cr_error *err);

#endif

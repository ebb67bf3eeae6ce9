/* Shared by freeze.c (the tree), freeze-process.c (one process of it), freeze-stops.c and freeze-order.c (who belongs where). */
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

/**
 * process_open(), process_read_stat() - its directory, and what it says, read anew
 * For a moment procfs finds nobody, or whom nobody shall find, under the number of a process of which another thread becomes the main
 * one: exchange_tids() in kernel/pid.c, proc_pid_make_inode() in fs/proc/base.c. Both look again while the process is there.
 * Return: 0; -ESRCH it is gone; another negative errno.
 */
int process_open(pid_t pid, struct proc_dir *ret, struct cr_error *err);
int process_read_stat(struct task *task, struct cr_error *err);

/** process_seize() - seize a thread of @task and ask it to stop. Return: 0; 1 it has ended; negative errno. */
int process_seize(struct freezer *f, struct task *task, pid_t tid, struct cr_error *err);

/**
 * process_collect() - all threads to a stop, until there are as many as the kernel counts
 * A process that has ended meanwhile becomes a zombie of the tree.
 * Return: 0; 1 it is gone; negative errno.
 */
int process_collect(struct freezer *f, struct task *task, struct cr_error *err);

/**
 * process_recheck() - collect a stopped process again if it, or a thread of it, has been killed since
 * Return: 0 all as it was; 1 it was; negative errno.
 */
int process_recheck(struct freezer *f, struct task *task, struct cr_error *err);

/**
 * stops_settle() - what is under way of stops (SIGSTOP and its like) and of their ends runs its course
 * Before statuses are read: where a thread was found in a stop, others of its process may not have come to it yet, or it is
 * over already. No code of a process runs. Return: 0; negative errno.
 */
int stops_settle(struct freezer *f, struct cr_error *err);

/**
 * stops_take() - those who have a SIGSTOP waiting, which statuses tell, take it
 * Return: 0 there was none; 1 there was: whatever has been read may be different; negative errno.
 */
int stops_take(struct freezer *f, struct cr_error *err);

/** task_free() - give one process back: its threads run on */
void task_free(struct task *task);

/**
 * tree_order() - parents as procfs has them now, parents before children; processes that are no longer below the root are
 * let go. Numbers of the tree's own pid namespace are filled in.
 */
int tree_order(struct freezer *f, struct cr_error *err);

#endif

/* Bringing a process tree to a standstill, and letting it go again. */
#ifndef CR_INFECT_FREEZE_H
#define CR_INFECT_FREEZE_H

#include "base/error.h"
#include "base/own.h"
#include "infect/task.h"
#include "kernel/context.h"

#include <stdbool.h>

/**
 * freeze_tree() - seize and stop @root and everything below it
 * On return every thread of every process is in a ptrace stop, procfs has been read once for each, and the order is
 * parents first. Zombies and exited leaders are recorded as such. Nothing in the target has been changed.
 * @ret: owned by the caller, tree_free() lets everything run on as before
 * Return: 0; -ESRCH no such process; -EBUSY something stands in the way (noted as an obstacle, too); -ETIMEDOUT a task
 * does not stop within the timeout of the options (default 10 s); -EINVAL the dumper is in the tree; negative errno.
 */
int freeze_tree(struct cr_context *ctx, pid_t root, struct tree **ret, struct cr_error *err);

/** freeze_limit_ms() - the time that the options give freeze_tree(); with 0 of them it is 49 days */
unsigned int freeze_limit_ms(const rpc_criu_opts *o);

/** tree_kill() - all that is alive of it; nobody waits for that, and nothing is allocated */
void tree_kill(const struct tree *tree);

/** tree_doom() - are its threads killed by the kernel if we end in whatever way? One after the other. Return: 0; the first failure */
int tree_doom(struct tree *tree, bool doomed, struct cr_error *err);

enum thaw { THAW_RUNNING, THAW_STOPPED, THAW_KILLED };

/**
 * thaw_tree() - end of the dump
 * RUNNING: all go on as before; those that were in a group stop stay in it. STOPPED: as if SIGSTOP had been sent to each.
 * KILLED: all are killed while they are still stopped, so that no parent sees a child die and makes a new one; on return
 * all are dead. Some are zombies until somebody outside of the tree reaps them: the root, and orphans, which are init's.
 * The tree must still be freed. Return: 0; the first failure, after everything was tried.
 */
int thaw_tree(struct tree *tree, enum thaw how, struct cr_error *err);

DEFINE_SLOT(struct tree, tree_free)

/** thread_dir() - open /proc/PID/task/TID of a thread on first use. Return: t->dir, NULL after a failure. */
const struct proc_dir *thread_dir(const struct task *task, struct thread *t, struct cr_error *err);

#endif

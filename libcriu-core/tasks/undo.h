/* Undo lists of System V semaphores: what happens to them when a process ends (SEM_UNDO of semop(2)). */
#ifndef CR_TASKS_UNDO_H
#define CR_TASKS_UNDO_H

#include "base/error.h"
#include "infect/parasite.h"
#include "infect/task.h"
#include "kernel/context.h"

#include <stdbool.h>

struct xstate_layout;

/**
 * undo_collect() - find out what is in the lists of all processes of a stopped tree, after tasks_dump()
 * Every process that has a list runs calls that the kernel undoes before they return. Obstacles: lists that processes, or
 * not all threads of one, share.
 * @own_ipc: the tree is in an IPC namespace of its own
 * Return: 0, negative errno.
 */
int undo_collect(struct cr_context *ctx, struct tree *tree, bool own_ipc, const struct xstate_layout *layout,
		 struct infect_aid *aid, struct cr_error *err);

#endif

/* What the threads of one process share with it, as nearly all do and an image takes for granted. */
#ifndef CR_TASKS_THREAD_SHARE_H
#define CR_TASKS_THREAD_SHARE_H

#include "base/error.h"
#include "infect/task.h"
#include "kernel/context.h"

/**
 * thread_share_collect() - note an obstacle for each thread with a descriptor table, a working directory or a namespace
 * of its own (unshare(2), setns(2))
 * Return: 0, negative errno.
 */
int thread_share_collect(struct cr_context *ctx, const struct tree *tree, struct cr_error *err);

#endif

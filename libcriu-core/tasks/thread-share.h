/* What the threads of one process share with it, as nearly all do and an image takes for granted. */
#ifndef CR_TASKS_THREAD_SHARE_H
#define CR_TASKS_THREAD_SHARE_H

#include "base/error.h"
#include "base/own.h"
#include "infect/task.h"
#include "kernel/context.h"

/*
 * Seven system calls and their path lookups for each thread are most of what procfs costs in a process with many threads, and
 * only obstacles come of it: so they are made by a thread of our own, while the tracer goes on.
 */
struct thread_share;

/** thread_share_begin() - begin to compare the threads of a stopped tree, which must stay until the end. Return: 0, negative errno. */
int thread_share_begin(struct cr_context *ctx, const struct tree *tree, struct thread_share **ret, struct cr_error *err);

/**
 * thread_share_end() - wait, and note an obstacle for each thread with a descriptor table, a working directory or a
 * namespace of its own (unshare(2), setns(2))
 * Return: 0, negative errno.
 */
int thread_share_end(struct thread_share *ts, struct cr_error *err);

/** thread_share_drop() - wait, and free; NULL is fine */
void thread_share_drop(struct thread_share *ts);
DEFINE_SLOT(struct thread_share, thread_share_drop)

#endif

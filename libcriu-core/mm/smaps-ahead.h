/* Mappings of a tree with several large tasks: read of some while others are looked at, on all processors. */
#ifndef CR_MM_SMAPS_AHEAD_H
#define CR_MM_SMAPS_AHEAD_H

#include "infect/task.h"
#include "mm/smaps-stream.h"

struct smaps_ahead;

/**
 * smaps_ahead_new() - begin with the first of @tree's tasks that have much memory
 * Return: NULL if there are fewer than two of them, or nobody to read. The tree stays stopped, and where it is, until
 * smaps_ahead_free().
 */
struct smaps_ahead *smaps_ahead_new(const struct tree *tree);

/**
 * smaps_ahead_take() - as smaps_begin(), of a task that may have been read by now
 * @a: may be NULL. Tasks come in the order of the tree.
 * While another thread still reads @task, the caller reads of those that follow.
 */
int smaps_ahead_take(struct smaps_ahead *a, const struct task *task, struct smaps_stream **ret, bool *ret_many, struct cr_error *err);

/** smaps_ahead_free() - waits for what is being read; NULL is fine */
void smaps_ahead_free(struct smaps_ahead *a);

#endif

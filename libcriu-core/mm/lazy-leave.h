/* What a lazy dump leaves with its tasks, and giving it to whoever restores them elsewhere. */
#ifndef CR_MM_LAZY_LEAVE_H
#define CR_MM_LAZY_LEAVE_H

#include "mm/mm-internal.h"
#include "mm/page-entries.h"

/**
 * lazy_leave() - take what may come later from what is stored of a task
 * mt->pages says then which pages are only to be had from the task (MM_PE_LAZY alone), and mt->to_copy what is stored.
 * @eager: pages that are needed at once, ascending
 * Return: 0, -ENOMEM
 */
int lazy_leave(struct mm_task *mt, const struct addr_vec *eager, struct cr_error *err);

/** lazy_left_bytes() - what of it is only to be had from the task */
uint64_t lazy_left_bytes(const struct mm_task *mt);

#endif

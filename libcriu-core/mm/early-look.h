/*
 * smaps of large processes that only wait, read before they are stopped: it takes the kernel more than 10 ms per GiB, and is
 * as good afterwards if nothing has happened in between. See quiet.h for how that is known.
 */
#ifndef CR_MM_EARLY_LOOK_H
#define CR_MM_EARLY_LOOK_H

#include "mm/mm.h"
#include "procfs/maps.h"

/**
 * mm_early_find() - what was read of a task that is stopped now, if it still holds
 * Return: its mappings as smaps has them, @e's; NULL: they have to be read.
 */
const struct proc_vma_list *mm_early_find(const struct mm_early *e, const struct task *task);

#endif

/*
 * Which pages a previous set and those before it have, of all processes: read before the tree is stopped, since a long chain
 * with scattered pages takes milliseconds.
 */
#ifndef CR_MM_PARENT_PAGES_H
#define CR_MM_PARENT_PAGES_H

#include "mm/mm-internal.h"

/** mm_parent_find() - ranges that are stored of a process, ascending; NULL: none are */
const struct mm_ranges *mm_parent_find(const struct mm_parent *p, uint64_t ns_pid);

#endif

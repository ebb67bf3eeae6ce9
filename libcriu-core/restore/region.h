/*
 * The region: the one piece of address space that is the same in the coordinator and in every task of a restore. It
 * holds the interpreter blob, the stacks it runs on, spare room for moving the vDSO, and the arena with all programs.
 */
#ifndef CR_RESTORE_REGION_H
#define CR_RESTORE_REGION_H

#include "infect/program.h"
#include "mm/mm.h"

#include <stddef.h>
#include <stdint.h>

struct region {
	struct mm_range all; /* start 0: not mapped */
	uint64_t entry;      /* of the blob */
	uint64_t leader_top; /* top of the stack of leading threads */
	uint64_t stacks;     /* lowest stack of other threads */
	struct mm_range spare;
	struct mm_range scratch; /* readable and writable, of each task its own */
	uint64_t helpers;        /* the same, for threads that read: MM_HELPERS times MM_HELPER_ROOM */
	struct arena arena;
};

/** region_size() - bytes to look for a hole of */
uint64_t region_size(uint64_t spare, size_t max_threads, size_t arena_size);

/**
 * region_map() - map everything at the hole @at, which must be free in this process
 * Return: 0; -EEXIST something is mapped there; negative errno. Undone by region_unmap().
 */
int region_map(struct region *ret, struct mm_range at, uint64_t spare, size_t max_threads, size_t arena_size,
	       struct cr_error *err);
void region_unmap(struct region *r);

/** region_thread_top() - top of the stack of the n-th thread of a process, 1 is the first that is not the leader */
uint64_t region_thread_top(const struct region *r, size_t n);

#endif

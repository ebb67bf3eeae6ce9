/*
 * Tables of bpf(2) that forget what was used least when they are full. Each processor has places of its own: which those are
 * depends on how a table was made, and who fills it has to be where they are, or drives out what it has just put in.
 */
#ifndef CR_FILES_BPF_LRU_H
#define CR_FILES_BPF_LRU_H

#include "proto/images.h"

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

bool bpf_is_lru(const img_bpfmap_file_entry *e);

/* Where the calling thread is while it fills one. */
struct lru_place {
	bool moves; /* it is such a table, and the thread can be moved */
	cpu_set_t was;
	uint32_t share; /* elements for each processor; 0: all are for the first one */
	int index;      /* of the processor among those of .was, -1: not there yet */
};

/** lru_place_begin() - for a table @e of any type; lru_place_end() is due. */
struct lru_place lru_place_begin(const img_bpfmap_file_entry *e);
/** lru_place_for() - to where element @i belongs. What cannot be had is left out. */
void lru_place_for(struct lru_place *p, uint32_t i);
void lru_place_end(struct lru_place *p);

#define autolru __attribute__((cleanup(lru_place_end)))

#endif

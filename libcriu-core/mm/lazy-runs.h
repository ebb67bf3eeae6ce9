/*
 * What of an address space is still to come: where each page belongs now, and where its content is. Book-keeping alone, no
 * system calls. A page is in the list until it is in place, or until nobody can ask for it any more.
 */
#ifndef CR_MM_LAZY_RUNS_H
#define CR_MM_LAZY_RUNS_H

#include "base/array.h"

#include <stdbool.h>
#include <stdint.h>

struct lazy_run {
	uint64_t start, end; /* addresses now, page aligned */
	uint64_t off;        /* of the first byte in its file */
	uint32_t file;       /* which: a number of the owner's */
};
/* Ascending, not overlapping. */
DEFINE_VEC(lazy_runs, struct lazy_run)

/** lazy_run_clip() - the part of it that lies in [start, end), which must overlap it */
void lazy_run_clip(struct lazy_run *run, uint64_t start, uint64_t end);

/** lazy_runs_append() - behind all others; joined with the last one if both go on there. Return: 0, -ENOMEM */
int lazy_runs_append(struct lazy_runs *l, const struct lazy_run *run);

/** lazy_runs_copy() - @to: empty. Return: 0, -ENOMEM */
int lazy_runs_copy(struct lazy_runs *to, const struct lazy_runs *from);

/** lazy_runs_around() - the part of the run that covers @at, within the aligned block of @size bytes (a power of two) around it
 * Return: false: no run covers @at */
bool lazy_runs_around(const struct lazy_runs *l, uint64_t at, uint64_t size, struct lazy_run *ret);

/** lazy_runs_last() - what lies in the last aligned block of @size bytes of the last run. Return: false: the list is empty */
bool lazy_runs_last(const struct lazy_runs *l, uint64_t size, struct lazy_run *ret);

/** lazy_runs_next() - what comes first in [at, end). Return: false: nothing is there */
bool lazy_runs_next(const struct lazy_runs *l, uint64_t at, uint64_t end, struct lazy_run *ret);

/** lazy_runs_cut() - [start, end) is in place, or gone. Return: 0; -ENOMEM: nothing has changed */
int lazy_runs_cut(struct lazy_runs *l, uint64_t start, uint64_t end);

/**
 * lazy_runs_move() - what belonged to [from, from + len) belongs to [to, to + len) from now on, and what was there is gone
 * Return: 0; -EINVAL not a move that a kernel could have made: ends overflow, or the ranges overlap; -ENOMEM: nothing has changed
 */
int lazy_runs_move(struct lazy_runs *l, uint64_t from, uint64_t to, uint64_t len);

/** lazy_runs_bytes() - all of them together */
uint64_t lazy_runs_bytes(const struct lazy_runs *l);

#endif

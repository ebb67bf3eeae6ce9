/*
 * Reading of one process' memory by several threads. The pieces are a routine that all of them run: each piece is claimed by
 * whoever comes to it first, and left out by the others. If no thread can be made, the process does all of it.
 */
#ifndef CR_MM_PLAN_BESIDE_H
#define CR_MM_PLAN_BESIDE_H

#include "mm/planner.h"

struct beside {
	bool on;
	struct routine pieces;
	size_t claim; /* operation that claims the piece at hand */
};

/** beside_begin() - is it worth it, for what is in @file? Return: 0, with @ret->on; negative errno */
int beside_begin(struct beside *ret, const struct planner *pl, uint32_t file, struct cr_error *err);

/** beside_piece() - operations that follow in @b->pieces are one piece; beside_piece_end(): up to here */
void beside_piece(struct beside *b, struct planner *pl);
void beside_piece_end(struct beside *b);

/** beside_end() - emit into the plan's routine that all pieces are read, by all threads, which have ended then */
int beside_end(struct beside *b, struct planner *pl, struct cr_error *err);

/** beside_ops() - how many operations this takes at most, claims of pieces apart */
size_t beside_ops(const struct mm_space *s);

#endif

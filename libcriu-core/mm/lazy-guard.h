/*
 * The other half of a pager: a process that holds the same descriptors and does nothing. If the pager is killed, it ends all
 * tasks that still miss pages, and keeps their userfaultfds open until they are gone, so that none of them reads zeroes.
 * If it is killed itself, the pager makes another one.
 */
#ifndef CR_MM_LAZY_GUARD_H
#define CR_MM_LAZY_GUARD_H

#include "mm/lazy-bond.h"

struct lazy_guard {
	pid_t pid; /* 0: there is none */
	int pidfd; /* readable when it has ended */
	int self;  /* pidfd of the pager, which the guard looks at */
};

#define LAZY_GUARD_NONE   \
	{                 \
		0, -1, -1 \
	}

/** lazy_guard_start() - a guard for the calling process. Return: 0, negative errno: there is none */
int lazy_guard_start(struct lazy_bond *b, struct lazy_guard *ret);

/** lazy_guard_end() - it is not needed any more, or has ended */
void lazy_guard_end(struct lazy_guard *g);

#endif

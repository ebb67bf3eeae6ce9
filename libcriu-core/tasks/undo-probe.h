/* Looking at the undo list of one process, from inside. */
#ifndef CR_TASKS_UNDO_PROBE_H
#define CR_TASKS_UNDO_PROBE_H

#include "base/array.h"
#include "base/error.h"
#include "base/own.h"
#include "infect/parasite.h"
#include "infect/task.h"

#include <stdbool.h>
#include <stdint.h>

struct xstate_layout;

#define SEMAPHORE_MAX 32767 /* SEMVMX of linux/sem.h */

struct semaphore {
	int id;
	uint16_t num, value;
	/* out */
	int adjust;  /* in the list that was looked at */
	bool closed; /* the process may not change it, so nothing was seen */
	int now;     /* the value afterwards, -1: it is gone; for the caller to fill */
};
DEFINE_VEC(semaphores, struct semaphore)

struct undo_probe;

/** undo_probe_new() - get into a stopped process. @nr: semaphores at a time, a guess. Return: 0, negative errno. */
int undo_probe_new(struct task *t, const struct xstate_layout *layout, struct infect_aid *aid, size_t nr,
		   struct undo_probe **ret, struct cr_error *err);

/**
 * undo_probe_look() - fill adjust and closed of each semaphore
 * What is said of one holds if its value was all the time what @list says. Nothing is changed.
 */
int undo_probe_look(struct undo_probe *p, struct semaphores *list, struct cr_error *err);

/** undo_probe_free() - and out again; NULL is fine */
void undo_probe_free(struct undo_probe *p);
DEFINE_SLOT(struct undo_probe, undo_probe_free)

#endif

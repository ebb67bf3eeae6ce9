/* Room for our mappings in a process that has used up what it may have. */
#ifndef CR_INFECT_ROOM_H
#define CR_INFECT_ROOM_H

#include "base/error.h"
#include "infect/leftovers.h"
#include "infect/task.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct room {
	bool raised;
	uint64_t soft, hard; /* RLIMIT_AS as the process had it */
	struct leftover *note;
};

/**
 * room_make() - let a process whose address space is at its limit have @bytes more for the moment
 * @note: of the process, until room_give_back(); may be NULL
 * Return: true if that was the obstacle and is none any more, room_give_back() is due then; false: nothing was changed.
 */
bool room_make(struct room *room, const struct task *task, size_t bytes, struct leftover *note);

/** room_give_back() - the limit as it was; it is asked for new mappings only, so ours may stay. Nothing if it was not raised. */
void room_give_back(struct room *room, const struct task *task);

/**
 * room_explain() - why @task gets no mappings of @bytes
 * @r: what mmap(2) said, -ENOMEM or other
 * Return: @r, with what stands in the way in @err, and what can be done about it.
 */
int room_explain(const struct task *task, size_t bytes, int r, struct cr_error *err);

#endif

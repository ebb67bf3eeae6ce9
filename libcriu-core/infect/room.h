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
	struct leftover_limit limits[ROOM_LIMITS]; /* as the process had them */
	struct leftover *note;
};

/**
 * room_make() - let a process that is at its limit have @bytes more for the moment
 * @which: limit that the mapping is held to
 * @note: of the process, until room_give_back(); may be NULL
 * Return: true if that was the obstacle and is none any more, room_give_back() is due then; false: nothing was changed.
 */
bool room_make(struct room *room, const struct task *task, enum room_limit which, size_t bytes, struct leftover *note);

/** room_give_back() - limits as they were; they are asked for new mappings only, so ours may stay. Nothing if none was raised. */
void room_give_back(struct room *room, const struct task *task);

/**
 * room_explain() - why @task gets no mappings of @bytes
 * @which: limit that they are held to
 * @r: what mmap(2) said, -ENOMEM or other
 * Return: @r, with what stands in the way in @err, and what can be done about it.
 */
int room_explain(const struct task *task, enum room_limit which, size_t bytes, int r, struct cr_error *err);

#endif

/* One system call in the name of a stopped thread that goes on unharmed if we are killed in the middle of it. */
#ifndef CR_INFECT_SAFE_CALL_H
#define CR_INFECT_SAFE_CALL_H

#include "infect/task.h"

#include <stdbool.h>
#include <stdint.h>

struct xstate_layout;

/**
 * safe_call() - lay a way back (infect/way-back.h), make a call, and clear both away
 * @th:     the thread of @task that makes it, seized and stopped; it has its own registers again afterwards
 * @layout: for the way back; NULL: do without
 * @must:   only with a way back
 * @ret:    what the call returned, negative errno included
 * Return: 0; -ENOEXEC there is no way back and there must be; negative errno it could not be made.
 */
int safe_call(const struct task *task, const struct thread *th, const struct xstate_layout *layout, bool must, long nr,
	      const uint64_t arg[6], int64_t *ret);

#endif

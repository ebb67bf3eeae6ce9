/* Numbers of a tree that is to be restored: nobody else may have them. */
#ifndef CR_RESTORE_FREE_PID_H
#define CR_RESTORE_FREE_PID_H

#include "base/error.h"

#include <stdint.h>
#include <sys/types.h>

/**
 * free_pid_await() - is @pid free, or becomes so? Who has ended keeps his number until his parent has taken note of that, and a
 * restore may follow a dump at once.
 * @deadline_ns: by monotonic_ns(), for that
 * Return: 0; -EEXIST somebody has it.
 */
int free_pid_await(pid_t pid, uint64_t deadline_ns, struct cr_error *err);

#endif

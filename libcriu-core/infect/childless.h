/*
 * Children are listed by thread, in a file for each. A process of a thousand threads that has none says so by one system call of
 * its own, and its threads' directories, which cost as much again when the threads end, are not made for that.
 */
#ifndef CR_INFECT_CHILDLESS_H
#define CR_INFECT_CHILDLESS_H

#include "infect/task.h"

#include <stdbool.h>

/**
 * process_is_childless() - ask a process, all of whose threads are stopped and seized, whether it has no children
 * Only where the call has a way back (infect/way-back.h), so that nobody is harmed if we are killed in the middle of it.
 * Return: true it has none; false it has some, or it cannot be asked.
 */
bool process_is_childless(const struct task *task);

#endif

/* What every program of ours does at its start, and before it becomes another. */
#ifndef CR_OPTIONS_PROCESS_H
#define CR_OPTIONS_PROCESS_H

#include "proto/vec.h"

/**
 * process_begin() - standard descriptors that are closed lead to /dev/null; writing to a closed pipe, or a
 * file above the size limit, is an error, not a death; children can be waited for
 * Return: 0 or negative errno.
 */
int process_begin(void);

/** process_become() - exec a command, looked for in PATH. Return: negative errno, and only if that failed. */
int process_become(const struct proto_str_vec *command);

#endif

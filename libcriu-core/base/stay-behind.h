/* A process of ours that outlives the tool: it must hold nothing of the tool's, and be nobody's child. */
#ifndef CR_BASE_STAY_BEHIND_H
#define CR_BASE_STAY_BEHIND_H

#include <stddef.h>

/**
 * stay_behind() - let go of everything of the tool's but @fds: in the new process itself, once
 * Standard descriptors lead nowhere, signals have their default action and are not blocked, the working directory is "/", and
 * it leaves no core file.
 * @fds:  sorted by this; none below 3
 * @name: of the process, at most 15 bytes
 * Return: 0, negative errno.
 */
int stay_behind(int *fds, size_t nr, const char *name);

/**
 * stay_powerless() - no capability any more, and nobody looks into what the tool had in memory: not even its own user
 * The kernel then counts processes that are made as it does for everybody (RLIMIT_NPROC), which CAP_SYS_ADMIN is exempt from.
 * Return: 0, negative errno.
 */
int stay_powerless(void);

#endif

/* Other programs, started as if nothing of us were theirs. */
#ifndef CR_BASE_SPAWN_H
#define CR_BASE_SPAWN_H

#include <spawn.h>
#include <stdbool.h>
#include <sys/types.h>

/**
 * program_start() - start a program with no signal blocked, and none ignored of those that process_begin() ignores
 * @file: path; with @search a name in PATH of ours
 * @acts: descriptors and directory; NULL: as ours are
 * @ret:  to be waited for by the caller
 * Return: 0 or negative errno.
 */
int program_start(const char *file, bool search, const posix_spawn_file_actions_t *acts, char *const argv[], char *const env[],
		  pid_t *ret);

#endif

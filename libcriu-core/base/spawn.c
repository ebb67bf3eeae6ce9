/* Other programs; see spawn.h. */
#include "base/spawn.h"

#include <signal.h>

int program_start(const char *file, bool search, const posix_spawn_file_actions_t *acts, char *const argv[], char *const env[],
		  pid_t *ret)
{
	posix_spawnattr_t attr;
	sigset_t set;
	int r = posix_spawnattr_init(&attr);

	if (r)
		return -r;
	sigemptyset(&set);
	posix_spawnattr_setsigmask(&attr, &set);
	sigaddset(&set, SIGPIPE);
	sigaddset(&set, SIGXFSZ);
	sigaddset(&set, SIGCHLD);
	posix_spawnattr_setsigdefault(&attr, &set);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
	r = search ? posix_spawnp(ret, file, acts, &attr, argv, env) : posix_spawn(ret, file, acts, &attr, argv, env);
	posix_spawnattr_destroy(&attr);
	return -r;
}

/* The process that waits in front of a dump; see shield.h. */
#include "options/shield.h"

#include "criu-core.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static void block_endings(void)
{
	static const int endings[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++)
		sigaddset(&set, endings[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
}

/*
 * Each stop of a traced thread would send SIGCHLD, which we throw away a moment later: a tenth of the time that a stop takes.
 * Waiting does not need it.
 */
static void be_quiet_about_stops(void)
{
	struct sigaction act = { .sa_handler = SIG_DFL, .sa_flags = SA_NOCLDSTOP };

	sigaction(SIGCHLD, &act, NULL);
}

pid_t shield_raise(struct cr_leftovers **ret)
{
	struct cr_leftovers *left = cr_leftovers_new();
	pid_t own = getpid(), child;
	int status = 0;

	fflush(NULL);
	*ret = left;
	child = fork();
	if (child < 0)
		return 0;
	if (child == 0) {
		setpgid(0, 0);
		block_endings();
		be_quiet_about_stops();
		return own;
	}
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			_exit(1);
	if (WIFSIGNALED(status))
		cr_leftovers_clear(left);
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

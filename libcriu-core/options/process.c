/* Start and end of our programs; see process.h. */
#include "options/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * Writing where nobody reads, or beyond RLIMIT_FSIZE, is an error to report and clean up after. The default of both
 * signals would end us in the middle of a dump instead.
 */
static void write_signals(void (*handler)(int))
{
	struct sigaction sa = { .sa_handler = handler };

	sigaction(SIGPIPE, &sa, NULL);
	sigaction(SIGXFSZ, &sa, NULL);
}

/* Whoever ignores SIGCHLD hands that down, and children that end are not there to be waited for: signal(7). */
static void children_signal(void)
{
	struct sigaction sa = { .sa_handler = SIG_DFL };

	sigaction(SIGCHLD, &sa, NULL);
}

/* A descriptor 0, 1 or 2 that is closed would be taken by the next file opened, and then written to as a terminal. */
int process_begin(void)
{
	write_signals(SIG_IGN);
	children_signal();
	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) < 0)
			return -errno;
	return 0;
}

int process_become(const struct proto_str_vec *command)
{
	char **argv = calloc(command->nr + 1, sizeof(*argv));
	int r;

	if (!argv)
		return -ENOMEM;
	memcpy(argv, command->items, command->nr * sizeof(*argv));
	write_signals(SIG_DFL);
	execvp(argv[0], argv);
	r = -errno;
	write_signals(SIG_IGN);
	free(argv);
	return r;
}

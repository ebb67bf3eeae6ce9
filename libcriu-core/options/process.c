/* Start and end of our programs; see process.h. */
#include "options/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void pipe_signal(void (*handler)(int))
{
	struct sigaction sa = { .sa_handler = handler };

	sigaction(SIGPIPE, &sa, NULL);
}

/* A descriptor 0, 1 or 2 that is closed would be taken by the next file opened, and then written to as a terminal. */
int process_begin(void)
{
	pipe_signal(SIG_IGN);
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
	pipe_signal(SIG_DFL);
	execvp(argv[0], argv);
	r = -errno;
	pipe_signal(SIG_IGN);
	free(argv);
	return r;
}

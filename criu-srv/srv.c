/* service and swrk; see srv.h. */
#include "srv.h"
#include "daemon.h"
#include "worker.h"

#include "base/error.h"
#include "options/table.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int swrk(const struct settings *s, const struct args *args)
{
	struct worker_terms terms = { .generation = RPC_GENERATION_TODAY, .spawned = true, .log_fd = STDERR_FILENO };
	int64_t fd;
	int type;
	socklen_t len = sizeof(type);

	if (args->nr_words != 2 || number_parse(args->words[1], 0, INT32_MAX, &fd) < 0) {
		fputs("Usage: criu swrk <fd>\n", stderr);
		return 1;
	}
	if (getsockopt((int)fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_SEQPACKET) {
		fprintf(stderr, "criu: descriptor %d is not a SOCK_SEQPACKET socket\n", (int)fd);
		return WORKER_ILLEGAL;
	}
	fcntl((int)fd, F_SETFD, FD_CLOEXEC);
	terms.base = s;
	return worker_run((int)fd, &terms);
}

int srv_run(const struct settings *s, const struct args *args)
{
	return command_find(args->words[0]) == COMMAND_SWRK ? swrk(s, args) : daemon_run(s, args);
}

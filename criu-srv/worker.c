/* One client served; see worker.h. */
#include "worker.h"
#include "connection.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

/* A connection that is only held open costs a process: nobody needs longer to say what he came for. */
#define FIRST_REQUEST_MS (300 * 1000)

static void complain(const struct worker *w, const struct cr_error *err)
{
	dprintf(w->log_fd, "Error (service): %s\n", err->text);
}

/* A client of the daemon that never asks is let go; one that spawned its worker pays for it itself. */
static bool is_silent(const struct worker *w)
{
	struct pollfd pfd = { .fd = w->sock, .events = POLLIN };

	return !w->spawned && poll(&pfd, 1, FIRST_REQUEST_MS) == 0;
}

int worker_run(int sock, enum rpc_generation generation, bool spawned, int log_fd, const struct settings *base)
{
	struct worker w = { .sock = sock, .generation = generation, .spawned = spawned, .log_fd = log_fd, .base = base };
	struct cr_error err = { 0 };
	int code = WORKER_ILLEGAL;
	int r = peer_read(sock, spawned, &w.peer, &err);

	if (r == 0)
		r = peer_assume(&w.peer, spawned, &err);
	if (r < 0)
		complain(&w, &err);
	else if (!is_silent(&w))
		code = connection_serve(&w);
	peer_done(&w.peer);
	close(sock);
	return code;
}

/* One client served: its requests, until one is the last. */
#ifndef CRIU_SRV_WORKER_H
#define CRIU_SRV_WORKER_H

#include "srv-limits.h"
#include "session.h"
#include "verbs.h"

/* How a client is served. */
struct worker_terms {
	enum rpc_generation generation;  /* what clients speak at the address that this one came to */
	bool spawned;                    /* swrk: the client has started this process */
	int log_fd;                      /* for complaints before a request has a log; borrowed */
	int alive_fd, stop_fd;           /* see struct worker */
	const struct settings *base;     /* what options have before the request says anything */
	const struct srv_limits *limits; /* NULL: none but the size of a message; swrk costs its client only */
	const struct access_log *access; /* NULL: requests are not logged one by one */
	bool quiet;                      /* only those are that had an effect */
};

/**
 * worker_run() - identify the client, then serve it
 * @sock: owned by the worker from here on
 * Return: exit code of the process.
 */
int worker_run(int sock, const struct worker_terms *terms);

#endif

/* One client served: its requests, until one is the last. */
#ifndef CRIU_SRV_WORKER_H
#define CRIU_SRV_WORKER_H

#include "session.h"
#include "verbs.h"

/**
 * worker_run() - identify the client, then serve it
 * @sock: owned by the worker from here on
 * @generation: what clients speak at the address that this one came to
 * @spawned: swrk
 * @log_fd: for complaints before a request has a log
 * Return: exit code of the process.
 */
int worker_run(int sock, enum rpc_generation generation, bool spawned, int log_fd, const struct settings *base);

#endif

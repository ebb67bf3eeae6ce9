/* One client served: its requests, until one is the last. */
#ifndef CRIU_SRV_WORKER_H
#define CRIU_SRV_WORKER_H

#include "session.h"

/* Exit codes of a worker, as clients that wait for it know them. */
enum { WORKER_DONE = 0, WORKER_FAILED = 1, WORKER_ILLEGAL = 255 };

/**
 * worker_run() - identify the client, then serve it
 * @sock: owned by the worker from here on
 * @spawned: swrk
 * @log_fd: for complaints before a request has a log
 * Return: exit code of the process.
 */
int worker_run(int sock, bool spawned, int log_fd, const struct settings *base);

/* Requests; verbs.c. Return: exit code; with WORKER_DONE another request may follow if the client asked for that. */
int verb_dump(struct worker *w, const rpc_criu_req *req, enum rpc_generation generation);
int verb_restore(struct worker *w, const rpc_criu_req *req, enum rpc_generation generation);
int verb_check(struct worker *w, const rpc_criu_req *req, enum rpc_generation generation);
int verb_version(struct worker *w, const rpc_criu_req *req, enum rpc_generation generation);
int verb_features(struct worker *w, const rpc_criu_req *req, enum rpc_generation generation);
int verb_wait_pid(struct worker *w, const rpc_criu_req *req, enum rpc_generation generation);
int verb_unknown(struct worker *w, const rpc_criu_req *req, enum rpc_generation generation);

#endif

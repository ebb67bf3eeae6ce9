/*
 * Work that may be followed by another request is done in a child process: working directory, log and capabilities of the
 * worker stay as they were, and a failure of ours ends the child alone. The child answers the client itself.
 */
#ifndef CRIU_SRV_ASIDE_H
#define CRIU_SRV_ASIDE_H

#include "session.h"

#include <sys/types.h>

struct aside {
	int said_fd;         /* in the child: where the outcome goes; -1 once it has gone there */
	pid_t worker;        /* whose child it is */
	struct cr_error err; /* why it has failed, if it has: for the log of requests, which the worker writes */
};

enum aside_kind {
	ASIDE_TASK,   /* ends when it has answered */
	ASIDE_CHILD,  /* may live on after its answer, as a child of the worker */
	ASIDE_DAEMON, /* the same in a session of its own, as nobody's child and without standard descriptors */
};

/* Runs in the child. Return: exit code. */
typedef int aside_fn(struct worker *w, const rpc_criu_req *req, struct aside *a);

/**
 * aside_run() - run @fn in a child and wait for its end, or until it has said something
 * If the child ends without a word, the client is answered with type @type and the reason.
 * Return: what the child has said, or its exit code: a WORKER_... value.
 */
int aside_run(struct worker *w, const rpc_criu_req *req, rpc_criu_req_type type, enum aside_kind kind, aside_fn *fn);

/** aside_say() - in the child, after the answer was sent: @code is what the worker is to go on with; only once */
void aside_say(struct aside *a, int code);

#endif

/* One request: options, directories, log and observer made ready, and an answer filled from what came of it. */
#ifndef CRIU_SRV_SESSION_H
#define CRIU_SRV_SESSION_H

#include "peer.h"
#include "policy.h"
#include "record.h"

#include "criu-core.h"
#include "options/log-sink.h"
#include "options/scripts.h"
#include "options/settings.h"
#include "proto/rpc.h"

#include <stdbool.h>

/* A connection and what holds for all of its requests. */
struct worker {
	int sock;
	enum rpc_generation generation; /* what the client speaks: told by the address it came to, never by its words */
	bool spawned;                   /* swrk: the client started this process */
	int complaints_fd;              /* for what is said of the connection; borrowed */
	int log_fd;                     /* the same, before a request has its log; -1: too much was said */
	const struct settings *base;    /* built-in defaults, for swrk also the configuration files */
	int ack_ms;                     /* time to acknowledge a notification; 0: as long as it takes */
	int idle_ms;                    /* time between two requests; 0: as long as it takes */
	size_t max_bytes;               /* of a message */
	int alive_fd;                   /* the service waits for all who have it open when it ends; 0: nobody waits */
	int stop_fd;                    /* hangs up when no further request is to be taken; 0: that never happens */
	bool served;                    /* a request at least */
	struct record *record;          /* what the log of requests will say; NULL: there is none */
	struct peer peer;
};

struct session {
	struct worker *w;
	const rpc_criu_req *req;
	struct settings s;
	struct policy_gate gate; /* what this client may set */
	int images_dirfd, work_dirfd;
	int status_fd; /* gets a NUL byte when a server of this request is ready; -1: nobody waits */
	struct log_sink sink;
	struct scripts scripts;
	struct cr_options opts;
	struct cr_observer obs;
	bool ready; /* options were taken: failures from here on are not about them */
};

void session_init(struct session *n, struct worker *w, const rpc_criu_req *req, const char *scope);
/** session_begin() - take over the options, open what they name. Return: 0; negative errno with @err filled. */
int session_begin(struct session *n, enum command command, struct cr_error *err);
/** session_begin_bare() - for requests whose options are not looked at */
int session_begin_bare(struct session *n, struct cr_error *err);
void session_done(struct session *n);

/**
 * session_fail() - log a failure and put it into the answer
 * cr_errno is EBADRQC while the options are at fault, the errno of the root cause otherwise; cr_errmsg is the session's
 * first error line. @list may be NULL.
 */
void session_fail(struct session *n, const struct cr_error *err, const struct obstacles *list, rpc_criu_resp *resp);

/** session_answer() - send it. Return: 0; negative errno. */
int session_answer(struct session *n, const rpc_criu_resp *resp);

#endif

/* One client served; see worker.h. */
#include "worker.h"
#include "transport.h"

#include "base/array.h"
#include "base/own.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>

/* A connection that is only held open costs a process: nobody needs longer to say what he came for. */
#define FIRST_REQUEST_MS (300 * 1000)

typedef int verb_fn(struct worker *w, const rpc_criu_req *req, enum rpc_generation generation);

static const struct verb {
	rpc_criu_req_type type;
	bool              keep_open;   /* may be followed by another request, if the client says so */
	enum peer_need    need;
	verb_fn          *run;
} verbs[] = {
	{ rpc_criu_req_type_DUMP, false, PEER_NEED_DUMP, verb_dump },
	{ rpc_criu_req_type_RESTORE, false, PEER_NEED_RESTORE, verb_restore },
	{ rpc_criu_req_type_CHECK, false, PEER_NEED_PROBE, verb_check },
	{ rpc_criu_req_type_FEATURE_CHECK, true, PEER_NEED_PROBE, verb_features },
	{ rpc_criu_req_type_VERSION, true, PEER_NEED_NOTHING, verb_version },
	{ rpc_criu_req_type_WAIT_PID, false, PEER_NEED_NOTHING, verb_wait_pid },
	/* known, but not carried out yet; whether a connection may go on is part of the protocol all the same */
	{ rpc_criu_req_type_PAGE_SERVER, true, PEER_NEED_NOTHING, verb_unknown },
	{ rpc_criu_req_type_PAGE_SERVER_CHLD, true, PEER_NEED_NOTHING, verb_unknown },
	{ rpc_criu_req_type_CPUINFO_DUMP, true, PEER_NEED_NOTHING, verb_unknown },
	{ rpc_criu_req_type_CPUINFO_CHECK, true, PEER_NEED_NOTHING, verb_unknown },
};

static const struct verb verb_none = { rpc_criu_req_type_EMPTY, false, PEER_NEED_NOTHING, verb_unknown };

static const struct verb *verb_find(rpc_criu_req_type type)
{
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
		if (verbs[i].type == type)
			return &verbs[i];
	return &verb_none;
}

static void complain(const struct worker *w, const struct cr_error *err)
{
	dprintf(w->log_fd, "Error (service): %s\n", err->text);
}

/* Return: 1 another request may follow; 0 this was the last. *ret_code is the exit code so far. */
static int serve_one(struct worker *w, int *ret_code)
{
	enum rpc_generation generation;
	rpc_criu_req *req = NULL;
	struct cr_error err = { 0 };
	const struct verb *verb;
	int r = transport_receive(w->sock, &req, &generation, &err);
	bool more;

	*ret_code = WORKER_ILLEGAL;
	if (r < 0)
		complain(w, &err);
	if (r != 0)
		return 0;
	verb = verb_find(req->type);
	more = req->has_keep_open && req->keep_open;
	if (more && !verb->keep_open) {
		rpc_req_free(req);
		return 0;
	}
	if (peer_raise(&w->peer, verb->need, &err) < 0)
		complain(w, &err);
	else
		*ret_code = verb->run(w, req, generation);
	rpc_req_free(req);
	return more && *ret_code == WORKER_DONE;
}

/* A client of the daemon that never asks is let go; one that spawned its worker pays for it itself. */
static bool is_silent(const struct worker *w)
{
	struct pollfd pfd = { .fd = w->sock, .events = POLLIN };

	return !w->spawned && poll(&pfd, 1, FIRST_REQUEST_MS) == 0;
}

int worker_run(int sock, bool spawned, int log_fd, const struct settings *base)
{
	struct worker w = { .sock = sock, .spawned = spawned, .log_fd = log_fd, .base = base };
	struct cr_error err = { 0 };
	int code = WORKER_ILLEGAL;
	int r = peer_read(sock, spawned, &w.peer, &err);

	if (r == 0)
		r = peer_assume(&w.peer, spawned, &err);
	if (r < 0)
		complain(&w, &err);
	else if (!is_silent(&w))
		while (serve_one(&w, &code) > 0)
			;
	peer_done(&w.peer);
	close(sock);
	return code;
}

/* One connection; see connection.h. */
#include "connection.h"
#include "transport.h"
#include "verbs.h"

#include <errno.h>
#include <stdio.h>

static void complain(const struct worker *w, const struct cr_error *err)
{
	dprintf(w->log_fd, "Error (service): %s\n", err->text);
}

/*
 * May this request stand here? A series of pre-dumps goes on with another one or ends in a dump, and only requests that
 * leave nothing behind may be followed by anything at the client's wish.
 */
static int check_place(const struct verb *verb, const rpc_criu_req *req, bool in_series, struct cr_error *err)
{
	if (!verb)
		return cr_refuse(err, -EBADRQC, "type %d of the request is unknown or no request", (int)req->type);
	if (in_series && !verb->series && req->type != rpc_criu_req_type_DUMP)
		return cr_refuse(err, -EBADRQC, "%s cannot follow a pre-dump, only PRE_DUMP and DUMP can", verb->name);
	if (req->has_keep_open && req->keep_open && !verb->keep_open)
		return cr_refuse(err, -EBADRQC, "keep_open cannot be used with %s requests", verb->name);
	return 0;
}

/* Return: true another request may follow; *ret_code is the exit code so far, *in_series whether it must be of a series */
static bool serve_one(struct worker *w, bool *in_series, int *ret_code)
{
	struct cr_error err = { 0 };
	rpc_criu_req *req = NULL;
	const struct verb *verb;
	int r = transport_receive(w->sock, w->generation, &req, &err);
	bool more;

	*ret_code = WORKER_ILLEGAL;
	if (r < 0)
		complain(w, &err);
	if (r == TRANSPORT_FLAWED)
		verb_refuse(w, &err);
	if (r != TRANSPORT_REQUEST)
		return false;
	verb = verb_find(req->type);
	r = check_place(verb, req, *in_series, &err);
	if (r == 0)
		r = peer_raise(&w->peer, verb->need, &err);
	if (r < 0) {
		verb_refuse(w, &err);
		rpc_req_free(req);
		return false;
	}
	*ret_code = verb->run(w, req);
	*in_series = verb->series;
	more = (req->has_keep_open && req->keep_open) || verb->series;
	rpc_req_free(req);
	return more && *ret_code == WORKER_DONE;
}

int connection_serve(struct worker *w)
{
	bool in_series = false;
	int code;

	while (serve_one(w, &in_series, &code))
		;
	return code;
}

/* One connection; see connection.h. */
#include "connection.h"
#include "transport.h"
#include "verbs.h"

#include "base/clock.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>

/*
 * A client that asks again at once waits for this worker to be woken, which between processors that had gone to sleep
 * takes longer than the answer itself. So it looks for the next request for a moment before it sleeps, and lets whoever
 * wants the processor go first.
 */
#define LINGER_NS 50000

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

/* What leaves something behind is in the log whatever else is left out of it. */
static bool has_effect(const struct verb *verb)
{
	return verb && !verb->keep_open && verb->need >= PEER_NEED_DUMP;
}

/*
 * A client may hold its connection open for ever only if it pays for the worker itself; and no further request is taken once
 * the service is about to end, or has been killed.
 */
static bool is_idle(const struct worker *w)
{
	struct pollfd fds[] = { { .fd = w->sock, .events = POLLIN },
				{ .fd = w->served && w->stop_fd > 0 ? w->stop_fd : -1 } };
	int limit = w->idle_ms > 0 ? w->idle_ms : -1, r;

	do {
		r = limit > 0 || fds[1].fd > 0 ? poll(fds, 2, limit) : 1;
	} while (r < 0 && errno == EINTR);
	return r == 0 || fds[1].revents;
}

static void linger(const struct worker *w)
{
	struct pollfd pfd = { .fd = w->sock, .events = POLLIN };
	uint64_t end = monotonic_ns() + LINGER_NS;

	while (poll(&pfd, 1, 0) == 0 && monotonic_ns() < end)
		sched_yield();
}

/* Return: exit code so far, *ret_verb what was done, NULL: it was refused */
static int carry_out(struct worker *w, const rpc_criu_req *req, bool in_series, const struct verb **ret_verb)
{
	const struct verb *verb = verb_find(req->type);
	struct cr_error err = { 0 };
	int r = check_place(verb, req, in_series, &err);

	if (r == 0)
		r = peer_raise(&w->peer, verb->need, &err);
	if (r < 0) {
		verb_refuse(w, &err);
		record_failure(w->record, &err);
		record_end(w->record, verb ? verb->name : "UNKNOWN", false);
		return WORKER_ILLEGAL;
	}
	*ret_verb = verb;
	r = verb->run(w, req);
	record_end(w->record, verb->name, has_effect(verb));
	return r;
}

/* Who has said too much already is not complained about either. */
static void begin_record(struct worker *w)
{
	record_begin(w->record);
	w->log_fd = record_is_mute(w->record) ? -1 : w->complaints_fd;
}

static void end_record(const struct worker *w)
{
	uint64_t nr = record_flush(w->record);

	if (nr > 0)
		dprintf(w->complaints_fd,
			"Warn  (service): client %d of user %u: %llu requests are not in this log, there were too many at a time\n",
			(int)w->peer.pid, w->peer.who.uid, (unsigned long long)nr);
}

/* Return: true another request may follow; *ret_code is the exit code so far, *in_series whether it must be of a series */
static bool serve_one(struct worker *w, bool *in_series, int *ret_code)
{
	struct cr_error err = { 0 };
	rpc_criu_req *req = NULL;
	const struct verb *verb = NULL;
	bool more;
	int r;

	*ret_code = WORKER_ILLEGAL;
	if (peer_lower(&w->peer) < 0 || is_idle(w))
		return false;
	begin_record(w);
	r = transport_receive(w->sock, w->generation, w->max_bytes, &req, &err);
	if (r < 0)
		complain(w, &err);
	if (r == TRANSPORT_FLAWED)
		verb_refuse(w, &err);
	if (r < 0 || r == TRANSPORT_FLAWED) {
		record_failure(w->record, &err);
		record_end(w->record, "UNREADABLE", false);
	}
	if (r != TRANSPORT_REQUEST)
		return false;
	*ret_code = carry_out(w, req, *in_series, &verb);
	w->served = true;
	*in_series = verb && verb->series;
	more = verb && ((req->has_keep_open && req->keep_open) || verb->series);
	rpc_req_free(req);
	return more && *ret_code == WORKER_DONE;
}

int connection_serve(struct worker *w)
{
	bool in_series = false;
	int code;

	while (serve_one(w, &in_series, &code))
		linger(w);
	end_record(w);
	return code;
}

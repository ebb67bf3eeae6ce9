/* One client served; see worker.h. */
#include "worker.h"
#include "connection.h"
#include "crowd.h"
#include "transport.h"

#include "options/privilege.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

static void take_limits(struct worker *w, const struct srv_limits *limits)
{
	struct timeval patience;

	w->max_bytes = PACKET_MAX;
	if (!limits)
		return;
	w->max_bytes = limits->message_bytes;
	w->idle_ms = (int)limits->idle_s * 1000;
	w->ack_ms = (int)limits->notify_s * 1000;
	/* a client that does not read its answers would hold the worker too */
	patience = (struct timeval){ .tv_sec = limits->notify_s };
	setsockopt(w->sock, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
}

/*
 * A user who has all the places that he may have causes as many lines as one who comes again and again; see crowd_may_log().
 */
static void limit_lines(struct worker *w, const struct srv_limits *limits)
{
	if (limits && w->peer.who.uid != 0)
		record_limit(w->record, CROWD_LINES_A_SECOND / (limits->user_workers + 1.0));
}

/* What was sent is thrown away, not read: with something unread in the socket the client would not get the answer either. */
static void turn_away(struct worker *w, const struct cr_error *err)
{
	record_begin(w->record);
	recv(w->sock, NULL, 0, MSG_TRUNC | MSG_DONTWAIT);
	verb_refuse(w, err);
	record_failure(w->record, err);
	record_end(w->record, "NONE", false);
}

int worker_run(int sock, const struct worker_terms *terms)
{
	struct worker w = {
		.sock = sock,
		.generation = terms->generation,
		.spawned = terms->spawned,
		.log_fd = terms->log_fd,
		.complaints_fd = terms->log_fd,
		.base = terms->base,
		.alive_fd = terms->alive_fd,
		.stop_fd = terms->stop_fd,
	};
	struct record record = { .log = terms->access, .peer = &w.peer, .quiet = terms->quiet };
	struct cr_error err = { 0 };
	int code = WORKER_ILLEGAL;
	int r;

	take_limits(&w, terms->limits);
	if (terms->access)
		w.record = &record;
	r = peer_read(sock, terms->spawned, &w.peer, &err);
	if (r == 0)
		r = peer_assume(&w.peer, &err);
	limit_lines(&w, terms->limits);
	if (r == 0 && terms->spawned)
		privilege_reach();
	if (r < 0)
		turn_away(&w, &err);
	else
		code = connection_serve(&w);
	peer_done(&w.peer);
	close(sock);
	return code;
}

/* Stage notifications; see notify.h. */
#include "notify.h"
#include "session.h"
#include "transport.h"

#include "base/own.h"
#include "options/table.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The answer to query-ext-files may name resources that the client knows of only now. */
static int take_externals(struct session *n, const rpc_criu_opts *opts, struct cr_error *err)
{
	const struct option_row *row = option_find("external");
	int r = 0;

	for (size_t i = 0; opts && i < opts->external.nr && r == 0; i++)
		r = option_set(&n->s, row, false, opts->external.items[i], ORIGIN_REQUEST, err);
	return r;
}

/* Is it we who have stopped the client? Then it is part of what it asked for, and will not answer before we let it go. */
static bool client_is_held(const struct session *n)
{
	char path[64], line[128];
	long tracer = 0;
	FILE *f;

	if (n->w->peer.pid <= 0)
		return false;
	snprintf(path, sizeof(path), "/proc/%d/status", (int)n->w->peer.pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, "TracerPid:", 10) == 0)
			tracer = strtol(line + 10, NULL, 10);
	if (f)
		fclose(f);
	return tracer == getpid();
}

/* A dump whose guard ends while the client thinks is called off (options/shield.h): a stopped tree is not kept waiting. */
static int wait_for_client(const struct session *n, struct cr_error *err)
{
	autofd int guard = n->opts.guard > 0 ? (int)syscall(SYS_pidfd_open, n->opts.guard, 0) : -1;
	struct pollfd fds[] = { { .fd = n->w->sock, .events = POLLIN }, { .fd = guard, .events = POLLIN } };
	bool alone = n->opts.guard > 0 && getppid() != n->opts.guard;
	int r;

	do {
		r = alone ? 1 : poll(fds, 2, n->w->ack_ms > 0 ? n->w->ack_ms : -1);
	} while (r < 0 && errno == EINTR);
	if (alone || (r > 0 && fds[1].revents))
		return cr_refuse(err, -ECANCELED, "the request was called off while the client was asked");
	return r == 0 ? cr_refuse(err, -ETIMEDOUT, "the client has not answered within %d ms", n->w->ack_ms) : 0;
}

/* @fd: goes along with the question, -1: none */
static int ask(struct session *n, const char *script, pid_t pid, int fd, struct cr_error *err)
{
	rpc_criu_notify what = { .script = (char *)script, .has_pid = pid > 0, .pid = pid };
	rpc_criu_resp resp = { .type = rpc_criu_req_type_NOTIFY, .success = true, .notify = &what };
	rpc_criu_req *ack = NULL;
	uint64_t awake;
	int r;

	if (client_is_held(n))
		return cr_refuse(err, -ECANCELED, "the client is stopped with the tree, it cannot use notify_scripts");
	r = transport_send(n->w->sock, &resp, n->w->generation, fd, err);
	if (r == 0)
		r = wait_for_client(n, err);
	/* as every message, the answer is decoded without any capability in effect */
	awake = peer_doze(&n->w->peer);
	if (r == 0)
		r = transport_receive(n->w->sock, n->w->generation, n->w->max_bytes, &ack, err);
	peer_wake(&n->w->peer, awake);
	if (r == TRANSPORT_CLOSED)
		return cr_refuse(err, -ECANCELED, "the client has closed the connection");
	if (r != TRANSPORT_REQUEST)
		return r < 0 ? r : -ECANCELED;
	if (ack->type != rpc_criu_req_type_NOTIFY || !ack->has_notify_success || !ack->notify_success)
		r = cr_refuse(err, -ECANCELED, "the client has refused");
	else if (strcmp(script, "query-ext-files") == 0)
		r = take_externals(n, ack->opts, err);
	rpc_req_free(ack);
	return r;
}

/* The older way of saying that a server listens: a byte, then the end of the stream. */
static void tell_status_fd(struct session *n)
{
	struct cr_log log = log_sink_log(&n->sink);

	if (n->status_fd < 0)
		return;
	if (write(n->status_fd, "", 1) != 1)
		log_warn(&log, "status_fd: %s, continuing without telling the client", strerrordesc_np(errno));
	close(n->status_fd);
	n->status_fd = -1;
}

int notify_stage(void *arg, const char *script, pid_t pid)
{
	struct session *n = arg;
	struct cr_log log = log_sink_log(&n->sink);
	struct cr_error err = { 0 };
	int r = 0;

	if (strcmp(script, "status-ready") == 0)
		tell_status_fd(n);
	if (n->s.rpc.notify_scripts)
		r = ask(n, script, pid, -1, &err);
	if (r < 0) {
		log_error(&log, "notification %s: %s", script, err.text);
		return r == -ETIMEDOUT ? r : -ECANCELED;
	}
	if (strcmp(script, "query-ext-files") == 0)
		return 0; /* for clients only */
	return scripts_run(&n->scripts, script, pid, &log);
}

int notify_give_fd(void *arg, const char *script, int fd)
{
	struct session *n = arg;
	struct cr_log log = log_sink_log(&n->sink);
	struct cr_error err = { 0 };

	if (ask(n, script, 0, fd, &err) == 0)
		return 0;
	log_warn(&log, "notification %s: %s, continuing without the client", script, err.text);
	return -ECANCELED;
}

void notify_setup(struct session *n)
{
	if (n->s.rpc.notify_scripts || n->s.scripts.nr || n->status_fd >= 0)
		n->obs.notify = notify_stage;
	if (n->s.rpc.notify_scripts && n->s.rpc.orphan_pts_master)
		n->obs.give_fd = notify_give_fd;
}

/* DUMP and RESTORE, and what the other requests of the engine share with them; see verbs.h. */
#include "verbs.h"
#include "notify.h"
#include "own-socket.h"
#include "policy.h"

#include "options/engine.h"
#include "options/privilege.h"
#include "options/process.h"
#include "options/shield.h"

#include "base/buf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* With swrk the rights are those of the client, or of the program; of the daemon each request has what it needs. */
int verb_check_rights(const struct session *n, struct cr_error *err)
{
	if (!n->w->spawned)
		return 0;
	return privilege_check(n->s.rpc.unprivileged || !n->w->peer.trusted, err);
}

/* The callbacks share one argument, which is the session. */
static int may_dump(void *arg, pid_t pid, pid_t tid, struct cr_error *err)
{
	struct session *n = arg;

	return policy_may_dump(&n->w->peer.who, pid, tid, err);
}

static int may_restore(void *arg, const struct _img_creds_entry *creds, struct cr_error *err)
{
	struct session *n = arg;

	return policy_may_restore(&n->w->peer.who, creds, err);
}

int verb_prepare(struct session *n, enum command command, struct cr_error *err)
{
	int r = session_begin(n, command, err);

	if (r == 0)
		r = verb_check_rights(n, err);
	if (r == 0 && !n->w->peer.trusted)
		r = cr_limit_as(n->w->peer.pid, err);
	if (r < 0) {
		n->ready = false; /* all of this counts as a bad request */
		return r;
	}
	if (!n->w->peer.trusted) {
		n->obs.may_dump = may_dump;
		n->obs.may_restore = may_restore;
	}
	notify_setup(n);
	return 0;
}

int verb_target(struct session *n, struct cr_error *err)
{
	if (n->s.rpc.has_pid)
		return 0;
	if (n->w->peer.pid <= 0)
		return cr_refuse(err, -ESRCH,
				 "the client, which wants to be dumped, cannot be seen from this pid namespace");
	if (peer_is_gone(&n->w->peer))
		return cr_refuse(err, -ESRCH, "client %d, which wanted to be dumped, has gone", (int)n->w->peer.pid);
	n->opts.pid = n->w->peer.pid;
	return 0;
}

void verb_log_stats(struct session *n, bool restore)
{
	autobuf struct buf text = BUF_INIT(4096);
	struct cr_log log = log_sink_log(&n->sink);
	struct cr_error err = { 0 };

	if (!n->s.rpc.display_stats)
		return;
	if (engine_stats_text(n->work_dirfd, restore, &text, &err) < 0)
		log_warn(&log, "%s, continuing without showing them", err.text);
	else if (write(STDOUT_FILENO, text.data, text.len) < 0)
		log_warn(&log, "statistics cannot be written to standard output, continuing without");
}

/* Without a pid, or with 0, the client dumps itself. It can be answered only if it is still there and runs. */
int verb_dump(struct worker *w, const rpc_criu_req *req)
{
	bool self = !req->opts || !req->opts->has_pid || req->opts->pid == 0;
	rpc_criu_dump_resp dump = { .has_restored = true };
	rpc_criu_resp resp = { .type = rpc_criu_req_type_DUMP, .success = true, .dump = &dump };
	struct cr_dump_result res = { 0 };
	struct cr_context *ctx = NULL;
	struct cr_error err = { 0 };
	struct session n;
	struct cr_leftovers *leftovers;
	pid_t guard;
	int r;

	guard = shield_raise(&leftovers);
	session_init(&n, w, req, "dump");
	r = verb_prepare(&n, COMMAND_DUMP, &err);
	n.opts.guard = guard;
	n.opts.leftovers = leftovers;
	if (r == 0)
		r = verb_target(&n, &err);
	if (r == 0) {
		record_target(w->record, n.opts.pid);
		n.opts.service_ino = own_socket_peer(w->sock);
		n.opts.service_first = w->generation == RPC_GENERATION_FIRST;
		ctx = cr_context_new(&n.opts, &n.obs);
		r = ctx ? cr_dump(ctx, &res, &err) : cr_fail(&err, -ENOMEM, "begin");
	}
	if (r < 0) {
		session_fail(&n, &err, ctx ? cr_obstacles(ctx) : NULL, &resp);
		log_sink_line(&n.sink, CR_LOG_ERROR, "Dumping FAILED.");
	} else {
		verb_log_stats(&n, false);
	}
	if (r < 0 || !self || n.s.rpc.leave_running)
		session_answer(&n, &resp);
	cr_context_free(ctx);
	session_done(&n);
	return r < 0 ? WORKER_FAILED : WORKER_DONE;
}

/* The worker turns into the command, as the parent of the restored root; its output goes to the log. */
static int become(struct session *n)
{
	struct cr_log log = log_sink_log(&n->sink);
	int r;

	if (n->sink.fd > STDERR_FILENO && (dup2(n->sink.fd, STDOUT_FILENO) < 0 || dup2(n->sink.fd, STDERR_FILENO) < 0))
		return WORKER_FAILED;
	fcntl(n->w->sock, F_SETFD, FD_CLOEXEC);
	r = process_become(&n->s.rpc.exec_cmd);
	log_error(&log, "run %s: %s", n->s.rpc.exec_cmd.items[0], strerrordesc_np(-r));
	return WORKER_FAILED;
}

int verb_restore(struct worker *w, const rpc_criu_req *req)
{
	rpc_criu_restore_resp restore = { .pid = -1 };
	rpc_criu_resp resp = { .type = rpc_criu_req_type_RESTORE, .success = true, .restore = &restore };
	struct cr_restore_result res = { .pid = -1 };
	struct cr_context *ctx = NULL;
	struct cr_error err = { 0 };
	struct session n;
	int r, code;

	session_init(&n, w, req, "restore");
	r = verb_prepare(&n, COMMAND_RESTORE, &err);
	if (r == 0) {
		ctx = cr_context_new(&n.opts, &n.obs);
		r = ctx ? cr_restore(ctx, &res, &err) : cr_fail(&err, -ENOMEM, "begin");
	}
	restore.pid = res.pid;
	record_target(w->record, res.pid);
	if (r < 0) {
		session_fail(&n, &err, ctx ? cr_obstacles(ctx) : NULL, &resp);
		log_sink_line(&n.sink, CR_LOG_ERROR, "Restoring FAILED.");
	} else {
		verb_log_stats(&n, true);
	}
	session_answer(&n, &resp);
	cr_context_free(ctx);
	code = r < 0 ? WORKER_FAILED : n.s.rpc.exec_cmd.nr ? become(&n) : WORKER_DONE;
	session_done(&n);
	return code;
}

/* The requests, one function each; see worker.h. */
#include "notify.h"
#include "policy.h"
#include "worker.h"

#include "options/engine.h"
#include "options/privilege.h"
#include "options/process.h"
#include "options/shield.h"
#include "options/version.h"

#include "base/buf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* With swrk the rights are those of the client, or of the program; of the daemon each request has what it needs. */
static int check_rights(const struct session *n, struct cr_error *err)
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

static int prepare(struct session *n, enum command command, struct cr_error *err)
{
	int r = session_begin(n, command, err);

	if (r == 0)
		r = check_rights(n, err);
	if (r == 0)
		r = peer_learn(&n->w->peer, err);
	if (r == 0 && command == COMMAND_RESTORE && !n->w->peer.trusted)
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

static void log_stats(struct session *n, bool restore)
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
int verb_dump(struct worker *w, const rpc_criu_req *req, enum rpc_generation generation)
{
	bool self = !req->opts || !req->opts->has_pid || req->opts->pid == 0;
	rpc_criu_dump_resp dump = { .has_restored = true };
	rpc_criu_resp resp = { .type = rpc_criu_req_type_DUMP, .success = true, .dump = &dump };
	struct cr_dump_result res = { 0 };
	struct cr_context *ctx = NULL;
	struct cr_error err = { 0 };
	struct session n;
	pid_t guard;
	int r;

	guard = shield_raise();
	session_init(&n, w, req, generation, "dump");
	r = prepare(&n, COMMAND_DUMP, &err);
	n.opts.guard = guard;
	if (r == 0) {
		if (!n.s.rpc.has_pid)
			n.opts.pid = w->peer.pid;
		ctx = cr_context_new(&n.opts, &n.obs);
		r = ctx ? cr_dump(ctx, &res, &err) : cr_fail(&err, -ENOMEM, "begin");
	}
	if (r < 0) {
		session_fail(&n, &err, ctx ? cr_obstacles(ctx) : NULL, &resp);
		log_sink_line(&n.sink, CR_LOG_ERROR, "Dumping FAILED.");
	} else {
		log_stats(&n, false);
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

int verb_restore(struct worker *w, const rpc_criu_req *req, enum rpc_generation generation)
{
	rpc_criu_restore_resp restore = { .pid = -1 };
	rpc_criu_resp resp = { .type = rpc_criu_req_type_RESTORE, .success = true, .restore = &restore };
	struct cr_restore_result res = { .pid = -1 };
	struct cr_context *ctx = NULL;
	struct cr_error err = { 0 };
	struct session n;
	int r, code;

	session_init(&n, w, req, generation, "restore");
	r = prepare(&n, COMMAND_RESTORE, &err);
	if (r == 0) {
		ctx = cr_context_new(&n.opts, &n.obs);
		r = ctx ? cr_restore(ctx, &res, &err) : cr_fail(&err, -ENOMEM, "begin");
	}
	restore.pid = res.pid;
	if (r < 0) {
		session_fail(&n, &err, ctx ? cr_obstacles(ctx) : NULL, &resp);
		log_sink_line(&n.sink, CR_LOG_ERROR, "Restoring FAILED.");
	} else {
		log_stats(&n, true);
	}
	session_answer(&n, &resp);
	cr_context_free(ctx);
	code = r < 0 ? WORKER_FAILED : n.s.rpc.exec_cmd.nr ? become(&n) : WORKER_DONE;
	session_done(&n);
	return code;
}

/* Options are looked at only if they name a log file. */
int verb_check(struct worker *w, const rpc_criu_req *req, enum rpc_generation generation)
{
	bool options = req->opts && req->opts->log_file && !(req->opts->has_log_to_stderr && req->opts->log_to_stderr);
	rpc_criu_resp resp = { .type = rpc_criu_req_type_CHECK, .success = true };
	const struct cr_check_row *rows;
	struct cr_context *ctx = NULL;
	struct cr_error err = { 0 };
	struct session n;
	size_t nr;
	int r;

	session_init(&n, w, req, generation, "check");
	r = options ? session_begin(&n, COMMAND_CHECK, &err) : session_begin_bare(&n, &err);
	if (r == 0)
		r = check_rights(&n, &err);
	if (r == 0) {
		ctx = cr_context_new(&n.opts, &n.obs);
		r = ctx ? cr_check(ctx, &rows, &nr, &err) : cr_fail(&err, -ENOMEM, "begin");
	}
	if (r < 0)
		session_fail(&n, &err, NULL, &resp);
	else
		dprintf(STDOUT_FILENO, "Looks good.\n");
	r = session_answer(&n, &resp);
	cr_context_free(ctx);
	session_done(&n);
	return r < 0 ? WORKER_ILLEGAL : WORKER_DONE;
}

int verb_version(struct worker *w, const rpc_criu_req *req, enum rpc_generation generation)
{
	rpc_criu_version version = { .major_number = CR_COMPAT_MAJOR, .minor_number = CR_COMPAT_MINOR };
	rpc_criu_resp resp = { .type = rpc_criu_req_type_VERSION, .success = true, .version = &version };
	struct session n;
	int r;

	session_init(&n, w, req, generation, "version");
	r = session_answer(&n, &resp);
	session_done(&n);
	return r < 0 ? WORKER_ILLEGAL : WORKER_DONE;
}

/* Both system calls are needed: one to name the process, one to take descriptors out of it. */
static bool has_pidfd_store(const struct cr_check_row *rows, size_t nr)
{
	int found = 0;

	for (size_t i = 0; i < nr; i++) {
		if (strcmp(rows[i].name, "pidfd_store") == 0)
			return rows[i].result == 0;
		if (strcmp(rows[i].name, "pidfd_open") == 0 || strcmp(rows[i].name, "pidfd_getfd") == 0)
			found += rows[i].result == 0;
	}
	return found == 2;
}

/*
 * A member is true if it was asked for and works. Memory tracking and lazy pages are asked for by those who go on to use
 * them: as long as pre-dumps and lazy restores are refused, the answer is no, whatever the kernel can do.
 */
int verb_features(struct worker *w, const rpc_criu_req *req, enum rpc_generation generation)
{
	rpc_criu_features f = { .has_mem_track = true, .has_lazy_pages = true, .has_pidfd_store = true };
	rpc_criu_resp resp = { .type = rpc_criu_req_type_FEATURE_CHECK };
	const struct cr_check_row *rows = NULL;
	struct cr_context *ctx = NULL;
	struct cr_error err = { 0 };
	struct session n;
	bool pidfds = req->features && req->features->has_pidfd_store && req->features->pidfd_store;
	size_t nr = 0;
	int r;

	session_init(&n, w, req, generation, "features");
	r = req->features ? session_begin_bare(&n, &err) : cr_refuse(&err, -EINVAL, "the request has no features");
	if (r == 0 && pidfds) {
		ctx = cr_context_new(&n.opts, &n.obs);
		if (ctx && (cr_check(ctx, &rows, &nr, &err) == 0 || nr))
			f.pidfd_store = has_pidfd_store(rows, nr);
		else
			r = -ENOSYS;
	}
	resp.success = r == 0;
	resp.features = r == 0 ? &f : NULL;
	r = session_answer(&n, &resp);
	cr_context_free(ctx);
	session_done(&n);
	return r < 0 ? WORKER_ILLEGAL : WORKER_DONE;
}

int verb_wait_pid(struct worker *w, const rpc_criu_req *req, enum rpc_generation generation)
{
	rpc_criu_resp resp = { .type = rpc_criu_req_type_WAIT_PID };
	struct session n;
	pid_t pid = req->has_pid && req->pid <= INT32_MAX ? (pid_t)req->pid : 0;
	int status, r;

	session_init(&n, w, req, generation, "wait");
	do {
		r = pid > 0 ? waitpid(pid, &status, 0) : -1;
	} while (pid > 0 && r < 0 && errno == EINTR);
	if (r > 0) {
		resp.success = resp.has_status = true;
		resp.status = status;
	}
	r = session_answer(&n, &resp);
	session_done(&n);
	return r < 0 ? WORKER_ILLEGAL : WORKER_DONE;
}

static const char *unknown_why(rpc_criu_req_type type)
{
	switch (type) {
	case rpc_criu_req_type_PRE_DUMP:
	case rpc_criu_req_type_SINGLE_PRE_DUMP:
		return "pre-dumps are not supported yet by this version";
	case rpc_criu_req_type_PAGE_SERVER:
	case rpc_criu_req_type_PAGE_SERVER_CHLD:
		return "page servers are not supported yet by this version";
	case rpc_criu_req_type_CPUINFO_DUMP:
	case rpc_criu_req_type_CPUINFO_CHECK:
		return "cpuinfo requests are not supported yet by this version";
	default:
		return "unknown or misplaced type of request";
	}
}

int verb_unknown(struct worker *w, const rpc_criu_req *req, enum rpc_generation generation)
{
	rpc_criu_resp resp = { .type = rpc_criu_req_type_EMPTY };
	struct cr_error err = { 0 };
	struct session n;

	session_init(&n, w, req, generation, "service");
	cr_refuse(&err, -ENOTSUP, "%s", unknown_why(req->type));
	n.ready = true; /* it is not the options that are wrong */
	session_fail(&n, &err, NULL, &resp);
	session_answer(&n, &resp);
	session_done(&n);
	return WORKER_ILLEGAL;
}

/* Requests that ask and change nothing: CHECK, FEATURE_CHECK, VERSION, WAIT_PID; and the answer to what is no request. */
#include "verbs.h"

#include "base/own.h"
#include "options/version.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434 /* 5.3 */
#endif

/* Options are looked at only if they name a log file. */
int verb_check(struct worker *w, const rpc_criu_req *req)
{
	bool options = req->opts && req->opts->log_file && !(req->opts->has_log_to_stderr && req->opts->log_to_stderr);
	rpc_criu_resp resp = { .type = rpc_criu_req_type_CHECK, .success = true };
	const struct cr_check_row *rows;
	struct cr_context *ctx = NULL;
	struct cr_error err = { 0 };
	struct session n;
	size_t nr;
	int r;

	session_init(&n, w, req, "check");
	r = options ? session_begin(&n, COMMAND_CHECK, &err) : session_begin_bare(&n, &err);
	if (r == 0)
		r = verb_check_rights(&n, &err);
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

int verb_version(struct worker *w, const rpc_criu_req *req)
{
	rpc_criu_version version = { .major_number = CR_COMPAT_MAJOR, .minor_number = CR_COMPAT_MINOR };
	rpc_criu_resp resp = { .type = rpc_criu_req_type_VERSION, .success = true, .version = &version };
	struct session n;
	int r;

	session_init(&n, w, req, "version");
	r = session_answer(&n, &resp);
	session_done(&n);
	return r < 0 ? WORKER_ILLEGAL : WORKER_DONE;
}

/* A member is true if it was asked for and works. */
int verb_features(struct worker *w, const rpc_criu_req *req)
{
	rpc_criu_features f = { .has_mem_track = true, .has_lazy_pages = true, .has_pidfd_store = true };
	rpc_criu_resp resp = { .type = rpc_criu_req_type_FEATURE_CHECK };
	struct cr_context *ctx = NULL;
	struct cr_error err = { 0 };
	struct cr_check_row row;
	struct session n;
	int r;

	session_init(&n, w, req, "features");
	r = req->features ? session_begin_bare(&n, &err) : cr_refuse(&err, -EINVAL, "the request has no features");
	if (r == 0) {
		ctx = cr_context_new(&n.opts, &n.obs);
		r = ctx ? 0 : cr_fail(&err, -ENOMEM, "begin");
	}
	if (r < 0) {
		session_fail(&n, &err, NULL, &resp);
	} else {
		if (req->features->has_pidfd_store && req->features->pidfd_store)
			f.pidfd_store = cr_check_feature(ctx, "pidfd_store", &row) == 0 && row.result == 0;
		if (req->features->has_mem_track && req->features->mem_track)
			f.mem_track = cr_check_feature(ctx, "mem_dirty_track", &row) == 0 && row.result == 0;
		if (req->features->has_lazy_pages && req->features->lazy_pages)
			f.lazy_pages = cr_check_feature(ctx, "uffd-noncoop", &row) == 0 && row.result == 0;
		resp.success = true;
		resp.features = &f;
	}
	r = session_answer(&n, &resp);
	cr_context_free(ctx);
	session_done(&n);
	return r < 0 ? WORKER_ILLEGAL : WORKER_DONE;
}

/*
 * Until the process has ended, or the client has hung up: a server to which nobody ever connects would hold the worker,
 * and its place in the service, for nobody. A client that has only said its last word (shutdown(2)) waits for the answer.
 * Return: 0; -ECANCELED it has hung up; negative errno.
 */
static int wait_for_end(int sock, pid_t pid)
{
	autofd int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd fds[] = { { .fd = pidfd, .events = POLLIN }, { .fd = sock } };
	int r;

	if (pidfd < 0)
		return errno == ENOSYS ? 0 : -errno;
	do {
		r = poll(fds, 2, -1);
	} while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : fds[0].revents ? 0 : -ECANCELED;
}

static int wait_for(int sock, const rpc_criu_req *req, int *ret_status, struct cr_error *err)
{
	siginfo_t info;
	int r;

	if (!req->has_pid)
		return cr_refuse(err, -EINVAL, "the request has no pid");
	if (req->pid == 0 || req->pid > INT32_MAX)
		return cr_refuse(err, -EINVAL, "%u is no process", req->pid);
	r = waitid(P_PID, req->pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0 ? -errno : 0;
	if (r == 0)
		r = wait_for_end(sock, (pid_t)req->pid);
	while (r == 0 && waitpid((pid_t)req->pid, ret_status, 0) < 0)
		r = errno == EINTR ? 0 : -errno;
	return r < 0 ? cr_fail(err, r, "wait for process %u, started by this connection", req->pid) : 0;
}

int verb_wait_pid(struct worker *w, const rpc_criu_req *req)
{
	rpc_criu_resp resp = { .type = rpc_criu_req_type_WAIT_PID };
	struct cr_error err = { 0 };
	struct session n;
	int status = 0, r;

	session_init(&n, w, req, "wait");
	r = wait_for(w->sock, req, &status, &err);
	if (r < 0) {
		session_fail(&n, &err, NULL, &resp);
	} else {
		resp.success = resp.has_status = true;
		resp.status = status;
	}
	r = session_answer(&n, &resp);
	session_done(&n);
	return r < 0 ? WORKER_ILLEGAL : WORKER_DONE;
}

/* Of a message that did not decode nothing is known, and of one in the wrong place nothing is looked at. */
int verb_refuse(struct worker *w, const struct cr_error *err)
{
	static const rpc_criu_req none = { .type = rpc_criu_req_type_EMPTY };
	rpc_criu_resp resp = { .type = rpc_criu_req_type_EMPTY };
	struct session n;

	session_init(&n, w, &none, "service");
	session_fail(&n, err, NULL, &resp);
	session_answer(&n, &resp);
	session_done(&n);
	return WORKER_ILLEGAL;
}

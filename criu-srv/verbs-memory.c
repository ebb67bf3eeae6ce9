/* Pre-dumps and page servers: the requests around a dump that move memory; see verbs.h. */
#include "verbs.h"
#include "aside.h"
#include "notify.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* A pre-dump has no stages that anybody is told of, so neither client nor scripts are asked: section "PRE_DUMP" of criu(8). */
static int pre_dump(struct worker *w, const rpc_criu_req *req, struct aside *a)
{
	rpc_criu_resp resp = { .type = req->type, .success = true };
	struct cr_dump_result res = { 0 };
	struct cr_context *ctx = NULL;
	struct cr_error err = { 0 };
	struct session n;
	int r;

	session_init(&n, w, req, "pre-dump");
	r = verb_prepare(&n, COMMAND_PRE_DUMP, &err);
	if (r == 0)
		r = verb_target(&n, &err);
	if (r == 0) {
		n.obs.notify = NULL;
		n.obs.give_fd = NULL;
		n.opts.guard = a->worker;
		ctx = cr_context_new(&n.opts, &n.obs);
		r = ctx ? cr_pre_dump(ctx, &res, &err) : cr_fail(&err, -ENOMEM, "begin");
	}
	if (r < 0)
		session_fail(&n, &err, ctx ? cr_obstacles(ctx) : NULL, &resp);
	else
		verb_log_stats(&n, false);
	if (session_answer(&n, &resp) < 0)
		r = -EPIPE;
	cr_context_free(ctx);
	session_done(&n);
	a->err = err;
	return r < 0 ? WORKER_ILLEGAL : WORKER_DONE;
}

int verb_pre_dump(struct worker *w, const rpc_criu_req *req)
{
	/* a client that has lost a pre-dump begins anew, whatever the reason */
	return aside_run(w, req, req->type, ASIDE_TASK, pre_dump) == WORKER_DONE ? WORKER_DONE : WORKER_ILLEGAL;
}

struct server {
	struct session n;
	struct aside *a;
};

/* The answer to both types of request has the type of one: clients compare it with that. */
static int answer_listening(void *arg, uint16_t port, struct cr_error *err)
{
	struct server *v = arg;
	rpc_criu_page_server_info ps = { .has_pid = true, .pid = getpid(), .has_port = true, .port = port };
	rpc_criu_resp resp = { .type = rpc_criu_req_type_PAGE_SERVER, .success = true, .ps = &ps };
	int r = notify_stage(&v->n, "status-ready", 0);

	if (r < 0)
		return cr_refuse(err, r, "the client has refused the page server");
	r = session_answer(&v->n, &resp);
	if (r < 0)
		return cr_fail(err, r, "tell the port");
	aside_say(v->a, WORKER_DONE);
	/* the connection is the worker's: its end must not wait for that of this process */
	close(v->n.w->sock);
	v->n.w->sock = -1;
	return 0;
}

static int page_server(struct worker *w, const rpc_criu_req *req, struct aside *a)
{
	rpc_criu_resp resp = { .type = rpc_criu_req_type_PAGE_SERVER };
	struct server v = { .a = a };
	struct cr_context *ctx = NULL;
	struct cr_error err = { 0 };
	int r;

	session_init(&v.n, w, req, "page-server");
	r = verb_prepare(&v.n, COMMAND_PAGE_SERVER, &err);
	if (r == 0)
		r = policy_page_server(&w->peer.who, &err);
	if (r == 0) {
		ctx = cr_context_new(&v.n.opts, &v.n.obs);
		r = ctx ? cr_page_server(ctx, answer_listening, &v, &err) : cr_fail(&err, -ENOMEM, "begin");
	}
	if (r < 0) {
		session_fail(&v.n, &err, NULL, &resp);
		/* once the client knows of the server, its end is all that it hears */
		if (a->said_fd >= 0)
			session_answer(&v.n, &resp);
	}
	cr_context_free(ctx);
	session_done(&v.n);
	a->err = err;
	return r < 0 ? WORKER_FAILED : WORKER_DONE;
}

/* A failure that was answered leaves the connection as it is, like that of any other request that may be followed. */
int verb_page_server(struct worker *w, const rpc_criu_req *req)
{
	enum aside_kind kind = req->type == rpc_criu_req_type_PAGE_SERVER ? ASIDE_DAEMON : ASIDE_CHILD;
	int code = aside_run(w, req, rpc_criu_req_type_PAGE_SERVER, kind, page_server);

	return code == WORKER_FAILED ? WORKER_DONE : code;
}

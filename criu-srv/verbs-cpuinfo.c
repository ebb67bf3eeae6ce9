/* CPUINFO_DUMP and CPUINFO_CHECK; see verbs.h. */
#include "verbs.h"
#include "aside.h"

#include <errno.h>

static int cpuinfo(struct worker *w, const rpc_criu_req *req, struct aside *a)
{
	bool dump = req->type == rpc_criu_req_type_CPUINFO_DUMP;
	rpc_criu_resp resp = { .type = req->type, .success = true };
	struct cr_context *ctx = NULL;
	struct cr_error err = { 0 };
	struct session n;
	int r;

	session_init(&n, w, req, "cpuinfo");
	r = session_begin(&n, COMMAND_CPUINFO, &err);
	if (r == 0) {
		ctx = cr_context_new(&n.opts, &n.obs);
		r = ctx ? 0 : cr_fail(&err, -ENOMEM, "begin");
	}
	if (r == 0)
		r = dump ? cr_cpuinfo_dump(ctx, &err) : cr_cpuinfo_check(ctx, &err);
	if (r < 0)
		session_fail(&n, &err, NULL, &resp);
	r = session_answer(&n, &resp);
	cr_context_free(ctx);
	session_done(&n);
	a->err = err;
	return r < 0 ? WORKER_ILLEGAL : WORKER_DONE;
}

int verb_cpuinfo(struct worker *w, const rpc_criu_req *req)
{
	int code = aside_run(w, req, req->type, ASIDE_TASK, cpuinfo);

	return code == WORKER_FAILED ? WORKER_DONE : code;
}

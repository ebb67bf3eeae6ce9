/* Stage notifications; see notify.h. */
#include "notify.h"
#include "session.h"
#include "transport.h"

#include "options/table.h"

#include <errno.h>
#include <string.h>

/* The answer to query-ext-files may name resources that the client knows of only now. */
static int take_externals(struct session *n, const rpc_criu_opts *opts, struct cr_error *err)
{
	const struct option_row *row = option_find("external");
	int r = 0;

	for (size_t i = 0; opts && i < opts->external.nr && r == 0; i++)
		r = option_set(&n->s, row, false, opts->external.items[i], ORIGIN_REQUEST, err);
	return r;
}

static int ask(struct session *n, const char *script, pid_t pid, struct cr_error *err)
{
	rpc_criu_notify what = { .script = (char *)script, .has_pid = pid > 0, .pid = pid };
	rpc_criu_resp resp = { .type = rpc_criu_req_type_NOTIFY, .success = true, .notify = &what };
	enum rpc_generation generation;
	rpc_criu_req *ack = NULL;
	int r = transport_send(n->w->sock, &resp, n->generation, err);

	if (r == 0)
		r = transport_receive(n->w->sock, &ack, &generation, err);
	if (r > 0)
		return cr_refuse(err, -ECANCELED, "the client has closed the connection");
	if (r < 0)
		return r;
	if (ack->type != rpc_criu_req_type_NOTIFY || !ack->has_notify_success || !ack->notify_success)
		r = cr_refuse(err, -ECANCELED, "the client has refused");
	else if (strcmp(script, "query-ext-files") == 0)
		r = take_externals(n, ack->opts, err);
	rpc_req_free(ack);
	return r;
}

int notify_stage(void *arg, const char *script, pid_t pid)
{
	struct session *n = arg;
	struct cr_log log = log_sink_log(&n->sink);
	struct cr_error err = { 0 };

	if (n->s.rpc.notify_scripts && ask(n, script, pid, &err) < 0) {
		log_error(&log, "notification %s: %s", script, err.text);
		return -ECANCELED;
	}
	if (strcmp(script, "query-ext-files") == 0 || strcmp(script, "orphan-pts-master") == 0)
		return 0; /* for clients only */
	return scripts_run(&n->scripts, script, pid, &log);
}

void notify_setup(struct session *n)
{
	if (n->s.rpc.notify_scripts || n->s.scripts.nr)
		n->obs.notify = notify_stage;
}

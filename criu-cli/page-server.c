/* criu page-server */
#include "cli.h"
#include "ready.h"

#include <errno.h>

/* Whoever gave no port has to hear which one it is, while there is somebody to say it to. */
static int listening(void *arg, uint16_t port, struct cr_error *err)
{
	struct cli *c = arg;
	struct cr_log log = log_sink_log(&c->sink);

	log_info(&log, "Starting page server on port %u", port);
	if (port && !c->s->rpc.ps->has_port) {
		printf("Listening on port %u\n", port);
		fflush(stdout);
	}
	return server_ready(c, err);
}

int cli_page_server(struct cli *c)
{
	struct cr_error err = { 0 };
	struct cr_context *ctx = cr_context_new(&c->opts, &c->obs);
	int r = ctx ? cr_page_server(ctx, listening, c, &err) : cr_fail(&err, -ENOMEM, "begin");

	report_progress_end(&c->progress);
	if (r < 0)
		report_failure(c, &err, NULL, NULL);
	cr_context_free(ctx);
	return r == 0 ? 0 : CLI_FAILED;
}

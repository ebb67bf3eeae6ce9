/* criu lazy-pages */
#include "cli.h"
#include "ready.h"

#include <errno.h>

static int listening(void *arg, struct cr_error *err)
{
	return server_ready(arg, err);
}

int cli_lazy_pages(struct cli *c)
{
	struct cr_error err = { 0 };
	struct cr_context *ctx = cr_context_new(&c->opts, &c->obs);
	int r = ctx ? cr_lazy_pages(ctx, listening, c, &err) : cr_fail(&err, -ENOMEM, "begin");

	if (r < 0)
		report_failure(c, &err, NULL, NULL);
	cr_context_free(ctx);
	return r == 0 ? 0 : CLI_FAILED;
}

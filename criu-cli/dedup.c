/* criu dedup */
#include "cli.h"

#include <errno.h>

int cli_dedup(struct cli *c)
{
	struct cr_error err = { 0 };
	struct cr_context *ctx = cr_context_new(&c->opts, &c->obs);
	int r = ctx ? cr_dedup(ctx, &err) : cr_fail(&err, -ENOMEM, "begin");

	if (r < 0)
		report_failure(c, &err, NULL, NULL);
	cr_context_free(ctx);
	return r == 0 ? 0 : CLI_FAILED;
}

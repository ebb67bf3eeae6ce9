/* criu pre-dump and criu dedup: what goes on around the dumps of an incremental series. */
#include "cli.h"
#include "options/shield.h"

#include <errno.h>

int cli_pre_dump(struct cli *c)
{
	struct cr_error err = { 0 };
	struct cr_dump_result res = { 0 };
	struct cr_context *ctx;
	int r;

	if (c->opts.pid <= 0) {
		cr_refuse(&err, -EINVAL, "pid not specified");
		cr_advise(&err, "name the root of the process tree with --tree (-t)");
		report_failure(c, &err, NULL, NULL);
		return CLI_FAILED;
	}
	c->opts.guard = shield_raise(&c->opts.leftovers);
	/* nobody is asked or told during a pre-dump, scripts neither */
	c->obs.notify = NULL;
	ctx = cr_context_new(&c->opts, &c->obs);
	r = ctx ? cr_pre_dump(ctx, &res, &err) : cr_fail(&err, -ENOMEM, "begin");
	report_progress_end(&c->progress);
	if (r < 0)
		report_failure(c, &err, ctx ? cr_obstacles(ctx) : NULL, "Pre-dumping FAILED.");
	else
		report_stats(c);
	cr_context_free(ctx);
	return r == 0 ? 0 : CLI_FAILED;
}

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

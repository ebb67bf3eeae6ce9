/* criu dump and criu pre-dump */
#include "cli.h"
#include "json.h"
#include "options/shield.h"

#include <errno.h>
#include <inttypes.h>

static void print_json(const struct cli *c, const struct cr_dump_result *res)
{
	printf("{\"command\":\"%s\",\"success\":true,\"pid\":%d,\"frozen_us\":%" PRIu64 ",\"pages_written\":%" PRIu64
	       ",\"bytes_written\":%" PRIu64 "}\n",
	       command_name(c->command), (int)c->opts.pid, res->frozen_us, res->pages_written, res->bytes_written);
}

/* Return: NULL after it was reported why not */
static struct cr_context *begin(struct cli *c)
{
	struct cr_error err = { 0 };
	struct cr_context *ctx = NULL;

	if (c->opts.pid <= 0) {
		cr_refuse(&err, -EINVAL, "pid not specified");
		cr_advise(&err, "name the root of the process tree with --tree (-t)");
	} else {
		c->opts.guard = shield_raise(&c->opts.leftovers);
		ctx = cr_context_new(&c->opts, &c->obs);
		if (!ctx)
			cr_fail(&err, -ENOMEM, "begin");
	}
	if (!ctx)
		report_failure(c, &err, NULL, NULL);
	return ctx;
}

static int run(struct cli *c, int (*verb)(struct cr_context *ctx, struct cr_dump_result *ret, struct cr_error *err),
	       const char *marker)
{
	struct cr_error err = { 0 };
	struct cr_dump_result res = { 0 };
	struct cr_context *ctx = begin(c);
	int r;

	if (!ctx)
		return CLI_FAILED;
	r = verb(ctx, &res, &err);
	report_progress_end(&c->progress);
	if (r < 0) {
		report_failure(c, &err, cr_obstacles(ctx), marker);
	} else {
		report_stats(c);
		if (c->s->json)
			print_json(c, &res);
	}
	cr_context_free(ctx);
	return r == 0 ? 0 : c->script_exit ? c->script_exit : CLI_FAILED;
}

int cli_dump(struct cli *c)
{
	return run(c, cr_dump, "Dumping FAILED.");
}

int cli_pre_dump(struct cli *c)
{
	/* nobody is asked or told during a pre-dump, scripts neither */
	c->obs.notify = NULL;
	return run(c, cr_pre_dump, "Pre-dumping FAILED.");
}

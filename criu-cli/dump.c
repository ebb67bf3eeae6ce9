/* criu dump */
#include "cli.h"
#include "json.h"
#include "options/shield.h"

#include <errno.h>
#include <inttypes.h>

static void print_json(const struct cli *c, const struct cr_dump_result *res)
{
	printf("{\"command\":\"dump\",\"success\":true,\"pid\":%d,\"frozen_us\":%" PRIu64 ",\"pages_written\":%" PRIu64
	       ",\"bytes_written\":%" PRIu64 "}\n",
	       (int)c->opts.pid, res->frozen_us, res->pages_written, res->bytes_written);
}

int cli_dump(struct cli *c)
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
	ctx = cr_context_new(&c->opts, &c->obs);
	if (!ctx) {
		cr_fail(&err, -ENOMEM, "begin");
		report_failure(c, &err, NULL, NULL);
		return CLI_FAILED;
	}
	r = cr_dump(ctx, &res, &err);
	report_progress_end(&c->progress);
	if (r < 0) {
		report_failure(c, &err, cr_obstacles(ctx), "Dumping FAILED.");
	} else {
		report_stats(c);
		if (c->s->json)
			print_json(c, &res);
	}
	cr_context_free(ctx);
	return r == 0 ? 0 : c->script_exit ? c->script_exit : CLI_FAILED;
}

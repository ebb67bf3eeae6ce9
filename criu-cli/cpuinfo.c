/* criu cpuinfo dump, criu cpuinfo check */
#include "cli.h"

#include <errno.h>
#include <string.h>

/* What scripts know of a failed dump */
#define DUMP_FAILED 255

static int fail(struct cli *c, const struct cr_error *err, int code)
{
	report_failure(c, err, NULL, NULL);
	return code;
}

int cli_cpuinfo(struct cli *c)
{
	const char *action = c->args->nr_words > 1 ? c->args->words[1] : "";
	bool dump = strcmp(action, "dump") == 0;
	struct cr_error err = { 0 };
	struct cr_context *ctx;
	int r;

	if (!dump && strcmp(action, "check") != 0) {
		cr_refuse(&err, -EINVAL, "cpuinfo needs an action: dump or check");
		return fail(c, &err, CLI_FAILED);
	}
	ctx = cr_context_new(&c->opts, &c->obs);
	if (ctx)
		r = dump ? cr_cpuinfo_dump(ctx, &err) : cr_cpuinfo_check(ctx, &err);
	else
		r = cr_fail(&err, -ENOMEM, "begin");
	cr_context_free(ctx);
	return r < 0 ? fail(c, &err, dump ? DUMP_FAILED : CLI_FAILED) : 0;
}

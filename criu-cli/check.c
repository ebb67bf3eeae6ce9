/* criu check: the kernel's features, or what stands in the way of dumping one tree */
#include "cli.h"
#include "json.h"

#include "base/obstacle.h"

#include <errno.h>
#include <string.h>

static void print_json(const struct cr_check_row *rows, size_t nr, bool good)
{
	printf("{\"command\":\"check\",\"success\":%s,\"features\":[", good ? "true" : "false");
	for (size_t i = 0; i < nr; i++) {
		printf("%s{\"name\":", i ? "," : "");
		json_text(stdout, rows[i].name);
		printf(",\"needed\":%s,\"present\":%s,\"errno\":%d,\"since\":", rows[i].needed ? "true" : "false",
		       rows[i].result == 0 ? "true" : "false", -rows[i].result);
		json_text(stdout, rows[i].since ? rows[i].since : "");
		fputs(",\"loss\":", stdout);
		json_text(stdout, rows[i].loss ? rows[i].loss : "");
		fputc('}', stdout);
	}
	fputs("]}\n", stdout);
}

static int check_feature(struct cli *c, struct cr_context *ctx)
{
	const char *name = c->s->feature;
	struct cr_error err = { 0 };
	struct cr_check_row row;

	if (cr_check_feature(ctx, name, &row) < 0) {
		cr_refuse(&err, -EINVAL, "Unknown feature %s", name);
	} else if (row.result < 0) {
		cr_fail(&err, row.result, "feature %s (Linux %s) is not there", name, row.since ? row.since : "");
	} else {
		if (c->s->json)
			print_json(&row, 1, true);
		else
			printf("%s is supported\n", name);
		return 0;
	}
	report_failure(c, &err, NULL, NULL);
	return CLI_FAILED;
}

static void print_rows(const struct cr_check_row *rows, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		printf("  %-26s %-4s %s\n", rows[i].name, rows[i].result == 0 ? "yes" : "no",
		       rows[i].result == 0 || !rows[i].loss ? "" : rows[i].loss);
}

static int print_all(struct cli *c, const struct cr_check_row *rows, size_t nr, bool more)
{
	struct cr_log log = log_sink_log(&c->sink);
	bool good = true, complete = true;

	for (size_t i = 0; i < nr; i++) {
		if (rows[i].result == 0 || (!rows[i].needed && !more))
			continue;
		good = good && !rows[i].needed;
		complete = false;
		log_warn(&log, "%s (Linux %s) is not there: %s; %s", rows[i].name, rows[i].since ? rows[i].since : "",
			 strerrordesc_np(-rows[i].result), rows[i].loss ? rows[i].loss : "");
	}
	if (!good)
		log_warn(&log, "Does not look good.");
	else if (!complete && !c->s->json)
		puts("Looks good but some kernel features are missing\nwhich, depending on your process tree, may "
		     "cause\n"
		     "dump or restore failure.");
	else if (!c->s->json)
		puts("Looks good.");
	if (c->s->json)
		print_json(rows, nr, complete);
	else if (more)
		print_rows(rows, nr);
	return good && complete ? 0 : CLI_FAILED;
}

static int check_kernel(struct cli *c, struct cr_context *ctx)
{
	const struct cr_check_row *rows = NULL;
	struct cr_error err = { 0 };
	size_t nr = 0;
	int r;

	if (c->s->feature)
		return check_feature(c, ctx);
	r = cr_check(ctx, &rows, &nr, &err);
	if (r < 0 && !nr) {
		report_failure(c, &err, NULL, NULL);
		return CLI_FAILED;
	}
	return print_all(c, rows, nr, c->s->extra || c->s->experimental || c->s->all);
}

static int check_tree(struct cli *c, struct cr_context *ctx)
{
	struct cr_error err = { 0 };
	const struct obstacles *list;
	int r = cr_check_tree(ctx, &err);

	list = cr_obstacles(ctx);
	if (r < 0 && (r != -EBUSY || !list || !list->nr)) {
		report_failure(c, &err, list, NULL);
		return CLI_FAILED;
	}
	if (c->s->json) {
		printf("{\"command\":\"check\",\"success\":%s,\"pid\":%d,\"obstacles\":", r == 0 ? "true" : "false",
		       (int)c->opts.pid);
		json_obstacles(stdout, list);
		fputs("}\n", stdout);
	} else if (r == 0) {
		printf("Process tree %d can be dumped.\n", (int)c->opts.pid);
	} else {
		printf("Process tree %d cannot be dumped as it is:\n", (int)c->opts.pid);
		report_obstacles(stdout, list);
	}
	return r == 0 ? 0 : CLI_FAILED;
}

int cli_check(struct cli *c)
{
	struct cr_context *ctx = cr_context_new(&c->opts, &c->obs);
	struct cr_error err = { 0 };
	int code;

	if (!ctx) {
		cr_fail(&err, -ENOMEM, "begin");
		report_failure(c, &err, NULL, NULL);
		return CLI_FAILED;
	}
	code = c->s->rpc.has_pid ? check_tree(c, ctx) : check_kernel(c, ctx);
	cr_context_free(ctx);
	return code;
}

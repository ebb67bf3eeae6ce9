#include "kernel/context.h"

#include <stdlib.h>

struct cr_context *cr_context_new(const struct cr_options *opts, const struct cr_observer *obs)
{
	struct cr_context *ctx = calloc(1, sizeof(*ctx));

	if (!ctx)
		return NULL;
	ctx->opts = opts;
	ctx->obs = obs;
	if (obs)
		ctx->log = obs->log;
	return ctx;
}

void cr_context_free(struct cr_context *ctx)
{
	if (!ctx)
		return;
	obstacles_done(&ctx->obstacles);
	free(ctx->check_rows);
	free(ctx);
}

const struct obstacles *cr_obstacles(const struct cr_context *ctx)
{
	return &ctx->obstacles;
}

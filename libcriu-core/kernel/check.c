/* `check`: every feature asked, one row each. */
#include "base/error.h"
#include "kernel/context.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct cr_check_row row_of(struct cr_context *ctx, enum kernel_feature f)
{
	const struct kernel_feature_info *info = kernel_feature_info(f);

	return (struct cr_check_row){
		.name = info->name,
		.since = info->since,
		.needed = info->needed,
		.loss = info->loss,
		.result = kernel_why(&ctx->probes, f),
	};
}

int cr_check_feature(struct cr_context *ctx, const char *name, struct cr_check_row *ret)
{
	for (int f = 0; f < KERNEL_NR_FEATURES; f++) {
		if (strcmp(kernel_feature_info(f)->name, name) != 0)
			continue;
		*ret = row_of(ctx, f);
		return 0;
	}
	return -ENOENT;
}

int cr_check(struct cr_context *ctx, const struct cr_check_row **ret_rows, size_t *ret_nr, struct cr_error *err)
{
	const struct cr_check_row *missing = NULL;

	if (!ctx->check_rows)
		ctx->check_rows = calloc(KERNEL_NR_FEATURES, sizeof(*ctx->check_rows));
	if (!ctx->check_rows)
		return cr_fail(err, -ENOMEM, "check the kernel");
	for (int f = 0; f < KERNEL_NR_FEATURES; f++) {
		struct cr_check_row *row = &ctx->check_rows[f];

		*row = row_of(ctx, f);
		if (row->needed && row->result < 0 && !missing)
			missing = row;
	}
	ctx->nr_check_rows = KERNEL_NR_FEATURES;
	*ret_rows = ctx->check_rows;
	*ret_nr = ctx->nr_check_rows;
	if (missing)
		return cr_refuse(err, -ENOSYS, "the kernel lacks %s (Linux %s and later): %s", missing->name,
				 missing->since, missing->loss);
	return 0;
}

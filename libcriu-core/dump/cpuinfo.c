/* `cpuinfo dump`: the processor alone, without any process. */
#include "image/cpuinfo.h"
#include "kernel/context.h"

int cr_cpuinfo_dump(struct cr_context *ctx, struct cr_error *err)
{
	return cpuinfo_write(ctx->opts->images_dirfd, err);
}

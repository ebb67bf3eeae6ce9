/* `cpuinfo check`: can images of that processor be restored on this one? */
#include "image/cpuinfo.h"
#include "kernel/context.h"

int cr_cpuinfo_check(struct cr_context *ctx, struct cr_error *err)
{
	return cpuinfo_check(ctx->opts->images_dirfd, cpuinfo_caps(ctx->opts->rpc), err);
}

/* Verbs that store memory ahead of a dump, or on another machine. */
#include "kernel/context.h"

#include <errno.h>

int cr_pre_dump(struct cr_context *ctx, struct cr_dump_result *ret, struct cr_error *err)
{
	(void)ctx;
	(void)ret;
	cr_refuse(err, -EOPNOTSUPP, "pre-dumps are not supported yet by this version: it has no images with a parent");
	cr_advise(err, "make a full dump");
	return -EOPNOTSUPP;
}

int cr_page_server(struct cr_context *ctx, int (*listening)(void *arg, uint16_t port, struct cr_error *err), void *arg,
		   struct cr_error *err)
{
	(void)ctx;
	(void)listening;
	(void)arg;
	cr_refuse(err, -EOPNOTSUPP, "page servers are not supported yet by this version");
	cr_advise(err, "dump into a directory that both machines have");
	return -EOPNOTSUPP;
}

/* Extended attributes, xattr(7), of files that are made again: access control lists, capabilities, and what users have put there. */
#ifndef CR_FILES_XATTR_H
#define CR_FILES_XATTR_H

#include "base/error.h"
#include "base/pool.h"
#include "proto/images.h"

#include <stdbool.h>

struct cr_context;

/** xattrs_read() - of what @fd refers to, which may be O_PATH; @ret is from @pool, empty where the file system has none */
int xattrs_read(struct pool *pool, int fd, struct img_xattr_vec *ret, struct cr_error *err);

/** xattrs_check() - of an image: names and sizes as the kernel allows them */
int xattrs_check(const struct img_xattr_vec *v, struct cr_error *err);

/**
 * xattrs_set() - all that @fd does not have yet. One that cannot be set is lost, with a warning about @what.
 * A client that is not root gets those only that he could set himself: images may claim any capability.
 */
void xattrs_set(struct cr_context *ctx, int fd, const struct img_xattr_vec *v, const char *what);

#endif

#include "files/xattr.h"

#include "base/own.h"
#include "kernel/context.h"

#include <errno.h>
#include <linux/limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#define FD_PATH 40

/* By way of procfs: fgetxattr(2) and the like do not take O_PATH. */
static const char *fd_path(int fd, char buf[static FD_PATH])
{
	snprintf(buf, FD_PATH, "/proc/self/fd/%d", fd);
	return buf;
}

static bool is_none(int code)
{
	return code == EOPNOTSUPP || code == ENODATA;
}

/* -------------------------------------------------------------------- dump */

static int read_one(struct pool *pool, const char *path, const char *name, char *buf, struct img_xattr_vec *v,
		    struct cr_error *err)
{
	ssize_t len = getxattr(path, name, buf, XATTR_SIZE_MAX);
	void *items = v->items;
	img_xattr *x;

	if (len < 0)
		return is_none(errno) ? 0 : cr_fail(err, -errno, "read extended attribute %s", name);
	x = pool_vec_add(pool, &items, &v->nr, sizeof(*x));
	if (!x)
		return cr_fail(err, -ENOMEM, "list extended attributes");
	v->items = items;
	x->name = pool_text(pool, name, strlen(name));
	x->value = (struct proto_bytes){ (const uint8_t *)pool_text(pool, buf, (size_t)len), (size_t)len };
	return x->name && x->value.data ? 0 : cr_fail(err, -ENOMEM, "list extended attributes");
}

int xattrs_read(struct pool *pool, int fd, struct img_xattr_vec *ret, struct cr_error *err)
{
	autofree char *names = NULL, *value = NULL;
	char path[FD_PATH];
	ssize_t len = listxattr(fd_path(fd, path), NULL, 0);
	int r = 0;

	if (len <= 0)
		return len == 0 || is_none(errno) ? 0 : cr_fail(err, -errno, "list extended attributes");
	names = malloc(XATTR_LIST_MAX);
	value = malloc(XATTR_SIZE_MAX);
	if (!names || !value)
		return cr_fail(err, -ENOMEM, "list extended attributes");
	len = listxattr(path, names, XATTR_LIST_MAX);
	if (len < 0)
		return cr_fail(err, -errno, "list extended attributes");
	for (ssize_t at = 0; r == 0 && at < len; at += (ssize_t)strlen(names + at) + 1)
		r = read_one(pool, path, names + at, value, ret, err);
	return r;
}

/* ----------------------------------------------------------------- restore */

int xattrs_check(const struct img_xattr_vec *v, struct cr_error *err)
{
	for (size_t i = 0; i < v->nr; i++)
		if (!v->items[i].name[0] || strlen(v->items[i].name) > XATTR_NAME_MAX ||
		    v->items[i].value.len > XATTR_SIZE_MAX)
			return cr_refuse(err, -EBADMSG, "an extended attribute with a name of %zu bytes and a value of %zu",
					 strlen(v->items[i].name), v->items[i].value.len);
	return 0;
}

static bool may_be_set(const struct cr_context *ctx, const char *name)
{
	return !ctx->opts->client_is_peer || strncmp(name, "user.", 5) == 0 || strncmp(name, "system.posix_acl_", 17) == 0;
}

/* A security module has given the file its label already, mostly the same. */
static bool has_it(const char *path, const img_xattr *x)
{
	autofree char *now = malloc(x->value.len + 1);

	return now && getxattr(path, x->name, now, x->value.len + 1) == (ssize_t)x->value.len &&
	       memcmp(now, x->value.data ? x->value.data : (const uint8_t *)"", x->value.len) == 0;
}

void xattrs_set(struct cr_context *ctx, int fd, const struct img_xattr_vec *v, const char *what)
{
	char path[FD_PATH];

	fd_path(fd, path);
	for (size_t i = 0; i < v->nr; i++) {
		const img_xattr *x = &v->items[i];
		int code = 0;

		if (!may_be_set(ctx, x->name))
			code = EPERM;
		else if (setxattr(path, x->name, x->value.data ? x->value.data : (const uint8_t *)"", x->value.len, 0) < 0)
			code = errno;
		if (code && !has_it(path, x))
			log_warn(&ctx->log, "%s: extended attribute %s cannot be set (%s), continuing without it", what, x->name,
				 strerror(code));
	}
}

#include "net/sock-inode.h"

#include "files/dump-internal.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define FRESH_MODE 0777u /* sock_alloc() in net/socket.c */

int sock_inode_dump(struct file_table *t, const struct open_file *f, img_sk_opts_entry *o, struct cr_error *err)
{
	const struct stat *st = &f->facts.st;
	bool ip = f->facts.sk_family == AF_INET || f->facts.sk_family == AF_INET6;

	if (ip && (st->st_mode & 07777) == FRESH_MODE)
		return 0;
	if (!o->ext && !(o->ext = pool_new(&t->pool, img_sk_opts_ext)))
		return pool_failed(err);
	o->ext->has_mode = (st->st_mode & 07777) != FRESH_MODE;
	o->ext->mode = st->st_mode & 07777;
	/* whoever restores it is the owner of a new one, so also root has to be named */
	o->ext->has_uid = o->ext->has_gid = !ip;
	o->ext->uid = st->st_uid;
	o->ext->gid = st->st_gid;
	return 0;
}

bool sock_inode_check(const img_sk_opts_entry *o)
{
	const img_sk_opts_ext *x = o->ext;

	/* -1 is the one that fchown(2) leaves alone */
	return !x || ((!x->has_mode || x->mode <= 07777) && (!x->has_uid || x->uid != UINT32_MAX) &&
		      (!x->has_gid || x->gid != UINT32_MAX));
}

int sock_inode_restore(struct cr_context *ctx, int fd, const img_sk_opts_entry *o, struct cr_error *err)
{
	const img_sk_opts_ext *x = o->ext;
	struct stat st;

	if (!x || !(x->has_mode || (x->has_uid && x->has_gid)))
		return 0;
	if (fstat(fd, &st) < 0)
		return cr_fail(err, -errno, "look at a socket");
	if (x->has_uid && x->has_gid && (st.st_uid != x->uid || st.st_gid != x->gid) && fchown(fd, x->uid, x->gid) < 0)
		log_warn(&ctx->log, "a socket cannot be given to uid %u, gid %u (%s), continuing without", x->uid,
			 x->gid, strerror(errno));
	return x->has_mode && fchmod(fd, x->mode) < 0 ? cr_fail(err, -errno, "mode 0%o of a socket", x->mode) : 0;
}

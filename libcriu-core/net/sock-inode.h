/* What fchmod(2) and fchown(2) of a socket change, and fstat(2) shows. The mode is that of a file that bind(2) makes afterwards. */
#ifndef CR_NET_SOCK_INODE_H
#define CR_NET_SOCK_INODE_H

#include "base/error.h"
#include "files/file-ops.h"

struct cr_context;

/** sock_inode_dump() - into @o. The owner of IP sockets is in their own entries. Return: 0; -ENOMEM. */
int sock_inode_dump(struct file_table *t, const struct open_file *f, img_sk_opts_entry *o, struct cr_error *err);

/** sock_inode_check() - of an image. Pure. */
bool sock_inode_check(const img_sk_opts_entry *o);

/** sock_inode_restore() - an owner that we may not give it to is left out, with a warning. Return: 0; negative errno. */
int sock_inode_restore(struct cr_context *ctx, int fd, const img_sk_opts_entry *o, struct cr_error *err);

#endif

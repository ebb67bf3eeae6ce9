/*
 * Options of IP sockets above SOL_SOCKET. Those with a field upstream have it; the others are kept in the member ext when
 * they are not as in a new socket of the same family, type and protocol.
 */
#ifndef CR_NET_INET_OPTIONS_H
#define CR_NET_INET_OPTIONS_H

#include "base/array.h"
#include "base/error.h"
#include "files/file-ops.h"

struct inet_fresh;
struct inet_kind;
DEFINE_VEC(inet_fresh_vec, struct inet_fresh *)

/** inet_fresh_done() - what new sockets of the kinds that were met are like */
void inet_fresh_done(struct inet_fresh_vec *v);

/**
 * inet_options_dump() - fill ip_opts, tcp_opts, v6only and ext of @e, whose family, type, proto and state are set
 * Return: 0; 1 an obstacle was noted; negative errno.
 */
int inet_options_dump(struct file_table *t, struct open_file *f, struct inet_fresh_vec *fresh, img_inet_sk_entry *e,
		      struct cr_error *err);

/** inet_options_check() - of an image. Pure. Return: 0; -EBADMSG. */
int inet_options_check(const img_inet_sk_entry *e, struct cr_error *err);

/**
 * inet_options_restore() - all of them, but for TCP_CORK, which keeps data from being sent
 * @fd: as it was made, not bound yet. @kind: what it has by itself
 */
int inet_options_restore(int fd, const img_inet_sk_entry *e, const struct inet_kind *kind, struct cr_error *err);

/** inet_options_cork() - that one */
int inet_options_cork(int fd, const img_inet_sk_entry *e, struct cr_error *err);

/** inet_ext() - the member ext of @e, made if need be; NULL: -ENOMEM in @err */
img_inet_sk_ext *inet_ext(struct file_table *t, img_inet_sk_entry *e, struct cr_error *err);

#endif

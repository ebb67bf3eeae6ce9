/* What a new IP socket of a kind has by itself, asked once for each kind that a restore makes: what is the same in an image needs no call. */
#ifndef CR_NET_INET_KIND_H
#define CR_NET_INET_KIND_H

#include "base/array.h"
#include "net/sock-opts.h"

#include <stdint.h>

#define INET_UNKNOWN UINT32_MAX /* the kind has no such option */

struct inet_kind {
	uint32_t family, type, proto;
	struct sock_sizes sizes;
	uint32_t ttl, keepcnt, keepidle, keepintvl;
};

DEFINE_VEC(inet_kind_vec, struct inet_kind)

/** inet_kind_of() - @fd: a socket of the kind of @e, made just now. Return: until the next call; NULL memory is short. */
const struct inet_kind *inet_kind_of(struct inet_kind_vec *known, int fd, const img_inet_sk_entry *e);

#endif

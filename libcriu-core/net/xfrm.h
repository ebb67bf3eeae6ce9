/* IPsec policies that belong to sockets, not to the network. */
#ifndef CR_NET_XFRM_H
#define CR_NET_XFRM_H

#include "base/error.h"

#include <stddef.h>

struct xfrm_policies {
	size_t bypass; /* that let packets go in the clear, as key daemons have for their own */
	size_t others; /* that forbid, or ask for protection */
};

/** xfrm_policies_parse() - one packet of answers. Pure. Return: 1 it was the last; 0; negative errno. */
int xfrm_policies_parse(const void *packet, size_t len, struct xfrm_policies *ret);

/**
 * xfrm_policies_read() - those of all sockets of our own network; whose they are nothing tells
 * Return: 0, none where this kernel has none, or we have no CAP_NET_ADMIN; negative errno.
 */
int xfrm_policies_read(struct xfrm_policies *ret, struct cr_error *err);

#endif

/* Messages of type NLMSG_ERROR among the kernel's answers. */
#ifndef CR_NET_NETLINK_ERROR_H
#define CR_NET_NETLINK_ERROR_H

#include <errno.h>
#include <linux/netlink.h>
#include <string.h>

/** netlink_error() - what one says. Return: negative errno; -EPROTO where it is too short, or none. */
static inline int netlink_error(const struct nlmsghdr *h)
{
	int code = 0;

	if (h->nlmsg_len >= NLMSG_LENGTH(sizeof(code)))
		memcpy(&code, NLMSG_DATA(h), sizeof(code));
	return code < 0 && code > -4096 ? code : -EPROTO;
}

#endif

/* The kernel's answers: walking them, and messages of type NLMSG_ERROR among them. */
#ifndef CR_NET_NETLINK_ANSWERS_H
#define CR_NET_NETLINK_ANSWERS_H

#include <errno.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/types.h>

/** netlink_error() - what one says. Return: negative errno; -EPROTO where it is too short, or none. */
static inline int netlink_error(const struct nlmsghdr *h)
{
	int code = 0;

	if (h->nlmsg_len >= NLMSG_LENGTH(sizeof(code)))
		memcpy(&code, NLMSG_DATA(h), sizeof(code));
	return code < 0 && code > -4096 ? code : -EPROTO;
}

/**
 * netlink_walk() - each message of @type in a packet of answers
 * @fn: ends the walk with a negative errno. Return: 1 the last message was among them; 0; negative errno of @fn or of the kernel.
 */
static inline int netlink_walk(const void *packet, size_t len, unsigned int type,
			       int (*fn)(const struct nlmsghdr *h, void *arg), void *arg)
{
	/* signed: the last message may be followed by less than it is rounded up to */
	ssize_t left = (ssize_t)len;
	int r = 0;

	for (const struct nlmsghdr *h = packet; NLMSG_OK(h, left) && r == 0; h = NLMSG_NEXT(h, left)) {
		if (h->nlmsg_type == NLMSG_DONE)
			return 1;
		if (h->nlmsg_type == NLMSG_ERROR)
			return netlink_error(h);
		if (h->nlmsg_type == type)
			r = fn(h, arg);
	}
	return r;
}

#endif

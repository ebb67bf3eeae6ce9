#include "net/xfrm.h"

#include "base/own.h"
#include "net/netlink-answers.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/xfrm.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define ANSWER_SECONDS 5

static int parse_policy(const struct nlmsghdr *h, void *arg)
{
	struct xfrm_policies *ret = arg;
	struct xfrm_userpolicy_info p;
	struct rtattr *a = (struct rtattr *)((char *)NLMSG_DATA(h) + NLMSG_ALIGN(sizeof(p)));
	int left = (int)h->nlmsg_len - (int)NLMSG_SPACE(sizeof(p));
	bool other;

	if (h->nlmsg_len < NLMSG_LENGTH(sizeof(p)))
		return -EBADMSG;
	memcpy(&p, NLMSG_DATA(h), sizeof(p));
	/* those of the network come first; xfrm_sk_policy_insert() in net/xfrm/xfrm_policy.c */
	if (p.dir < XFRM_POLICY_MAX)
		return 0;
	other = p.action != XFRM_POLICY_ALLOW;
	for (; RTA_OK(a, left); a = RTA_NEXT(a, left))
		other |= a->rta_type == XFRMA_TMPL;
	*(other ? &ret->others : &ret->bypass) += 1;
	return 0;
}

int xfrm_policies_parse(const void *packet, size_t len, struct xfrm_policies *ret)
{
	return netlink_walk(packet, len, XFRM_MSG_NEWPOLICY, parse_policy, ret);
}

/*
 * Nobody can have set a policy where neither interface for it is there. To ask for one would have the kernel look for a module.
 * "sk               Eth Pid        Groups ..."; the kernel's own sockets are in the list, too.
 */
static bool is_there_ipsec(void)
{
	char line[256], *protocol;
	bool found = access("/proc/net/pfkey", F_OK) == 0;
	FILE *f = found ? NULL : fopen("/proc/net/netlink", "re");

	while (f && !found && fgets(line, sizeof(line), f))
		found = (protocol = strchr(line, ' ')) && strtoul(protocol, NULL, 10) == NETLINK_XFRM;
	if (f)
		fclose(f);
	return found;
}

int xfrm_policies_read(struct xfrm_policies *ret, struct cr_error *err)
{
	struct {
		struct nlmsghdr h;
		struct xfrm_userpolicy_id q;
	} rq = { .h = { .nlmsg_len = sizeof(rq),
			.nlmsg_type = XFRM_MSG_GETPOLICY,
			.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP } };
	struct timeval limit = { .tv_sec = ANSWER_SECONDS };
	char buf[32768] __attribute__((aligned(8)));
	autofd int fd = -1;
	int r = 0;

	*ret = (struct xfrm_policies){ 0 };
	if (!is_there_ipsec())
		return 0;
	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_XFRM);
	if (fd < 0)
		return errno == EPROTONOSUPPORT ? 0 : cr_fail(err, -errno, "netlink socket for IPsec");
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0 || send(fd, &rq, sizeof(rq), 0) < 0)
		return cr_fail(err, -errno, "ask for IPsec policies");
	while (r == 0) {
		ssize_t n = recv(fd, buf, sizeof(buf), 0);

		r = n < 0 ? -errno : xfrm_policies_parse(buf, (size_t)n, ret);
	}
	if (r == -EPERM)
		return 0;
	return r < 0 ? cr_fail(err, r, "list IPsec policies") : 0;
}

/* What the kernel does for one socket of its network and shows nowhere: multicast routing, IPsec policies of a socket's own. */
#include "net/inet-internal.h"

#include "net/xfrm.h"

#include <errno.h>
#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ADD_INTERFACE \
	202 /* MRT_ADD_VIF of linux/mroute.h, MRT6_ADD_MIF of linux/mroute6.h, which do not go with netinet/in.h */
#define NET_ADMIN (1u << CAP_NET_ADMIN)

static int set_capabilities(struct __user_cap_data_struct *data)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };

	return syscall(SYS_capset, &head, data) < 0 ? -errno : 0;
}

/*
 * Without CAP_NET_ADMIN the router alone may go on to be told that no interface was named: ip_mroute_setsockopt() in
 * net/ipv4/ipmr.c, ip6_mroute_setsockopt() in net/ipv6/ip6mr.c. This thread lays it down for that. Return: 1 or 0; negative errno.
 */
static int is_router(int fd, bool six)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct own[_LINUX_CAPABILITY_U32S_3], less[_LINUX_CAPABILITY_U32S_3];
	bool had, is;
	int r = syscall(SYS_capget, &head, own) < 0 ? -errno : 0;

	if (r < 0)
		return r;
	had = own[0].effective & NET_ADMIN;
	less[0] = own[0];
	less[1] = own[1];
	less[0].effective &= ~NET_ADMIN;
	r = had ? set_capabilities(less) : 0;
	if (r < 0)
		return r;
	is = setsockopt(fd, six ? IPPROTO_IPV6 : IPPROTO_IP, ADD_INTERFACE, "", 0) < 0 && errno == EINVAL;
	r = had ? set_capabilities(own) : 0;
	return r < 0 ? r : is;
}

static int find_router(struct file_table *t, struct open_file *f, const img_inet_sk_entry *e, struct cr_error *err)
{
	bool six = e->family == AF_INET6;
	int r;

	if (e->type != SOCK_RAW || e->proto != (six ? IPPROTO_ICMPV6 : IPPROTO_IGMP))
		return 0;
	r = is_router(f->fd, six);
	if (r < 0)
		return cr_fail(err, r, "ask whether a socket routes multicast");
	return r ? file_refuse(
			   t, f,
			   "stop the program that routes (pimd, smcroute, mrouted, ...), and start it again afterwards",
			   "raw socket that routes multicast for its network (%s)", six ? "MRT6_INIT" : "MRT_INIT")
		 : 0;
}

/* Once for all sockets: whose a policy is nothing tells. */
static int find_policies(struct file_table *t, struct open_file *f, struct cr_error *err)
{
	struct xfrm_policies p;
	int r;

	if (t->inet->policies_known)
		return 0;
	t->inet->policies_known = true;
	r = xfrm_policies_read(&p, err);
	if (r < 0)
		return r;
	if (p.others)
		return file_refuse(
			t, f,
			"nothing tells which socket one is of: end the program that has set them (ip xfrm policy lists "
			"them as socket in, socket out)",
			"IP socket of a network in which sockets have %zu IPsec policies (IP_XFRM_POLICY)", p.others);
	if (p.bypass)
		log_warn(&t->ctx->log,
			 "sockets of this network have %zu IPsec policies that let packets pass in the clear "
			 "(IP_XFRM_POLICY): "
			 "continuing without those that are of the tree, nothing tells which",
			 p.bypass);
	return 0;
}

int inet_roles_dump(struct file_table *t, struct open_file *f, const img_inet_sk_entry *e, struct cr_error *err)
{
	int r = find_policies(t, f, err);

	return r == 0 ? find_router(t, f, e, err) : r;
}

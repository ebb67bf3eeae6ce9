#include "kernel/probe-internal.h"

#include "base/own.h"
#include "kernel/uapi.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/inet_diag.h>
#include <linux/net_namespace.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#ifndef SIOCUNIXFILE
#define SIOCUNIXFILE 0x89e0 /* SIOCPROTOPRIVATE + 0 */
#endif
#ifndef SIOCGSKNS
#define SIOCGSKNS 0x894c
#endif
#ifndef TUNGETDEVNETNS
#define TUNGETDEVNETNS _IO('T', 227)
#endif
#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72
#endif
#ifndef IPV6_FREEBIND
#define IPV6_FREEBIND 78
#endif
#define IPT_SO_GET_INFO_ 64 /* linux/netfilter_ipv4/ip_tables.h, which does not go with netinet/in.h */

static int open_tun(void)
{
	return open("/dev/net/tun", O_RDWR | O_CLOEXEC);
}

int probe_tun(void)
{
	autofd int fd = open_tun();
	unsigned int features;

	if (fd < 0)
		return -errno;
	return ioctl(fd, TUNGETFEATURES, &features) < 0 ? -errno : 0;
}

/* Of a descriptor without a device: EBADFD where the request is known */
int probe_tun_ns(void)
{
	autofd int fd = open_tun();

	if (fd < 0)
		return -errno;

	autofd int ns = ioctl(fd, TUNGETDEVNETNS);

	return ns < 0 && errno != EBADFD ? -errno : 0;
}

/* Repair mode and the window that goes with it; a socket that was never connected */
int probe_tcp_repair(void)
{
	autofd int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct tcp_repair_window w;
	socklen_t len = sizeof(w);
	int on = 1;

	if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &on, sizeof(on)) < 0)
		return -errno;
	return getsockopt(fd, IPPROTO_TCP, TCP_REPAIR_WINDOW, &w, &len) < 0 ? -errno : 0;
}

int probe_sk_ns(void)
{
	autofd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;

	autofd int ns = ioctl(fd, SIOCGSKNS);

	return ns < 0 ? -errno : 0;
}

/* A socket without a name has no file: ENOENT where the request is known */
int probe_sk_unix_file(void)
{
	autofd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;

	autofd int file = ioctl(fd, SIOCUNIXFILE);

	return file < 0 && errno != ENOENT ? -errno : 0;
}

int probe_sockopt_buf_lock(void)
{
	autofd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int value;
	socklen_t len = sizeof(value);

	if (fd < 0)
		return -errno;
	return getsockopt(fd, SOL_SOCKET, SO_BUF_LOCK, &value, &len) < 0 ? -errno : 0;
}

int probe_ipv6_freebind(void)
{
	autofd int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int on = 1;

	if (fd < 0)
		return -errno;
	return setsockopt(fd, IPPROTO_IPV6, IPV6_FREEBIND, &on, sizeof(on)) < 0 ? -errno : 0;
}

/* struct ipt_getinfo begins with the name of a table */
int probe_ipt_legacy(void)
{
	autofd int fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
	char info[84] = "filter";
	socklen_t len = sizeof(info);

	if (fd < 0)
		return -errno;
	return getsockopt(fd, IPPROTO_IP, IPT_SO_GET_INFO_, info, &len) < 0 ? -errno : 0;
}

struct request {
	struct nlmsghdr head;
	char body[96];
};

/* Sends one request and looks at the first message of the answer. Return: 0 unless it is an error. */
static int netlink_ask(int protocol, struct request *rq, size_t body)
{
	autofd int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
	struct timeval limit = { .tv_sec = 1 };
	char answer[16384] __attribute__((aligned(8)));
	struct nlmsghdr *h = (struct nlmsghdr *)answer;
	ssize_t n;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	rq->head.nlmsg_len = (uint32_t)(NLMSG_HDRLEN + body);
	rq->head.nlmsg_flags |= NLM_F_REQUEST;
	if (send(fd, rq, rq->head.nlmsg_len, 0) < 0)
		return -errno;
	n = recv(fd, answer, sizeof(answer), 0);
	if (n < 0)
		return -errno;
	if ((size_t)n < sizeof(*h))
		return -EPROTO;
	if (h->nlmsg_type == NLMSG_ERROR && (size_t)n >= sizeof(*h) + sizeof(int))
		return *(int *)NLMSG_DATA(h);
	return 0;
}

int probe_net_diag_raw(void)
{
	struct inet_diag_req_v2 d = { .sdiag_family = AF_INET, .sdiag_protocol = IPPROTO_RAW };
	struct request rq = { .head = { .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_DUMP } };

	memcpy(rq.body, &d, sizeof(d));
	return netlink_ask(NETLINK_SOCK_DIAG, &rq, sizeof(d));
}

int probe_nsid(void)
{
	autofd int ns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	struct request rq = { .head = { .nlmsg_type = RTM_GETNSID } };
	struct {
		struct rtgenmsg gen;
		char pad[3];
		struct rtattr a;
		uint32_t fd;
	} q = { .gen = { AF_UNSPEC }, .a = { sizeof(q.a) + sizeof(q.fd), NETNSA_FD }, .fd = (uint32_t)ns };

	if (ns < 0)
		return -errno;
	memcpy(rq.body, &q, sizeof(q));
	return netlink_ask(NETLINK_ROUTE, &rq, sizeof(q));
}

/* Devices have been made with a wanted number since 3.7, which is older than anything else here needs. */
int probe_newifindex(void)
{
	struct ifinfomsg m = { .ifi_family = AF_UNSPEC, .ifi_index = 1 };
	struct request rq = { .head = { .nlmsg_type = RTM_GETLINK } };

	memcpy(rq.body, &m, sizeof(m));
	return netlink_ask(NETLINK_ROUTE, &rq, sizeof(m));
}

int probe_nftables(void)
{
	struct nfgenmsg m = { .nfgen_family = AF_UNSPEC, .version = NFNETLINK_V0 };
	struct request rq = { .head = { .nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE,
					.nlmsg_flags = NLM_F_DUMP } };

	memcpy(rq.body, &m, sizeof(m));
	return netlink_ask(NETLINK_NETFILTER, &rq, sizeof(m));
}

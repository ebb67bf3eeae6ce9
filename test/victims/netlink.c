/* Netlink and packet sockets. */
#include "sockets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/connector.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_log.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static int s[4] = { -1, -1, -1, -1 };
static struct sockaddr_nl own[4];

static void note(int i)
{
	socklen_t len = sizeof(own[i]);

	need(getsockname(s[i], (struct sockaddr *)&own[i], &len) == 0);
}

static void same(int i)
{
	struct sockaddr_nl now = { 0 };
	socklen_t len = sizeof(now);

	expect(getsockname(s[i], (struct sockaddr *)&now, &len) == 0 && memcmp(&now, &own[i], len) == 0,
	       "socket %d: port %u, groups %x; was %u, %x", i, now.nl_pid, now.nl_groups, own[i].nl_pid,
	       own[i].nl_groups);
}

/* asks for the loopback device, and gets it */
static void ask(int fd)
{
	struct {
		struct nlmsghdr h;
		struct ifinfomsg m;
	} q = { { sizeof(q), RTM_GETLINK, NLM_F_REQUEST, 7, 0 }, { .ifi_index = 1 } };
	char buf[16384];
	ssize_t n;

	expect(send(fd, &q, sizeof(q), 0) == sizeof(q), "send");
	n = recv(fd, buf, sizeof(buf), 0);
	expect(n > (ssize_t)sizeof(struct nlmsghdr) && ((struct nlmsghdr *)buf)->nlmsg_type == RTM_NEWLINK &&
		       ((struct nlmsghdr *)buf)->nlmsg_seq == 7,
	       "answer of %zd bytes", n);
}

static void set_up_plain(void)
{
	struct sockaddr_nl any = { .nl_family = AF_NETLINK };

	s[0] = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
	s[1] = socket(AF_NETLINK, SOCK_DGRAM | SOCK_NONBLOCK, NETLINK_ROUTE);
	need(bind(s[1], (struct sockaddr *)&any, sizeof(any)) == 0);
	note(1);
	set(s[1], SOL_NETLINK, NETLINK_EXT_ACK, 1);
	set(s[1], SOL_NETLINK, NETLINK_PKTINFO, 1);
	set(s[1], SOL_SOCKET, SO_RCVBUF, 50000);
	s[2] = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
	/* of which no news come by themselves, as those of links do some time after the loopback device came up */
	any.nl_groups = RTMGRP_IPV4_MROUTE | RTMGRP_IPV4_RULE;
	need(bind(s[2], (struct sockaddr *)&any, sizeof(any)) == 0);
	set(s[2], SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, 33);
	note(2);
}

static void check_plain(void)
{
	uint32_t groups[4] = { 0 };
	socklen_t len = sizeof(groups);

	same(1);
	same(2);
	expect(get(s[1], SOL_NETLINK, NETLINK_EXT_ACK) == 1 && get(s[1], SOL_NETLINK, NETLINK_PKTINFO) == 1 &&
		       get(s[1], SOL_NETLINK, NETLINK_CAP_ACK) == 0,
	       "options");
	expect(get(s[1], SOL_SOCKET, SO_TYPE) == SOCK_DGRAM && get(s[1], SOL_SOCKET, SO_RCVBUF) == 100000,
	       "type or size");
	expect(getsockopt(s[2], SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, groups, &len) == 0 && groups[1] == 1,
	       "group 33: %x", groups[1]);
	fcntl(s[1], F_SETFL, 0);
	ask(s[0]);
	ask(s[1]);
}

static void set_up_unread(void)
{
	struct {
		struct nlmsghdr h;
		struct ifinfomsg m;
	} q = { { sizeof(q), RTM_GETLINK, NLM_F_REQUEST, 7, 0 }, { .ifi_index = 1 } };

	s[0] = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
	need(send(s[0], &q, sizeof(q), 0) == sizeof(q));
}

static void check_unread(void)
{
	char buf[16384];
	expect(recv(s[0], buf, sizeof(buf), MSG_DONTWAIT) > 0, "the answer is gone");
}

/* --- packet sockets */

static struct sockaddr_ll link_of(int fd)
{
	struct sockaddr_ll ll = { 0 };
	socklen_t len = sizeof(ll);

	expect(getsockname(fd, (struct sockaddr *)&ll, &len) == 0, "getsockname");
	return ll;
}

/* What a membership does is seen at the device: that a socket leaves a group it is not in is no error. */
#define GROUP      { 0x33, 0x33, 0x12, 0x34, 0x56, 0x78 }
#define GROUP_TEXT "333312345678"

static bool device_hears_group(void)
{
	char text[8192];

	return slurp("/proc/net/dev_mcast", text, sizeof(text)) > 0 && strstr(text, GROUP_TEXT);
}

/* --- what the kernel does for the port of a socket */

/* Requests of nfnetlink, with attributes; they go out together, as tables need it. */
static char asked[512] __attribute__((aligned(4)));
static size_t asked_len, last;

static void ask_begin(uint16_t type, uint16_t flags, uint8_t family, uint16_t number)
{
	struct nlmsghdr head = { .nlmsg_len = NLMSG_SPACE(sizeof(struct nfgenmsg)),
				 .nlmsg_type = type,
				 .nlmsg_flags = NLM_F_REQUEST | flags };
	struct nfgenmsg body = { .nfgen_family = family, .res_id = htons(number) };

	last = asked_len;
	memcpy(asked + last, &head, sizeof(head));
	memcpy(asked + last + NLMSG_HDRLEN, &body, sizeof(body));
	asked_len += head.nlmsg_len;
}

static void ask_attr(uint16_t type, const void *data, uint16_t len)
{
	struct nlattr a = { .nla_len = (uint16_t)(NLA_HDRLEN + len), .nla_type = type };

	memcpy(asked + asked_len, &a, sizeof(a));
	memcpy(asked + asked_len + NLA_HDRLEN, data, len);
	asked_len += NLA_ALIGN(a.nla_len);
	((struct nlmsghdr *)(void *)(asked + last))->nlmsg_len = (uint32_t)(asked_len - last);
}

static void ask_now(int fd)
{
	need(send(fd, asked, asked_len, 0) == (ssize_t)asked_len);
}

static void need_done(int fd)
{
	struct {
		struct nlmsghdr head;
		struct nlmsgerr error;
		char more[256];
	} answer = { 0 };

	need(recv(fd, &answer, sizeof(answer), 0) > 0 && answer.head.nlmsg_type == NLMSG_ERROR &&
	     answer.error.error == 0);
}

static int netfilter_socket(void)
{
	struct sockaddr_nl any = { .nl_family = AF_NETLINK };
	int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER);

	if (fd < 0)
		victim_skip("netfilter sockets: %s", strerror(errno));
	need(bind(fd, (struct sockaddr *)&any, sizeof(any)) == 0);
	return fd;
}

static void set_up_queue(void)
{
	struct nfqnl_msg_config_cmd cmd = { .command = NFQNL_CFG_CMD_BIND };
	int fd = netfilter_socket();

	if (access("/proc/net/netfilter/nfnetlink_queue", F_OK) < 0)
		victim_skip("no queues of netfilter");
	ask_begin(NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_CONFIG, NLM_F_ACK, AF_UNSPEC, 4711);
	ask_attr(NFQA_CFG_CMD, &cmd, sizeof(cmd));
	ask_now(fd);
	need_done(fd);
}

static void set_up_log(void)
{
	struct nfulnl_msg_config_cmd cmd = { .command = NFULNL_CFG_CMD_BIND };
	int fd = netfilter_socket();

	if (access("/proc/net/netfilter/nfnetlink_log", F_OK) < 0)
		victim_skip("no logs of netfilter");
	ask_begin(NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_CONFIG, NLM_F_ACK, AF_UNSPEC, 815);
	ask_attr(NFULA_CFG_CMD, &cmd, sizeof(cmd));
	ask_now(fd);
	need_done(fd);
}

static void set_up_table(void)
{
	uint32_t owner = htonl(2); /* NFT_TABLE_F_OWNER */
	int fd = netfilter_socket();

	ask_begin(NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
	ask_begin(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_ACK, NFPROTO_INET, 0);
	ask_attr(NFTA_TABLE_NAME, "victims", 8);
	ask_attr(NFTA_TABLE_FLAGS, &owner, sizeof(owner));
	ask_begin(NFNL_MSG_BATCH_END, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
	ask_now(fd);
	need_done(fd);
}

/* one that asks for nothing of the kind */
static void set_up_quiet(void)
{
	s[0] = netfilter_socket();
	note(0);
}

static void check_quiet(void)
{
	same(0);
}

static void set_up_processes(void)
{
	struct sockaddr_nl group = { .nl_family = AF_NETLINK, .nl_groups = CN_IDX_PROC };
	int fd = socket(AF_NETLINK, SOCK_DGRAM, NETLINK_CONNECTOR);

	if (fd < 0 || bind(fd, (struct sockaddr *)&group, sizeof(group)) < 0)
		victim_skip("no events of processes: %s", strerror(errno));
}

static int fanout; /* with a flag in the sign bit */

static void set_up_packet(void)
{
	struct packet_mreq group = { .mr_ifindex = (int)if_nametoindex("lo"),
				     .mr_type = PACKET_MR_MULTICAST,
				     .mr_alen = 6,
				     .mr_address = GROUP };
	struct sockaddr_ll lo = { .sll_family = AF_PACKET,
				  .sll_protocol = htons(0x88b5),
				  .sll_ifindex = (int)if_nametoindex("lo") };
	struct packet_mreq m = { .mr_ifindex = lo.sll_ifindex, .mr_type = PACKET_MR_PROMISC };

	if ((s[0] = socket(AF_PACKET, SOCK_RAW, 0)) < 0)
		victim_skip("packet sockets: %s", strerror(errno));
	s[1] = socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	set(s[1], SOL_PACKET, PACKET_AUXDATA, 1);
	set(s[1], SOL_PACKET, PACKET_ORIGDEV, 1);
	set(s[1], SOL_PACKET, PACKET_VERSION, TPACKET_V2);
	need(bind(s[1], (struct sockaddr *)&lo, sizeof(lo)) == 0);
	need(setsockopt(s[1], SOL_PACKET, PACKET_ADD_MEMBERSHIP, &m, sizeof(m)) == 0);
	need(setsockopt(s[1], SOL_PACKET, PACKET_ADD_MEMBERSHIP, &group, sizeof(group)) == 0 && device_hears_group());
	s[2] = socket(AF_PACKET, SOCK_RAW, 0);
	need(bind(s[2], (struct sockaddr *)&lo, sizeof(lo)) == 0);
	fanout = (getpid() & 0xffff) | (PACKET_FANOUT_LB | PACKET_FANOUT_FLAG_DEFRAG) << 16;
	set(s[2], SOL_PACKET, PACKET_FANOUT, fanout);
}

static void check_packet(void)
{
	struct sockaddr_ll a = link_of(s[0]), b = link_of(s[1]), c = link_of(s[2]);
	struct packet_mreq m = { .mr_ifindex = (int)if_nametoindex("lo"), .mr_type = PACKET_MR_PROMISC };
	struct sockaddr_ll to = { .sll_family = AF_PACKET,
				  .sll_protocol = htons(0x88b5),
				  .sll_ifindex = (int)if_nametoindex("lo"),
				  .sll_halen = 6 };
	char buf[100];

	expect(device_hears_group(), "the device does not hear the group");
	expect(a.sll_protocol == 0 && a.sll_ifindex == 0, "the unbound one");
	expect(b.sll_protocol == htons(0x88b5) && b.sll_ifindex == (int)if_nametoindex("lo"), "the bound one");
	expect(c.sll_protocol == htons(0x88b5), "the one in a group");
	expect(get(s[1], SOL_PACKET, PACKET_AUXDATA) == 1 && get(s[1], SOL_PACKET, PACKET_ORIGDEV) == 1 &&
		       get(s[1], SOL_PACKET, PACKET_VERSION) == TPACKET_V2 &&
		       get(s[1], SOL_SOCKET, SO_TYPE) == SOCK_DGRAM,
	       "options");
	expect(get(s[2], SOL_PACKET, PACKET_FANOUT) == fanout, "fanout is %x", get(s[2], SOL_PACKET, PACKET_FANOUT));
	expect(setsockopt(s[1], SOL_PACKET, PACKET_DROP_MEMBERSHIP, &m, sizeof(m)) == 0, "the membership is lost");
	expect(sendto(s[1], "frame", 5, 0, (struct sockaddr *)&to, sizeof(to)) == 5, "sendto");
	sleep_ms(10);
	expect(recv(s[1], buf, sizeof(buf), MSG_DONTWAIT) == 5 && memcmp(buf, "frame", 5) == 0, "nothing is received");
}

/* A device whose hardware addresses have 16 bytes. It is persistent, so that no descriptor of it is in the tree. */
static int long_device(bool stays)
{
	struct ifreq ifr = { .ifr_name = "long", .ifr_flags = IFF_TUN | IFF_NO_PI };
	int fd = open("/dev/net/tun", O_RDWR), index;

	if (fd < 0 || ioctl(fd, TUNSETIFF, &ifr) < 0 || ioctl(fd, TUNSETPERSIST, stays) < 0)
		victim_skip("/dev/net/tun: %s", strerror(errno));
	if (stays && ioctl(fd, TUNSETLINK, ARPHRD_TUNNEL6) < 0)
		victim_skip("TUNSETLINK: %s", strerror(errno));
	index = (int)if_nametoindex("long");
	close(fd);
	return index;
}

static struct {
	struct packet_mreq m;
	unsigned char rest[8];
} long_group = { .m = { .mr_type = PACKET_MR_MULTICAST, .mr_alen = 16, .mr_address = "0123456" }, .rest = "89abcde" };

static void set_up_long(void)
{
	long_group.m.mr_ifindex = long_device(true);
	need((s[0] = socket(AF_PACKET, SOCK_RAW, 0)) >= 0);
	if (setsockopt(s[0], SOL_PACKET, PACKET_ADD_MEMBERSHIP, &long_group, sizeof(long_group)) < 0) {
		long_device(false);
		victim_skip("before Linux 5.14 such a device has no addresses");
	}
}

static void check_long(void)
{
	bool there = setsockopt(s[0], SOL_PACKET, PACKET_DROP_MEMBERSHIP, &long_group, sizeof(long_group)) == 0;

	if (there)
		need(setsockopt(s[0], SOL_PACKET, PACKET_ADD_MEMBERSHIP, &long_group, sizeof(long_group)) == 0);
	expect(there, "the membership is lost");
}

const struct victim_case victim_cases[] = {
	{ "netlink", set_up_plain, check_plain, OWN_NETWORK, .flags = CASE_MORE },
	{ "netlink-unread", set_up_unread, check_unread, .refuse = "netlink|unread" },
	{ "netfilter", set_up_quiet, check_quiet, OWN_NETWORK },
	{ "netfilter-queue", set_up_queue, NULL, OWN_NETWORK, .refuse = "queue 4711" },
	{ "netfilter-log", set_up_log, NULL, OWN_NETWORK, .refuse = "log group 815" },
	{ "netfilter-table", set_up_table, NULL, OWN_NETWORK, .refuse = "owns the table victims" },
	{ "process-events", set_up_processes, NULL, .refuse = "events of processes" },
	{ "packet", set_up_packet, check_packet, OWN_NETWORK, .flags = CASE_MORE },
	{ "packet-long-address", set_up_long, check_long, OWN_NETWORK, .flags = CASE_MORE },
	{ 0 },
};

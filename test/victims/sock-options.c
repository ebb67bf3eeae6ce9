/*
 * Options of sockets, all that there are: for each kind of socket every number of every level is tried. What can be set to
 * something else than a new socket has, and be read back, is set in a socket of its own, and must be so after the restore.
 */
#include "victim.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef SOL_NETLINK
#define SOL_NETLINK 270
#endif
#ifndef SOL_PACKET
#define SOL_PACKET 263
#endif
#define SOL_UDPLITE_ 136
#define TXREHASH     74
#define NUMBERS      128
#define SET_MAX      2048
#define END          (-1)

struct kind {
	int family, type, protocol, levels[5]; /* up to END */
};

struct option {
	int level, number;
};

/* What is not to be kept, or would make it another test. */
static const struct option skipped[] = {
	{ IPPROTO_TCP, TCP_REPAIR },   /* of no use to a program */
	{ IPPROTO_TCP, TCP_QUICKACK }, /* of its moment */
	{ IPPROTO_IP, IP_OPTIONS },    /* refused */
	{ SOL_PACKET, PACKET_FANOUT }, /* needs an address */
};

static struct {
	struct option o;
	int fd, before;
	socklen_t len;
} set[SET_MAX];
static int nr_set;

static bool is_skipped(int fd, int level, int number)
{
	int protocol = 0;
	socklen_t len = sizeof(protocol);

	/* older kernels have it in what is not TCP as well, where it means nothing */
	if (level == SOL_SOCKET && number == TXREHASH)
		return getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &len) < 0 || protocol != IPPROTO_TCP;
	for (size_t i = 0; i < sizeof(skipped) / sizeof(skipped[0]); i++)
		if (skipped[i].level == level && skipped[i].number == number)
			return true;
	return false;
}

static bool value(int fd, int level, int number, int *ret, socklen_t *ret_len)
{
	*ret = 0;
	*ret_len = sizeof(*ret);
	return getsockopt(fd, level, number, ret, ret_len) == 0 && *ret_len > 0 && *ret_len <= sizeof(*ret);
}

/* the first value that shows */
static bool change(int fd, int level, int number)
{
	static const int tried[] = { 1, 0, 2, 3, 8, 100, 1000, 2000, 70000 };
	int fresh, now;
	socklen_t len;

	if (is_skipped(fd, level, number) || !value(fd, level, number, &fresh, &len))
		return false;
	for (size_t i = 0; i < sizeof(tried) / sizeof(tried[0]); i++) {
		if (setsockopt(fd, level, number, &tried[i], sizeof(tried[i])) < 0 ||
		    !value(fd, level, number, &now, &len) || now == fresh)
			continue;
		set[nr_set].o = (struct option){ level, number };
		set[nr_set].fd = fd;
		set[nr_set].before = now;
		set[nr_set++].len = len;
		return true;
	}
	return false;
}

static void set_up_kind(const struct kind *k)
{
	int fd = -1;

	setrlimit(RLIMIT_NOFILE, &(struct rlimit){ SET_MAX, SET_MAX });
	for (const int *level = k->levels; *level != END; level++)
		for (int number = 1; number < NUMBERS && nr_set < SET_MAX; number++) {
			if (fd < 0)
				fd = socket(k->family, k->type, k->protocol);
			if (fd < 0)
				victim_skip("socket: %s", strerror(errno));
			if (change(fd, *level, number))
				fd = -1;
		}
	close(fd);
	need(nr_set > 10);
}

static void check_kind(void)
{
	for (int i = 0; i < nr_set; i++) {
		int now;
		socklen_t len;

		expect(value(set[i].fd, set[i].o.level, set[i].o.number, &now, &len) && now == set[i].before,
		       "option %d of level %d is %d, was %d", set[i].o.number, set[i].o.level, now, set[i].before);
	}
}

static void set_up_tcp(void)
{
	set_up_kind(&(struct kind){ AF_INET, SOCK_STREAM, 0, { SOL_SOCKET, IPPROTO_IP, IPPROTO_TCP, END } });
}

static void set_up_tcp6(void)
{
	set_up_kind(
		&(struct kind){ AF_INET6, SOCK_STREAM, 0, { SOL_SOCKET, IPPROTO_IP, IPPROTO_IPV6, IPPROTO_TCP, END } });
}

static void set_up_udp(void)
{
	set_up_kind(&(struct kind){ AF_INET, SOCK_DGRAM, 0, { SOL_SOCKET, IPPROTO_IP, IPPROTO_UDP, END } });
}

static void set_up_udp6(void)
{
	set_up_kind(
		&(struct kind){ AF_INET6, SOCK_DGRAM, 0, { SOL_SOCKET, IPPROTO_IP, IPPROTO_IPV6, IPPROTO_UDP, END } });
}

static void set_up_udplite(void)
{
	set_up_kind(&(struct kind){
		AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE, { SOL_SOCKET, IPPROTO_IP, IPPROTO_UDP, SOL_UDPLITE_, END } });
}

static void set_up_raw(void)
{
	set_up_kind(&(struct kind){ AF_INET, SOCK_RAW, IPPROTO_ICMP, { SOL_SOCKET, IPPROTO_IP, END } });
}

static void set_up_raw6(void)
{
	set_up_kind(&(struct kind){ AF_INET6, SOCK_RAW, IPPROTO_UDP, { SOL_SOCKET, IPPROTO_IPV6, END } });
}

/* The checksum of ICMPv6 is the kernel's; only in the other level, which raw sockets of old have, may it be forbidden. */
#define CHECKSUM 7 /* IPV6_CHECKSUM */
#define SOL_RAW_ 255

static int icmp6;

static void set_up_icmp6(void)
{
	int none = -1;

	icmp6 = socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6);
	if (icmp6 < 0)
		victim_skip("no IPv6");
	need(setsockopt(icmp6, SOL_RAW_, CHECKSUM, &none, sizeof(none)) == 0);
}

static void check_icmp6(void)
{
	int now;
	socklen_t len;

	expect(value(icmp6, IPPROTO_IPV6, CHECKSUM, &now, &len) && now == -1, "IPV6_CHECKSUM is %d", now);
}

static void set_up_unix_stream(void)
{
	set_up_kind(&(struct kind){ AF_UNIX, SOCK_STREAM, 0, { SOL_SOCKET, END } });
}

static void set_up_unix_datagram(void)
{
	set_up_kind(&(struct kind){ AF_UNIX, SOCK_DGRAM, 0, { SOL_SOCKET, END } });
}

static void set_up_netlink(void)
{
	set_up_kind(&(struct kind){ AF_NETLINK, SOCK_RAW, NETLINK_ROUTE, { SOL_SOCKET, SOL_NETLINK, END } });
}

static void set_up_packet(void)
{
	set_up_kind(&(struct kind){ AF_PACKET, SOCK_RAW, 0, { SOL_SOCKET, SOL_PACKET, END } });
}

/* --- what cannot be set again, or not be read */

static void set_up_ip_options(void)
{
	const unsigned char route[] = { 131, 7, 4, 127, 0, 0, 1, 0 }; /* loose source route by one hop; the end */
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	need(fd >= 0 && setsockopt(fd, IPPROTO_IP, IP_OPTIONS, route, sizeof(route)) == 0);
}

static void set_up_headers6(void)
{
	const unsigned char padding[] = { 0, 0, 1, 4, 0, 0, 0, 0 }; /* a header of 8 bytes with four of padding */
	int fd = socket(AF_INET6, SOCK_DGRAM, 0);

	if (fd < 0)
		victim_skip("no IPv6");
	need(setsockopt(fd, IPPROTO_IPV6, IPV6_DSTOPTS, padding, sizeof(padding)) == 0);
}

static void set_up_fanout_program(void)
{
	struct sock_filter first[] = { BPF_STMT(BPF_RET | BPF_K, 0) };
	struct sock_fprog program = { 1, first };
	struct sockaddr_ll lo = { .sll_family = AF_PACKET, .sll_protocol = htons(0x88b5), .sll_ifindex = 1 };
	int fd = socket(AF_PACKET, SOCK_RAW, 0), fanout = (getpid() & 0xffff) | PACKET_FANOUT_CBPF << 16;

	if (fd < 0)
		victim_skip("packet sockets: %s", strerror(errno));
	need(bind(fd, (struct sockaddr *)&lo, sizeof(lo)) == 0);
	need(setsockopt(fd, SOL_PACKET, PACKET_FANOUT, &fanout, sizeof(fanout)) == 0);
	need(setsockopt(fd, SOL_PACKET, PACKET_FANOUT_DATA, &program, sizeof(program)) == 0);
}

const struct victim_case victim_cases[] = {
	{ "tcp", set_up_tcp, check_kind },
	{ "tcp6", set_up_tcp6, check_kind },
	{ "udp", set_up_udp, check_kind },
	{ "udp6", set_up_udp6, check_kind },
	{ "udplite", set_up_udplite, check_kind },
	{ "raw", set_up_raw, check_kind },
	{ "raw6", set_up_raw6, check_kind },
	{ "icmp6", set_up_icmp6, check_icmp6 },
	{ "unix-stream", set_up_unix_stream, check_kind },
	{ "unix-datagram", set_up_unix_datagram, check_kind },
	{ "netlink", set_up_netlink, check_kind },
	{ "packet", set_up_packet, check_kind },
	{ "ip-options", set_up_ip_options, NULL, .refuse = "IP_OPTIONS" },
	{ "headers6", set_up_headers6, NULL, .refuse = "extension headers" },
	{ "fanout-program", set_up_fanout_program, NULL, .refuse = "fanout program" },
	{ 0 },
};

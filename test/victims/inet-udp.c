/* UDP, UDP-Lite, raw and ping sockets: bound, connected, options, multicast groups, and datagrams that wait. */
#include "sockets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/net_tstamp.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifndef IPPROTO_UDPLITE
#define IPPROTO_UDPLITE 136
#endif

static int s[8];
static struct sockaddr_storage own[8];

static void note(int i)
{
	socklen_t len = sizeof(own[i]);

	memset(&own[i], 0, sizeof(own[i]));
	need(getsockname(s[i], (struct sockaddr *)&own[i], &len) == 0);
}

static void same(int i)
{
	struct sockaddr_storage now = { 0 };
	socklen_t len = sizeof(now);

	expect(getsockname(s[i], (struct sockaddr *)&now, &len) == 0 && memcmp(&now, &own[i], len) == 0,
	       "address of socket %d", i);
}

static void bound(int i, int family, int proto)
{
	struct sockaddr_storage sa;
	socklen_t len = loopback(family, 0, &sa);

	s[i] = socket(family, SOCK_DGRAM, proto);
	if (s[i] < 0)
		victim_skip("family %d, protocol %d: %s", family, proto, strerror(errno));
	if (bind(s[i], (struct sockaddr *)&sa, len) < 0) {
		need(errno == EADDRNOTAVAIL);
		victim_skip("no loopback address of family %d", family);
	}
	note(i);
}

static socklen_t len_of(int i)
{
	return own[i].ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}

static void send_to(int from, int to, const void *data, size_t len)
{
	ssize_t n = sendto(s[from], data, len, 0, (struct sockaddr *)&own[to], len_of(to));

	expect(n == (ssize_t)len, "sent %zd of %zu bytes", n, len);
}

/* the next datagram is this one, from there */
static void expect_from(int to, int from, const void *data, size_t len)
{
	static char buf[65536];
	struct sockaddr_storage sa = { 0 };
	socklen_t sa_len = sizeof(sa);
	struct pollfd p = { .fd = s[to], .events = POLLIN };
	ssize_t n;

	poll(&p, 1, 2000); /* under load the loopback device takes its time */
	n = recvfrom(s[to], buf, sizeof(buf), MSG_DONTWAIT, (struct sockaddr *)&sa, &sa_len);
	expect(n == (ssize_t)len && memcmp(buf, data, len) == 0, "received %zd bytes, should be %zu", n, len);
	if (n >= 0)
		expect(memcmp(&sa, &own[from], len_of(from)) == 0, "a datagram of %zu bytes is from somewhere else",
		       len);
}

static void expect_empty(int i)
{
	char byte;

	expect(recv(s[i], &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN, "socket %d has more datagrams", i);
}

/* --- addresses */

static void set_up_plain(void)
{
	bound(0, AF_INET, 0);
	bound(1, AF_INET, 0);
	need(connect(s[1], (struct sockaddr *)&own[0], len_of(0)) == 0);
	s[2] = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	s[3] = socket(AF_INET, SOCK_DGRAM, 0);
	need(bind(s[3], (struct sockaddr *)&(struct sockaddr_in){ .sin_family = AF_INET },
		  sizeof(struct sockaddr_in)) == 0);
	note(3);
	/* its address was chosen by connect() */
	s[4] = socket(AF_INET, SOCK_DGRAM, 0);
	need(connect(s[4], (struct sockaddr *)&own[0], len_of(0)) == 0);
	note(4);
}

static void check_plain(void)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);

	for (int i = 0; i < 5; i++)
		if (i != 2)
			same(i);
	expect(getpeername(s[1], (struct sockaddr *)&sa, &len) == 0 && memcmp(&sa, &own[0], len) == 0, "peer");
	expect(getpeername(s[0], (struct sockaddr *)&sa, &len) < 0, "a peer from nowhere");
	expect(fcntl(s[2], F_GETFL) == (O_RDWR | O_NONBLOCK), "flags");
	expect(send(s[1], "one", 3, 0) == 3, "send");
	expect(send(s[4], "four", 4, 0) == 4, "send");
	expect_from(0, 1, "one", 3);
	expect_from(0, 4, "four", 4);
	send_to(2, 0, "two", 3);
	expect(recv(s[0], &sa, sizeof(sa), MSG_DONTWAIT) == 3, "recv");
}

static void set_up_v6(void)
{
	bound(0, AF_INET6, 0);
	bound(1, AF_INET6, 0);
	need(connect(s[1], (struct sockaddr *)&own[0], len_of(0)) == 0);
	set(s[0], IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
	set(s[0], IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1);
	set(s[0], IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 9);
	send_to(1, 0, "waiting", 7);
}

static void check_v6(void)
{
	same(0);
	same(1);
	expect(get(s[0], IPPROTO_IPV6, IPV6_RECVPKTINFO) == 1 && get(s[0], IPPROTO_IPV6, IPV6_RECVHOPLIMIT) == 1 &&
		       get(s[0], IPPROTO_IPV6, IPV6_MULTICAST_HOPS) == 9,
	       "options");
	expect_from(0, 1, "waiting", 7);
	expect(send(s[1], "six", 3, 0) == 3, "send");
	expect_from(0, 1, "six", 3);
}

/* --- options */

static void set_up_options(void)
{
	struct sock_filter drop_short[] = { BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0),
					    BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 12, 0, 1),
					    BPF_STMT(BPF_RET | BPF_K, 0xffff), BPF_STMT(BPF_RET | BPF_K, 0) };
	struct sock_fprog prog = { 4, drop_short };
	struct timeval tv = { 3, 500000 };
	struct sock_txtime when = { CLOCK_TAI, SOF_TXTIME_REPORT_ERRORS };

	bound(0, AF_INET, 0);
	bound(1, AF_INET, 0);
	set(s[0], IPPROTO_IP, IP_PKTINFO, 1);
	set(s[0], IPPROTO_IP, IP_RECVTTL, 1);
	set(s[0], IPPROTO_IP, IP_RECVTOS, 1);
	set(s[0], IPPROTO_IP, IP_RECVERR, 1);
	set(s[0], IPPROTO_IP, IP_MULTICAST_TTL, 7);
	set(s[0], IPPROTO_IP, IP_MULTICAST_LOOP, 0);
	set(s[0], IPPROTO_IP, IP_TTL, 44);
	set(s[0], IPPROTO_IP, IP_TOS, 0x08);
	set(s[0], IPPROTO_UDP, UDP_GRO, 1);
	set(s[0], IPPROTO_UDP, UDP_SEGMENT, 1200);
	set(s[0], SOL_SOCKET, SO_BROADCAST, 1);
	set(s[0], SOL_SOCKET, SO_TIMESTAMPNS, 1);
	set(s[0], SOL_SOCKET, SO_RXQ_OVFL, 1);
	set(s[0], SOL_SOCKET, SO_RCVBUF, 50000);
	need(setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) == 0);
	need(setsockopt(s[1], SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)) == 0);
	need(setsockopt(s[1], SOL_SOCKET, SO_TXTIME, &when, sizeof(when)) == 0);
	set(s[1], SOL_SOCKET, SO_NO_CHECK, 1);
}

static void check_options(void)
{
	static const struct {
		int level, option, value;
	} want[] = {
		{ IPPROTO_IP, IP_PKTINFO, 1 },       { IPPROTO_IP, IP_RECVTTL, 1 },
		{ IPPROTO_IP, IP_RECVTOS, 1 },       { IPPROTO_IP, IP_RECVERR, 1 },
		{ IPPROTO_IP, IP_MULTICAST_TTL, 7 }, { IPPROTO_IP, IP_MULTICAST_LOOP, 0 },
		{ IPPROTO_IP, IP_TTL, 44 },          { IPPROTO_IP, IP_TOS, 8 },
		{ IPPROTO_UDP, UDP_GRO, 1 },         { IPPROTO_UDP, UDP_SEGMENT, 1200 },
		{ SOL_SOCKET, SO_BROADCAST, 1 },     { SOL_SOCKET, SO_TIMESTAMPNS, 1 },
		{ SOL_SOCKET, SO_RXQ_OVFL, 1 },      { SOL_SOCKET, SO_RCVBUF, 100000 },
	};
	struct timeval tv = { 0 };
	struct sock_txtime when = { 0 };
	socklen_t len = sizeof(tv);
	char byte;

	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++)
		expect(get(s[0], want[i].level, want[i].option) == want[i].value, "option %d of level %d is %d, was %d",
		       want[i].option, want[i].level, get(s[0], want[i].level, want[i].option), want[i].value);
	expect(getsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &tv, &len) == 0 && tv.tv_sec == 3 && tv.tv_usec == 500000,
	       "SO_RCVTIMEO");
	len = sizeof(when);
	expect(getsockopt(s[1], SOL_SOCKET, SO_TXTIME, &when, &len) == 0 && when.clockid == CLOCK_TAI &&
		       when.flags == SOF_TXTIME_REPORT_ERRORS,
	       "SO_TXTIME");
	expect(get(s[1], SOL_SOCKET, SO_NO_CHECK) == 1, "SO_NO_CHECK");
	send_to(0, 1, "abc", 3);
	expect(recv(s[1], &byte, 1, MSG_DONTWAIT) < 0, "the filter lets short datagrams through");
	send_to(0, 1, "abcdef", 6);
	expect(recv(s[1], &byte, 1, MSG_DONTWAIT | MSG_TRUNC) == 6, "the filter keeps long datagrams out");
}

/* two sockets of one port */
static void set_up_reuse(void)
{
	for (int i = 0; i < 4; i++) {
		struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

		if (i % 2)
			in.sin_port = ((struct sockaddr_in *)&own[i - 1])->sin_port;
		s[i] = socket(AF_INET, SOCK_DGRAM, 0);
		set(s[i], SOL_SOCKET, i < 2 ? SO_REUSEADDR : SO_REUSEPORT, 1);
		need(bind(s[i], (struct sockaddr *)&in, sizeof(in)) == 0);
		note(i);
	}
}

static void check_reuse(void)
{
	for (int i = 0; i < 4; i++) {
		same(i);
		expect(get(s[i], SOL_SOCKET, SO_REUSEADDR) == (i < 2) &&
			       get(s[i], SOL_SOCKET, SO_REUSEPORT) == (i >= 2),
		       "options of %d", i);
	}
}

/* a socket of somebody else */
static void set_up_owner(void)
{
	bound(0, AF_INET, 0);
	need(fchown(s[0], 1234, 2345) == 0);
}

static void check_owner(void)
{
	struct stat;
	char text[64];

	snprintf(text, sizeof(text), "/proc/self/fd/%d", s[0]);
	expect(access(text, F_OK) == 0, "descriptor");
	same(0);
}

/* --- groups */

static bool in_group(int fd, int level, const void *group, size_t len, int family, uint32_t *mode, uint32_t *sources)
{
	struct group_filter g = { .gf_interface = if_nametoindex("lo") };
	socklen_t size = GROUP_FILTER_SIZE(0);

	g.gf_group.ss_family = family;
	if (family == AF_INET)
		memcpy(&((struct sockaddr_in *)&g.gf_group)->sin_addr, group, len);
	else
		memcpy(&((struct sockaddr_in6 *)&g.gf_group)->sin6_addr, group, len);
	if (getsockopt(fd, level, MCAST_MSFILTER, &g, &size) < 0)
		return false;
	*mode = g.gf_fmode;
	*sources = g.gf_numsrc;
	return true;
}

static void set_up_groups(void)
{
	struct ip_mreqn m = { .imr_ifindex = (int)if_nametoindex("lo") };
	struct ip_mreq_source src = { .imr_interface.s_addr = htonl(INADDR_LOOPBACK) };
	struct ipv6_mreq six = { .ipv6mr_interface = if_nametoindex("lo") };

	bound(0, AF_INET, 0);
	m.imr_multiaddr.s_addr = inet_addr("239.1.2.3");
	need(setsockopt(s[0], IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof(m)) == 0);
	src.imr_multiaddr = m.imr_multiaddr;
	src.imr_sourceaddr.s_addr = inet_addr("127.0.0.8");
	need(setsockopt(s[0], IPPROTO_IP, IP_BLOCK_SOURCE, &src, sizeof(src)) == 0);
	src.imr_multiaddr.s_addr = inet_addr("232.1.2.4");
	src.imr_sourceaddr.s_addr = inet_addr("127.0.0.9");
	need(setsockopt(s[0], IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, &src, sizeof(src)) == 0);
	bound(1, AF_INET6, 0);
	need(inet_pton(AF_INET6, "ff02::1234", &six.ipv6mr_multiaddr) == 1);
	need(setsockopt(s[1], IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, &six, sizeof(six)) == 0);
	bound(2, AF_INET, 0);
}

static void check_groups(void)
{
	uint32_t mode = 9, sources = 9;
	struct in6_addr six;
	in_addr_t a = inet_addr("239.1.2.3"), b = inet_addr("232.1.2.4");

	expect(in_group(s[0], IPPROTO_IP, &a, 4, AF_INET, &mode, &sources) && mode == MCAST_EXCLUDE && sources == 1,
	       "239.1.2.3, but for one source");
	expect(in_group(s[0], IPPROTO_IP, &b, 4, AF_INET, &mode, &sources) && mode == MCAST_INCLUDE && sources == 1,
	       "232.1.2.4");
	inet_pton(AF_INET6, "ff02::1234", &six);
	expect(in_group(s[1], IPPROTO_IPV6, &six, 16, AF_INET6, &mode, &sources) && mode == MCAST_EXCLUDE,
	       "ff02::1234");
	expect(!in_group(s[2], IPPROTO_IP, &a, 4, AF_INET, &mode, &sources), "a group that was not joined");
}

/* --- datagrams that wait */

static char big[60000];

static void set_up_queue(void)
{
	pattern_fill(big, sizeof(big), 7);
	bound(0, AF_INET, 0);
	bound(1, AF_INET, 0);
	bound(2, AF_INET, 0);
	send_to(1, 0, "first", 5);
	send_to(2, 0, "", 0);
	send_to(1, 0, "", 0);
	send_to(2, 0, big, sizeof(big));
	send_to(1, 0, "last", 4);
	/* of a socket that was connected after something else had come in */
	bound(3, AF_INET, 0);
	send_to(1, 3, "before", 6);
	need(connect(s[3], (struct sockaddr *)&own[2], len_of(2)) == 0);
	send_to(2, 3, "after", 5);
}

static void check_queue(void)
{
	expect_from(0, 1, "first", 5);
	expect_from(0, 2, "", 0);
	expect_from(0, 1, "", 0);
	expect_from(0, 2, big, sizeof(big));
	expect_from(0, 1, "last", 4);
	expect_empty(0);
	expect_from(3, 1, "before", 6);
	expect_from(3, 2, "after", 5);
	expect_empty(3);
	send_to(1, 0, "new", 3);
	expect_from(0, 1, "new", 3);
	expect(get(s[0], SOL_SOCKET, SO_RCVBUF) == get(s[1], SOL_SOCKET, SO_RCVBUF), "size of the buffer");
}

/* Empty ones that were looked at already: whoever looks with an offset passes them over. */
static void set_up_peeked(void)
{
	char byte;

	bound(0, AF_INET, 0);
	bound(1, AF_INET, 0);
	bound(2, AF_INET, 0);
	send_to(2, 0, "", 0);
	send_to(2, 1, "", 0);
	send_to(2, 1, "behind it", 9);
	need(recv(s[0], &byte, 1, MSG_PEEK) == 0 && recv(s[1], &byte, 1, MSG_PEEK) == 0);
}

static void check_peeked(void)
{
	expect_from(0, 2, "", 0);
	expect_empty(0);
	expect_from(1, 2, "", 0);
	expect_from(1, 2, "behind it", 9);
	expect_empty(1);
	expect(get(s[0], SOL_SOCKET, SO_PEEK_OFF) == -1, "SO_PEEK_OFF");
}

static void set_up_shut(void)
{
	bound(0, AF_INET, 0);
	bound(1, AF_INET, 0);
	need(connect(s[0], (struct sockaddr *)&own[1], len_of(1)) == 0 && shutdown(s[0], SHUT_RDWR) == 0);
}

static void check_shut(void)
{
	struct pollfd p = { s[0], POLLRDHUP, 0 };

	signal(SIGPIPE, SIG_IGN);
	expect(poll(&p, 1, 0) == 1 && p.revents == (POLLRDHUP | POLLHUP), "events are %x", p.revents);
	expect(send(s[0], "x", 1, 0) < 0 && errno == EPIPE, "it can be written to");
}

static void set_up_lite(void)
{
	bound(0, AF_INET, IPPROTO_UDPLITE);
	bound(1, AF_INET, IPPROTO_UDPLITE);
	set(s[1], IPPROTO_UDPLITE, 10, 16);
	send_to(1, 0, "light", 5);
}

static void check_lite(void)
{
	expect(get(s[0], SOL_SOCKET, SO_PROTOCOL) == IPPROTO_UDPLITE && get(s[1], IPPROTO_UDPLITE, 10) == 16,
	       "options");
	expect_from(0, 1, "light", 5);
	send_to(1, 0, "again", 5);
	expect_from(0, 1, "again", 5);
}

/* --- begun and not sent: none may be lost, nor may a dump that fails change or send it */

static void begin(int family, bool connected, bool by_option)
{
	const void *to = connected ? NULL : &own[0];

	s[1] = socket(family, SOCK_DGRAM, 0);
	need(s[1] >= 0);
	if (connected)
		need(connect(s[1], (struct sockaddr *)&own[0], len_of(0)) == 0);
	if (by_option)
		set(s[1], IPPROTO_UDP, UDP_CORK, 1);
	need(sendto(s[1], "begun ", 6, by_option ? 0 : MSG_MORE, to, to ? len_of(0) : 0) == 6);
	note(1);
}

static void set_up_begun(void)
{
	bound(0, AF_INET, 0);
	begin(AF_INET, true, false);
}

static void set_up_begun_to(void)
{
	bound(0, AF_INET, 0);
	begin(AF_INET, false, true);
}

static void set_up_begun_v6(void)
{
	bound(0, AF_INET6, 0);
	begin(AF_INET6, true, true);
}

static void set_up_begun_mapped(void)
{
	const struct sockaddr_in *in = (const void *)&own[0];
	struct sockaddr_in6 mapped = { .sin6_family = AF_INET6 };

	bound(0, AF_INET, 0);
	mapped.sin6_port = in->sin_port;
	mapped.sin6_addr.s6_addr[10] = mapped.sin6_addr.s6_addr[11] = 0xff;
	memcpy(&mapped.sin6_addr.s6_addr[12], &in->sin_addr, 4);
	memcpy(&own[0], &mapped, sizeof(mapped));
	begin(AF_INET6, false, false);
}

static void check_begun(void)
{
	char buf[32] = "";

	expect(recv(s[0], buf, sizeof(buf), MSG_DONTWAIT) < 0 && errno == EAGAIN, "it was sent");
	expect(send(s[1], "and ended", 9, 0) == 9, "it cannot be ended");
	if (get(s[1], IPPROTO_UDP, UDP_CORK))
		set(s[1], IPPROTO_UDP, UDP_CORK, 0);
	expect(recv(s[0], buf, sizeof(buf), 0) == 15 && strcmp(buf, "begun and ended") == 0, "'%s' was received", buf);
	/* and what is begun next has the right length */
	expect(sendto(s[1], "one", 3, MSG_MORE, (struct sockaddr *)&own[0], len_of(0)) == 3 && send(s[1], "two", 3, 0) == 3,
	       "another one");
	expect(recv(s[0], buf, sizeof(buf), 0) == 6 && memcmp(buf, "onetwo", 6) == 0, "of another '%s' was received", buf);
}

/* --- raw and ping */

static void set_up_raw(void)
{
	struct icmp_filter {
		uint32_t data;
	} filter = { ~(1u << ICMP_ECHOREPLY) };

	if ((s[0] = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP)) < 0)
		victim_skip("raw sockets: %s", strerror(errno));
	need(setsockopt(s[0], SOL_RAW, 1, &filter, sizeof(filter)) == 0);
	set(s[0], IPPROTO_IP, IP_HDRINCL, 1);
	need(bind(s[0],
		  (struct sockaddr *)&(struct sockaddr_in){ .sin_family = AF_INET,
							    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) },
		  sizeof(struct sockaddr_in)) == 0);
	note(0);
	s[1] = socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6);
	s[2] = socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
}

static void check_raw(void)
{
	uint32_t filter = 0;
	socklen_t len = sizeof(filter);

	same(0);
	expect(getsockopt(s[0], SOL_RAW, 1, &filter, &len) == 0 && filter == ~(1u << ICMP_ECHOREPLY), "filter is %x",
	       filter);
	expect(get(s[0], IPPROTO_IP, IP_HDRINCL) == 1 && get(s[2], SOL_SOCKET, SO_PROTOCOL) == IPPROTO_RAW, "options");
	if (s[1] >= 0)
		expect(get(s[1], SOL_SOCKET, SO_PROTOCOL) == IPPROTO_ICMPV6, "protocol");
}

/* Ping sockets: the kernel writes the number of the socket into what is sent, and the answer comes to whoever has it. */
static unsigned short ping_number;

static void set_up_ping(void)
{
	const char *all = "/proc/sys/net/ipv4/ping_group_range"; /* of the case's own network */
	struct sockaddr_in own = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(own);

	if (spill(all, "0 2147483647", 12) < 0 || (s[0] = socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP)) < 0)
		victim_skip("ping sockets: %s", strerror(errno));
	set(s[0], IPPROTO_IP, IP_TTL, 33);
	need(bind(s[0], (struct sockaddr *)&own, len) == 0 && getsockname(s[0], (struct sockaddr *)&own, &len) == 0);
	ping_number = own.sin_port;
	need(ping_number);
	note(0);
}

static void check_ping(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct icmphdr h = { .type = ICMP_ECHO, .un.echo.sequence = htons(7) };
	struct pollfd p = { .fd = s[0], .events = POLLIN };

	same(0);
	expect(get(s[0], SOL_SOCKET, SO_PROTOCOL) == IPPROTO_ICMP && get(s[0], IPPROTO_IP, IP_TTL) == 33, "options");
	expect(sendto(s[0], &h, sizeof(h), 0, (struct sockaddr *)&to, sizeof(to)) == sizeof(h), "send");
	memset(&h, 0, sizeof(h));
	expect(poll(&p, 1, 5000) == 1 && read(s[0], &h, sizeof(h)) == sizeof(h), "no answer");
	expect(h.type == ICMP_ECHOREPLY && h.un.echo.id == ping_number && h.un.echo.sequence == htons(7),
	       "answer of type %d to %x, should be to %x", h.type, h.un.echo.id, ping_number);
}

const struct victim_case victim_cases[] = {
	{ "plain", set_up_plain, check_plain, .flags = CASE_MORE },
	{ "ipv6", set_up_v6, check_v6 },
	{ "options", set_up_options, check_options },
	{ "reuse", set_up_reuse, check_reuse },
	{ "owner", set_up_owner, check_owner },
	{ "groups", set_up_groups, check_groups },
	{ "queue", set_up_queue, check_queue, .flags = CASE_MORE },
	{ "peeked", set_up_peeked, check_peeked },
	{ "shut", set_up_shut, check_shut },
	{ "udplite", set_up_lite, check_lite },
	{ "begun", set_up_begun, check_begun, .refuse = "begun and not sent" },
	{ "begun-to", set_up_begun_to, check_begun, .refuse = "begun and not sent" },
	{ "begun-ipv6", set_up_begun_v6, check_begun, .refuse = "begun and not sent" },
	{ "begun-mapped", set_up_begun_mapped, check_begun, .refuse = "begun and not sent" },
	{ "raw", set_up_raw, check_raw },
	{ "ping", set_up_ping, check_ping, OWN_NETWORK },
	{ 0 },
};

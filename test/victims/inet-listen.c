/*
 * TCP sockets without connections: listening with all there is to that, bound, unbound, closed; what MPTCP makes of them.
 * A network namespace would do no good: port 0 gives a free port on any machine.
 */
#include "sockets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

static int s[8] = { -1, -1, -1, -1, -1, -1, -1, -1 };
static struct sockaddr_storage own[8];

static void note(int i)
{
	socklen_t len = sizeof(own[i]);

	memset(&own[i], 0, len);
	need(getsockname(s[i], (struct sockaddr *)&own[i], &len) == 0);
}

static void same(int i)
{
	struct sockaddr_storage now = { 0 };
	socklen_t len = sizeof(now);

	expect(getsockname(s[i], (struct sockaddr *)&now, &len) == 0 && memcmp(&now, &own[i], len) == 0,
	       "address of socket %d", i);
}

static void listen_on(int i, int family, int backlog)
{
	struct sockaddr_storage sa;
	socklen_t len = loopback(family, 0, &sa);

	if (s[i] < 0)
		s[i] = socket(family, SOCK_STREAM, 0);
	if (s[i] < 0 && errno == EAFNOSUPPORT)
		victim_skip("no IPv6");
	need(s[i] >= 0);
	if (bind(s[i], (struct sockaddr *)&sa, len) < 0 && errno == EADDRNOTAVAIL)
		victim_skip("no loopback address of family %d", family);
	need(listen(s[i], backlog) == 0);
	note(i);
}

/* a connection through a listening socket */
static void use(int fd)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	int c, a;
	char text[8] = "";

	expect(getsockname(fd, (struct sockaddr *)&sa, &len) == 0, "getsockname");
	if (sa.ss_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&((struct sockaddr_in6 *)&sa)->sin6_addr))
		((struct sockaddr_in6 *)&sa)->sin6_addr = in6addr_loopback;
	c = socket(sa.ss_family, SOCK_STREAM, 0);
	expect(connect(c, (struct sockaddr *)&sa, len) == 0, "connect to the listening socket");
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
	a = accept(fd, NULL, NULL);
	expect(a >= 0, "accept");
	expect(write(c, "hello", 5) == 5 && read(a, text, 5) == 5 && strcmp(text, "hello") == 0, "data is %s", text);
	/* nothing shall remain of it that keeps the port */
	expect(setsockopt(a, SOL_SOCKET, SO_LINGER, &(struct linger){ 1, 0 }, sizeof(struct linger)) == 0, "SO_LINGER");
	close(a);
	close(c);
}

static int backlog_of(int fd)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);

	expect(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0, "TCP_INFO");
	return (int)info.tcpi_sacked;
}

/* --- listening */

static void set_up_listen(void)
{
	listen_on(0, AF_INET, 7);
	need(fcntl(s[0], F_SETFL, O_NONBLOCK) == 0 && fcntl(s[0], F_SETFD, FD_CLOEXEC) == 0);
	set(s[0], SOL_SOCKET, SO_REUSEADDR, 1);
	listen_on(1, AF_INET, 128);
}

static void check_listen(void)
{
	same(0);
	same(1);
	expect(get(s[0], SOL_SOCKET, SO_ACCEPTCONN) == 1 && backlog_of(s[0]) == 7, "backlog is %d", backlog_of(s[0]));
	expect(backlog_of(s[1]) == 128, "backlog is %d", backlog_of(s[1]));
	expect(get(s[0], SOL_SOCKET, SO_REUSEADDR) == 1 && get(s[1], SOL_SOCKET, SO_REUSEADDR) == 0, "SO_REUSEADDR");
	expect(fcntl(s[0], F_GETFL) == (O_RDWR | O_NONBLOCK) && fcntl(s[0], F_GETFD) == FD_CLOEXEC, "flags");
	use(s[0]);
	use(s[1]);
}

static void set_up_options(void)
{
	struct linger linger = { 1, 17 };
	const char *cc = "reno";

	s[0] = socket(AF_INET, SOCK_STREAM, 0);
	set(s[0], IPPROTO_TCP, TCP_NODELAY, 1);
	set(s[0], IPPROTO_TCP, TCP_CORK, 1);
	set(s[0], IPPROTO_TCP, TCP_KEEPIDLE, 100);
	set(s[0], IPPROTO_TCP, TCP_KEEPINTVL, 7);
	set(s[0], IPPROTO_TCP, TCP_KEEPCNT, 3);
	set(s[0], IPPROTO_TCP, TCP_USER_TIMEOUT, 12345);
	set(s[0], IPPROTO_TCP, TCP_DEFER_ACCEPT, 1);
	set(s[0], IPPROTO_TCP, TCP_SYNCNT, 3);
	set(s[0], IPPROTO_TCP, TCP_LINGER2, 20);
	set(s[0], IPPROTO_TCP, TCP_MAXSEG, 1000);
	set(s[0], IPPROTO_TCP, TCP_NOTSENT_LOWAT, 4096);
	set(s[0], IPPROTO_TCP, TCP_FASTOPEN, 5);
	need(setsockopt(s[0], IPPROTO_TCP, TCP_CONGESTION, cc, 4) == 0);
	set(s[0], IPPROTO_IP, IP_TOS, 0x10);
	set(s[0], IPPROTO_IP, IP_TTL, 33);
	set(s[0], IPPROTO_IP, IP_FREEBIND, 1);
	set(s[0], IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT);
	set(s[0], IPPROTO_IP, IP_MINTTL, 5);
	set(s[0], SOL_SOCKET, SO_KEEPALIVE, 1);
	set(s[0], SOL_SOCKET, SO_PRIORITY, 3);
	set(s[0], SOL_SOCKET, SO_SNDBUF, 30000);
	set(s[0], SOL_SOCKET, SO_RCVBUF, 40000);
	need(setsockopt(s[0], SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)) == 0);
	listen_on(0, AF_INET, 5);
	s[1] = socket(AF_INET, SOCK_STREAM, 0);
	if (setsockopt(s[1], IPPROTO_IP, IP_TRANSPARENT, &(int){ 1 }, sizeof(int)) == 0)
		listen_on(1, AF_INET, 5);
}

static void check_options(void)
{
	static const struct {
		int level, option, value;
	} want[] = {
		{ IPPROTO_TCP, TCP_NODELAY, 1 },
		{ IPPROTO_TCP, TCP_CORK, 1 },
		{ IPPROTO_TCP, TCP_KEEPIDLE, 100 },
		{ IPPROTO_TCP, TCP_KEEPINTVL, 7 },
		{ IPPROTO_TCP, TCP_KEEPCNT, 3 },
		{ IPPROTO_TCP, TCP_USER_TIMEOUT, 12345 },
		{ IPPROTO_TCP, TCP_DEFER_ACCEPT, 1 },
		{ IPPROTO_TCP, TCP_SYNCNT, 3 },
		{ IPPROTO_TCP, TCP_LINGER2, 20 },
		{ IPPROTO_TCP, TCP_MAXSEG, 1000 },
		{ IPPROTO_TCP, TCP_NOTSENT_LOWAT, 4096 },
		{ IPPROTO_TCP, TCP_FASTOPEN, 5 },
		{ IPPROTO_IP, IP_TOS, 0x10 },
		{ IPPROTO_IP, IP_TTL, 33 },
		{ IPPROTO_IP, IP_FREEBIND, 1 },
		{ IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT },
		{ IPPROTO_IP, IP_MINTTL, 5 },
		{ SOL_SOCKET, SO_KEEPALIVE, 1 },
		{ SOL_SOCKET, SO_PRIORITY, 3 },
		{ SOL_SOCKET, SO_SNDBUF, 60000 },
		{ SOL_SOCKET, SO_RCVBUF, 80000 },
	};
	struct linger linger = { 0 };
	char cc[16] = "";
	socklen_t len = sizeof(linger);

	same(0);
	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++)
		expect(get(s[0], want[i].level, want[i].option) == want[i].value, "option %d of level %d is %d, was %d",
		       want[i].option, want[i].level, get(s[0], want[i].level, want[i].option), want[i].value);
	expect(getsockopt(s[0], SOL_SOCKET, SO_LINGER, &linger, &len) == 0 && linger.l_onoff && linger.l_linger == 17,
	       "SO_LINGER");
	len = sizeof(cc);
	expect(getsockopt(s[0], IPPROTO_TCP, TCP_CONGESTION, cc, &len) == 0 && strcmp(cc, "reno") == 0,
	       "congestion control %s", cc);
	if (get(s[1], SOL_SOCKET, SO_ACCEPTCONN) == 1)
		expect(get(s[1], IPPROTO_IP, IP_TRANSPARENT) == 1, "IP_TRANSPARENT");
	expect(get(s[0], SOL_SOCKET, SO_ACCEPTCONN) == 1, "it does not listen");
}

/* several sockets of one port, of the same owner only */
static void set_up_reuseport(void)
{
	struct sockaddr_storage sa;
	socklen_t len;

	for (int i = 0; i < 3; i++) {
		s[i] = socket(AF_INET, SOCK_STREAM, 0);
		set(s[i], SOL_SOCKET, SO_REUSEPORT, 1);
		len = loopback(AF_INET, i ? port_of(s[0]) : 0, &sa);
		need(bind(s[i], (struct sockaddr *)&sa, len) == 0 && listen(s[i], 10 + i) == 0);
		note(i);
	}
}

static void check_reuseport(void)
{
	struct sockaddr_storage sa;
	int c[10], n = 0; /* no more than each of them would take alone: it is the kernel that chooses */

	for (int i = 0; i < 3; i++) {
		same(i);
		expect(backlog_of(s[i]) == 10 + i && get(s[i], SOL_SOCKET, SO_REUSEPORT) == 1, "socket %d", i);
		fcntl(s[i], F_SETFL, O_NONBLOCK);
	}
	for (int i = 0; i < 10; i++) {
		c[i] = socket(AF_INET, SOCK_STREAM, 0);
		expect(connect(c[i], (struct sockaddr *)&sa, loopback(AF_INET, port_of(s[0]), &sa)) == 0, "connect");
	}
	for (int i = 0; i < 3; i++)
		for (int a; (a = accept(s[i], NULL, NULL)) >= 0; n++)
			close(a);
	expect(n == 10, "%d of 10 connections came in", n);
	for (int i = 0; i < 10; i++)
		close(c[i]);
}

static void set_up_v6(void)
{
	struct sockaddr_in6 any = { .sin6_family = AF_INET6 };

	listen_on(0, AF_INET6, 5);
	set(s[0], IPPROTO_IPV6, IPV6_UNICAST_HOPS, 12);
	set(s[0], IPPROTO_IPV6, IPV6_TCLASS, 0x20);
	for (int i = 1; i < 3; i++) {
		s[i] = socket(AF_INET6, SOCK_STREAM, 0);
		set(s[i], IPPROTO_IPV6, IPV6_V6ONLY, i == 1);
		any.sin6_port = 0;
		need(bind(s[i], (struct sockaddr *)&any, sizeof(any)) == 0 && listen(s[i], 5) == 0);
		note(i);
	}
}

static void check_v6(void)
{
	struct sockaddr_storage sa;
	int c = socket(AF_INET, SOCK_STREAM, 0);

	for (int i = 0; i < 3; i++) {
		same(i);
		use(s[i]);
	}
	expect(get(s[0], IPPROTO_IPV6, IPV6_UNICAST_HOPS) == 12 && get(s[0], IPPROTO_IPV6, IPV6_TCLASS) == 0x20,
	       "hops or class");
	expect(get(s[1], IPPROTO_IPV6, IPV6_V6ONLY) == 1 && get(s[2], IPPROTO_IPV6, IPV6_V6ONLY) == 0, "IPV6_V6ONLY");
	expect(connect(c, (struct sockaddr *)&sa, loopback(AF_INET, port_of(s[2]), &sa)) == 0,
	       "IPv4 into the socket of both");
	close(c);
}

/* --- neither listening nor connected */

static void set_up_idle(void)
{
	struct sockaddr_storage sa;

	s[0] = socket(AF_INET, SOCK_STREAM, 0);
	s[1] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	need(bind(s[1], (struct sockaddr *)&sa, loopback(AF_INET, 0, &sa)) == 0);
	note(1);
	set(s[0], IPPROTO_TCP, TCP_CORK, 1);
	/* closed by the other side, read to its end */
	listen_on(2, AF_INET, 1);
	s[3] = socket(AF_INET, SOCK_STREAM, 0);
	need(connect(s[3], (struct sockaddr *)&own[2], sizeof(struct sockaddr_in)) == 0);
	s[4] = accept(s[2], NULL, NULL);
	need(s[4] >= 0);
	struct linger reset = { 1, 0 };
	need(setsockopt(s[4], SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) == 0);
	close(s[4]);
	sleep_ms(20);
	char byte;
	need(read(s[3], &byte, 1) < 0 && errno == ECONNRESET);
}

static void check_idle(void)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	char byte;

	expect(port_of(s[0]) == 0 && get(s[0], IPPROTO_TCP, TCP_CORK) == 1, "a new socket");
	same(1);
	expect(listen(s[1], 5) == 0, "listen");
	use(s[1]);
	expect(connect(s[0], (struct sockaddr *)&own[2], sizeof(struct sockaddr_in)) == 0, "connect");
	signal(SIGPIPE, SIG_IGN);
	expect(read(s[3], &byte, 1) == 0, "the closed one can be read from");
	expect(write(s[3], "x", 1) < 0 && errno == EPIPE, "the closed one can be written to");
	expect(getpeername(s[3], (struct sockaddr *)&sa, &len) < 0 && errno == ENOTCONN, "the closed one has a peer");
}

static bool transparent;

static void set_up_mptcp(void)
{
	if ((s[0] = socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP)) < 0)
		victim_skip("MPTCP: %s", strerror(errno));
	set(s[0], SOL_SOCKET, SO_REUSEADDR, 1);
	listen_on(0, AF_INET, 9);
	s[1] = socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP);
	s[2] = socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP);
	transparent = setsockopt(s[2], IPPROTO_IP, IP_TRANSPARENT, &(int){ 1 }, sizeof(int)) == 0;
	listen_on(2, AF_INET, 3);
}

static void check_mptcp(void)
{
	expect(!transparent || get(s[2], IPPROTO_IP, IP_TRANSPARENT) == 1, "IP_TRANSPARENT");
	same(0);
	expect(get(s[0], SOL_SOCKET, SO_PROTOCOL) == IPPROTO_MPTCP &&
		       get(s[1], SOL_SOCKET, SO_PROTOCOL) == IPPROTO_MPTCP,
	       "protocol is %d", get(s[0], SOL_SOCKET, SO_PROTOCOL));
	use(s[0]);
}

/* descriptors of one socket in several processes */
static void child(long arg)
{
	victim_hold();
	expect(fcntl(s[0], F_GETFL) & O_NONBLOCK, "the flag that the parent has set does not show");
}

static pid_t kid;

static void set_up_shared(void)
{
	listen_on(0, AF_INET, 5);
	kid = victim_fork(child, 0);
	need(fcntl(s[0], F_SETFL, O_NONBLOCK) == 0);
}

static void check_shared(void)
{
	victim_reap(kid);
	use(s[0]);
}

/* --- refused */

static void set_up_waiting(void)
{
	struct sockaddr_storage sa;

	listen_on(0, AF_INET, 5);
	s[1] = socket(AF_INET, SOCK_STREAM, 0);
	need(connect(s[1], (struct sockaddr *)&sa, loopback(AF_INET, port_of(s[0]), &sa)) == 0);
}

static void check_waiting(void)
{
	expect((s[2] = accept(s[0], NULL, NULL)) >= 0, "accept");
	expect(write(s[2], "x", 1) == 1, "write");
}

/* what waited is gone, and who waited is told; others come in */
static void check_skipped(void)
{
	char byte;

	expect(read(s[1], &byte, 1) <= 0, "the connection lives");
	same(0);
	fcntl(s[0], F_SETFL, O_NONBLOCK);
	expect(accept(s[0], NULL, NULL) < 0 && errno == EAGAIN, "a connection waits");
	use(s[0]);
}

const struct victim_case victim_cases[] = {
	{ "listen", set_up_listen, check_listen, .flags = CASE_MORE },
	{ "options", set_up_options, check_options },
	{ "reuseport", set_up_reuseport, check_reuseport },
	{ "ipv6", set_up_v6, check_v6 },
	{ "idle", set_up_idle, check_idle },
	{ "mptcp", set_up_mptcp, check_mptcp },
	{ "shared", set_up_shared, check_shared },
	{ "waiting", set_up_waiting, check_waiting, .refuse = "TCP|nobody has accepted|--skip-in-flight" },
	{ "skip-in-flight", set_up_waiting, check_skipped, .dump = "--skip-in-flight --tcp-close",
	  .restore = "--tcp-close" },
	{ 0 },
};

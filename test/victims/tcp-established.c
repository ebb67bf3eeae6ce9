/* TCP connections with both ends in the tree: queues in every condition, options, and all states up to the end. */
#include "sockets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

#define KEEP .dump = "--tcp-established", .restore = "--tcp-established"

enum { ESTABLISHED = 1, FIN_WAIT1 = 4, FIN_WAIT2, CLOSED = 7, CLOSE_WAIT, LAST_ACK, LISTENING, CLOSING };

static int l = -1, c = -1, a = -1; /* listening, client, accepted */
static struct sockaddr_storage addr[2];
static size_t sent[2];

static struct tcp_info info_of(int fd)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);

	expect(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0, "TCP_INFO");
	return info;
}

static int state_of(int fd)
{
	return info_of(fd).tcpi_state;
}

static void names(struct sockaddr_storage ret[2])
{
	memset(ret, 0, 2 * sizeof(*ret));
	socklen_t len = sizeof(*ret);
	expect(getsockname(c, (struct sockaddr *)&ret[0], &len) == 0, "getsockname");
	len = sizeof(*ret);
	expect(getpeername(c, (struct sockaddr *)&ret[1], &len) == 0, "getpeername");
}

/* @client: AF_INET6 and @server: AF_INET is a mapped address */
static void connect_pair(int client, int server)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_addr = in6addr_loopback };
	socklen_t len = sizeof(in6);

	l = socket(server, SOCK_STREAM, 0);
	if (l < 0)
		victim_skip("no IPv6");
	if (server == AF_INET)
		need(bind(l, (struct sockaddr *)&in, sizeof(in)) == 0);
	else if (bind(l, (struct sockaddr *)&in6, sizeof(in6)) < 0)
		victim_skip("bind to ::1: %s", strerror(errno));
	need(listen(l, 5) == 0);
	if (c < 0)
		c = socket(client, SOCK_STREAM, 0);
	if (server == AF_INET) {
		len = sizeof(in);
		need(getsockname(l, (struct sockaddr *)&in, &len) == 0);
		if (client == AF_INET) {
			need(connect(c, (struct sockaddr *)&in, sizeof(in)) == 0);
		} else {
			inet_pton(AF_INET6, "::ffff:127.0.0.1", &in6.sin6_addr);
			in6.sin6_port = in.sin_port;
			need(connect(c, (struct sockaddr *)&in6, sizeof(in6)) == 0);
		}
	} else {
		need(getsockname(l, (struct sockaddr *)&in6, &len) == 0);
		need(connect(c, (struct sockaddr *)&in6, sizeof(in6)) == 0);
	}
	a = accept(l, NULL, NULL);
	need(a >= 0);
	names(addr);
}

static void same_names(void)
{
	struct sockaddr_storage now[2];

	names(now);
	expect(memcmp(now, addr, sizeof(now)) == 0, "addresses of the connection");
}

/* As much as goes in without waiting; pattern @seed */
static size_t fill(int fd, uint64_t seed, size_t max)
{
	char *buf = malloc(max);
	size_t n = 0;

	pattern_fill(buf, max, seed);
	while (n < max) {
		ssize_t k = send(fd, buf + n, max - n, MSG_DONTWAIT);

		if (k <= 0)
			break;
		n += (size_t)k;
	}
	free(buf);
	return n;
}

/* exactly that much comes, within five seconds */
static void drain(int fd, uint64_t seed, size_t len)
{
	char *buf = malloc(len + 1);
	size_t n = 0;

	while (n < len) {
		struct pollfd p = { fd, POLLIN, 0 };

		if (poll(&p, 1, 5000) != 1)
			break;
		ssize_t k = read(fd, buf + n, len - n);
		if (k <= 0)
			break;
		n += (size_t)k;
	}
	expect(n == len, "%zu of %zu bytes came", n, len);
	expect(pattern_same(buf, n, seed), "what came is not what was sent");
	free(buf);
}

static void end_of_stream(int fd)
{
	struct pollfd p = { fd, POLLIN, 0 };
	char byte;

	expect(poll(&p, 1, 5000) == 1 && read(fd, &byte, 1) == 0, "no end of the stream");
}

static void talk(void)
{
	expect(fill(c, 50, 1000) == 1000, "write");
	drain(a, 50, 1000);
	expect(fill(a, 51, 2000) == 2000, "write");
	drain(c, 51, 2000);
}

/* nothing is left behind that would keep the port */
static void finish(void)
{
	struct linger reset = { 1, 0 };

	setsockopt(c, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	close(c);
	close(a);
}

/* --- data */

static void set_up_idle(void)
{
	connect_pair(AF_INET, AF_INET);
	need(fcntl(c, F_SETFL, O_NONBLOCK) == 0 && fcntl(a, F_SETFD, FD_CLOEXEC) == 0);
}

static void check_idle(void)
{
	same_names();
	expect(state_of(c) == ESTABLISHED && state_of(a) == ESTABLISHED && get(l, SOL_SOCKET, SO_ACCEPTCONN) == 1,
	       "states");
	expect(fcntl(c, F_GETFL) == (O_RDWR | O_NONBLOCK) && fcntl(a, F_GETFD) == FD_CLOEXEC, "flags");
	talk();
	finish();
}

static void set_up_queues(void)
{
	connect_pair(AF_INET, AF_INET);
	need(fill(c, 1, 5000) == 5000 && fill(a, 2, 70000) == 70000);
	sleep_ms(20);
}

static void check_queues(void)
{
	int n = -1;

	expect(ioctl(a, SIOCINQ, &n) == 0 && n == 5000, "%d bytes wait", n);
	drain(a, 1, 5000);
	drain(c, 2, 70000);
	talk();
	finish();
}

/* until neither side takes any more: full buffers, closed windows, data that was never sent */
static void set_up_full(void)
{
	connect_pair(AF_INET, AF_INET);
	sent[0] = fill(c, 3, 32 << 20);
	sent[1] = fill(a, 4, 32 << 20);
	sleep_ms(50);
	sent[0] += 0;
	need(sent[0] > 100000 && sent[1] > 100000);
}

static void check_full(void)
{
	int n = -1;

	expect(ioctl(c, SIOCOUTQ, &n) == 0, "SIOCOUTQ");
	drain(a, 3, sent[0]);
	drain(c, 4, sent[1]);
	talk();
	finish();
}

static void set_up_v6(void)
{
	connect_pair(AF_INET6, AF_INET6);
	need(fill(c, 1, 3000) == 3000);
}

static void check_v6(void)
{
	same_names();
	drain(a, 1, 3000);
	talk();
	finish();
}

static void set_up_mapped(void)
{
	connect_pair(AF_INET6, AF_INET);
	need(fill(a, 1, 3000) == 3000);
}

static void check_mapped(void)
{
	same_names();
	drain(c, 1, 3000);
	talk();
	finish();
}

/* --- options */

static void set_up_options(void)
{
	c = socket(AF_INET, SOCK_STREAM, 0);
	set(c, SOL_SOCKET, SO_RCVBUF, 20000);
	connect_pair(AF_INET, AF_INET);
	set(c, IPPROTO_TCP, TCP_NODELAY, 1);
	set(c, SOL_SOCKET, SO_KEEPALIVE, 1);
	set(c, IPPROTO_TCP, TCP_KEEPIDLE, 77);
	set(c, IPPROTO_TCP, TCP_KEEPCNT, 4);
	set(c, IPPROTO_TCP, TCP_USER_TIMEOUT, 54321);
	set(c, IPPROTO_IP, IP_TOS, 0x10);
	set(c, SOL_SOCKET, SO_PRIORITY, 2);
	set(a, SOL_SOCKET, SO_REUSEADDR, 1);
	set(a, SOL_SOCKET, SO_RCVLOWAT, 10);
	need(setsockopt(a, IPPROTO_TCP, TCP_CONGESTION, "reno", 4) == 0);
	if (setsockopt(a, SOL_SOCKET, SO_MARK, &(int){ 99 }, sizeof(int)) < 0)
		need(errno == EPERM);
	/* corked: less than a segment waits for more */
	set(a, IPPROTO_TCP, TCP_CORK, 1);
	need(fill(a, 9, 100) == 100);
}

static void check_options(void)
{
	struct tcp_info i = info_of(c);
	char cc[16] = "";
	socklen_t len = sizeof(cc);

	expect(get(c, SOL_SOCKET, SO_RCVBUF) == 40000, "SO_RCVBUF is %d", get(c, SOL_SOCKET, SO_RCVBUF));
	expect(get(c, IPPROTO_TCP, TCP_NODELAY) == 1 && get(a, IPPROTO_TCP, TCP_NODELAY) == 0, "TCP_NODELAY");
	expect(get(c, SOL_SOCKET, SO_KEEPALIVE) == 1 && get(c, IPPROTO_TCP, TCP_KEEPIDLE) == 77 &&
		       get(c, IPPROTO_TCP, TCP_KEEPCNT) == 4,
	       "keepalive");
	expect(get(c, IPPROTO_TCP, TCP_USER_TIMEOUT) == 54321, "TCP_USER_TIMEOUT");
	expect(get(c, IPPROTO_IP, IP_TOS) == 0x10 && get(c, SOL_SOCKET, SO_PRIORITY) == 2, "IP_TOS or SO_PRIORITY");
	expect(get(a, SOL_SOCKET, SO_REUSEADDR) == 1 && get(c, SOL_SOCKET, SO_REUSEADDR) == 0, "SO_REUSEADDR");
	expect(get(a, SOL_SOCKET, SO_RCVLOWAT) == 10, "SO_RCVLOWAT");
	expect(getsockopt(a, IPPROTO_TCP, TCP_CONGESTION, cc, &len) == 0 && strcmp(cc, "reno") == 0,
	       "congestion control %s", cc);
	expect((i.tcpi_options & 7) == 7, "options of the connection: %x", i.tcpi_options);
	/* for how long it keeps data back is the kernel's to say: 200 ms, tcp(7) */
	expect(get(a, IPPROTO_TCP, TCP_CORK) == 1, "TCP_CORK");
	expect(setsockopt(a, IPPROTO_TCP, TCP_CORK, &(int){ 0 }, sizeof(int)) == 0, "uncork");
	drain(c, 9, 100);
	talk();
	finish();
}

/* --- states */

static void drop_all(int fd)
{
	struct sock_filter code[] = { BPF_STMT(BPF_RET | BPF_K, 0) };
	struct sock_fprog prog = { 1, code };

	need(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)) == 0);
}

static void drop_nothing(int fd)
{
	expect(setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &(int){ 0 }, sizeof(int)) == 0, "SO_DETACH_FILTER");
}

static void await(int fd, int state)
{
	for (int i = 0; i < 500 && state_of(fd) != state; i++)
		sleep_ms(10);
	expect(state_of(fd) == state, "state is %d, should be %d", state_of(fd), state);
}

static void set_up_half(void)
{
	connect_pair(AF_INET, AF_INET);
	need(fill(c, 5, 100) == 100 && shutdown(c, SHUT_WR) == 0);
	await(c, FIN_WAIT2);
	await(a, CLOSE_WAIT);
	need(fill(a, 6, 200) == 200);
	sleep_ms(20);
}

static void check_half(void)
{
	expect(state_of(c) == FIN_WAIT2 && state_of(a) == CLOSE_WAIT, "states are %d and %d", state_of(c), state_of(a));
	signal(SIGPIPE, SIG_IGN);
	expect(write(c, "x", 1) < 0 && errno == EPIPE, "the shut side can be written to");
	drain(a, 5, 100);
	end_of_stream(a);
	drain(c, 6, 200);
	expect(fill(a, 7, 5000) == 5000, "write");
	drain(c, 7, 5000);
	expect(shutdown(a, SHUT_WR) == 0, "shutdown");
	end_of_stream(c);
	finish();
}

/* the FIN waits behind data for which the other side has no room */
static void set_up_fin_unsent(void)
{
	connect_pair(AF_INET, AF_INET);
	sent[0] = fill(c, 8, 32 << 20);
	need(sent[0] > 100000 && shutdown(c, SHUT_WR) == 0);
	sleep_ms(50);
	need(state_of(c) == FIN_WAIT1 && state_of(a) == ESTABLISHED);
}

static void check_fin_unsent(void)
{
	expect(state_of(c) == FIN_WAIT1 && state_of(a) == ESTABLISHED, "states are %d and %d", state_of(c),
	       state_of(a));
	drain(a, 8, sent[0]);
	end_of_stream(a);
	expect(fill(a, 9, 100) == 100, "write");
	drain(c, 9, 100);
	finish();
}

/* both are on their way, nobody has the other's: FIN_WAIT1 with data that was sent and is not acknowledged */
static void set_up_fin_wait1(void)
{
	connect_pair(AF_INET, AF_INET);
	drop_all(a);
	need(fill(c, 10, 300) == 300 && shutdown(c, SHUT_WR) == 0);
	sleep_ms(20);
	need(state_of(c) == FIN_WAIT1 && state_of(a) == ESTABLISHED);
}

static void check_fin_wait1(void)
{
	expect(state_of(c) == FIN_WAIT1 && state_of(a) == ESTABLISHED, "states are %d and %d", state_of(c),
	       state_of(a));
	drop_nothing(a);
	drain(a, 10, 300);
	end_of_stream(a);
	await(c, FIN_WAIT2);
	await(a, CLOSE_WAIT);
	expect(fill(a, 11, 100) == 100, "write");
	drain(c, 11, 100);
	finish();
}

static void set_up_closing(void)
{
	connect_pair(AF_INET, AF_INET);
	drop_all(a);
	drop_all(c);
	need(fill(a, 12, 50) == 50 && shutdown(c, SHUT_WR) == 0 && shutdown(a, SHUT_WR) == 0);
	drop_nothing(c);
	await(c, CLOSING);
	need(state_of(a) == FIN_WAIT1);
}

static void check_closing(void)
{
	expect(state_of(c) == CLOSING && state_of(a) == FIN_WAIT1, "states are %d and %d", state_of(c), state_of(a));
	drain(c, 12, 50);
	end_of_stream(c);
	drop_nothing(a);
	end_of_stream(a);
	await(c, CLOSED);
	await(a, CLOSED);
	finish();
}

static void set_up_last_ack(void)
{
	connect_pair(AF_INET, AF_INET);
	need(shutdown(c, SHUT_WR) == 0);
	await(a, CLOSE_WAIT);
	await(c, FIN_WAIT2);
	drop_all(c);
	need(fill(a, 13, 80) == 80 && shutdown(a, SHUT_WR) == 0);
	need(state_of(a) == LAST_ACK && state_of(c) == FIN_WAIT2);
}

static void check_last_ack(void)
{
	expect(state_of(a) == LAST_ACK && state_of(c) == FIN_WAIT2, "states are %d and %d", state_of(a), state_of(c));
	end_of_stream(a);
	drop_nothing(c);
	drain(c, 13, 80);
	end_of_stream(c);
	await(a, CLOSED);
	finish();
}

static void set_up_shut_reading(void)
{
	connect_pair(AF_INET, AF_INET);
	need(shutdown(c, SHUT_RD) == 0);
}

static void check_shut_reading(void)
{
	end_of_stream(c);
	expect(fill(c, 14, 100) == 100, "write");
	drain(a, 14, 100);
	finish();
}

/* --- in two processes that talk all the time */

static pid_t kid;

static void echo(long arg)
{
	char buf[1000];
	ssize_t n;

	close(c);
	close(l);
	victim_held();
	while ((n = read(a, buf, sizeof(buf))) > 0)
		expect(write(a, buf, (size_t)n) == n, "write");
	expect(n == 0, "read");
}

static void set_up_echo(void)
{
	connect_pair(AF_INET, AF_INET);
	kid = victim_fork(echo, 0);
	close(a);
	close(l);
}

static void check_echo(void)
{
	for (int i = 0; i < 100; i++) {
		expect(fill(c, (uint64_t)i, 700) == 700, "write");
		drain(c, (uint64_t)i, 700);
	}
	expect(shutdown(c, SHUT_WR) == 0, "shutdown");
	victim_reap(kid);
	end_of_stream(c);
	close(c);
}

#define MANY 150
static int many[MANY][2];

static void set_up_many(void)
{
	connect_pair(AF_INET, AF_INET);
	for (int i = 0; i < MANY; i++) {
		struct sockaddr_storage sa;
		socklen_t len = sizeof(sa);

		need(getsockname(l, (struct sockaddr *)&sa, &len) == 0);
		many[i][0] = socket(AF_INET, SOCK_STREAM, 0);
		need(connect(many[i][0], (struct sockaddr *)&sa, len) == 0 &&
		     (many[i][1] = accept(l, NULL, NULL)) >= 0);
		need(fill(many[i][0], (uint64_t)i, 10) == 10);
	}
}

static void check_many(void)
{
	for (int i = 0; i < MANY; i++) {
		drain(many[i][1], (uint64_t)i, 10);
		expect(setsockopt(many[i][0], SOL_SOCKET, SO_LINGER, &(struct linger){ 1, 0 }, sizeof(struct linger)) ==
			       0,
		       "SO_LINGER");
		close(many[i][0]);
		close(many[i][1]);
	}
	finish();
}

/* --- without being kept */

static void check_closed(void)
{
	char byte;

	signal(SIGPIPE, SIG_IGN);
	expect(read(c, &byte, 1) <= 0 && write(c, "x", 1) < 0 && errno == EPIPE, "it is not closed");
	expect(read(a, &byte, 1) <= 0, "it is not closed");
	expect(get(l, SOL_SOCKET, SO_ACCEPTCONN) == 1, "the listening socket does not listen");
}

static void check_refused(void)
{
	drain(a, 1, 5000);
	drain(c, 2, 70000);
	talk();
	finish();
}

/* Pairs that are kept by none of the options. */
static void set_up_multipath(void)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(in);

	if ((l = socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP)) < 0)
		victim_skip("MPTCP: %s", strerror(errno));
	need(bind(l, (struct sockaddr *)&in, sizeof(in)) == 0 && listen(l, 5) == 0);
	need(getsockname(l, (struct sockaddr *)&in, &len) == 0);
	need((c = socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP)) >= 0);
	need(connect(c, (struct sockaddr *)&in, sizeof(in)) == 0 && (a = accept(l, NULL, NULL)) >= 0);
}

static void set_up_multipath_queues(void)
{
	set_up_multipath();
	need(fill(c, 1, 5000) == 5000 && fill(a, 2, 70000) == 70000);
	sleep_ms(20);
}

static void set_up_tls(void)
{
	connect_pair(AF_INET, AF_INET);
	if (setsockopt(c, IPPROTO_TCP, TCP_ULP, "tls", 3) < 0)
		victim_skip("TLS in the kernel: %s", strerror(errno));
}

/* They are as usable as before. */
static void check_talk(void)
{
	char buf[4] = "";

	expect(write(c, "abc", 3) == 3 && read(a, buf, 3) == 3 && strcmp(buf, "abc") == 0, "client to server");
	expect(write(a, "xyz", 3) == 3 && read(c, buf, 3) == 3 && strcmp(buf, "xyz") == 0, "server to client");
}

const struct victim_case victim_cases[] = {
	{ "idle", set_up_idle, check_idle, KEEP, .flags = CASE_MORE },
	{ "queues", set_up_queues, check_queues, KEEP, .flags = CASE_MORE },
	{ "full", set_up_full, check_full, KEEP, .flags = CASE_MORE },
	{ "ipv6", set_up_v6, check_v6, KEEP },
	{ "mapped", set_up_mapped, check_mapped, KEEP },
	{ "options", set_up_options, check_options, KEEP },
	{ "half-closed", set_up_half, check_half, KEEP, .flags = CASE_MORE },
	{ "fin-unsent", set_up_fin_unsent, check_fin_unsent, KEEP },
	{ "fin-wait1", set_up_fin_wait1, check_fin_wait1, KEEP },
	{ "closing", set_up_closing, check_closing, KEEP },
	{ "last-ack", set_up_last_ack, check_last_ack, KEEP },
	{ "shut-reading", set_up_shut_reading, check_shut_reading, KEEP },
	{ "echo", set_up_echo, check_echo, KEEP, .flags = CASE_MORE },
	{ "many", set_up_many, check_many, KEEP },
	{ "tcp-close", set_up_queues, check_closed, .dump = "--tcp-close", .restore = "--tcp-close" },
	{ "multipath-close", set_up_multipath_queues, check_closed, .dump = "--tcp-close", .restore = "--tcp-close" },
	{ "no-lock", set_up_queues, check_queues, .dump = "--tcp-established --network-lock skip",
	  .restore = "--tcp-established" },
	{ "refused", set_up_queues, check_refused, .refuse = "TCP|--tcp-established|--tcp-close" },
	{ "multipath", set_up_multipath, check_talk, .dump = "--tcp-established", .refuse = "MPTCP connection" },
	{ "tls", set_up_tls, check_talk, .dump = "--tcp-established", .refuse = "TLS|in the kernel" },
	{ 0 },
};

/* What the ends of a TCP connection agreed on when it was made; and connections that are still being made. */
#include "sockets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef TCP_TIMESTAMP
#define TCP_TIMESTAMP 24
#endif

#define KEEP     .dump = "--tcp-established", .restore = "--tcp-established"
#define SYN_SENT 2
#define MSS      700
#define MARK     99

static int l = -1, c = -1, a = -1; /* listening, client, accepted */
static struct sockaddr_in6 at;
static socklen_t at_len;

static void listen_here(int family)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	at = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_addr = in6addr_loopback };
	at_len = family == AF_INET ? sizeof(in) : sizeof(at);
	if (family == AF_INET)
		memcpy(&at, &in, sizeof(in));
	if ((l = socket(family, SOCK_STREAM, 0)) < 0 || bind(l, (struct sockaddr *)&at, at_len) < 0)
		victim_skip("family %d: %s", family, strerror(errno));
	need((c = socket(family, SOCK_STREAM, 0)) >= 0 && listen(l, 5) == 0);
	need(getsockname(l, (struct sockaddr *)&at, &at_len) == 0);
}

static struct tcp_info info_of(int fd)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);

	expect(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0, "TCP_INFO");
	return info;
}

/*
 * What each end may send, and lets the other one send: behind what the struct of the C library has; include/uapi/linux/tcp.h,
 * the first since 5.4, the second since 6.2. 0: this kernel does not say.
 */
static void windows_of(int fd, uint32_t *send, uint32_t *receive)
{
	uint32_t words[80] = { 0 };
	socklen_t len = sizeof(words);

	expect(getsockopt(fd, IPPROTO_TCP, TCP_INFO, words, &len) == 0, "TCP_INFO");
	*send = words[57];
	*receive = words[58];
}

/* --- agreed */

static struct tcp_info before[2];
static uint32_t send_window[2], receive_window[2];
static int stamp[2];
static bool marked, is_limited;

/* @mss: 0: what the kernel says */
static void agree(int family, int mss)
{
	listen_here(family);
	if (mss)
		set(l, IPPROTO_TCP, TCP_MAXSEG, mss);
	set(l, SOL_SOCKET, SO_RCVBUF, 300000);
	need(connect(c, (struct sockaddr *)&at, at_len) == 0 && (a = accept(l, NULL, NULL)) >= 0);
	marked = setsockopt(a, SOL_SOCKET, SO_MARK, &(int){ MARK }, sizeof(int)) == 0;
	need(write(c, "to", 2) == 2 && write(a, "fro", 3) == 3);
	sleep_ms(20);
	for (int i = 0; i < 2; i++) {
		before[i] = info_of(i ? a : c);
		stamp[i] = get(i ? a : c, IPPROTO_TCP, TCP_TIMESTAMP);
		windows_of(i ? a : c, &send_window[i], &receive_window[i]);
	}
	is_limited = mss;
	need(!mss || before[0].tcpi_snd_mss <= MSS);
}

static void set_up_agreed(void)
{
	agree(AF_INET, MSS);
}

static void set_up_large(void)
{
	agree(AF_INET, 0);
}

static void set_up_six(void)
{
	agree(AF_INET6, MSS);
}

static void check_agreed(void)
{
	char text[4] = "";
	uint32_t send, receive;

	for (int i = 0; i < 2; i++) {
		struct tcp_info now = info_of(i ? a : c);
		int later = get(i ? a : c, IPPROTO_TCP, TCP_TIMESTAMP) - stamp[i];

		expect(now.tcpi_options == before[i].tcpi_options, "end %d: options are %x, were %x", i,
		       now.tcpi_options, before[i].tcpi_options);
		expect(now.tcpi_snd_wscale == before[i].tcpi_snd_wscale &&
			       now.tcpi_rcv_wscale == before[i].tcpi_rcv_wscale,
		       "end %d: windows are scaled by %u and %u, were by %u and %u", i, now.tcpi_snd_wscale,
		       now.tcpi_rcv_wscale, before[i].tcpi_snd_wscale, before[i].tcpi_rcv_wscale);
		/* half a window that was small at first is less than what was agreed on */
		expect(is_limited ? now.tcpi_snd_mss == before[i].tcpi_snd_mss
				  : now.tcpi_snd_mss >= before[i].tcpi_snd_mss,
		       "end %d: segments of %u bytes, were of %u", i, now.tcpi_snd_mss, before[i].tcpi_snd_mss);
		/* milliseconds; one that goes back is what the other end drops as too old */
		expect(later >= 0 && later < 600000, "end %d: the clock went on by %d", i, later);
		windows_of(i ? a : c, &send, &receive);
		expect(send == send_window[i], "end %d: may send %u bytes, could %u", i, send, send_window[i]);
		expect(receive == receive_window[i], "end %d: may be sent %u bytes, could %u", i, receive, receive_window[i]);
	}
	if (marked)
		expect(get(a, SOL_SOCKET, SO_MARK) == MARK && get(c, SOL_SOCKET, SO_MARK) == 0, "mark is %d",
		       get(a, SOL_SOCKET, SO_MARK));
	expect(read(a, text, 3) == 2 && memcmp(text, "to", 2) == 0, "to the server: %s", text);
	expect(read(c, text, 3) == 3 && memcmp(text, "fro", 3) == 0, "to the client: %s", text);
	expect(write(c, "on", 2) == 2 && read(a, text, 3) == 2, "it does not go on");
	/* nothing is left behind that would keep the port */
	expect(setsockopt(c, SOL_SOCKET, SO_LINGER, &(struct linger){ 1, 0 }, sizeof(struct linger)) == 0, "SO_LINGER");
	close(c);
	close(a);
}

/* --- being made: nobody answers */

static void set_up_making(void)
{
	struct sock_filter nothing[] = { BPF_STMT(BPF_RET | BPF_K, 0) };
	struct sock_fprog program = { 1, nothing };

	listen_here(AF_INET);
	need(setsockopt(l, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) == 0);
	close(c);
	need((c = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)) >= 0);
	need(connect(c, (struct sockaddr *)&at, at_len) < 0 && errno == EINPROGRESS);
	need(info_of(c).tcpi_state == SYN_SENT);
}

/* It is still being made, and will be once it is answered. */
static void check_making(void)
{
	struct pollfd p = { .fd = c, .events = POLLOUT };

	expect(info_of(c).tcpi_state == SYN_SENT, "state is %d", info_of(c).tcpi_state);
	expect(setsockopt(l, SOL_SOCKET, SO_DETACH_FILTER, &(int){ 0 }, sizeof(int)) == 0, "SO_DETACH_FILTER");
	expect(poll(&p, 1, 10000) == 1 && get(c, SOL_SOCKET, SO_ERROR) == 0, "it is not made");
}

static void check_closed(void)
{
	char byte;

	expect(read(c, &byte, 1) <= 0, "it is not closed");
	expect(get(l, SOL_SOCKET, SO_ACCEPTCONN) == 1, "the listening socket does not listen");
}

const struct victim_case victim_cases[] = {
	{ "agreed", set_up_agreed, check_agreed, KEEP, .flags = CASE_MORE },
	{ "large", set_up_large, check_agreed, KEEP },
	{ "ipv6", set_up_six, check_agreed, KEEP },
	{ "making", set_up_making, check_making, .dump = "--tcp-established",
	  .refuse = "that is being made|--tcp-close" },
	{ "making-close", set_up_making, check_closed, .dump = "--tcp-close", .restore = "--tcp-close" },
	{ 0 },
};

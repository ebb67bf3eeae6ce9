/* Urgent data (MSG_OOB) of TCP connections, read and unread, and what waits behind it. */
#include "sockets.h"

#include <netinet/tcp.h>
#include <poll.h>
#include <unistd.h>

static int client, server;

static void connect_pair(void)
{
	struct sockaddr_storage sa;
	int l = socket(AF_INET, SOCK_STREAM, 0);
	socklen_t len = loopback(AF_INET, 0, &sa);

	need(l >= 0 && bind(l, (struct sockaddr *)&sa, len) == 0 && listen(l, 1) == 0);
	need(getsockname(l, (struct sockaddr *)&sa, &len) == 0);
	client = socket(AF_INET, SOCK_STREAM, 0);
	need(client >= 0 && connect(client, (struct sockaddr *)&sa, len) == 0);
	server = accept(l, NULL, NULL);
	need(server >= 0 && close(l) == 0);
	set(client, IPPROTO_TCP, TCP_NODELAY, 1);
}

static void send_urgent(const char *before, const char *behind)
{
	struct pollfd p = { .events = POLLPRI };

	connect_pair();
	p.fd = server;
	need(send(client, before, strlen(before), 0) == (ssize_t)strlen(before) && send(client, "!", 1, MSG_OOB) == 1);
	need(poll(&p, 1, 2000) == 1);
	need(send(client, behind, strlen(behind), 0) == (ssize_t)strlen(behind));
}

static void read_urgent(void)
{
	char byte = 0;

	need(recv(server, &byte, 1, MSG_OOB) == 1 && byte == '!');
}

static void expect_data(const char *text)
{
	char buf[32] = "";

	expect(recv(server, buf, sizeof(buf), MSG_DONTWAIT) == (ssize_t)strlen(text) && strcmp(buf, text) == 0, "'%s' waits",
	       buf);
}

static void set_up_unread(void)
{
	send_urgent("ab", "");
}

static void check_unread(void)
{
	read_urgent();
	expect_data("ab");
}

static void set_up_behind(void)
{
	send_urgent("ab", "cd");
	sleep_ms(20);
	read_urgent();
}

static void check_behind(void)
{
	expect_data("ab");
	expect_data("cd");
}

static void set_up_first(void)
{
	send_urgent("", "data");
	sleep_ms(20);
	read_urgent();
}

static void check_first(void)
{
	expect(get(server, SOL_SOCKET, SO_OOBINLINE) == 0, "SO_OOBINLINE");
	expect_data("data");
}

/* Nothing is behind it, and it was read: nothing of it is left. */
static void set_up_read(void)
{
	send_urgent("ab", "");
	read_urgent();
}

static void check_read(void)
{
	expect(get(server, SOL_SOCKET, SO_OOBINLINE) == 0, "SO_OOBINLINE");
	expect_data("ab");
	expect(send(client, "more", 4, 0) == 4, "send");
	sleep_ms(20);
	expect_data("more");
}

const struct victim_case victim_cases[] = {
	{ "unread", set_up_unread, check_unread, .dump = "--tcp-established", .refuse = "urgent data" },
	{ "behind", set_up_behind, check_behind, .dump = "--tcp-established", .refuse = "urgent data" },
	{ "first", set_up_first, check_first, .dump = "--tcp-established", .refuse = "urgent data" },
	{ "read", set_up_read, check_read, OWN_NETWORK },
	{ NULL },
};

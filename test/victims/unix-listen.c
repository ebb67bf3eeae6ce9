/* Listening UNIX sockets: who waits in their queue, shared ones, backlogs; and clients of all kinds. */
#include "victim.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int l, c[4], a, other;
static pid_t kid;

static struct sockaddr_un address(const char *name)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", victim_path(name));
	return sa;
}

static int bound(const char *name, int type)
{
	struct sockaddr_un sa = address(name);
	int fd = socket(AF_UNIX, type, 0);

	need(fd >= 0 && bind(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0);
	return fd;
}

static int try_connect(int fd, const char *name)
{
	struct sockaddr_un sa = address(name);

	return connect(fd, (struct sockaddr *)&sa, sizeof(sa));
}

static int client_of(const char *name, int type)
{
	int fd = socket(AF_UNIX, type, 0);

	need(fd >= 0 && try_connect(fd, name) == 0);
	return fd;
}

static void talk(int from, int to, const char *text)
{
	char buf[64] = "";
	size_t len = strlen(text);

	expect(send(from, text, len, MSG_NOSIGNAL) == (ssize_t)len, "send %s", text);
	expect(recv(to, buf, sizeof(buf), MSG_DONTWAIT) == (ssize_t)len && strcmp(buf, text) == 0, "got '%s', not '%s'", buf, text);
}

/* four wait, the third has a name and has shut down its half */
static void set_up_pending(void)
{
	struct sockaddr_un sa = address("third");

	l = bound("server", SOCK_STREAM);
	need(listen(l, 10) == 0);
	c[0] = client_of("server", SOCK_STREAM);
	c[1] = client_of("server", SOCK_STREAM);
	need((c[2] = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0 && bind(c[2], (struct sockaddr *)&sa, sizeof(sa)) == 0);
	need(try_connect(c[2], "server") == 0 && shutdown(c[2], SHUT_WR) == 0);
	c[3] = client_of("server", SOCK_STREAM);
	need(listen(l, 2) == 0); /* fewer than are there */
	fcntl(l, F_SETFL, O_NONBLOCK);
}

static void check_pending(void)
{
	struct sockaddr_un sa = { 0 };
	socklen_t len = sizeof(sa);
	struct ucred cred = { 0 };
	char byte;
	int s[4], late = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	expect(try_connect(late, "server") < 0 && errno == EAGAIN, "there is room for one more");
	for (int i = 0; i < 4; i++)
		expect((s[i] = accept(l, NULL, NULL)) >= 0, "connection %d", i);
	expect(accept(l, NULL, NULL) < 0 && errno == EAGAIN, "somebody else waits");
	talk(c[0], s[0], "first");
	talk(s[0], c[0], "answer");
	talk(c[1], s[1], "second");
	expect(getpeername(s[2], (struct sockaddr *)&sa, &len) == 0 && strcmp(sa.sun_path, victim_path("third")) == 0,
	       "the third is %s", sa.sun_path);
	expect(recv(s[2], &byte, 1, MSG_DONTWAIT) == 0, "the third has not shut down its half");
	talk(s[2], c[2], "third");
	talk(c[3], s[3], "fourth");
	len = sizeof(cred);
	expect(getsockopt(s[3], SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 && cred.pid == getpid(), "the client is %d", cred.pid);
}

/* no room for one more: a client sleeps in connect(2) */
static void late_client(long arg)
{
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	victim_held();
	expect(try_connect(fd, "server") == 0, "connect");
	expect(write(fd, "made it", 7) == 7, "write");
}

static void set_up_full(void)
{
	l = bound("server", SOCK_STREAM);
	need(listen(l, 1) == 0);
	for (int i = 0; i < 2; i++)
		c[i] = client_of("server", SOCK_STREAM);
	need((c[2] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0)) >= 0);
	need(try_connect(c[2], "server") < 0 && errno == EAGAIN);
	kid = victim_fork(late_client, 0);
	sleep_ms(50);
}

static void check_full(void)
{
	char buf[16] = "";
	int s;

	expect(try_connect(c[2], "server") < 0 && errno == EAGAIN, "there is room");
	for (int i = 0; i < 2; i++)
		expect(accept(l, NULL, NULL) >= 0, "accept");
	expect((s = accept(l, NULL, NULL)) >= 0, "the late one");
	expect(read(s, buf, sizeof(buf)) == 7 && memcmp(buf, "made it", 7) == 0, "got %s", buf);
	victim_reap(kid);
}

/* a child accepts from what its parent made, sleeping in accept(2) */
static void server_child(long arg)
{
	char byte = 0;
	int s;

	victim_held();
	s = accept(l, NULL, NULL);
	expect(s >= 0, "accept");
	expect(read(s, &byte, 1) == 1 && ++byte && write(s, &byte, 1) == 1, "serve");
}

static void set_up_shared(void)
{
	l = bound("server", SOCK_SEQPACKET);
	need(listen(l, 5) == 0);
	kid = victim_fork(server_child, 0);
	sleep_ms(20);
}

static void check_shared(void)
{
	char byte = 'x';

	c[0] = client_of("server", SOCK_SEQPACKET);
	expect(write(c[0], &byte, 1) == 1 && read(c[0], &byte, 1) == 1 && byte == 'y', "the answer is %c", byte);
	victim_reap(kid);
}

/* not connected, not bound; bound only; shut down before anything */
static void set_up_idle(void)
{
	struct pollfd p;

	need((c[0] = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0 && (c[1] = socket(AF_UNIX, SOCK_DGRAM, 0)) >= 0);
	c[2] = bound("bound", SOCK_STREAM);
	l = bound("deaf", SOCK_STREAM);
	need(listen(l, 1) == 0 && shutdown(l, SHUT_RD) == 0);
	p = (struct pollfd){ .fd = c[0] };
	need(poll(&p, 1, 0) == 1 && p.revents & POLLHUP);
}

static void check_idle(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	expect(send(c[0], "x", 1, MSG_NOSIGNAL) < 0 && errno == ENOTCONN, "the first is connected");
	expect(send(c[1], "x", 1, MSG_NOSIGNAL) < 0 && errno == ENOTCONN, "the second is connected");
	expect(try_connect(fd, "bound") < 0 && errno == ECONNREFUSED, "the bound one listens");
	expect(listen(c[2], 1) == 0 && try_connect(fd, "bound") == 0, "it cannot listen");
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	expect(try_connect(fd, "deaf") < 0 && errno == ECONNREFUSED, "what was shut down listens");
	expect(try_connect(c[0], "bound") < 0 || send(c[0], "x", 1, 0) == 1, "the first cannot connect");
}

/* what was sent before anybody accepted cannot be seen */
static void set_up_sent_ahead(void)
{
	set_up_pending();
	need(write(c[3], "hello", 5) == 5);
}

static void check_sent_ahead(void)
{
	char buf[16];

	for (int i = 0; i < 3; i++)
		expect(accept(l, NULL, NULL) >= 0, "accept");
	a = accept(l, NULL, NULL);
	expect(read(a, buf, sizeof(buf)) == 5, "what was sent is lost");
}

static void set_up_gone_ahead(void)
{
	l = bound("server", SOCK_STREAM);
	need(listen(l, 10) == 0);
	c[0] = client_of("server", SOCK_STREAM);
	need(write(c[0], "hello", 5) == 5 && close(c[0]) == 0);
}

static void check_gone_ahead(void)
{
	char buf[16];

	a = accept(l, NULL, NULL);
	expect(read(a, buf, sizeof(buf)) == 5, "what was sent is lost");
}

static void set_up_urgent(void)
{
	int p[2];

	need(socketpair(AF_UNIX, SOCK_STREAM, 0, p) == 0);
	if (send(p[0], "ab!", 3, MSG_OOB) != 3)
		victim_skip("MSG_OOB: %s", strerror(errno));
	other = p[1];
}

static void check_urgent(void)
{
	char byte = 0;

	expect(recv(other, &byte, 1, MSG_OOB) == 1 && byte == '!', "the urgent byte is %c", byte);
}

const struct victim_case victim_cases[] = {
	{ "pending", set_up_pending, check_pending, .flags = CASE_MORE },
	{ "full", set_up_full, check_full, .flags = CASE_MORE },
	{ "shared", set_up_shared, check_shared, .flags = CASE_MORE },
	{ "idle", set_up_idle, check_idle, .flags = CASE_MORE },
	{ "sent-ahead", set_up_sent_ahead, check_sent_ahead, .refuse = "has sent something|nobody has accepted" },
	{ "gone-ahead", set_up_gone_ahead, check_gone_ahead, .refuse = "nobody has accepted|client has gone" },
	{ "urgent", set_up_urgent, check_urgent, .refuse = "urgent" },
	{ 0 },
};

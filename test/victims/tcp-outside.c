/*
 * For scenarios: TCP with somebody who is not in the tree. A client of test/e2e/peer.py, whose address is in a file; and a
 * server that test/e2e/visitors.py connects to, whose ports are in one.
 */
#include "victim.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define KEEP .dump = "--tcp-established", .restore = "--tcp-established"

static pid_t kids[2];

/* --- client */

static int c = -1;

static void answer(long arg)
{
	char buf[4096];
	ssize_t n;

	victim_held();
	while ((n = read(c, buf, sizeof(buf))) > 0)
		expect(write(c, buf, (size_t)n) == n, "write");
	expect(n == 0, "read");
}

static void set_up_client(void)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	char text[128], host[64];
	int port;

	if (slurp("../../port", text, sizeof(text)) <= 0 || sscanf(text, "%63s %d", host, &port) != 2)
		victim_skip("needs somebody to talk to");
	in.sin_port = htons((uint16_t)port);
	need(inet_pton(AF_INET, host, &in.sin_addr) == 1);
	c = socket(AF_INET, SOCK_STREAM, 0);
	need(connect(c, (struct sockaddr *)&in, sizeof(in)) == 0);
	kids[0] = victim_fork(answer, 0);
	close(c);
}

static void check_client(void)
{
	victim_reap(kids[0]);
}

/* --- server */

static int l[2] = { -1, -1 }; /* one address of IPv4; all of IPv6 and IPv4 */
static unsigned long *served; /* by each of the kids */

/* a line in, the same line out, the end */
static void serve(int from, long who)
{
	char buf[64];
	int s = accept(from, NULL, NULL);
	ssize_t n;

	if (s < 0) {
		expect(errno == EAGAIN, "accept");
		return;
	}
	n = read(s, buf, sizeof(buf));
	expect(n > 0 && write(s, buf, (size_t)n) == n, "a visitor");
	close(s);
	served[who]++;
}

static void worker(long who)
{
	struct pollfd p[2] = { { .fd = l[0], .events = POLLIN }, { .fd = l[1], .events = POLLIN } };

	victim_held();
	while (!victim_gone_on()) {
		poll(p, 2, 20);
		for (int i = 0; i < 2; i++)
			if (p[i].revents & POLLIN)
				serve(l[i], who);
	}
}

static unsigned listening(int i, const void *sa, socklen_t len)
{
	struct sockaddr_in6 own;

	l[i] = socket(((const struct sockaddr *)sa)->sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (l[i] < 0)
		victim_skip("no IPv6");
	need(setsockopt(l[i], SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int)) == 0);
	need(bind(l[i], sa, len) == 0 && listen(l[i], 64) == 0);
	len = sizeof(own);
	need(getsockname(l[i], (struct sockaddr *)&own, &len) == 0);
	return ntohs(own.sin6_port); /* at the same place in both */
}

static void set_up_server(void)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
	char text[64];

	if (access("../../visitors", F_OK) < 0)
		victim_skip("needs somebody to serve");
	served = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	need(served != MAP_FAILED);
	snprintf(text, sizeof(text), "%u %u\n", listening(0, &in, sizeof(in)), listening(1, &in6, sizeof(in6)));
	kids[0] = victim_fork(worker, 0);
	kids[1] = victim_fork(worker, 1);
	need(spill("../../server.new", text, strlen(text)) > 0 && rename("../../server.new", "../../server") == 0);
}

static void check_server(void)
{
	char text[64];

	victim_reap(kids[0]);
	victim_reap(kids[1]);
	expect(slurp("../../count", text, sizeof(text)) > 0 && served[0] + served[1] == strtoul(text, NULL, 10),
	       "%lu and %lu visitors were served, they count %s", served[0], served[1], text);
}

const struct victim_case victim_cases[] = {
	{ "client", set_up_client, check_client, KEEP },
	{ "server", set_up_server, check_server, KEEP },
	{ 0 },
};

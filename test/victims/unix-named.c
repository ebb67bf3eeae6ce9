/* UNIX sockets with names: paths, their mode and owner, unlinked, replaced, relative, below another root; abstract ones. */
#include "victim.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <unistd.h>

static int l, c, a, d[4];
static pid_t kid;
static struct stat before;

/* @name: leading NUL is an abstract one, of @len bytes */
static socklen_t address(struct sockaddr_un *sa, const char *name, size_t len)
{
	memset(sa, 0, sizeof(*sa));
	sa->sun_family = AF_UNIX;
	memcpy(sa->sun_path, name, len);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
}

static void bind_to(int fd, const char *path)
{
	struct sockaddr_un sa;
	socklen_t len = address(&sa, path, strlen(path) + 1);

	need(fd >= 0 && bind(fd, (struct sockaddr *)&sa, len) == 0);
}

static int connect_to(int fd, const char *path)
{
	struct sockaddr_un sa;
	socklen_t len = address(&sa, path, strlen(path) + 1);

	return connect(fd, (struct sockaddr *)&sa, len);
}

static void expect_name(int fd, bool peer, const char *name, size_t len)
{
	struct sockaddr_un sa;
	socklen_t got = sizeof(sa);
	size_t head = offsetof(struct sockaddr_un, sun_path);
	int r = peer ? getpeername(fd, (struct sockaddr *)&sa, &got) : getsockname(fd, (struct sockaddr *)&sa, &got);

	expect(r == 0 && got == head + len && memcmp(sa.sun_path, name, len) == 0, "%s name has %d bytes: %.*s", peer ? "peer's" : "own",
	       (int)got - (int)head, (int)got - (int)head, sa.sun_path);
}

static void talk(int from, int to, const char *text)
{
	char buf[64] = "";
	size_t len = strlen(text);

	expect(send(from, text, len, MSG_NOSIGNAL) == (ssize_t)len, "send %s", text);
	expect(recv(to, buf, sizeof(buf), MSG_DONTWAIT) == (ssize_t)len && strcmp(buf, text) == 0, "got '%s', not '%s'", buf, text);
}

/* a server with a connection that it accepted, and one to come */
static void serve(const char *path)
{
	l = socket(AF_UNIX, SOCK_STREAM, 0);
	bind_to(l, path);
	need(listen(l, 3) == 0);
	need((c = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0 && connect_to(c, path) == 0);
	need((a = accept(l, NULL, NULL)) >= 0);
	need(write(c, "request", 7) == 7);
}

static void check_served(const char *name, size_t len)
{
	char buf[16] = "";

	expect(read(a, buf, sizeof(buf)) == 7 && memcmp(buf, "request", 7) == 0, "unread: %s", buf);
	talk(a, c, "answer");
	expect_name(l, false, name, len);
	expect_name(a, false, name, len);
	expect_name(c, true, name, len);
	expect_name(c, false, "", 0);
	expect_name(a, true, "", 0);
}

static void check_new_client(const char *path)
{
	int n = socket(AF_UNIX, SOCK_STREAM, 0), m;

	expect(connect_to(n, path) == 0, "a new client cannot connect");
	m = accept(l, NULL, NULL);
	expect(m >= 0, "accept");
	talk(n, m, "new");
	close(n);
	close(m);
}

static void set_up_path(void)
{
	serve(victim_path("server"));
	need(chmod(victim_path("server"), 0741) == 0 && chown(victim_path("server"), 12, 34) == 0);
	need(stat(victim_path("server"), &before) == 0);
}

static void check_path(void)
{
	const char *path = victim_path("server");
	struct stat st;

	check_served(path, strlen(path) + 1);
	expect(stat(path, &st) == 0 && st.st_mode == before.st_mode && st.st_uid == 12 && st.st_gid == 34, "mode 0%o, owner %u %u",
	       st.st_mode, st.st_uid, st.st_gid);
	check_new_client(path);
}

/* one user more may connect to it; linux/posix_acl_xattr.h, little endian as here */
#define ACL "system.posix_acl_access"

static const struct {
	uint32_t version;
	struct {
		uint16_t tag, perm;
		uint32_t id;
	} of[5];
} acl = { 2, { { 1, 6, ~0u }, { 2, 2, 1234 }, { 4, 0, ~0u }, { 0x10, 6, ~0u }, { 0x20, 0, ~0u } } };

static void set_up_acl(void)
{
	serve(victim_path("server"));
	if (setxattr(victim_path("server"), ACL, &acl, sizeof(acl), 0) < 0)
		victim_skip("no access control lists here: %s", strerror(errno));
}

static void check_acl(void)
{
	char now[128];

	expect(getxattr(victim_path("server"), ACL, now, sizeof(now)) == (ssize_t)sizeof(acl) &&
		       memcmp(now, &acl, sizeof(acl)) == 0,
	       "the access control list is lost, or is another");
	check_new_client(victim_path("server"));
}

static void set_up_abstract(void)
{
	static const char name[] = "\0victim\0name";
	struct sockaddr_un sa;
	socklen_t len = address(&sa, name, sizeof(name) - 1);

	l = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	need(bind(l, (struct sockaddr *)&sa, len) == 0 && listen(l, 5) == 0);
	need((c = socket(AF_UNIX, SOCK_SEQPACKET, 0)) >= 0 && connect(c, (struct sockaddr *)&sa, len) == 0);
	need((a = accept(l, NULL, NULL)) >= 0 && write(c, "request", 7) == 7);
	/* the kernel chooses */
	sa.sun_family = AF_UNIX;
	need((d[0] = socket(AF_UNIX, SOCK_DGRAM, 0)) >= 0 && bind(d[0], (struct sockaddr *)&sa, sizeof(sa.sun_family)) == 0);
}

static void check_abstract(void)
{
	struct sockaddr_un sa;
	socklen_t len = address(&sa, "\0victim\0name", 12);
	int n = socket(AF_UNIX, SOCK_SEQPACKET, 0);

	check_served("\0victim\0name", 12);
	expect(connect(n, (struct sockaddr *)&sa, len) == 0, "connect");
	expect(bind(socket(AF_UNIX, SOCK_SEQPACKET, 0), (struct sockaddr *)&sa, len) < 0 && errno == EADDRINUSE, "the name is free");
	len = sizeof(sa);
	expect(getsockname(d[0], (struct sockaddr *)&sa, &len) == 0 && len == 8, "the kernel's choice has %u bytes", len);
}

static void set_up_unlinked(void)
{
	serve(victim_path("server"));
	need(unlink(victim_path("server")) == 0);
}

static void check_unlinked(void)
{
	const char *path = victim_path("server");

	check_served(path, strlen(path) + 1);
	expect(access(path, F_OK) < 0, "the file is back");
}

/* the name leads to another socket, which is not of the tree's first */
static void set_up_replaced(void)
{
	serve(victim_path("server"));
	need(unlink(victim_path("server")) == 0);
	need((d[0] = socket(AF_UNIX, SOCK_DGRAM, 0)) >= 0);
	bind_to(d[0], victim_path("server"));
	need((d[1] = socket(AF_UNIX, SOCK_DGRAM, 0)) >= 0 && connect_to(d[1], victim_path("server")) == 0);
}

static void check_replaced(void)
{
	const char *path = victim_path("server");

	check_served(path, strlen(path) + 1);
	talk(d[1], d[0], "to the second");
	d[2] = socket(AF_UNIX, SOCK_DGRAM, 0);
	expect(connect_to(d[2], path) == 0, "the name does not lead to the second");
}

static void set_up_relative(void)
{
	need(mkdir(victim_path("sub"), 0755) == 0 && chdir(victim_path("sub")) == 0);
	serve("./../sub/server");
	/* from somewhere else the name means something else */
	need(chdir("/") == 0);
	need(mkdir(victim_path("here"), 0755) == 0 && chdir(victim_path("here")) == 0);
	d[0] = socket(AF_UNIX, SOCK_DGRAM, 0);
	bind_to(d[0], "near");
}

static void check_relative(void)
{
	struct stat st;

	check_served("./../sub/server", 16);
	check_new_client(victim_path("sub/server"));
	expect_name(d[0], false, "near", 5);
	expect(stat("near", &st) == 0 && S_ISSOCK(st.st_mode), "the file near is missing");
	d[1] = socket(AF_UNIX, SOCK_DGRAM, 0);
	expect(connect_to(d[1], victim_path("here/near")) == 0, "near cannot be found");
	talk(d[1], d[0], "near");
}

/* bound in a jail, and held by a process outside of it */
static void jailed(long arg)
{
	need(chroot(victim_path("")) == 0 && chdir("/") == 0);
	victim_moved("/");
	serve("/run/server");
	victim_hold();
	check_served("/run/server", 12);
	check_new_client("/run/server");
}

static void set_up_jail(void)
{
	need(mkdir(victim_path("run"), 0777) == 0);
	if (geteuid())
		victim_skip("no chroot");
	kid = victim_fork(jailed, 0);
}

static void check_jail(void)
{
	victim_reap(kid);
}

/* as long as it gets: no NUL behind it */
static void set_up_long(void)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };

	need(chdir(victim_path("")) == 0);
	memset(sa.sun_path, 'x', sizeof(sa.sun_path));
	need((d[0] = socket(AF_UNIX, SOCK_DGRAM, 0)) >= 0 && bind(d[0], (struct sockaddr *)&sa, sizeof(sa)) == 0);
}

static void check_long(void)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	struct sockaddr_storage got;
	socklen_t len = sizeof(got);

	memset(sa.sun_path, 'x', sizeof(sa.sun_path));
	expect(getsockname(d[0], (struct sockaddr *)&got, &len) == 0 && len == sizeof(sa) + 1, "name of %u bytes", len);
	d[1] = socket(AF_UNIX, SOCK_DGRAM, 0);
	expect(connect(d[1], (struct sockaddr *)&sa, sizeof(sa)) == 0, "connect");
	talk(d[1], d[0], "long");
}

/* both have names, each sends to the other; a third that sends to one of them; the client of a server has a name */
static void set_up_datagrams(void)
{
	for (int i = 0; i < 3; i++)
		need((d[i] = socket(AF_UNIX, SOCK_DGRAM, 0)) >= 0);
	bind_to(d[0], victim_path("one"));
	bind_to(d[1], victim_path("two"));
	need(connect_to(d[0], victim_path("two")) == 0);
	for (int i = 0; i < 3; i++)
		need(send(d[0], "early", 5, 0) == 5);
	need(connect_to(d[1], victim_path("one")) == 0);
	/* between those two no length of the queue holds */
	for (int i = 0; i < 40; i++)
		need(send(d[0], "many", 4, MSG_DONTWAIT) == 4);
	need((d[3] = socket(AF_UNIX, SOCK_DGRAM, 0)) >= 0);
	bind_to(d[2], victim_path("three"));
	need(connect_to(d[3], victim_path("three")) == 0 && send(d[3], "waits", 5, 0) == 5);
	l = socket(AF_UNIX, SOCK_STREAM, 0);
	bind_to(l, victim_path("server"));
	need(listen(l, 1) == 0 && (c = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0);
	bind_to(c, victim_path("client"));
	need(connect_to(c, victim_path("server")) == 0 && (a = accept(l, NULL, NULL)) >= 0);
}

static void check_datagrams(void)
{
	const char *two = victim_path("two"), *client = victim_path("client");
	char buf[16];

	expect_name(d[0], true, two, strlen(two) + 1);
	for (int i = 0; i < 43; i++)
		expect(recv(d[1], buf, sizeof(buf), MSG_DONTWAIT) == (i < 3 ? 5 : 4), "datagram %d", i);
	expect(recv(d[1], buf, sizeof(buf), MSG_DONTWAIT) < 0, "one too many");
	talk(d[1], d[0], "back");
	expect(recv(d[2], buf, sizeof(buf), MSG_DONTWAIT) == 5 && memcmp(buf, "waits", 5) == 0, "what waited is lost");
	talk(d[3], d[2], "third");
	expect_name(a, true, client, strlen(client) + 1);
	expect_name(c, false, client, strlen(client) + 1);
	talk(a, c, "to the client");
	check_new_client(victim_path("server"));
}

/* the server has gone, and its socket; what it accepted lives on. Clients and servers that went leave their names */
static void set_up_orphans(void)
{
	serve(victim_path("server"));
	close(l);
	l = -1;
	need(unlink(victim_path("server")) == 0);
	d[0] = socket(AF_UNIX, SOCK_STREAM, 0);
	bind_to(d[0], victim_path("other"));
	need(listen(d[0], 1) == 0 && (d[1] = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0);
	need(connect_to(d[1], victim_path("other")) == 0 && (d[2] = accept(d[0], NULL, NULL)) >= 0);
	close(d[2]);
}

static void check_orphans(void)
{
	const char *server = victim_path("server"), *other = victim_path("other");
	char byte;

	expect_name(a, false, server, strlen(server) + 1);
	expect_name(c, true, server, strlen(server) + 1);
	expect(access(server, F_OK) < 0, "the server's file is back");
	talk(a, c, "still there");
	expect_name(d[1], true, other, strlen(other) + 1);
	expect(read(d[1], &byte, 1) == 0, "no end of file");
}

/* connected to itself: a queue in a descriptor */
static void set_up_self(void)
{
	struct sockaddr_un sa;
	socklen_t len = address(&sa, "\0victim self", 12);

	need((d[0] = socket(AF_UNIX, SOCK_DGRAM, 0)) >= 0);
	need(bind(d[0], (struct sockaddr *)&sa, len) == 0 && connect(d[0], (struct sockaddr *)&sa, len) == 0);
	for (int i = 0; i < 30; i++)
		need(send(d[0], "note to self", (size_t)(i % 12 + 1), MSG_DONTWAIT) == i % 12 + 1);
}

static void check_self(void)
{
	char buf[16];

	for (int i = 0; i < 30; i++)
		expect(recv(d[0], buf, sizeof(buf), MSG_DONTWAIT) == i % 12 + 1, "note %d", i);
	talk(d[0], d[0], "another");
}

static void set_up_renamed(void)
{
	serve(victim_path("server"));
	need(rename(victim_path("server"), victim_path("elsewhere")) == 0);
}

static void check_renamed(void)
{
	check_new_client(victim_path("elsewhere"));
}

const struct victim_case victim_cases[] = {
	{ "path", set_up_path, check_path, .flags = CASE_MORE },
	{ "acl", set_up_acl, check_acl, .flags = CASE_MORE },
	{ "abstract", set_up_abstract, check_abstract, .flags = CASE_MORE },
	{ "unlinked", set_up_unlinked, check_unlinked, .flags = CASE_MORE },
	{ "replaced", set_up_replaced, check_replaced, .flags = CASE_MORE },
	{ "relative", set_up_relative, check_relative, .flags = CASE_MORE },
	{ "jail", set_up_jail, check_jail, .flags = CASE_MORE },
	{ "long", set_up_long, check_long, .flags = CASE_MORE },
	{ "datagrams", set_up_datagrams, check_datagrams, .flags = CASE_MORE },
	{ "orphans", set_up_orphans, check_orphans, .flags = CASE_MORE },
	{ "self", set_up_self, check_self, .flags = CASE_MORE },
	{ "renamed", set_up_renamed, check_renamed, .refuse = "renamed" },
	{ 0 },
};

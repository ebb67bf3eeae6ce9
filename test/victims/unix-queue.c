/* What is unread in UNIX sockets: pieces of streams, packets, senders, credentials, descriptors on their way. */
#include "victim.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int s[2], p[2], d[2], extra;
static pid_t kid;
static char big[300000];

static int unread(int fd)
{
	int n = -1;

	ioctl(fd, FIONREAD, &n);
	return n;
}

/* --- with control messages */

static void send_fds(int sock, const char *text, size_t len, const int *fds, int nr)
{
	char control[CMSG_SPACE(16 * sizeof(int))] = { 0 };
	struct iovec io = { (char *)text, len };
	struct msghdr m = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_SPACE(nr * sizeof(int)) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(nr * sizeof(int));
	memcpy(CMSG_DATA(c), fds, nr * sizeof(int));
	need(sendmsg(sock, &m, 0) == (ssize_t)len);
}

struct got {
	ssize_t len;
	char data[64];
	int fds[16], nr;
	struct ucred cred;
	struct sockaddr_un from;
	socklen_t from_len;
};

static struct got receive(int sock, size_t max)
{
	struct got g = { 0 };
	char control[512];
	struct iovec io = { g.data, max };
	struct msghdr m = { .msg_name = &g.from, .msg_namelen = sizeof(g.from), .msg_iov = &io, .msg_iovlen = 1, .msg_control = control,
			    .msg_controllen = sizeof(control) };

	g.len = recvmsg(sock, &m, MSG_DONTWAIT);
	if (g.len < 0)
		return g;
	g.from_len = m.msg_namelen;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
		if (c->cmsg_type == SCM_RIGHTS) {
			g.nr = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
			memcpy(g.fds, CMSG_DATA(c), g.nr * sizeof(int));
		} else if (c->cmsg_type == SCM_CREDENTIALS) {
			memcpy(&g.cred, CMSG_DATA(c), sizeof(g.cred));
		}
	}
	return g;
}

/* --- data */

static void set_up_data(void)
{
	need(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0 && socketpair(AF_UNIX, SOCK_SEQPACKET, 0, p) == 0);
	need(socketpair(AF_UNIX, SOCK_DGRAM, 0, d) == 0);
	pattern_fill(big, sizeof(big), 1);
	need(write(s[0], big, 1000) == 1000 && write(s[0], big + 1000, 99000) == 99000);
	need(write(s[1], "back", 4) == 4);
	for (int i = 1; i <= 40; i++)
		need(write(p[0], big, (size_t)i) == i);
	for (int i = 1; i <= 20; i++)
		need(send(d[0], big, (size_t)(i * 10), 0) == i * 10);
	need(send(d[0], "", 0, 0) == 0 && send(d[0], "after", 5, 0) == 5);
	need(write(p[1], big, 90000) == 90000);
}

static void check_data(void)
{
	static char buf[sizeof(big)];
	size_t got = 0;
	ssize_t n;

	expect(unread(s[1]) == 100000, "%d bytes unread", unread(s[1]));
	while ((n = recv(s[1], buf + got, sizeof(buf) - got, MSG_DONTWAIT)) > 0)
		got += (size_t)n;
	expect(got == 100000 && pattern_same(buf, got, 1), "%zu bytes of the stream", got);
	expect(recv(s[0], buf, 10, MSG_DONTWAIT) == 4 && memcmp(buf, "back", 4) == 0, "other way");
	for (int i = 1; i <= 40; i++)
		expect((n = recv(p[1], buf, sizeof(buf), MSG_DONTWAIT)) == i, "packet %d has %zd bytes", i, n);
	for (int i = 1; i <= 20; i++)
		expect((n = recv(d[1], buf, sizeof(buf), MSG_DONTWAIT)) == i * 10 && pattern_same(buf, (size_t)n, 1),
		       "datagram %d has %zd bytes", i, n);
	expect((n = recv(d[1], buf, sizeof(buf), MSG_DONTWAIT)) == 0, "empty datagram of %zd bytes", n);
	expect((n = recv(d[1], buf, sizeof(buf), MSG_DONTWAIT)) == 5, "datagram of %zd bytes behind it", n);
	expect(recv(d[1], buf, sizeof(buf), MSG_DONTWAIT) < 0 && errno == EAGAIN, "one datagram more");
	expect((n = recv(p[0], buf, sizeof(buf), MSG_DONTWAIT)) == 90000 && pattern_same(buf, 90000, 1), "large packet of %zd", n);
}

/* as full as it gets */
static size_t filled[2];

static size_t fill(int fd, size_t piece)
{
	size_t sum = 0;
	ssize_t n;

	while ((n = send(fd, big, piece, MSG_DONTWAIT)) > 0)
		sum += (size_t)n;
	return sum;
}

static void set_up_full(void)
{
	int small = 4608;

	need(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0 && socketpair(AF_UNIX, SOCK_SEQPACKET, 0, p) == 0);
	pattern_fill(big, sizeof(big), 2);
	filled[0] = fill(s[0], 100);
	filled[1] = fill(p[0], 700);
	/* less than is under way */
	need(setsockopt(s[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)) == 0);
}

static void check_full(void)
{
	static char buf[sizeof(big)];
	size_t got[2] = { 0 };
	ssize_t n;
	int size;
	socklen_t len = sizeof(size);

	expect(unread(s[1]) == (int)filled[0], "%d unread, were %zu", unread(s[1]), filled[0]);
	expect(getsockopt(s[0], SOL_SOCKET, SO_SNDBUF, &size, &len) == 0 && size == 9216, "SO_SNDBUF is %d", size);
	while ((n = recv(s[1], buf, sizeof(buf), MSG_DONTWAIT)) > 0)
		got[0] += (size_t)n;
	while ((n = recv(p[1], buf, sizeof(buf), MSG_DONTWAIT)) > 0) {
		expect(n == 700, "packet of %zd", n);
		got[1] += (size_t)n;
	}
	expect(got[0] == filled[0] && got[1] == filled[1], "%zu and %zu bytes, were %zu and %zu", got[0], got[1], filled[0],
	       filled[1]);
}

/* --- descriptors */

static ino_t inode_of(int fd)
{
	struct stat st;

	need(fstat(fd, &st) == 0);
	return st.st_ino;
}

static ino_t file_ino;

static void set_up_rights(void)
{
	int fds[3], both[2];

	need(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0 && socketpair(AF_UNIX, SOCK_SEQPACKET, 0, p) == 0);
	spill(victim_path("passed"), "content", 7);
	need((fds[0] = open(victim_path("passed"), O_RDONLY)) >= 0 && (fds[1] = eventfd(5, EFD_NONBLOCK)) >= 0);
	need(pipe(both) == 0 && write(both[1], "in the pipe", 11) == 11);
	file_ino = inode_of(fds[0]);
	need(lseek(fds[0], 3, SEEK_SET) == 3);
	fds[2] = both[0];
	need(write(s[0], "before", 6) == 6);
	send_fds(s[0], "with", 4, fds, 3);
	need(write(s[0], "behind", 6) == 6);
	send_fds(p[0], "one", 3, fds, 1);
	send_fds(p[0], "two", 3, fds, 2);
	close(fds[0]);
	close(fds[2]);
	close(both[1]);
	extra = fds[1]; /* that one is open, too */
}

static void check_rights(void)
{
	struct got g = receive(s[1], 4), h;
	char buf[16] = "";
	uint64_t count = 0;

	expect(g.len == 4 && g.nr == 0 && memcmp(g.data, "befo", 4) == 0, "first piece: %zd bytes, %d descriptors", g.len, g.nr);
	g = receive(s[1], 64);
	expect(g.len == 6 && g.nr == 3 && memcmp(g.data, "rewith", 6) == 0, "second piece: %zd bytes, %d descriptors", g.len, g.nr);
	if (g.nr != 3)
		return;
	expect(inode_of(g.fds[0]) == file_ino && read(g.fds[0], buf, sizeof(buf)) == 4 && memcmp(buf, "tent", 4) == 0, "file: %s", buf);
	expect(read(g.fds[2], buf, sizeof(buf)) == 11 && memcmp(buf, "in the pipe", 11) == 0, "pipe");
	expect(read(g.fds[2], buf, sizeof(buf)) == 0, "the pipe has a writer");
	expect(read(g.fds[1], &count, 8) == 8 && count == 5 && read(extra, &count, 8) < 0, "the eventfd is not the one that is open");
	h = receive(s[1], 64);
	expect(h.len == 6 && h.nr == 0, "third piece: %zd bytes, %d descriptors", h.len, h.nr);
	h = receive(p[1], 64);
	expect(h.len == 3 && h.nr == 1, "packet: %zd bytes, %d descriptors", h.len, h.nr);
	expect(lseek(h.fds[0], 0, SEEK_CUR) == 7, "not the same opening");
	h = receive(p[1], 64);
	expect(h.len == 3 && h.nr == 2, "packet: %zd bytes, %d descriptors", h.len, h.nr);
}

/* a socket in a socket in a socket; and one that carries itself */
static void set_up_nested(void)
{
	int a[2], b[2], c[2];

	need(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0 && socketpair(AF_UNIX, SOCK_DGRAM, 0, a) == 0);
	need(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, b) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, c) == 0);
	need(write(b[0], "deep", 4) == 4);
	send_fds(a[0], "b", 1, b, 2);
	send_fds(s[0], "a", 1, a, 2);
	send_fds(s[0], "self", 4, s, 2);
	/* a circle that only its own queues hold */
	send_fds(c[0], "c", 1, c, 2);
	send_fds(s[0], "c", 1, c + 1, 1);
	close(a[0]), close(a[1]), close(b[0]), close(b[1]), close(c[0]), close(c[1]);
}

static void check_nested(void)
{
	struct got g = receive(s[1], 64), h;

	expect(g.len == 1 && g.nr == 2, "outer: %zd bytes, %d descriptors", g.len, g.nr);
	h = receive(g.fds[1], 64);
	expect(h.len == 1 && h.nr == 2, "middle: %zd bytes, %d descriptors", h.len, h.nr);
	g = receive(h.fds[1], 64);
	expect(g.len == 4 && memcmp(g.data, "deep", 4) == 0, "inner: %zd bytes", g.len);
	g = receive(s[1], 64);
	expect(g.len == 4 && g.nr == 2 && inode_of(g.fds[0]) == inode_of(s[0]) && inode_of(g.fds[1]) == inode_of(s[1]),
	       "it does not carry itself: %zd bytes, %d descriptors", g.len, g.nr);
	g = receive(s[1], 64);
	expect(g.len == 1 && g.nr == 1, "circle: %zd bytes, %d descriptors", g.len, g.nr);
	h = receive(g.fds[0], 64);
	expect(h.len == 1 && h.nr == 2 && inode_of(h.fds[1]) == inode_of(g.fds[0]), "circle: %zd bytes, %d descriptors", h.len, h.nr);
}

/* --- credentials */

static void sender(long arg)
{
	int on = 1;

	need(setsockopt(s[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) == 0);
	need(setresgid(55, -1, -1) == 0 && setresuid(44, -1, -1) == 0); /* the real ones are told */
	need(write(s[0], "child", 5) == 5 && write(d[0], "child", 5) == 5);
	need(setresuid(0, -1, -1) == 0 && setresgid(0, -1, -1) == 0);
	victim_hold();
}

static void set_up_credentials(void)
{
	int on = 1;

	need(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0 && socketpair(AF_UNIX, SOCK_DGRAM, 0, d) == 0);
	need(setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) == 0);
	need(setsockopt(d[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) == 0);
	need(write(s[0], "parent", 6) == 6 && write(d[0], "parent", 6) == 6);
	kid = victim_fork(sender, 0);
	need(write(s[0], "parent again", 12) == 12);
}

static void check_credentials(void)
{
	struct got g = receive(s[1], 64);

	expect(g.len == 6 && g.cred.pid == getpid() && g.cred.uid == 0, "%zd bytes of %d %u", g.len, g.cred.pid, g.cred.uid);
	g = receive(s[1], 64);
	expect(g.len == 5 && g.cred.pid == kid && g.cred.gid == 55 && g.cred.uid == 44, "%zd bytes of %d %u %u", g.len, g.cred.pid,
	       g.cred.uid, g.cred.gid);
	g = receive(s[1], 64);
	expect(g.len == 12 && g.cred.pid == getpid(), "%zd bytes of %d", g.len, g.cred.pid);
	g = receive(d[1], 64);
	expect(g.len == 6 && g.cred.pid == getpid(), "datagram of %d", g.cred.pid);
	g = receive(d[1], 64);
	expect(g.len == 5 && g.cred.pid == kid && g.cred.uid == 44, "datagram of %d %u", g.cred.pid, g.cred.uid);
	victim_reap(kid);
}

/* --- datagrams of several senders, some of which have gone */

static int named(const char *name, bool abstract)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	size_t head = offsetof(struct sockaddr_un, sun_path);
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

	need(fd >= 0);
	snprintf(a.sun_path + abstract, sizeof(a.sun_path) - 1, "%s", abstract ? name : victim_path(name));
	need(bind(fd, (struct sockaddr *)&a, (socklen_t)(head + abstract + strlen(a.sun_path + abstract) + !abstract)) == 0);
	return fd;
}

static void send_to(int fd, int to, const char *text)
{
	struct sockaddr_un a;
	socklen_t len = sizeof(a);

	need(getsockname(to, (struct sockaddr *)&a, &len) == 0);
	need(sendto(fd, text, strlen(text), 0, (struct sockaddr *)&a, len) == (ssize_t)strlen(text));
}

static int from[4];

static void set_up_senders(void)
{
	int nobody = socket(AF_UNIX, SOCK_DGRAM, 0);

	d[0] = named("receiver", false);
	d[1] = named("victim-receiver", true);
	from[0] = named("sender", false);
	from[1] = named("victim-sender", true);
	from[2] = named("gone", false);
	from[3] = named("victim-gone", true);
	for (int i = 0; i < 4; i++) {
		send_to(from[i], d[0], "to the path");
		send_to(from[i], d[1], "to the name");
	}
	send_to(nobody, d[0], "anonymous");
	close(nobody);
	close(from[2]);
	close(from[3]);
}

static void check_from(int fd, const char *text, const char *name, bool abstract)
{
	struct got g = receive(fd, 64);
	size_t head = offsetof(struct sockaddr_un, sun_path);
	size_t len = g.from_len > head ? g.from_len - head : 0;

	expect(g.len == (ssize_t)strlen(text) && memcmp(g.data, text, strlen(text)) == 0, "'%.*s', not '%s'", (int)g.len, g.data, text);
	if (!name)
		expect(len == 0, "a name of %zu bytes", len);
	else if (abstract)
		expect(len == strlen(name) + 1 && memcmp(g.from.sun_path + 1, name, strlen(name)) == 0, "from %zu bytes", len);
	else
		expect(strcmp(g.from.sun_path, victim_path(name)) == 0, "from %s, not %s", g.from.sun_path, name);
}

static void check_senders(void)
{
	static const char *const names[] = { "sender", "victim-sender", "gone", "victim-gone" };

	for (int i = 0; i < 4; i++) {
		check_from(d[0], "to the path", names[i], i % 2);
		check_from(d[1], "to the name", names[i], i % 2);
	}
	check_from(d[0], "anonymous", NULL, false);
	send_to(from[0], d[1], "later");
	check_from(d[1], "later", "sender", false);
}

/* --- what cannot be on its way */

static void set_up_epoll(void)
{
	int e = epoll_create1(0);

	need(e >= 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0);
	send_fds(s[0], "e", 1, &e, 1);
	close(e);
}

static void set_up_locked(void)
{
	int f;

	spill(victim_path("locked"), "content", 7);
	need((f = open(victim_path("locked"), O_RDWR)) >= 0 && flock(f, LOCK_EX) == 0);
	need(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0);
	send_fds(s[0], "f", 1, &f, 1);
	close(f);
}

static void set_up_locked_directory(void)
{
	int f = open(victim_path(""), O_RDONLY | O_DIRECTORY);

	need(f >= 0 && flock(f, LOCK_EX) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0);
	send_fds(s[0], "d", 1, &f, 1);
	close(f);
}

static void check_one(void)
{
	struct got g = receive(s[1], 64);

	expect(g.len == 1 && g.nr == 1, "%zd bytes, %d descriptors", g.len, g.nr);
}

const struct victim_case victim_cases[] = {
	{ "data", set_up_data, check_data, .flags = CASE_MORE },
	{ "full", set_up_full, check_full, .flags = CASE_MORE },
	{ "rights", set_up_rights, check_rights, .flags = CASE_MORE },
	{ "nested-rights", set_up_nested, check_nested, .flags = CASE_MORE },
	{ "credentials", set_up_credentials, check_credentials, .flags = CASE_MORE },
	{ "senders", set_up_senders, check_senders, .flags = CASE_MORE },
	{ "epoll-on-its-way", set_up_epoll, check_one, .refuse = "epoll|queue" },
	{ "directory-lock-on-its-way", set_up_locked_directory, check_one, .dump = "--file-locks", .refuse = "locked|queue" },
	{ "lock-on-its-way", set_up_locked, check_one, .dump = "--file-locks", .refuse = "locked|queue" },
	{ 0 },
};

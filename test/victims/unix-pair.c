/* Pairs of UNIX sockets: kinds, shared by processes, half shut, ends that have gone, options, who the peer is. */
#include "victim.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int s[2], p[2], d[2], extra = -1;
static pid_t kid;
static struct ucred who;

static void talk(int from, int to, const char *text)
{
	char buf[64] = "";
	size_t len = strlen(text);

	expect(send(from, text, len, MSG_NOSIGNAL) == (ssize_t)len, "send %s", text);
	expect(recv(to, buf, sizeof(buf), MSG_DONTWAIT) == (ssize_t)len && strcmp(buf, text) == 0, "got '%s', not '%s'", buf, text);
}

static void set_up_kinds(void)
{
	need(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s) == 0);
	need(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, p) == 0);
	need(socketpair(AF_UNIX, SOCK_DGRAM, 0, d) == 0);
	need((extra = dup(s[1])) >= 0);
}

static void check_kinds(void)
{
	char byte;

	talk(s[0], s[1], "stream");
	talk(s[1], s[0], "back");
	talk(extra, s[0], "through the duplicate");
	talk(p[0], p[1], "packet");
	talk(p[1], p[0], "packet back");
	talk(d[0], d[1], "datagram");
	talk(d[1], d[0], "datagram back");
	expect(recv(s[0], &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN, "something is left");
	expect(fcntl(s[0], F_GETFD) == FD_CLOEXEC && fcntl(p[0], F_GETFD) == 0, "close-on-exec");
	expect(fcntl(p[1], F_GETFL) & O_NONBLOCK && !(fcntl(s[1], F_GETFL) & O_NONBLOCK), "O_NONBLOCK");
}

/* a child has one end, its parent the other; both sleep in read */
static void other_end(long arg)
{
	char byte = 0;

	close(s[0]);
	victim_held();
	expect(read(s[1], &byte, 1) == 1, "the child reads nothing");
	byte++;
	expect(write(s[1], &byte, 1) == 1, "the child writes nothing");
}

static void set_up_shared(void)
{
	need(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0);
	kid = victim_fork(other_end, 0);
	close(s[1]);
}

static void check_shared(void)
{
	char byte = 'a';

	expect(write(s[0], &byte, 1) == 1 && read(s[0], &byte, 1) == 1 && byte == 'b', "the child said %c", byte);
	victim_reap(kid);
	expect(read(s[0], &byte, 1) == 0, "no end of file when the child has gone");
}

static void set_up_half(void)
{
	need(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0 && socketpair(AF_UNIX, SOCK_SEQPACKET, 0, p) == 0);
	need(socketpair(AF_UNIX, SOCK_DGRAM, 0, d) == 0);
	need(write(s[0], "last", 4) == 4 && shutdown(s[0], SHUT_WR) == 0);
	need(write(p[1], "words", 5) == 5 && shutdown(p[0], SHUT_RDWR) == 0);
	need(shutdown(d[1], SHUT_WR) == 0);
}

static void check_half(void)
{
	char buf[16] = "";

	expect(read(s[1], buf, sizeof(buf)) == 4 && memcmp(buf, "last", 4) == 0, "unread data is %s", buf);
	expect(read(s[1], buf, sizeof(buf)) == 0, "no end of file");
	expect(send(s[0], "x", 1, MSG_NOSIGNAL) < 0 && errno == EPIPE, "the end that was shut down sends");
	talk(s[1], s[0], "other way");
	expect(read(p[0], buf, sizeof(buf)) == 5 && memcmp(buf, "words", 5) == 0, "unread packet");
	expect(read(p[0], buf, sizeof(buf)) == 0, "no end of packets");
	expect(send(p[1], "x", 1, MSG_NOSIGNAL) < 0 && errno == EPIPE, "sends to one that is shut down");
	expect(send(d[1], "x", 1, MSG_NOSIGNAL) < 0 && errno == EPIPE, "the datagram socket sends");
	talk(d[0], d[1], "other way");
}

static void set_up_gone(void)
{
	need(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0 && socketpair(AF_UNIX, SOCK_SEQPACKET, 0, p) == 0);
	need(socketpair(AF_UNIX, SOCK_DGRAM, 0, d) == 0);
	need(write(s[1], "testament", 9) == 9 && close(s[1]) == 0);
	/* with something unread in it: a reset */
	need(write(p[0], "unheard", 7) == 7 && close(p[1]) == 0);
	need(write(d[1], "datagram", 8) == 8 && close(d[1]) == 0);
}

static void check_gone(void)
{
	struct pollfd pf = { .fd = s[0], .events = POLLIN };
	char buf[16] = "";

	expect(poll(&pf, 1, 0) == 1 && pf.revents == (POLLIN | POLLHUP), "poll says 0x%x", pf.revents);
	expect(read(s[0], buf, sizeof(buf)) == 9 && memcmp(buf, "testament", 9) == 0, "data is %s", buf);
	expect(read(s[0], buf, sizeof(buf)) == 0, "no end of file");
	expect(send(s[0], "x", 1, MSG_NOSIGNAL) < 0 && errno == EPIPE, "somebody listens");
	pf.fd = p[0];
	expect(poll(&pf, 1, 0) == 1 && pf.revents & POLLERR, "no error waits");
	expect(read(p[0], buf, sizeof(buf)) < 0 && errno == ECONNRESET, "no reset");
	expect(read(d[0], buf, sizeof(buf)) == 8, "the datagram is lost");
	expect(send(d[0], "x", 1, MSG_NOSIGNAL) < 0 && errno == ECONNREFUSED, "the datagram peer is there");
}

/* --- options */

static void set_int(int fd, int option, int value)
{
	need(setsockopt(fd, SOL_SOCKET, option, &value, sizeof(value)) == 0);
}

static int get_int(int fd, int option)
{
	int value = -1;
	socklen_t len = sizeof(value);

	getsockopt(fd, SOL_SOCKET, option, &value, &len);
	return value;
}

static int sizes[3];

static void set_up_options(void)
{
	struct timeval tv = { 3, 250000 };
	struct linger linger = { 1, 7 };
	struct sock_filter code[] = { BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 3, 0, 1),
				      BPF_STMT(BPF_RET | BPF_K, 0), BPF_STMT(BPF_RET | BPF_K, 0xffff) };
	struct sock_fprog prog = { 4, code };

	need(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0 && socketpair(AF_UNIX, SOCK_DGRAM, 0, d) == 0);
	set_int(s[0], SO_SNDBUF, 40000);
	set_int(s[1], SO_RCVBUF, 50000);
	set_int(s[0], SO_PASSCRED, 1);
	set_int(s[1], SO_PASSSEC, 1);
	set_int(s[1], SO_PEEK_OFF, 2);
	set_int(s[0], SO_PRIORITY, 4);
	set_int(s[0], SO_RCVLOWAT, 10);
	set_int(s[0], SO_KEEPALIVE, 1);
	set_int(s[0], SO_BROADCAST, 1);
	set_int(s[0], SO_REUSEADDR, 1);
	set_int(s[1], SO_OOBINLINE, 1);
	set_int(d[0], SO_TIMESTAMP, 1);
	need(setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) == 0);
	need(setsockopt(s[1], SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)) == 0);
	need(setsockopt(s[1], SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)) == 0);
	need(setsockopt(d[1], SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)) == 0);
	sizes[0] = get_int(s[0], SO_SNDBUF);
	sizes[1] = get_int(s[1], SO_RCVBUF);
	sizes[2] = get_int(s[1], SO_SNDBUF);
	need(write(s[0], "0123456789", 10) == 10);
}

static void check_options(void)
{
	struct timeval tv = { 0 };
	struct linger linger = { 0 };
	socklen_t len = sizeof(tv);
	char buf[16] = "";

	expect(get_int(s[0], SO_SNDBUF) == sizes[0] && get_int(s[1], SO_RCVBUF) == sizes[1] && get_int(s[1], SO_SNDBUF) == sizes[2],
	       "sizes are %d %d %d", get_int(s[0], SO_SNDBUF), get_int(s[1], SO_RCVBUF), get_int(s[1], SO_SNDBUF));
	expect(get_int(s[0], SO_PASSCRED) == 1 && get_int(s[1], SO_PASSCRED) == 0, "SO_PASSCRED");
	expect(get_int(s[1], SO_PASSSEC) == 1, "SO_PASSSEC");
	expect(get_int(s[1], SO_PEEK_OFF) == 2 && get_int(s[0], SO_PEEK_OFF) == -1, "SO_PEEK_OFF %d", get_int(s[1], SO_PEEK_OFF));
	expect(get_int(s[0], SO_PRIORITY) == 4, "SO_PRIORITY");
	expect(get_int(s[0], SO_RCVLOWAT) == 10, "SO_RCVLOWAT");
	expect(get_int(s[0], SO_KEEPALIVE) == 1 && get_int(s[0], SO_BROADCAST) == 1 && get_int(s[0], SO_REUSEADDR) == 1, "flags");
	expect(get_int(s[1], SO_OOBINLINE) == 1, "SO_OOBINLINE");
	expect(get_int(d[0], SO_TIMESTAMP) == 1, "SO_TIMESTAMP");
	getsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &tv, &len);
	expect(tv.tv_sec == 3 && tv.tv_usec >= 250000 && tv.tv_usec < 260000, "SO_RCVTIMEO is %ld.%06ld", (long)tv.tv_sec,
	       (long)tv.tv_usec);
	len = sizeof(linger);
	getsockopt(s[1], SOL_SOCKET, SO_LINGER, &linger, &len);
	expect(linger.l_onoff == 1 && linger.l_linger == 7, "SO_LINGER");
	expect(recv(s[1], buf, sizeof(buf), MSG_PEEK) == 8 && memcmp(buf, "23456789", 8) == 0, "peeked at %s", buf);
	/* the filter drops what is three bytes long */
	expect(send(d[0], "abc", 3, 0) == 3 && send(d[0], "four", 4, 0) == 4, "send");
	expect(recv(d[1], buf, sizeof(buf), MSG_DONTWAIT) == 4, "the filter lets all pass");
}

/* --- pairs for datagrams of which one end has turned to somebody else, or to nobody */

static int service, from_gone, alone[2];
static struct sockaddr_un service_name = { .sun_family = AF_UNIX };

static void leave(int fd)
{
	struct sockaddr none = { .sa_family = AF_UNSPEC };

	need(connect(fd, &none, sizeof(none)) == 0);
}

static void set_up_turned(void)
{
	int gone[2];
	socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
				    (size_t)snprintf(service_name.sun_path + 1, 50, "victim-turned-%d", getpid()));

	need((service = socket(AF_UNIX, SOCK_DGRAM, 0)) >= 0);
	need(bind(service, (struct sockaddr *)&service_name, len) == 0);
	/* d[0] is still connected to d[1], which hears the service alone */
	need(socketpair(AF_UNIX, SOCK_DGRAM, 0, d) == 0);
	need(connect(d[1], (struct sockaddr *)&service_name, len) == 0);
	/* this one sends to nobody any more */
	need(socketpair(AF_UNIX, SOCK_DGRAM, 0, alone) == 0);
	leave(alone[1]);
	need(send(alone[0], "still heard", 11, 0) == 11);
	/* and here who sent is gone */
	need(socketpair(AF_UNIX, SOCK_DGRAM, 0, gone) == 0);
	leave(gone[1]);
	need(send(gone[0], "last words", 10, 0) == 10 && send(gone[0], "", 0, 0) == 0 && close(gone[0]) == 0);
	from_gone = gone[1];
}

static void check_turned(void)
{
	char buf[64];

	talk(d[1], service, "to the service");
	expect(send(d[0], "x", 1, 0) < 0 && errno == EPERM, "d[0] is not connected to d[1]");
	expect(recv(d[0], buf, sizeof(buf), MSG_DONTWAIT) < 0 && errno == EAGAIN, "something came back");
	expect(recv(alone[1], buf, sizeof(buf), MSG_DONTWAIT) == 11, "what waited is lost");
	talk(alone[0], alone[1], "one way");
	expect(send(alone[1], "x", 1, 0) < 0 && errno == ENOTCONN, "it is connected");
	expect(recv(from_gone, buf, sizeof(buf), MSG_DONTWAIT) == 10 && memcmp(buf, "last words", 10) == 0,
	       "what waited is lost");
	expect(recv(from_gone, buf, sizeof(buf), MSG_DONTWAIT) == 0, "the empty one is lost");
	expect(send(from_gone, "x", 1, 0) < 0 && errno == ENOTCONN, "it is connected");
}

/* --- the sockets' own inodes: who may open them by a path is nobody, but bind(2) takes the mode, and fstat(2) shows all */

static void set_up_owner(void)
{
	need(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0 && socketpair(AF_UNIX, SOCK_DGRAM, 0, d) == 0);
	need(fchmod(s[0], 0640) == 0 && fchown(s[1], 3333, 4444) == 0);
	need(fchown(d[0], 3333, (gid_t)-1) == 0 && fchmod(d[0], 0) == 0);
	need((service = socket(AF_INET, SOCK_DGRAM, 0)) >= 0 && fchmod(service, 0600) == 0);
}

static void expect_owner(int fd, mode_t mode, uid_t uid, gid_t gid)
{
	struct stat st;

	expect(fstat(fd, &st) == 0 && (st.st_mode & 07777) == mode && st.st_uid == uid && st.st_gid == gid,
	       "mode is 0%o, owner %u and %u", st.st_mode, st.st_uid, st.st_gid);
}

static void check_owner(void)
{
	expect_owner(s[0], 0640, 0, 0);
	expect_owner(s[1], 0777, 3333, 4444);
	expect_owner(d[0], 0, 3333, 0);
	expect_owner(d[1], 0777, 0, 0);
	expect_owner(service, 0600, 0, 0);
}

/* --- who the peer is */

static void asker(long arg)
{
	struct ucred now = { 0 };
	socklen_t len = sizeof(now);

	victim_hold();
	expect(getsockopt(s[1], SOL_SOCKET, SO_PEERCRED, &now, &len) == 0, "SO_PEERCRED");
	expect(now.pid == who.pid && now.uid == who.uid && now.gid == who.gid, "the peer is %d %u %u, it was %d %u %u", now.pid,
	       now.uid, now.gid, who.pid, who.uid, who.gid);
}

static void set_up_peercred(void)
{
	socklen_t len = sizeof(who);

	need(setegid(123) == 0);
	if (seteuid(321) < 0)
		victim_skip("seteuid: %s", strerror(errno));
	need(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0);
	need(seteuid(0) == 0 && setegid(0) == 0);
	need(getsockopt(s[1], SOL_SOCKET, SO_PEERCRED, &who, &len) == 0);
	need(who.pid == getpid() && who.uid == 321 && who.gid == 123);
	kid = victim_fork(asker, 0);
}

static void check_peercred(void)
{
	victim_reap(kid);
}

const struct victim_case victim_cases[] = {
	{ "kinds", set_up_kinds, check_kinds, .flags = CASE_MORE },
	{ "shared", set_up_shared, check_shared, .flags = CASE_MORE },
	{ "half-shut", set_up_half, check_half, .flags = CASE_MORE },
	{ "gone", set_up_gone, check_gone, .flags = CASE_MORE },
	{ "options", set_up_options, check_options, .flags = CASE_MORE },
	{ "turned-away", set_up_turned, check_turned, .flags = CASE_MORE },
	{ "owner", set_up_owner, check_owner, .flags = CASE_MORE },
	{ "peercred", set_up_peercred, check_peercred, .flags = CASE_MORE },
	{ 0 },
};

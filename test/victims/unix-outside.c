/*
 * UNIX sockets whose peer is outside of the tree. The test that restores them is the service, in the directory of all its
 * victims; where there is none, a process that has left the tree is.
 */
#include "victim.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int stream = -1, packets = -1;

static struct sockaddr_un address(const char *name)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", name);
	return sa;
}

static int bound(const char *name, int type)
{
	struct sockaddr_un sa = address(name);
	int fd = socket(AF_UNIX, type, 0);

	need(fd >= 0 && bind(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0);
	return fd;
}

/* Calls @serve in a process of nobody. */
static void outside(void (*serve)(int ready))
{
	int ready[2];
	char byte;
	pid_t pid;

	need(pipe(ready) == 0 && (pid = fork()) >= 0);
	if (pid == 0) {
		if (fork() == 0) {
			close(ready[0]);
			setsid();
			victim_forget();
			serve(ready[1]);
			victim_wait();
		}
		_exit(0);
	}
	close(ready[1]);
	/* a byte, and then its end: closed there, too */
	need(waitpid(pid, NULL, 0) == pid && read(ready[0], &byte, 1) == 1 && read(ready[0], &byte, 1) == 0);
	close(ready[0]);
}

static void serve_names(int ready)
{
	int l = bound(victim_path("service"), SOCK_STREAM);

	bound(victim_path("log"), SOCK_DGRAM);
	need(listen(l, 5) == 0 && write(ready, "", 1) == 1 && close(ready) == 0);
	/* told, so that nothing of this process changes any more once the victim is ready */
	need(send(accept(l, NULL, NULL), "", 1, MSG_NOSIGNAL) == 1);
}

/* In the directory of all the test's victims, which is two above ours. */
static const char *common(const char *name)
{
	static char path[2][200];
	static int turn;
	char dir[160], *slash;

	need(getcwd(dir, sizeof(dir)));
	for (int i = 0; i < 2; i++)
		if ((slash = strrchr(dir, '/')))
			*slash = '\0';
	turn = !turn;
	snprintf(path[turn], sizeof(path[turn]), "%s/%s", dir, name);
	return path[turn];
}

static bool served(void)
{
	return access(common("service"), F_OK) == 0;
}

static void set_up_named(void)
{
	bool own = !served();
	struct sockaddr_un sa;
	char byte;

	if (own)
		outside(serve_names);
	sa = address(served() ? common("service") : victim_path("service"));
	need((stream = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0 && connect(stream, (struct sockaddr *)&sa, sizeof(sa)) == 0);
	need(!own || read(stream, &byte, 1) == 1);
	sa = address(served() ? common("log") : victim_path("log"));
	need((packets = socket(AF_UNIX, SOCK_DGRAM, 0)) >= 0 && connect(packets, (struct sockaddr *)&sa, sizeof(sa)) == 0);
}

static void ask(const char *whom)
{
	struct timeval tv = { 5, 0 };
	char buf[16] = "";

	setsockopt(stream, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	expect(send(stream, "alive", 5, MSG_NOSIGNAL) == 5, "ask the %s", whom);
	expect(read(stream, buf, sizeof(buf)) == 7 && memcmp(buf, "welcome", 7) == 0, "the %s says '%s'", whom, buf);
}

static void check_named(void)
{
	if (!served())
		return; /* the process outside has ended when we do */
	expect(send(packets, "alive", 5, MSG_NOSIGNAL) == 5, "log");
	ask("service");
}

static int pair[2];

static void hold_end(int ready)
{
	close(pair[0]);
	need(write(ready, "", 1) == 1 && close(ready) == 0);
}

static void set_up_unnamed(void)
{
	need(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
	outside(hold_end);
	close(pair[1]);
}

static void check_unnamed(void)
{
	struct pollfd p = { .fd = pair[0], .events = POLLIN };

	expect(poll(&p, 1, 5000) == 1 && p.revents & POLLHUP, "the peer has not gone with the other process");
}

/* a server whose client is outside */
static void be_client(int ready)
{
	struct sockaddr_un sa = address(victim_path("accepting"));
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	need(connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0 && write(ready, "", 1) == 1 && close(ready) == 0);
}

static void set_up_accepted(void)
{
	int l = bound(victim_path("accepting"), SOCK_STREAM);

	need(listen(l, 1) == 0);
	if (served())
		spill(common("listening"), "", 0);
	else
		outside(be_client);
	need((stream = accept(l, NULL, NULL)) >= 0 && close(l) == 0);
}

static void check_accepted(void)
{
	if (served())
		ask("client");
}

const struct victim_case victim_cases[] = {
	{ "named", set_up_named, check_named, .refuse = "outside of the tree|--ext-unix-sk|--external unix[" },
	{ "unnamed", set_up_unnamed, check_unnamed, .refuse = "outside of the tree|--external unix[" },
	{ "accepted", set_up_accepted, check_accepted, .refuse = "outside of the tree|--external unix[" },
	{ 0 },
};

/* What a keeper is asked about single processes; see keeper-ask.h. */
#include "mm/keeper-ask.h"

#include "base/own.h"
#include "base/pass-fds.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/userfaultfd.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#define PREFIX "criu-tracks."

/* A tree's own dump must not wait for long behind somebody who asks and then says nothing. */
#define PATIENCE_ASKED_S 1
#define PATIENCE_ASKS_S  5

bool keeper_is_us(int sock)
{
	struct ucred who;
	socklen_t len = sizeof(who);

	return getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0 && (who.uid == geteuid() || who.uid == 0);
}

void keeper_set_patience(int sock, int seconds)
{
	const struct timeval limit = { .tv_sec = seconds };

	setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
}

socklen_t keeper_ask_address(pid_t root, uint64_t start_time, struct sockaddr_un *ret)
{
	int n;

	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	n = snprintf(ret->sun_path + 1, sizeof(ret->sun_path) - 1, PREFIX "%u.%d.%" PRIu64, geteuid(), (int)root, start_time);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
}

/* ------------------------------------------------ the keeper's side */

/* That it is the process which is meant, and not another with that number elsewhere, is seen by who asks. */
static int send_pidfd(int sock, int pidfd)
{
	char yes = 1;
	ssize_t sent = pass_fds_send(sock, &yes, sizeof(yes), &pidfd, 1);

	return sent < 0 ? (int)sent : 0;
}

/* A range with nothing in it: let go. */
static bool is_farewell(const struct track_range *r)
{
	return r->start == 0 && r->end == 0;
}

static bool watches(const struct track_item *item, const struct track_range *range)
{
	struct uffdio_register reg = {
		.range = { range->start, range->end - range->start }, .mode = UFFDIO_REGISTER_MODE_WP
	};

	return item->uffd >= 0 && range->start < range->end && ioctl(item->uffd, UFFDIO_REGISTER, &reg) == 0;
}

static void converse(int sock, struct track_items *items)
{
	struct track_range range;
	int32_t pid;
	size_t i = 0;

	if (recv(sock, &pid, sizeof(pid), 0) != sizeof(pid))
		return;
	while (i < items->nr && items->items[i].pid != pid)
		i++;
	if (i == items->nr || send_pidfd(sock, items->items[i].pidfd) < 0)
		return;
	while (recv(sock, &range, sizeof(range), 0) == sizeof(range)) {
		bool over = is_farewell(&range);
		char yes = over || watches(&items->items[i], &range);

		if (over)
			track_items_drop(items, i);
		if (send(sock, &yes, sizeof(yes), MSG_NOSIGNAL) < 0 || over)
			return;
	}
}

void keeper_answer(int sock, struct track_items *items)
{
	if (keeper_is_us(sock)) {
		keeper_set_patience(sock, PATIENCE_ASKED_S);
		converse(sock, items);
	}
	close(sock);
}

/* ------------------------------------------------ who asks */

/* Return: does this keeper watch the very process? */
static bool asked_of(int sock, pid_t host_pid)
{
	const int32_t pid = host_pid;
	struct track_item item = { .pid = host_pid, .pidfd = -1 };
	char yes = 0;
	bool is;

	keeper_set_patience(sock, PATIENCE_ASKS_S);
	if (!keeper_is_us(sock) || send(sock, &pid, sizeof(pid), MSG_NOSIGNAL) < 0)
		return false;
	is = pass_fds_receive(sock, &yes, sizeof(yes), &item.pidfd, 1) == sizeof(yes) && item.pidfd >= 0 &&
	     track_item_is(&item, host_pid);
	if (item.pidfd >= 0)
		close(item.pidfd);
	return is;
}

static int ask_at(const char *name, size_t len, pid_t host_pid)
{
	autofd int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	if (sock < 0 || len >= sizeof(addr.sun_path))
		return -1;
	memcpy(addr.sun_path + 1, name, len);
	if (connect(sock, (struct sockaddr *)&addr, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + len)) < 0 ||
	    !asked_of(sock, host_pid))
		return -1;
	return take_fd(&sock);
}

/* Names that are not bound to a file begin with "@" there; one that holds a line break is nobody's of ours. */
int keeper_ask(pid_t host_pid)
{
	char ours[64], line[512];
	int n = snprintf(ours, sizeof(ours), " @" PREFIX "%u.", geteuid()), sock = -1;
	FILE *f = fopen("/proc/net/unix", "re");

	while (f && sock < 0 && fgets(line, sizeof(line), f)) {
		const char *name = strstr(line, ours);

		if (name && name[n] && strchr(name, '\n'))
			sock = ask_at(name + 2, strcspn(name + 2, "\n"), host_pid);
	}
	if (f)
		fclose(f);
	return sock;
}

static bool ask(int sock, uint64_t start, uint64_t end)
{
	const struct track_range range = { start, end };
	char yes = 0;

	return send(sock, &range, sizeof(range), MSG_NOSIGNAL) == sizeof(range) && recv(sock, &yes, sizeof(yes), 0) == 1 &&
	       yes == 1;
}

bool keeper_watches(int sock, uint64_t start, uint64_t end)
{
	return start < end && ask(sock, start, end);
}

bool keeper_let_go(int sock)
{
	return ask(sock, 0, 0);
}

/* The process that keeps tracking alive between rounds; see keeper.h. */
#include "mm/keeper.h"
#include "mm/keeper-ask.h"

#include "base/io.h"
#include "base/own.h"
#include "base/pass-fds.h"
#include "base/stay-behind.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#define KEEP_MAGIC "crkeep1"
#define KEEP_MAX   65536 /* processes of a tree */
#define PATIENCE_S 5     /* for the other side; it does nothing but send or receive */

/* First message; one struct keep_one for each item follows, with its descriptors. */
struct keep_head {
	char magic[8];
	char round[TRACK_ROUND];
	uint32_t nr;
};

struct keep_one {
	int32_t pid;
	uint32_t has_uffd;
	uint64_t nr_unread; /* ranges, in messages of their own behind this one */
};

#define RANGES_AT_ONCE ((size_t)1024)
#define RANGES_MAX     ((size_t)1 << 22)

static void item_done(struct track_item *item)
{
	if (item->pidfd >= 0)
		close(item->pidfd);
	if (item->uffd >= 0)
		close(item->uffd);
	track_ranges_done(&item->unread);
}

void track_items_close(struct track_items *items)
{
	for (size_t i = 0; i < items->nr; i++)
		item_done(&items->items[i]);
	track_items_done(items);
}

void track_items_drop(struct track_items *items, size_t i)
{
	item_done(&items->items[i]);
	items->items[i] = items->items[--items->nr];
}

bool track_item_is(const struct track_item *item, pid_t host_pid)
{
	char path[64], text[512];
	const char *line;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", item->pidfd);
	autofd int fd = open(path, O_RDONLY | O_CLOEXEC);

	n = fd < 0 ? -1 : fd_read_all(fd, text, sizeof(text) - 1);
	if (n < 0)
		return false;
	text[n] = '\0';
	/* as this procfs counts; -1 once it was reaped, so a number that is there cannot be another process's */
	line = strstr(text, "\nPid:");
	return line && strtol(line + 5, NULL, 10) == host_pid;
}

static socklen_t address(pid_t root, uint64_t start_time, struct sockaddr_un *ret)
{
	int n;

	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	n = snprintf(ret->sun_path + 1, sizeof(ret->sun_path) - 1, "criu-track.%u.%d.%" PRIu64, geteuid(), (int)root,
		     start_time);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
}

static void more_descriptors(size_t nr)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) == 0 && lim.rlim_cur < 2 * nr + 256 && lim.rlim_cur < lim.rlim_max) {
		lim.rlim_cur = lim.rlim_max;
		setrlimit(RLIMIT_NOFILE, &lim);
	}
}

/* Who may come: the next dump of the tree, to take everything over, and dumps of others with questions. */
struct ears {
	int heir, others;
};

/* ------------------------------------------------ the keeper's side */

static int send_one(int sock, const struct track_item *item)
{
	struct keep_one one = { .pid = item->pid, .has_uffd = item->uffd >= 0, .nr_unread = item->unread.nr };
	int fds[2] = { item->pidfd, item->uffd };
	ssize_t sent = pass_fds_send(sock, &one, sizeof(one), fds, one.has_uffd ? 2 : 1);

	if (sent < 0)
		return (int)sent;
	for (size_t i = 0, n; i < item->unread.nr; i += n) {
		n = item->unread.nr - i < RANGES_AT_ONCE ? item->unread.nr - i : RANGES_AT_ONCE;
		if (send(sock, &item->unread.items[i], n * sizeof(struct track_range), MSG_NOSIGNAL) < 0)
			return -errno;
	}
	return 0;
}

static void hand_over(int sock, const char *round, const struct track_items *items)
{
	struct keep_head head = { .magic = KEEP_MAGIC, .nr = (uint32_t)items->nr };

	keeper_set_patience(sock, PATIENCE_S);
	memcpy(head.round, round, sizeof(head.round));
	if (send(sock, &head, sizeof(head), MSG_NOSIGNAL) < 0)
		return;
	for (size_t i = 0; i < items->nr; i++)
		if (send_one(sock, &items->items[i]) < 0)
			return;
}

/* Return: a connection to whom everything is to be given; -1 nothing is left to be kept. */
static int wait_for_heir(const struct ears *ears, struct track_items *items, struct pollfd *polls)
{
	while (items->nr) {
		int sock;

		polls[0] = (struct pollfd){ .fd = ears->heir, .events = POLLIN };
		polls[1] = (struct pollfd){ .fd = ears->others, .events = POLLIN };
		for (size_t i = 0; i < items->nr; i++)
			polls[i + 2] = (struct pollfd){ .fd = items->items[i].pidfd, .events = POLLIN };
		if (poll(polls, items->nr + 2, -1) < 0 && errno != EINTR)
			return -1;
		for (size_t i = items->nr; i-- > 0;)
			if (polls[i + 2].revents)
				track_items_drop(items, i);
		sock = polls[0].revents ? accept4(ears->heir, NULL, NULL, SOCK_CLOEXEC) : -1;
		if (sock >= 0 && keeper_is_us(sock))
			return sock;
		if (sock >= 0)
			close(sock);
		sock = polls[1].revents ? accept4(ears->others, NULL, NULL, SOCK_CLOEXEC) : -1;
		if (sock >= 0)
			keeper_answer(sock, items);
	}
	return -1;
}

static int settle(const struct ears *ears, const struct track_items *items)
{
	autofree int *fds = calloc(2 * items->nr + 2, sizeof(*fds));
	size_t nr = 0;

	if (!fds)
		return -ENOMEM;
	fds[nr++] = ears->heir;
	fds[nr++] = ears->others;
	for (size_t i = 0; i < items->nr; i++) {
		fds[nr++] = items->items[i].pidfd;
		if (items->items[i].uffd >= 0)
			fds[nr++] = items->items[i].uffd;
	}
	return stay_behind(fds, nr, "criu-keeper");
}

/* Owns nothing that must be given back: it ends with _exit(). */
static _Noreturn void keep(const struct ears *ears, const char *round, const struct track_items *items)
{
	struct track_items own = *items;
	struct pollfd *polls = calloc(own.nr + 2, sizeof(*polls));
	int sock;

	if (!polls || settle(ears, &own) < 0)
		_exit(1);
	sock = wait_for_heir(ears, &own, polls);
	/* the names are free before the heir has everything: it may need them at once */
	close(ears->heir);
	close(ears->others);
	if (sock >= 0)
		hand_over(sock, round, &own);
	_exit(0);
}

/* Return: a descriptor, negative errno */
static int listen_at(const struct sockaddr_un *addr, socklen_t len)
{
	autofd int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (const struct sockaddr *)addr, len) < 0 || listen(fd, 1) < 0)
		return -errno;
	return take_fd(&fd);
}

int keeper_start(pid_t root, uint64_t start_time, const char *round, const struct track_items *items,
		 struct cr_error *err)
{
	struct sockaddr_un addr, other_addr;
	socklen_t len = address(root, start_time, &addr), other_len = keeper_ask_address(root, start_time, &other_addr);
	autofd int heir = listen_at(&addr, len);
	autofd int others = listen_at(&other_addr, other_len);
	const struct ears ears = { heir, others };
	char text[TRACK_ROUND] = "";
	int status = 0;
	pid_t pid;

	if (heir < 0 || others < 0)
		return cr_fail(err, heir < 0 ? heir : others, "keep the tracking of memory: socket");
	/* a descriptor below 3 would be taken for a standard one */
	for (size_t i = 0; i < items->nr; i++)
		if (items->items[i].pidfd < 3 || (items->items[i].uffd >= 0 && items->items[i].uffd < 3))
			return cr_refuse(err, -EBADF, "keep the tracking of memory: standard descriptors are closed");
	if (heir < 3 || others < 3)
		return cr_refuse(err, -EBADF, "keep the tracking of memory: standard descriptors are closed");
	snprintf(text, sizeof(text), "%s", round);
	pid = fork();
	if (pid == 0) {
		/* twice, so that it is nobody's child */
		setsid();
		/* that many on their way take CAP_SYS_ADMIN or the limit (too_many_unix_fds() in net/unix/scm.c) */
		more_descriptors(items->nr);
		/* all that it does from now on is to wait for whom to give things to */
		pid = stay_powerless() < 0 ? -1 : fork();
		if (pid == 0)
			keep(&ears, text, items);
		_exit(pid < 0 ? 1 : 0);
	}
	if (pid < 0)
		return cr_fail(err, -errno, "keep the tracking of memory: fork");
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status ? cr_refuse(err, -EAGAIN, "keep the tracking of memory: no process could be made") : 0;
}

/* ------------------------------------------------ the heir's side */

static int receive_ranges(int sock, uint64_t nr, struct track_ranges *ret)
{
	struct track_range some[RANGES_AT_ONCE];

	if (nr > RANGES_MAX)
		return -EPROTO;
	while (ret->nr < nr) {
		ssize_t n = recv(sock, some, sizeof(some), 0);

		if (n <= 0 || (size_t)n % sizeof(some[0]))
			return n < 0 ? -errno : -EPROTO;
		for (size_t i = 0; i < (size_t)n / sizeof(some[0]); i++) {
			struct track_range *to = track_ranges_add(ret);

			if (!to)
				return -ENOMEM;
			*to = some[i];
		}
	}
	return 0;
}

static int receive_one(int sock, struct track_item *ret)
{
	struct keep_one one = { 0 };
	int fds[2];
	ssize_t n = pass_fds_receive(sock, &one, sizeof(one), fds, 2);

	*ret = (struct track_item){ .pid = one.pid, .pidfd = fds[0], .uffd = fds[1] };
	if (n < 0)
		return (int)n;
	if (n != sizeof(one) || fds[0] < 0 || (fds[1] >= 0) != (one.has_uffd != 0))
		return -EPROTO;
	return receive_ranges(sock, one.nr_unread, &ret->unread);
}

int keeper_take(pid_t root, uint64_t start_time, char ret_round[static TRACK_ROUND], struct track_items *ret,
		struct cr_error *err)
{
	autofd int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct sockaddr_un addr;
	socklen_t len = address(root, start_time, &addr);
	struct keep_head head;
	ssize_t n;

	if (sock < 0)
		return cr_fail(err, -errno, "look for the tracking of memory: socket");
	keeper_set_patience(sock, PATIENCE_S);
	if (connect(sock, (struct sockaddr *)&addr, len) < 0)
		return errno == ECONNREFUSED ? 1 : cr_fail(err, -errno, "look for the tracking of memory");
	if (!keeper_is_us(sock))
		return cr_refuse(err, -EPERM, "the tracking of memory is kept by another user");
	n = recv(sock, &head, sizeof(head), 0);
	if (n != sizeof(head) || memcmp(head.magic, KEEP_MAGIC, sizeof(head.magic)) != 0 || head.nr > KEEP_MAX)
		return cr_refuse(err, -EPROTO, "take the tracking of memory over: no proper answer");
	more_descriptors(head.nr);
	for (uint32_t i = 0; i < head.nr; i++) {
		struct track_item *item = track_items_add(ret);
		int r = item ? receive_one(sock, item) : -ENOMEM;

		if (r < 0) {
			track_items_close(ret);
			return cr_fail(err, r, "take the tracking of memory over");
		}
	}
	head.round[sizeof(head.round) - 1] = '\0';
	memcpy(ret_round, head.round, TRACK_ROUND);
	return 0;
}

/* Packets between a restore and a daemon that brings memory in; see lazy-wire.h. */
#include "mm/lazy-wire.h"

#include "base/pass-fds.h"
#include "mm/lazy-pager.h"
#include "mm/mm-internal.h"
#include "mm/space.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define MAGIC          "crlazy3"
#define TASKS_MAX      65536
#define RANGES_AT_ONCE ((size_t)1024)
#define RANGES_MAX     ((uint64_t)1 << 24)
#define PATIENCE_S     30 /* for the other side, which does nothing but this */

struct head {
	char magic[8];
	uint32_t nr;
	int32_t outside;
	char run_id[LAZY_RUN_ID];
};

struct one {
	int32_t pid, ns_pid;
	uint64_t nr_todo, nr_firsts;
};

struct answer {
	int32_t code;
	char text[CR_ERROR_TEXT];
};

static void address(int dirfd, struct sockaddr_un *ret)
{
	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	/* names of sockets are short; the directory's need not be */
	snprintf(ret->sun_path, sizeof(ret->sun_path), "/proc/self/fd/%d/" LAZY_SOCKET, dirfd);
}

int lazy_wire_connect(int sock, int dirfd)
{
	struct sockaddr_un addr;

	address(dirfd, &addr);
	return connect(sock, (struct sockaddr *)&addr, sizeof(addr)) < 0 ? -errno : 0;
}

int lazy_wire_bind(int sock, int dirfd)
{
	struct sockaddr_un addr;

	address(dirfd, &addr);
	return bind(sock, (struct sockaddr *)&addr, sizeof(addr)) < 0 ? -errno : 0;
}

static void set_patience(int sock)
{
	const struct timeval limit = { .tv_sec = PATIENCE_S };

	setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
}

/* ------------------------------------------------ the restore's side */

static int send_ranges(int sock, const struct lazy_runs *runs)
{
	struct mm_range some[RANGES_AT_ONCE];

	for (size_t i = 0, n; i < runs->nr; i += n) {
		n = runs->nr - i < RANGES_AT_ONCE ? runs->nr - i : RANGES_AT_ONCE;
		for (size_t k = 0; k < n; k++)
			some[k] = (struct mm_range){ runs->items[i + k].start, runs->items[i + k].end };
		if (send(sock, some, n * sizeof(*some), MSG_NOSIGNAL) < 0)
			return -errno;
	}
	return 0;
}

static int send_one(int sock, const struct lazy_space *s)
{
	struct one one = { s->pid, s->ns_pid, s->todo.nr, s->firsts.nr };
	ssize_t sent = pass_fds_send(sock, &one, sizeof(one), &s->uffd, 1);
	int r;

	if (sent < 0)
		return (int)sent;
	r = send_ranges(sock, &s->todo);
	return r < 0 ? r : send_ranges(sock, &s->firsts);
}

int lazy_wire_send(int sock, const struct lazy_load *load, const char *run_id, struct cr_error *err)
{
	struct head head = { .magic = MAGIC, .nr = (uint32_t)load->spaces.nr, .outside = getsid(0) };
	int r;

	snprintf(head.run_id, sizeof(head.run_id), "%s", run_id);
	set_patience(sock);
	r = send(sock, &head, sizeof(head), MSG_NOSIGNAL) < 0 ? -errno : 0;
	for (size_t i = 0; r == 0 && i < load->spaces.nr; i++)
		r = send_one(sock, &load->spaces.items[i]);
	return r < 0 ? cr_fail(err, r, "hand memory to the lazy-pages daemon") : 0;
}

int lazy_wire_hear(int sock, struct cr_error *err)
{
	struct answer a;
	ssize_t n = recv(sock, &a, sizeof(a), 0);

	if (n != sizeof(a))
		return n < 0 ? cr_fail(err, -errno, "wait for the lazy-pages daemon")
			     : cr_refuse(err, -EPROTO, "the lazy-pages daemon ended before it began");
	a.text[sizeof(a.text) - 1] = '\0';
	return a.code < 0 ? cr_refuse(err, a.code, "lazy-pages daemon: %s", a.text) : 0;
}

int lazy_wire_say(int sock, enum lazy_word word, struct cr_error *err)
{
	uint32_t w = word;

	return send(sock, &w, sizeof(w), MSG_NOSIGNAL) < 0 ? cr_fail(err, -errno, "speak to the lazy-pages daemon") : 0;
}

/* ------------------------------------------------ the daemon's side */

static int receive_ranges(int sock, uint64_t nr, struct lazy_ranges *ret)
{
	struct mm_range some[RANGES_AT_ONCE];

	if (nr > RANGES_MAX)
		return -EPROTO;
	while (ret->nr < nr) {
		ssize_t n = recv(sock, some, sizeof(some), 0);

		if (n <= 0 || (size_t)n % sizeof(*some) || (size_t)n / sizeof(*some) > nr - ret->nr)
			return n < 0 ? -errno : -EPROTO;
		for (size_t i = 0; i < (size_t)n / sizeof(*some); i++) {
			uint64_t last = ret->nr ? ret->items[ret->nr - 1].end : 0;
			struct mm_range *to;

			if (some[i].start % MM_PAGE || some[i].end % MM_PAGE || some[i].start < last ||
			    some[i].start >= some[i].end || some[i].end > MM_SPACE_END)
				return -EPROTO;
			to = lazy_ranges_add(ret);
			if (!to)
				return -ENOMEM;
			*to = some[i];
		}
	}
	return 0;
}

static int receive_one(int sock, struct lazy_told *ret)
{
	struct one one = { 0 };
	ssize_t n = pass_fds_receive(sock, &one, sizeof(one), &ret->uffd, 1);
	int r;

	if (n < 0)
		return (int)n;
	if (n != sizeof(one) || ret->uffd < 0 || one.pid <= 1 || one.ns_pid <= 0)
		return -EPROTO;
	ret->pid = one.pid;
	ret->ns_pid = one.ns_pid;
	r = receive_ranges(sock, one.nr_todo, &ret->todo);
	return r < 0 ? r : receive_ranges(sock, one.nr_firsts, &ret->firsts);
}

/* Whom it names will be killed if we are: that is for those who could do so themselves. */
static int check_peer(int sock, struct cr_error *err)
{
	struct ucred who;
	socklen_t len = sizeof(who);

	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &who, &len) < 0)
		return cr_fail(err, -errno, "look who has connected");
	return who.uid == 0 || who.uid == geteuid()
		       ? 0
		       : cr_refuse(err, -EPERM, "uid %u has connected, and is refused", who.uid);
}

/* Both are of a dump each; images of old versions do not say which. */
static int check_dump(const struct head *head, const char *run_id, struct cr_error *err)
{
	if (!run_id[0] || !head->run_id[0] || strncmp(head->run_id, run_id, sizeof(head->run_id)) == 0)
		return 0;
	cr_refuse(err, -EINVAL, "the images of the lazy-pages daemon are of another dump than those that are restored");
	cr_advise(err, "start criu lazy-pages with the same images directory");
	return -EINVAL;
}

int lazy_wire_receive(int sock, const char *run_id, struct lazy_tolds *ret, pid_t *ret_outside, struct cr_error *err)
{
	struct head head;
	ssize_t n;
	int r = check_peer(sock, err);

	if (r < 0)
		return r;
	set_patience(sock);
	n = recv(sock, &head, sizeof(head), 0);
	if (n != sizeof(head) || memcmp(head.magic, MAGIC, sizeof(head.magic)) != 0 || head.nr > TASKS_MAX)
		return cr_refuse(err, -EPROTO, "the restore has said nothing that could be understood");
	r = check_dump(&head, run_id, err);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < head.nr; i++) {
		struct lazy_told *t = lazy_tolds_add(ret);

		if (!t)
			return cr_fail(err, -ENOMEM, "take memory over");
		t->uffd = -1;
		r = receive_one(sock, t);
		if (r < 0)
			return cr_fail(err, r, "take memory over from the restore");
	}
	*ret_outside = head.outside;
	return 0;
}

void lazy_tolds_drop(struct lazy_tolds *t)
{
	for (size_t i = 0; i < t->nr; i++) {
		if (t->items[i].uffd >= 0)
			close(t->items[i].uffd);
		lazy_ranges_done(&t->items[i].todo);
		lazy_ranges_done(&t->items[i].firsts);
	}
	lazy_tolds_done(t);
}

void lazy_wire_answer(int sock, int code, const struct cr_error *err)
{
	struct answer a = { .code = code };

	if (code < 0)
		snprintf(a.text, sizeof(a.text), "%s", err->text);
	(void)send(sock, &a, sizeof(a), MSG_NOSIGNAL);
}

int lazy_wire_hear_word(int sock, struct cr_error *err)
{
	uint32_t w = 0;
	ssize_t n = recv(sock, &w, sizeof(w), 0);

	/* what it had not read of our answers makes its end a reset */
	if (n == 0 || (n < 0 && errno == ECONNRESET))
		return LAZY_HANGS_UP;
	if (n < 0)
		return cr_fail(err, -errno, "listen to the restore");
	if (n != sizeof(w) || (w != LAZY_STARTS && w != LAZY_RUNS))
		return cr_refuse(err, -EPROTO, "the restore has said something that is not to be understood");
	return (int)w;
}

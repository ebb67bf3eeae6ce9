/*
 * Restore, when every file of the tree is open: queues are filled by sending once more, then datagram sockets are connected
 * and clients get into the queues of servers, then directions are shut down. Options come last.
 */
#include "net/unix-internal.h"

#include "base/own.h"
#include "net/sock-opts.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static bool is_ours(const struct restored_sock *s)
{
	return !(s->e->uflags & UFLAG_EXTERNAL) && !s->inherited;
}

/* ------------------------------------------------------------------- queues */

/* A run of messages that go through one socket, and were sent by one process. In memory of owner_memory(). */
struct refill {
	const struct files *fs;
	const struct queued *from, *to; /* the first, and the one behind the last; moves on */
	size_t sent;                    /* bytes of the first, of a stream */
	const img_unix_cred *cred;
	int fd;
	struct sockaddr_un addr;
	socklen_t len; /* 0: it is connected */
};

static size_t put_control(struct cmsghdr *c, int type, const void *data, size_t len)
{
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = type;
	c->cmsg_len = CMSG_LEN(len);
	memcpy(CMSG_DATA(c), data, len);
	return CMSG_SPACE(len);
}

static size_t put_rights(const struct files *fs, const img_sk_packet_entry *e, char *control)
{
	int fds[UNIX_RIGHTS_MAX];
	const img_scm_entry *scm = e->scm.items;

	if (!e->scm.nr || !scm->rights.nr)
		return 0;
	for (size_t i = 0; i < scm->rights.nr; i++)
		fds[i] = files_find(fs, scm->rights.items[i])->fd;
	return put_control((struct cmsghdr *)control, SCM_RIGHTS, fds, scm->rights.nr * sizeof(int));
}

/* @cred: 0 as it was, 1 with the ids that we have */
static ssize_t send_one(const struct refill *f, int own_ids)
{
	char control[CMSG_SPACE(UNIX_RIGHTS_MAX * sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))]
		__attribute__((aligned(8))) = { 0 };
	const img_sk_packet_entry *e = f->from->entry;
	struct iovec io = { (char *)f->from->data + f->sent, e->length - f->sent };
	struct msghdr msg = { .msg_name = f->len ? (void *)&f->addr : NULL,
			      .msg_namelen = f->len,
			      .msg_iov = &io,
			      .msg_iovlen = 1,
			      .msg_control = control };

	if (!f->sent)
		msg.msg_controllen = put_rights(f->fs, e, control);
	if (f->cred) {
		struct ucred cred = { getpid(), own_ids ? getuid() : f->cred->uid, own_ids ? getgid() : f->cred->gid };

		msg.msg_controllen += put_control((struct cmsghdr *)(control + msg.msg_controllen), SCM_CREDENTIALS,
						  &cred, sizeof(cred));
	}
	if (!msg.msg_controllen)
		msg.msg_control = NULL;
	return sendmsg(f->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static int send_run(void *arg)
{
	struct refill *f = arg;

	while (f->from != f->to) {
		ssize_t n = send_one(f, 0);

		if (n < 0 && errno == EPERM && f->cred)
			n = send_one(f, 1);
		if (n < 0)
			return -errno;
		f->sent += (size_t)n;
		if (f->sent < f->from->entry->length)
			continue;
		f->sent = 0;
		f->from = f->from->next;
	}
	return 0;
}

static const img_unix_cred *packet_cred(const struct queued *q)
{
	return q->entry->ext ? q->entry->ext->cred : NULL;
}

static bool same_bytes(struct proto_bytes a, struct proto_bytes b)
{
	return a.len == b.len && (!a.len || memcmp(a.data, b.data, a.len) == 0);
}

/* What one sender may have under way is limited by its buffer, which options have made as small as it was, or smaller. */
static bool enlarge(int fd)
{
	int size = INT_MAX / 4;

	return setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) == 0 ||
	       setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)) == 0;
}

/* @f: in shared memory; everything from @q to @end through @fd */
static int send_all(struct refill *f, const struct queued *q, const struct queued *end, int fd, struct cr_error *err)
{
	int r = 0;

	while (q != end && r == 0) {
		const struct queued *to = q->next;

		while (to != end && cred_compare(packet_cred(to), packet_cred(q)) == 0)
			to = to->next;
		f->from = q;
		f->to = to;
		f->sent = 0;
		f->cred = packet_cred(q);
		f->fd = fd;
		r = as_owner(f->cred, send_run, f);
		if (r == -EAGAIN && enlarge(fd))
			r = as_owner(f->cred, send_run, f);
		q = to;
	}
	if (r < 0)
		cr_fail(err, r, "fill its queue");
	if (r == -EAGAIN && f->len)
		cr_advise(err, "it held more datagrams than net.unix.max_dgram_qlen allows here");
	return r;
}

/* Through whom a datagram from @name comes: a socket of the tree, or one of a moment. @ret_own: to be closed by the caller */
static int datagram_sender(struct files *fs, struct proto_bytes name, int *ret_own, struct cr_error *err)
{
	const struct restored_sock *s = unix_find_name(fs->sockets, SOCK_DGRAM, name);
	int path_fd = -1, r = 0;

	*ret_own = -1;
	if (s && is_ours(s))
		return restored_sock_fd(s);
	*ret_own = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (*ret_own < 0)
		return cr_fail(err, -errno, "UNIX socket");
	if (name.len)
		r = unix_bind_nowhere(fs, *ret_own, name, &path_fd, err);
	if (path_fd >= 0)
		close(path_fd);
	return r < 0 ? r : *ret_own;
}

static int refill_by_address(struct files *fs, struct restored_sock *s, struct refill *f, struct cr_error *err)
{
	int r = 0;

	f->len = unix_address(s->e->name, s->path_fd, &f->addr);
	for (const struct queued *q = s->first, *end; q && r == 0; q = end) {
		autofd int own = -1;
		int fd = datagram_sender(fs, queued_from(q), &own, err);

		for (end = q->next; end && same_bytes(queued_from(end), queued_from(q)); end = end->next)
			;
		r = fd < 0 ? fd : send_all(f, q, end, fd, err);
	}
	return r;
}

static bool all_from(const struct restored_sock *s, const struct restored_sock *p)
{
	for (const struct queued *q = s->first; q; q = q->next)
		if (!same_bytes(queued_from(q), p->e->name))
			return false;
	return true;
}

static int connect_datagram(struct restored_sock *s, struct cr_error *err)
{
	struct sockaddr_un addr;
	socklen_t len = unix_address(s->peer->e->name, s->peer->path_fd, &addr);

	if (connect(restored_sock_fd(s), (struct sockaddr *)&addr, len) < 0)
		return cr_fail(err, -errno, "connect to file %u", s->peer->file->id);
	return 0;
}

/* First what it has said to the other, then what that one says to who does not hear only him any more. */
static int refill_turned(struct files *fs, struct restored_sock *s, struct refill *f, struct cr_error *err)
{
	struct restored_sock *left = s->left;
	int r = 0;

	if (left->first)
		r = send_all(f, left->first, NULL, restored_sock_fd(s), err);
	if (r == 0)
		r = unix_turn_away(s, err);
	if (r == 0 && s->first && !s->e->name.len)
		r = send_all(f, s->first, NULL, restored_sock_fd(left), err);
	else if (r == 0 && s->first)
		r = refill_by_address(fs, s, f, err);
	return r < 0 ? r : unix_turn_to_gone(fs, s, err);
}

static int refill(struct files *fs, struct restored_sock *s, struct refill *f, struct cr_error *err)
{
	const struct restored_sock *p = s->peer;
	bool mutual = p && p->peer == s;
	int r = 0;

	f->len = 0;
	if (s->left)
		return refill_turned(fs, s, f, err);
	if (!s->first || (p && p->left == s))
		return 0;
	if (s->alone)
		r = unix_turn_away(s, err);
	if (r < 0)
		return r;
	if (s->other >= 0)
		return send_all(f, s->first, NULL, s->other, err);
	if (mutual && (s->e->type != SOCK_DGRAM || !s->e->name.len || !p->e->name.len))
		return send_all(f, s->first, NULL, restored_sock_fd(p), err);
	/* only those who are not its peer are held to the length of its queue; unix_dgram_sendmsg() in net/unix/af_unix.c */
	if (mutual && all_from(s, p))
		r = connect_datagram(s, err);
	return r < 0 ? r : refill_by_address(fs, s, f, err);
}

static int refill_all(struct files *fs, struct cr_error *err)
{
	struct unix_set *set = fs->sockets;
	struct refill *f = owner_memory(sizeof(*f));
	int r = f ? 0 : files_no_memory(err);

	for (size_t i = 0; i < set->socks.nr && r == 0; i++) {
		struct restored_sock *s = set->socks.items[i];

		f->fs = fs;
		if (is_ours(s))
			r = cr_within(err, refill(fs, s, f, err), "file %u", s->file->id);
	}
	owner_memory_done(f, sizeof(*f));
	return r;
}

/* -------------------------------------------------------------- connections */

struct connecting {
	int fd;
	struct sockaddr_un addr;
	socklen_t len;
};

static int connect_one(void *arg)
{
	const struct connecting *c = arg;

	return connect(c->fd, (const struct sockaddr *)&c->addr, c->len) < 0 ? -errno : 0;
}

/* It must not wait for a server whose queue is full. */
static int connect_as(int fd, struct proto_bytes name, int path_fd, const img_unix_cred *cred, struct cr_error *err)
{
	struct connecting c = { .fd = fd };
	int r;

	c.len = unix_address(name, path_fd, &c.addr);
	if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
		return cr_fail(err, -errno, "flags of a socket");
	r = as_owner(cred, connect_one, &c);
	return r < 0 ? cr_fail(err, r, "connect UNIX socket to %s%s", c.addr.sun_path[0] ? "" : "@",
			       c.addr.sun_path + !c.addr.sun_path[0])
		     : 0;
}

static int connect_external(struct files *fs, struct restored_sock *s, struct cr_error *err)
{
	int r = unix_may_connect(fs, s, err);

	if (r < 0)
		return r;
	if (!s->peer->e->name.len) {
		cr_refuse(err, -ENOENT, "its peer unix[%u] outside of the tree has no name to connect to", s->e->peer);
		cr_advise(err, "--inherit-fd fd[N]:unix[%u]", s->e->peer);
		return -ENOENT;
	}
	r = connect_as(restored_sock_fd(s), s->peer->e->name, -1, NULL, err);
	if (r < 0)
		cr_advise(err,
			  "start the service that it was connected to, or give another by --inherit-fd fd[N]:unix[%u]",
			  s->e->peer);
	return r;
}

static int connect_waiting(struct restored_sock *c, struct cr_error *err)
{
	const img_unix_sk_ext *x = c->e->ext;

	c->waits = true;
	return connect_as(restored_sock_fd(c), c->peer->e->name, c->peer->path_fd, x ? x->own_cred : NULL, err);
}

static int connect_pending(const struct unix_set *set, struct restored_sock *l, struct cr_error *err)
{
	const img_unix_sk_ext *x = l->e->ext;
	int r = 0;

	for (size_t i = 0; x && i < x->pending.nr && r == 0; i++) {
		struct restored_sock *c = map_find(&set->by_ino, (uint64_t)x->pending.items[i] + 1);

		if (c && !c->waits && is_ours(c))
			r = connect_waiting(c, err);
	}
	return r;
}

static int connect_sock(struct files *fs, struct restored_sock *s, struct cr_error *err)
{
	const struct restored_sock *p = s->peer;

	if (!p)
		return 0;
	if (p->e->uflags & UFLAG_EXTERNAL)
		return connect_external(fs, s, err);
	if (s->e->type == SOCK_DGRAM)
		return p->left == s || (p->peer == s && (!s->e->name.len || !p->e->name.len))
			       ? 0
			       : connect_datagram(s, err);
	return p->e->state == UNIX_STATE_LISTENING && !s->waits ? connect_waiting(s, err) : 0;
}

/* Those in the lists of who waits come in that order; of images without such lists, in the order of the files. */
static int connect_all(struct files *fs, struct cr_error *err)
{
	struct unix_set *set = fs->sockets;
	int r = 0;

	for (size_t i = 0; i < set->socks.nr && r == 0; i++)
		if (is_ours(set->socks.items[i]) && set->socks.items[i]->e->state == UNIX_STATE_LISTENING)
			r = cr_within(err, connect_pending(set, set->socks.items[i], err), "file %u",
				      set->socks.items[i]->file->id);
	for (size_t i = 0; i < set->socks.nr && r == 0; i++)
		if (is_ours(set->socks.items[i]))
			r = cr_within(err, connect_sock(fs, set->socks.items[i], err), "file %u",
				      set->socks.items[i]->file->id);
	return r;
}

/* --------------------------------------------------------------------- rest */

/* With something unread in it the end that has gone leaves an error behind. */
static void close_other(struct restored_sock *s)
{
	if (s->other < 0)
		return;
	if (s->e->ext && s->e->ext->reset)
		send(restored_sock_fd(s), "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	close(take_fd(&s->other));
}

/* See listen_one() in unix-make.c. */
static int listen_again(void *arg)
{
	const struct restored_sock *s = arg;

	return listen(restored_sock_fd(s), (int)s->e->backlog) < 0 ? -errno : 0;
}

static int finish(struct files *fs, struct restored_sock *s, struct cr_error *err)
{
	const img_unix_sk_entry *e = s->e;
	int fd = restored_sock_fd(s), r;

	close_other(s);
	if (e->state == UNIX_STATE_LISTENING && e->ext && e->ext->pending.nr > e->backlog) {
		r = as_owner(e->ext->peer_cred, listen_again, s);
		if (r < 0)
			return cr_fail(err, r, "listen");
	}
	if (e->has_shutdown && e->shutdown != img_sk_shutdown_NONE && shutdown(fd, (int)e->shutdown - 1) < 0 &&
	    errno != ENOTCONN)
		return cr_fail(err, -errno, "shut down in way %d", (int)e->shutdown);
	r = sock_opts_restore(fs->ctx, fd, e->opts, NULL, err);
	if (r == 0)
		r = sock_opts_finish(fd, e->opts, err);
	if (r == 0)
		r = fd_set_flags(fd, e->flags, err);
	if (r == 0 && e->fown->signum && fcntl(fd, F_SETSIG, e->fown->signum) < 0)
		r = cr_fail(err, -errno, "signal of asynchronous I/O");
	return r;
}

int unix_settle(struct files *fs, struct cr_error *err)
{
	struct unix_set *set = fs->sockets;
	int r = set ? refill_all(fs, err) : 0;

	if (r == 0 && set)
		r = connect_all(fs, err);
	for (size_t i = 0; set && i < set->socks.nr && r == 0; i++)
		if (is_ours(set->socks.items[i]))
			r = cr_within(err, finish(fs, set->socks.items[i], err), "file %u",
				      set->socks.items[i]->file->id);
	return r;
}

/*
 * Restore: making sockets. Connections come first, since those that a server accepted have its name and are made through a
 * listening socket of a moment, which an abstract name must be free for; then all others, bound where they were; then those
 * that listen. What has content or leads to others waits for unix-settle.c.
 */
#include "net/unix-internal.h"

#include "base/own.h"
#include "net/sock-given.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Two ends that are made at once. In memory of owner_memory(). */
struct link {
	struct restored_sock *a,
		*b; /* b is NULL if it has gone; else a is the one that accepted, if that makes a difference */
	struct proto_bytes a_name, b_name;
	int type;
	int fd[2]; /* of a and b */
	int result;
};

static const img_unix_cred *cred_of(const struct restored_sock *s)
{
	return s && s->e->ext ? s->e->ext->peer_cred : NULL;
}

static bool is_gone(const struct restored_sock *s)
{
	const img_unix_sk_entry *e = s->e;

	if (s->left || s->alone)
		return s->alone;
	return !e->peer && (e->type == SOCK_DGRAM ? e->ext && e->ext->peer_gone : e->state == UNIX_STATE_CONNECTED);
}

/* Datagram sockets that both have a name may have been connected one after the other, and are again. */
static bool is_pair(const struct restored_sock *s)
{
	const struct restored_sock *p = s->peer;

	if (p && p->left == s)
		return true;
	if (!p || p->peer != s || s->e->state == UNIX_STATE_LISTENING)
		return false;
	return s->e->type != SOCK_DGRAM || !s->e->name.len || !p->e->name.len;
}

/*
 * Which end accepted? One without a name did not. Of two with names it is the one that is called like a listening socket; or
 * the younger, by its inode, since it was made for a client that was there.
 */
static void link_init(const struct unix_set *set, struct restored_sock *s, struct link *l)
{
	struct restored_sock *p = is_gone(s) ? NULL : s->peer;
	struct proto_bytes p_name = p           ? p->e->name
				    : s->alone  ? queued_from(s->first)
				    : s->e->ext ? s->e->ext->peer_name
						: (struct proto_bytes){ 0 };
	bool first = s->e->name.len || !p_name.len;

	if (s->e->name.len && p_name.len && s->e->type != SOCK_DGRAM && !unix_find_name(set, s->e->type, s->e->name))
		first = !unix_find_name(set, s->e->type, p_name) && (!p || s->e->ino > p->e->ino);
	*l = first ? (struct link){ .a = s, .b = p, .a_name = s->e->name, .b_name = p_name }
		   : (struct link){ .a = p, .b = s, .a_name = p_name, .b_name = s->e->name };
	l->type = (int)s->e->type;
	l->fd[0] = l->fd[1] = -1;
}

static struct restored_sock *some_end(const struct link *l)
{
	return l->a ? l->a : l->b;
}

static bool by_socketpair(const struct link *l)
{
	return l->type == SOCK_DGRAM || (!l->a_name.len && !l->b_name.len);
}

/* ------------------------------------------------------------- unnamed pairs */

struct pairs {
	struct link *first;
	size_t nr;
};

static int make_pairs(void *arg)
{
	struct pairs *p = arg;

	for (size_t i = 0; i < p->nr; i++)
		if (socketpair(AF_UNIX, p->first[i].type | SOCK_CLOEXEC, 0, p->first[i].fd) < 0)
			return -errno;
	return 0;
}

/* ------------------------------------------------------- accepted connections */

/* Connections that were accepted from one socket, and whose ends were made by the same two. */
struct accepting {
	struct link *first;
	size_t nr;
	int listener, path_fd;
	struct proto_bytes name;
};

static int do_listen(void *arg)
{
	const struct accepting *a = arg;

	return listen(a->listener, 1) < 0 ? -errno : 0;
}

static int connect_all(void *arg)
{
	struct accepting *a = arg;
	struct sockaddr_un addr;
	socklen_t len = unix_address(a->name, a->path_fd, &addr);

	for (size_t i = 0; i < a->nr; i++) {
		struct link *l = &a->first[i];

		if (connect(l->fd[1], (struct sockaddr *)&addr, len) < 0)
			return -errno;
		l->fd[0] = accept4(a->listener, NULL, NULL, SOCK_CLOEXEC);
		if (l->fd[0] < 0)
			return -errno;
	}
	return 0;
}

/* The end that connects may have a name of its own, on a disk if it is there. */
static int make_client(struct files *fs, struct link *l, struct cr_error *err)
{
	int path_fd, r;

	l->fd[1] = socket(AF_UNIX, l->type | SOCK_CLOEXEC, 0);
	if (l->fd[1] < 0)
		return cr_fail(err, -errno, "UNIX socket");
	if (!l->b_name.len)
		return 0;
	if (l->b) {
		l->b->fd = l->fd[1];
		r = unix_bind(fs, l->b, err);
		l->b->fd = -1;
		return r;
	}
	r = unix_bind_nowhere(fs, l->fd[1], l->b_name, &path_fd, err);
	if (r == 0 && path_fd >= 0)
		close(path_fd);
	return r;
}

static int make_accepted(struct files *fs, struct link *first, size_t nr, struct cr_error *err)
{
	struct accepting a = { .first = first, .nr = nr, .name = first->a_name, .path_fd = -1 };
	autofd int listener = socket(AF_UNIX, first->type | SOCK_CLOEXEC, 0);
	int r = 0;

	if (listener < 0)
		return cr_fail(err, -errno, "UNIX socket");
	a.listener = listener;
	for (size_t i = 0; i < nr && r == 0; i++)
		r = make_client(fs, &first[i], err);
	if (r == 0)
		r = unix_bind_nowhere(fs, listener, a.name, &a.path_fd, err);
	if (r < 0)
		return r;
	r = as_owner(cred_of(first->b), do_listen, &a);
	if (r == 0)
		r = as_owner(cred_of(first->a), connect_all, &a);
	if (a.path_fd >= 0)
		close(a.path_fd);
	return r < 0 ? cr_fail(err, r, "connect UNIX sockets") : 0;
}

/* -------------------------------------------------------------------- links */

static int compare_names(struct proto_bytes a, struct proto_bytes b)
{
	size_t len = a.len < b.len ? a.len : b.len;
	int r = len ? memcmp(a.data, b.data, len) : 0;

	return r ? r : a.len < b.len ? -1 : a.len > b.len;
}

/* Those that can be made by one process one after the other are neighbours: pairs first. */
static int compare_links(const void *x, const void *y)
{
	const struct link *a = x, *b = y;
	int r = by_socketpair(b) - by_socketpair(a);

	if (!r && !by_socketpair(a))
		r = a->type != b->type ? a->type - b->type : compare_names(a->a_name, b->a_name);
	if (!r)
		r = by_socketpair(a) ? cred_compare(cred_of(some_end(a)), cred_of(some_end(b)))
				     : cred_compare(cred_of(a->a), cred_of(b->a));
	if (!r && !by_socketpair(a))
		r = cred_compare(cred_of(a->b), cred_of(b->b));
	if (!r)
		r = some_end(a)->e->ino < some_end(b)->e->ino ? -1 : some_end(a)->e->ino > some_end(b)->e->ino;
	return r;
}

static bool one_batch(const struct link *a, const struct link *b)
{
	if (by_socketpair(a) || by_socketpair(b))
		return by_socketpair(a) && by_socketpair(b) &&
		       !cred_compare(cred_of(some_end(a)), cred_of(some_end(b)));
	return !cred_compare(cred_of(a->a), cred_of(b->a)) &&
	       (a->type == b->type && !compare_names(a->a_name, b->a_name) &&
		!cred_compare(cred_of(a->b), cred_of(b->b)));
}

static int make_batch(struct files *fs, struct link *first, size_t nr, struct cr_error *err)
{
	struct pairs p = { first, nr };
	int r;

	if (!by_socketpair(first))
		return make_accepted(fs, first, nr, err);
	r = as_owner(cred_of(some_end(first)), make_pairs, &p);
	return r < 0 ? cr_fail(err, r, "socketpair") : 0;
}

/* The ends of a pair may have been bound afterwards. */
static int bind_datagram_end(struct files *fs, struct restored_sock *s, struct proto_bytes name, int fd,
			     struct cr_error *err)
{
	int path_fd, r;

	if (!name.len)
		return 0;
	if (s)
		return unix_bind(fs, s, err);
	r = unix_bind_nowhere(fs, fd, name, &path_fd, err);
	if (path_fd >= 0)
		close(path_fd);
	return r;
}

static int hand_over(struct files *fs, struct link *l, struct cr_error *err)
{
	int r = 0;

	*(l->a ? &l->a->fd : &l->b->other) = take_fd(&l->fd[0]);
	*(l->b ? &l->b->fd : &l->a->other) = take_fd(&l->fd[1]);
	if (l->type == SOCK_DGRAM) {
		r = bind_datagram_end(fs, l->a, l->a_name, some_end(l)->other, err);
		if (r == 0)
			r = bind_datagram_end(fs, l->b, l->b_name, some_end(l)->other, err);
	}
	return r;
}

static int make_all_links(struct files *fs, struct link *links, size_t nr, struct cr_error *err)
{
	int r = 0;

	qsort(links, nr, sizeof(*links), compare_links);
	for (size_t i = 0, end; i < nr && r == 0; i = end) {
		for (end = i + 1; end < nr && one_batch(&links[i], &links[end]); end++)
			;
		r = make_batch(fs, &links[i], end - i, err);
	}
	for (size_t i = 0; i < nr && r == 0; i++)
		r = hand_over(fs, &links[i], err);
	for (size_t i = 0; i < nr; i++)
		for (int k = 0; k < 2; k++)
			if (links[i].fd[k] >= 0)
				close(links[i].fd[k]);
	return r;
}

static bool is_ours(const struct restored_sock *s)
{
	return !(s->e->uflags & UFLAG_EXTERNAL) && !s->inherited;
}

static int make_links(struct files *fs, struct cr_error *err)
{
	struct unix_set *set = fs->sockets;
	size_t size = set->socks.nr * sizeof(struct link), nr = 0;
	struct link *links = owner_memory(size);
	int r;

	if (!links)
		return files_no_memory(err);
	for (size_t i = 0; i < set->socks.nr; i++) {
		struct restored_sock *s = set->socks.items[i];

		if (!is_ours(s) || s->made || (!is_gone(s) && !is_pair(s)) || (is_pair(s) && s->peer->inherited))
			continue;
		link_init(set, s, &links[nr++]);
		s->made = true;
		if (!is_gone(s))
			s->peer->made = true;
	}
	r = make_all_links(fs, links, nr, err);
	owner_memory_done(links, size);
	return r;
}

/* ------------------------------------------------------------------ the rest */

static int make_single(struct files *fs, struct restored_sock *s, struct cr_error *err)
{
	s->made = true;
	s->fd = socket(AF_UNIX, (int)s->e->type | SOCK_CLOEXEC, 0);
	if (s->fd < 0)
		return cr_fail(err, -errno, "UNIX socket");
	return s->e->name.len ? unix_bind(fs, s, err) : 0;
}

/* There may be more who wait than now may. */
static int listen_one(void *arg)
{
	const struct restored_sock *s = arg;
	size_t waiting = s->e->ext ? s->e->ext->pending.nr : 0;

	return listen(s->fd, (int)(s->e->backlog > waiting ? s->e->backlog & INT32_MAX : waiting)) < 0 ? -errno : 0;
}

/* The caller may give what stands for a socket, by its own inode or by that of its peer outside. */
static int find_inherited(struct files *fs, struct restored_sock *s, struct cr_error *err)
{
	bool listens = s->e->state == UNIX_STATE_LISTENING;
	char key[32];
	int fd;

	snprintf(key, sizeof(key), "socket:[%u]", s->e->ino);
	fd = sock_given(fs, key, s->e->type, listens, err);
	if (fd == -ENOENT && s->peer && s->peer->e->uflags & UFLAG_EXTERNAL) {
		snprintf(key, sizeof(key), "unix[%u]", s->e->peer);
		fd = sock_given(fs, key, s->e->type, listens, err);
	}
	if (fd == -ENOENT)
		return 0;
	if (fd < 0)
		return fd;
	s->fd = fd;
	s->inherited = s->made = true;
	if (s->first)
		log_warn(&fs->ctx->log, "what was unread in %s is lost: another one takes its place, continuing", key);
	return 0;
}

/* A connection cannot have one end that is the caller's and one that is ours. */
static int check_inherited(const struct restored_sock *s, struct cr_error *err)
{
	const struct restored_sock *p = s->peer;

	if (!p || !s->file->used || !p->file->used || !is_pair(s) || s->inherited == p->inherited)
		return 0;
	cr_refuse(err, -EINVAL,
		  "another one takes the place of UNIX socket socket:[%u], which is connected to socket:[%u]",
		  s->inherited ? s->e->ino : p->e->ino, s->inherited ? p->e->ino : s->e->ino);
	cr_advise(err, "give its peer as well: --inherit-fd fd[N]:socket:[%u]", s->inherited ? p->e->ino : s->e->ino);
	return -EINVAL;
}

static int find_all_inherited(struct files *fs, struct cr_error *err)
{
	struct unix_set *set = fs->sockets;
	int r = 0;

	if (!fs->ctx->opts->rpc->inherit_fd.nr)
		return 0;
	for (size_t i = 0; i < set->socks.nr && r == 0; i++)
		if (!(set->socks.items[i]->e->uflags & UFLAG_EXTERNAL) && set->socks.items[i]->file->used)
			r = find_inherited(fs, set->socks.items[i], err);
	for (size_t i = 0; i < set->socks.nr && r == 0; i++)
		r = check_inherited(set->socks.items[i], err);
	return r;
}

int unix_make(struct files *fs, struct cr_error *err)
{
	struct unix_set *set = fs->sockets;
	int r = set ? find_all_inherited(fs, err) : 0;

	if (r == 0 && set)
		r = make_links(fs, err);
	for (size_t i = 0; set && i < set->socks.nr && r == 0; i++)
		if (is_ours(set->socks.items[i]) && !set->socks.items[i]->made)
			r = cr_within(err, make_single(fs, set->socks.items[i], err), "file %u",
				      set->socks.items[i]->file->id);
	for (size_t i = 0; set && i < set->socks.nr && r == 0; i++) {
		struct restored_sock *s = set->socks.items[i];

		if (is_ours(s) && s->e->state == UNIX_STATE_LISTENING)
			r = as_owner(cred_of(s), listen_one, s);
		if (r < 0)
			cr_fail(err, r, "file %u: listen", s->file->id);
	}
	return r;
}

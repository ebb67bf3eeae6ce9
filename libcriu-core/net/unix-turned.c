/*
 * Restore: sockets for datagrams that were made as a pair and are none any more. With connect(2) one end has turned to somebody
 * else or to nobody, and the other is still connected to it, or has gone. Without a name a socket is reached by nobody but the
 * one that it was made with; so they are made as a pair again, and one turns away when that one has no more to say.
 */
#include "net/unix-internal.h"

#include "base/own.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static bool same_name(struct proto_bytes a, struct proto_bytes b)
{
	return a.len == b.len && (!a.len || memcmp(a.data, b.data, a.len) == 0);
}

struct proto_bytes queued_from(const struct queued *q)
{
	return q->entry->ext ? q->entry->ext->from : (struct proto_bytes){ 0 };
}

/* What is unread in a socket without a name says that it was made with @p, which may have a name since. */
static bool heard_from(const struct restored_sock *s, const struct restored_sock *p)
{
	return !s->e->name.len && s->first && same_name(queued_from(s->first), p->e->name);
}

static bool is_external(const struct restored_sock *s)
{
	return s->e->uflags & UFLAG_EXTERNAL;
}

static int find_left(struct restored_sock *s, struct cr_error *err)
{
	struct restored_sock *p = s->peer;

	if (s->e->type != SOCK_DGRAM || !p || p == s || is_external(p) || p->peer == s ||
	    (p->e->name.len && !heard_from(s, p)))
		return 0;
	if (p->left)
		return cr_refuse(err, -EBADMSG, "UNIX sockets %u and %u are both connected to %u, which has no name",
				 s->file->id, p->left->file->id, p->file->id);
	p->left = s;
	return 0;
}

/* Whoever it was made with has gone. */
static bool is_alone(const struct restored_sock *s)
{
	const struct restored_sock *p = s->peer;
	bool paired = s->left || (p && (p->peer == s || p->left == s || is_external(p)));

	return s->e->type == SOCK_DGRAM && !is_external(s) && !s->e->name.len && s->first && !paired &&
	       !(s->e->ext && s->e->ext->peer_gone);
}

int unix_turned_find(struct unix_set *set, struct cr_error *err)
{
	int r = 0;

	for (size_t i = 0; i < set->socks.nr && r == 0; i++)
		r = find_left(set->socks.items[i], err);
	for (size_t i = 0; i < set->socks.nr && r == 0; i++) {
		struct restored_sock *s = set->socks.items[i];

		/* each was made once */
		if (s->left && (s->left->left || (s->peer && s->peer->peer == s && s->peer != s)))
			r = cr_refuse(err, -EBADMSG, "UNIX sockets %u and %u cannot have been a pair", s->file->id,
				      s->left->file->id);
		s->alone = is_alone(s);
	}
	return r;
}

/* Nothing may be unread in it, which would be thrown away: unix_dgram_disconnected() in net/unix/af_unix.c */
int unix_turn_away(const struct restored_sock *s, struct cr_error *err)
{
	static const struct sockaddr none = { .sa_family = AF_UNSPEC };

	return connect(restored_sock_fd(s), &none, sizeof(none)) < 0
		       ? cr_fail(err, -errno, "take a socket away from its peer")
		       : 0;
}

int unix_turn_to_gone(struct files *fs, const struct restored_sock *s, struct cr_error *err)
{
	struct proto_bytes name = s->e->ext ? s->e->ext->peer_name : (struct proto_bytes){ 0 };
	autofd int gone = -1, path_fd = -1;
	struct sockaddr_un addr;
	socklen_t len;
	int r;

	if (!s->left || s->e->peer || !s->e->ext || !s->e->ext->peer_gone)
		return 0;
	gone = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (gone < 0)
		return cr_fail(err, -errno, "UNIX socket");
	if (!name.len)
		return cr_refuse(err, -EBADMSG,
				 "it was connected to a socket without a name that it was not made with");
	r = unix_bind_nowhere(fs, gone, name, &path_fd, err);
	if (r < 0)
		return r;
	len = unix_address(name, path_fd, &addr);
	return connect(restored_sock_fd(s), (struct sockaddr *)&addr, len) < 0
		       ? cr_fail(err, -errno, "connect it to one that has gone")
		       : 0;
}

/* IP sockets, the restore half: made, bound and connected by the coordinator; listening and the last options come when all are there. */
#include "net/inet-internal.h"

#include "base/own.h"
#include "net/inet-packet.h"
#include "net/sock-given.h"
#include "net/sock-opts.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ------------------------------------------------------------------- check */

static bool known_kind(const img_inet_sk_entry *e)
{
	if (e->family != AF_INET && e->family != AF_INET6)
		return false;
	switch (e->type) {
	case SOCK_STREAM:
		return e->proto == IPPROTO_TCP || e->proto == IPPROTO_MPTCP || e->proto == 0;
	case SOCK_DGRAM:
		return e->proto == IPPROTO_UDP || e->proto == IPPROTO_UDPLITE || e->proto == 0 ||
		       e->proto == (e->family == AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6);
	case SOCK_RAW:
		return e->proto <= UINT8_MAX;
	default:
		return false;
	}
}

static int check_state(const img_inet_sk_entry *e, struct cr_error *err)
{
	if (e->type == SOCK_STREAM && e->state != INET_CLOSED && e->state != INET_LISTENING && !inet_is_connection(e))
		return cr_refuse(err, -ENOTSUP, "socket %u: TCP connection in state %u", e->id, e->state);
	if (inet_is_connection(e) && e->proto == IPPROTO_MPTCP)
		return cr_refuse(err, -ENOTSUP, "socket %u is an MPTCP connection, which this version does not restore",
				 e->id);
	if (e->type != SOCK_STREAM && e->state != INET_CLOSED && e->state != INET_ESTABLISHED)
		return cr_refuse(err, -EBADMSG, "socket %u: state %u", e->id, e->state);
	if (e->has_shutdown && e->shutdown > img_sk_shutdown_BOTH)
		return cr_refuse(err, -EBADMSG, "socket %u: shut in direction %d", e->id, (int)e->shutdown);
	return 0;
}

int inet_check(const img_file_entry *f, struct cr_error *err)
{
	const img_inet_sk_entry *e = f->isk;
	size_t words = inet_words((int)e->family);
	int r;

	if (!known_kind(e))
		return cr_refuse(err, -EBADMSG, "socket %u: family %u, type %u, protocol %u", e->id, e->family, e->type,
				 e->proto);
	if (e->src_port > UINT16_MAX || e->dst_port > UINT16_MAX || e->backlog > INT32_MAX)
		return cr_refuse(err, -EBADMSG, "socket %u: port or length of the queue out of range", e->id);
	if (e->src_addr.nr != words || e->dst_addr.nr != words)
		return cr_refuse(err, -EBADMSG, "socket %u: addresses of %zu and %zu words", e->id, e->src_addr.nr,
				 e->dst_addr.nr);
	if (e->ifname && strlen(e->ifname) >= IF_NAMESIZE)
		return cr_refuse(err, -EBADMSG, "socket %u: name of an interface of %zu bytes", e->id,
				 strlen(e->ifname));
	r = check_state(e, err);
	if (r == 0)
		r = fown_check(e->fown, err);
	if (r == 0)
		r = sock_opts_check(e->opts, e->id, err);
	if (r == 0)
		r = inet_options_check(e, err);
	if (r == 0)
		r = inet_groups_check(e, err);
	return r < 0 ? r : inet_queue_check(e, err);
}

/* -------------------------------------------------------------------- make */

struct inet_set *inet_set_of(struct files *fs, struct cr_error *err)
{
	if (fs->inet)
		return fs->inet;
	fs->inet = calloc(1, sizeof(*fs->inet));
	if (fs->inet)
		fs->inet->raw[0] = fs->inet->raw[1] = -1;
	else
		files_no_memory(err);
	return fs->inet;
}

int inet_raw(struct inet_set *s, int family, struct cr_error *err)
{
	int *at = &s->raw[family == AF_INET ? 0 : 1];

	if (*at < 0)
		*at = inet_packet_socket(family, err);
	return *at;
}

void inet_set_done(struct files *fs)
{
	if (!fs->inet)
		return;
	inet_streams_done(fs);
	for (size_t i = 0; i < ARRAY_LEN(fs->inet->raw); i++)
		if (fs->inet->raw[i] >= 0)
			close(fs->inet->raw[i]);
	restored_inet_vec_done(&fs->inet->socks);
	inet_kind_vec_done(&fs->inet->kinds);
	free(fs->inet);
	fs->inet = NULL;
}

static bool link_local(const struct inet_end *e)
{
	return e->family == AF_INET6 && (IN6_IS_ADDR_LINKLOCAL((const struct in6_addr *)e->addr) ||
					 IN6_IS_ADDR_MC_LINKLOCAL((const struct in6_addr *)e->addr));
}

int inet_entry_ends(const img_inet_sk_entry *e, struct inet_end *ret_own, struct inet_end *ret_peer,
		    struct cr_error *err)
{
	uint32_t scope = e->ifname && e->ifname[0] ? if_nametoindex(e->ifname) : 0;

	if (e->ifname && e->ifname[0] && !scope)
		return cr_fail(err, -errno, "interface %s of a link-local address", e->ifname);
	*ret_own = (struct inet_end){ .family = (int)e->family, .port = (uint16_t)e->src_port };
	*ret_peer = (struct inet_end){ .family = (int)e->family, .port = (uint16_t)e->dst_port };
	memcpy(ret_own->addr, e->src_addr.items, e->src_addr.nr * sizeof(uint32_t));
	memcpy(ret_peer->addr, e->dst_addr.items, e->dst_addr.nr * sizeof(uint32_t));
	ret_own->scope = link_local(ret_own) ? scope : 0;
	ret_peer->scope = link_local(ret_peer) ? scope : 0;
	return 0;
}

static int set_int(int fd, int option, int value, const char *name, struct cr_error *err)
{
	return setsockopt(fd, SOL_SOCKET, option, &value, sizeof(value)) < 0
		       ? cr_fail(err, -errno, "socket option %s %d", name, value)
		       : 0;
}

/*
 * TCP sockets of one port may be a listening one and its connections: all are bound with SO_REUSEADDR, which is put right at the
 * end. For datagrams the option lets others in, so it is as it was.
 */
static int prepare_bind(int fd, const img_inet_sk_entry *e, struct cr_error *err)
{
	bool reuse = e->type == SOCK_STREAM || (e->opts->has_reuseaddr && e->opts->reuseaddr);
	int r = sock_opts_device(fd, e->opts, err);

	if (r == 0 && reuse)
		r = set_int(fd, SO_REUSEADDR, 1, "SO_REUSEADDR", err);
	if (r == 0 && e->opts->has_so_reuseport && e->opts->so_reuseport)
		r = set_int(fd, SO_REUSEPORT, 1, "SO_REUSEPORT", err);
	return r;
}

int inet_bind_to(int fd, const struct inet_end *own, struct cr_error *err)
{
	struct sockaddr_storage sa;
	socklen_t len = inet_sockaddr(own, &sa);
	char text[INET_TEXT_MAX];
	int code;

	if (bind(fd, (struct sockaddr *)&sa, len) == 0)
		return 0;
	code = -errno;
	inet_end_text(own, text);
	cr_fail(err, code, "bind a socket to %s", text);
	if (code == -EADDRINUSE)
		cr_advise(err, "another process has that port, or had it a minute ago; ss -anp tells which");
	else if (code == -EADDRNOTAVAIL)
		cr_advise(err, "no interface here has that address");
	return code;
}

/*
 * Whether ports are shared is asked in bind(2) alone. Datagram sockets of the tree that have the port of @e: may it have it, too?
 * Return: are there any? With somebody outside it is not shared.
 */
static bool share_port(const struct inet_set *s, const img_inet_sk_entry *e, int share)
{
	bool any = false;

	for (size_t i = 0; i < s->socks.nr; i++) {
		const struct restored_inet *o = &s->socks.items[i];
		const img_inet_sk_entry *other = o->file->entry->isk;

		if (other->type != SOCK_DGRAM || other->proto != e->proto || other->src_port != e->src_port ||
		    o->file->fd < 0 || o->inherited)
			continue;
		any = true;
		if (!(other->opts->has_reuseaddr && other->opts->reuseaddr))
			set_int(o->file->fd, SO_REUSEADDR, share, "", NULL);
	}
	return any;
}

/* Two datagram sockets may have had SO_REUSEADDR or SO_REUSEPORT when they were bound, and not any more. */
static int bind_own(const struct inet_set *s, int fd, const img_inet_sk_entry *e, const struct inet_end *own,
		    struct cr_error *err)
{
	struct cr_error first = { 0 };
	bool datagrams = e->type == SOCK_DGRAM && own->port;
	int r = inet_bind_to(fd, own, datagrams ? &first : err);

	if (r == 0 || !datagrams)
		return r;
	if (r == -EADDRINUSE && share_port(s, e, 1)) {
		set_int(fd, SO_REUSEADDR, 1, "", NULL);
		r = inet_bind_to(fd, own, NULL);
		share_port(s, e, 0);
		if (!(e->opts->has_reuseaddr && e->opts->reuseaddr))
			set_int(fd, SO_REUSEADDR, 0, "", NULL);
	}
	if (r < 0)
		*err = first;
	return r;
}

int inet_connect_to(int fd, const struct inet_end *peer, struct cr_error *err)
{
	struct sockaddr_storage sa;
	socklen_t len = inet_sockaddr(peer, &sa);
	char text[INET_TEXT_MAX];
	int code;

	if (connect(fd, (struct sockaddr *)&sa, len) == 0)
		return 0;
	code = -errno;
	inet_end_text(peer, text);
	return cr_fail(err, code, "connect a socket to %s", text);
}

/* The priority follows IP_TOS, unless it was set. Sizes of buffers are those of a new socket, unless a queue had to have room. */
static int restore_options(struct files *fs, int fd, const img_inet_sk_entry *e, const struct inet_kind *kind,
			   struct cr_error *err)
{
	bool filled = e->ext && e->ext->queue.nr, tos = e->ip_opts && e->ip_opts->has_tos;
	int r = sock_opts_restore(fs->ctx, fd, e->opts, filled ? NULL : &kind->sizes, err);

	if (r == 0 && e->opts->has_so_priority && (tos || e->opts->so_priority) &&
	    inet_int(fd, SOL_SOCKET, SO_PRIORITY) != (int)e->opts->so_priority)
		r = set_int(fd, SO_PRIORITY, (int)e->opts->so_priority, "SO_PRIORITY", err);
	return r;
}

/* The user of the file system made it, which may be right already: to give it to others takes a privilege. */
static int give_to_owner(int fd, const img_inet_sk_entry *e)
{
	struct stat st;

	if (!e->ext || !e->ext->has_uid || !e->ext->has_gid)
		return 0;
	if (fstat(fd, &st) < 0)
		return -errno;
	if ((st.st_uid == e->ext->uid && st.st_gid == e->ext->gid) || fchown(fd, e->ext->uid, e->ext->gid) == 0)
		return 0;
	return -errno;
}

static int new_socket(const img_inet_sk_entry *e, struct cr_error *err)
{
	int fd = socket((int)e->family, (int)e->type | SOCK_CLOEXEC | (e->flags & O_NONBLOCK ? SOCK_NONBLOCK : 0),
			(int)e->proto);
	int code = -errno;

	if (fd < 0) {
		cr_fail(err, code, "socket of family %u, type %u, protocol %u", e->family, e->type, e->proto);
		if (e->proto == IPPROTO_ICMP || e->proto == IPPROTO_ICMPV6)
			cr_advise(err, "net.ipv4.ping_group_range says who may have ping sockets");
		return code;
	}
	code = give_to_owner(fd, e);
	if (code < 0) {
		close(fd);
		return cr_fail(err, code, "owner of a socket");
	}
	return fd;
}

static bool was_connected(const img_inet_sk_entry *e)
{
	return e->type == SOCK_STREAM && (inet_is_connection(e) || (e->state == INET_CLOSED && e->dst_port));
}

/*
 * Datagrams come in again by the loopback device. The device of its own is bound to again after that (restore_options()). Who may
 * not leave it cannot send the datagrams either, and is told so.
 */
static int refill(struct files *fs, int fd, const img_inet_sk_entry *e, const struct inet_end *own,
		  struct cr_error *err)
{
	if (e->ext && e->ext->queue.nr && e->opts->so_bound_dev && e->opts->so_bound_dev[0])
		(void)setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", sizeof("lo"));
	return inet_queue_refill(fs, fd, e, own, err);
}

static int make(struct files *fs, int fd, const img_inet_sk_entry *e, const struct inet_kind *kind,
		struct cr_error *err)
{
	struct inet_end own, peer;
	int r = inet_entry_ends(e, &own, &peer, err);

	if (r == 0)
		r = inet_options_restore(fd, e, kind, err);
	if (r == 0)
		r = prepare_bind(fd, e, err);
	/* one that had a peer and is closed now has given its address back */
	if (r == 0 && (own.port || !inet_end_any(&own)) && !was_connected(e))
		r = bind_own(fs->inet, fd, e, &own, err);
	/* datagrams of others come in before it listens to one alone; their room is that of the images after that */
	if (r == 0)
		r = refill(fs, fd, e, &own, err);
	if (r == 0)
		r = restore_options(fs, fd, e, kind, err);
	if (r == 0 && e->type != SOCK_STREAM && e->state == INET_ESTABLISHED)
		r = inet_connect_to(fd, &peer, err);
	/* who is accepted has it from the listening socket */
	if (r == 0)
		r = inet_options_cork(fd, e, err);
	return r < 0 ? r : inet_groups_restore(fd, e, err);
}

static int make_connection(struct files *fs, int fd, const img_inet_sk_entry *e, const struct inet_stream *stream,
			   const struct inet_kind *kind, struct cr_error *err)
{
	int r = inet_options_restore(fd, e, kind, err);

	return r < 0 ? r : inet_stream_make(fs, fd, stream, err);
}

static int inherited(struct files *fs, const img_inet_sk_entry *e, struct cr_error *err)
{
	char key[32];

	if (!fs->ctx->opts->rpc->inherit_fd.nr)
		return -ENOENT;
	snprintf(key, sizeof(key), "socket:[%u]", e->ino);
	return sock_given(fs, key, e->type, e->type == SOCK_STREAM && e->state == INET_LISTENING, err);
}

int inet_open(struct files *fs, struct restored_file *f, struct cr_error *err)
{
	const img_inet_sk_entry *e = f->entry->isk;
	struct inet_set *s = inet_set_of(fs, err);
	struct restored_inet *at = s ? restored_inet_vec_add(&s->socks) : NULL;
	const struct inet_stream *stream;
	const struct inet_kind *kind;
	autofd int fd = at ? inherited(fs, e, err) : files_no_memory(err);
	int r;

	if (fd != -ENOENT) {
		if (at)
			*at = (struct restored_inet){ f, true, false };
		return take_fd(&fd);
	}
	stream = inet_stream_find(fs, f->id);
	*at = (struct restored_inet){ f, false, stream };
	fd = new_socket(e, err);
	if (fd < 0)
		return fd;
	kind = inet_kind_of(&s->kinds, fd, e);
	if (!kind)
		return files_no_memory(err);
	r = stream ? make_connection(fs, fd, e, stream, kind, err) : make(fs, fd, e, kind, err);
	return r < 0 ? r : fown_finish(take_fd(&fd), e->fown, err);
}

/* ------------------------------------------------------------------ settle */

static int start_listening(int fd, const img_inet_sk_entry *e, struct cr_error *err)
{
	struct inet_end own, ignored;
	char text[INET_TEXT_MAX];
	int code;

	if (e->state != INET_LISTENING || listen(fd, (int)e->backlog) == 0)
		return 0;
	code = -errno;
	if (inet_entry_ends(e, &own, &ignored, NULL) < 0)
		return cr_fail(err, code, "listen");
	inet_end_text(&own, text);
	return cr_fail(err, code, "listen on %s", text);
}

/* On a socket that is not connected it says ENOTCONN, and is done all the same: inet_shutdown() in net/ipv4/af_inet.c. */
static int shut(int fd, const img_inet_sk_entry *e, struct cr_error *err)
{
	int how = was_connected(e) ? SHUT_RDWR : (int)e->shutdown - 1;

	if (e->state == INET_LISTENING ||
	    (!was_connected(e) && (!e->has_shutdown || e->shutdown == img_sk_shutdown_NONE)))
		return 0;
	return shutdown(fd, how) < 0 && errno != ENOTCONN ? cr_fail(err, -errno, "shut a socket") : 0;
}

static bool is_raw_or_ping(const img_inet_sk_entry *e)
{
	return e->type == SOCK_RAW || e->proto == IPPROTO_ICMP || e->proto == IPPROTO_ICMPV6;
}

static int finish(const struct restored_inet *i, struct cr_error *err)
{
	const img_inet_sk_entry *e = i->file->entry->isk;
	int fd = i->file->fd, r = start_listening(fd, e, err);

	if (r == 0)
		r = shut(fd, e, err);
	if (r == 0 && e->type == SOCK_STREAM && !(e->opts->has_reuseaddr && e->opts->reuseaddr))
		r = set_int(fd, SO_REUSEADDR, 0, "SO_REUSEADDR", err);
	/* these have it by themselves: INET_PROTOSW_REUSE in net/ipv4/af_inet.c */
	if (r == 0 && is_raw_or_ping(e) && e->opts->has_reuseaddr && !e->opts->reuseaddr)
		r = set_int(fd, SO_REUSEADDR, 0, "SO_REUSEADDR", err);
	return r < 0 ? r : sock_opts_finish(fd, e->opts, err);
}

int inet_settle(struct files *fs, struct cr_error *err)
{
	int r = 0;

	for (size_t i = 0; fs->inet && r == 0 && i < fs->inet->socks.nr; i++)
		if (!fs->inet->socks.items[i].inherited && !fs->inet->socks.items[i].repaired)
			r = cr_within(err, finish(&fs->inet->socks.items[i], err), "file %u",
				      fs->inet->socks.items[i].file->id);
	return r;
}

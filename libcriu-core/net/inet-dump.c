/* IP sockets: TCP, MPTCP, UDP, UDP-Lite, raw and ping sockets of IPv4 and IPv6. What is special to TCP is in inet-tcp.c. */
#include "net/inet-internal.h"

#include "files/family.h"
#include "kernel/uapi.h"
#include "net/describe.h"
#include "net/sock-opts.h"

#include <errno.h>
#include <net/if.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif
#ifndef SIOCGSKNS
#define SIOCGSKNS 0x894c
#endif

int inet_int(int fd, int level, int option)
{
	int v = 0;
	socklen_t len = sizeof(v);

	return getsockopt(fd, level, option, &v, &len) < 0 ? -1 : v;
}

static uint64_t netns_of(int fd)
{
	uint64_t cookie = 0;
	socklen_t len = sizeof(cookie);
	struct stat st;
	int ns;

	if (getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &len) == 0)
		return cookie;
	/* before 5.14; needs CAP_NET_ADMIN */
	ns = ioctl(fd, SIOCGSKNS);
	if (ns < 0)
		return 0;
	cookie = fstat(ns, &st) == 0 ? st.st_ino : 0;
	close(ns);
	return cookie;
}

static struct inet_table *table_of(struct file_table *t, struct cr_error *err)
{
	int fd;

	if (t->inet)
		return t->inet;
	t->inet = calloc(1, sizeof(*t->inet));
	if (!t->inet) {
		pool_failed(err);
		return NULL;
	}
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd >= 0) {
		t->inet->netns = netns_of(fd);
		close(fd);
	}
	return t->inet;
}

static void table_done(struct file_table *t)
{
	if (!t->inet)
		return;
	inet_connections_done(t);
	inet_fresh_done(&t->inet->fresh);
	inet_group_seen_vec_done(&t->inet->groups);
	inet_listener_vec_done(&t->inet->listeners);
	free(t->inet);
	t->inet = NULL;
}

/* ------------------------------------------------------------------- facts */

int inet_address_words(struct file_table *t, const struct inet_end *end, struct proto_u32_vec *ret,
		       struct cr_error *err)
{
	ret->nr = inet_words(end->family);
	ret->items = pool_alloc(&t->pool, ret->nr * sizeof(uint32_t));
	if (!ret->items)
		return pool_failed(err);
	memcpy(ret->items, end->addr, ret->nr * sizeof(uint32_t));
	return 0;
}

static int dump_addresses(struct file_table *t, struct open_file *f, img_inet_sk_entry *e, bool *ret_connected,
			  struct cr_error *err)
{
	struct inet_end own, peer = { .family = (int)e->family };
	char dev[IF_NAMESIZE];
	int r = inet_end_own(f->fd, &own);

	if (r < 0)
		return cr_fail(err, r, "address of a socket");
	*ret_connected = inet_end_peer(f->fd, &peer) == 0;
	e->src_port = own.port;
	e->dst_port = peer.port;
	if (e->type == SOCK_RAW)
		e->src_port = 0; /* what is told there is the protocol */
	r = inet_address_words(t, &own, &e->src_addr, err);
	if (r == 0)
		r = inet_address_words(t, &peer, &e->dst_addr, err);
	if (r < 0 || !(own.scope || peer.scope))
		return r;
	if (!if_indextoname(own.scope ? own.scope : peer.scope, dev))
		return file_refuse(t, f, SOCK_DEVICE_GONE,
				   "socket with a link-local address of a network device that has gone");
	e->ifname = pool_text(&t->pool, dev, strlen(dev));
	return e->ifname ? 0 : pool_failed(err);
}

static int dump_owner(struct file_table *t, const struct open_file *f, img_inet_sk_entry *e, struct cr_error *err)
{
	if (!f->facts.st.st_uid && !f->facts.st.st_gid)
		return 0;
	if (!inet_ext(t, e, err))
		return -ENOMEM;
	e->ext->has_uid = e->ext->has_gid = true;
	e->ext->uid = f->facts.st.st_uid;
	e->ext->gid = f->facts.st.st_gid;
	return 0;
}

static int dump_groups(struct file_table *t, struct inet_table *n, struct open_file *f, img_inet_sk_entry *e,
		       struct cr_error *err)
{
	int r = 0;

	if (!n->groups_known)
		r = inet_groups_read(&n->groups, err);
	n->groups_known = true;
	return r < 0 ? r : inet_groups_dump(t, f, &n->groups, e, err);
}

/* Datagram sockets that are shut for reading say so; for writing alone it does not show. */
static void dump_shutdown(const struct open_file *f, img_inet_sk_entry *e)
{
	struct pollfd p = { .fd = f->fd, .events = POLLRDHUP };

	if (poll(&p, 1, 0) <= 0 || !(p.revents & POLLRDHUP))
		return;
	e->has_shutdown = true;
	e->shutdown = p.revents & POLLHUP ? img_sk_shutdown_BOTH : img_sk_shutdown_READ;
}

static int dump_datagrams(struct file_table *t, struct inet_table *n, struct open_file *f, img_inet_sk_entry *e,
			  bool connected, struct cr_error *err)
{
	int r;

	e->state = connected ? INET_ESTABLISHED : INET_CLOSED;
	dump_shutdown(f, e);
	r = inet_cork_dump(t, f, e);
	if (r == 0)
		r = dump_groups(t, n, f, e, err);
	return r != 0 ? r : inet_queue_dump(t, f, e, err);
}

int inet_network_check(struct file_table *t, struct open_file *f, struct cr_error *err)
{
	const struct inet_table *n = table_of(t, err);
	char what[128];

	if (!n)
		return -ENOMEM;
	if (netns_of(f->fd) == n->netns)
		return 0;
	socket_describe(f->fd, what, sizeof(what));
	return file_refuse(t, f, "", "%s of another network namespace", what);
}

static bool known_protocol(const img_inet_sk_entry *e)
{
	switch (e->type) {
	case SOCK_STREAM:
		return e->proto == IPPROTO_TCP || e->proto == IPPROTO_MPTCP;
	case SOCK_DGRAM:
		return e->proto == IPPROTO_UDP || e->proto == IPPROTO_UDPLITE || e->proto == IPPROTO_ICMP ||
		       e->proto == IPPROTO_ICMPV6;
	default:
		return e->type == SOCK_RAW;
	}
}

static int find_kind(struct file_table *t, struct open_file *f, img_inet_sk_entry *e, struct cr_error *err)
{
	char what[128];

	e->ino = (uint32_t)f->facts.st.st_ino;
	e->family = (uint32_t)f->facts.sk_family;
	e->type = (uint32_t)inet_int(f->fd, SOL_SOCKET, SO_TYPE);
	e->proto = (uint32_t)inet_int(f->fd, SOL_SOCKET, SO_PROTOCOL);
	e->has_ns_id = f->task->ids.has_net_ns_id;
	e->ns_id = f->task->ids.net_ns_id;
	if (!known_protocol(e)) {
		socket_describe(f->fd, what, sizeof(what));
		return file_refuse(t, f, "", "%s, protocol %u", what, e->proto);
	}
	return inet_network_check(t, f, err);
}

static int inet_dump(struct file_table *t, struct open_file *f, struct cr_error *err)
{
	struct inet_table *n = table_of(t, err);
	img_inet_sk_entry *e = n ? pool_new(&t->pool, img_inet_sk_entry) : NULL;
	bool connected = false;
	int r;

	if (!e)
		return pool_failed(err);
	r = owned_begin(t, f, img_fd_types_INETSK, OWNED_ENTRY(e), err);
	if (r != 0)
		return r;
	f->entry->isk = e;
	r = find_kind(t, f, e, err);
	if (r == 0)
		r = inet_roles_dump(t, f, e, err);
	if (r == 0)
		r = dump_addresses(t, f, e, &connected, err);
	if (r == 0)
		r = e->type == SOCK_STREAM ? inet_tcp_dump(t, f, e, err) : dump_datagrams(t, n, f, e, connected, err);
	if (r == 0)
		r = dump_owner(t, f, e, err);
	if (r == 0)
		r = sock_opts_dump(t, f, &e->opts, err);
	return r == 0 ? inet_options_dump(t, f, &n->fresh, e, err) : r;
}

static bool inet_claims(const struct file_facts *facts)
{
	return facts->sk_family == AF_INET || facts->sk_family == AF_INET6;
}

const struct file_ops inet_ops = {
	.name = "IP socket",
	.type = img_fd_types_INETSK,
	.claims = inet_claims,
	.dump = inet_dump,
	.check = inet_check,
	.open = inet_open,
};

const struct file_family inet_family = {
	.name = "IP sockets",
	.write = inet_connections_write,
	.table_done = table_done,
	.read = inet_streams_read,
	.make = inet_streams_lock,
	.settle = inet_settle,
	.done = inet_set_done,
};

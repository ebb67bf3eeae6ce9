#include "net/listeners.h"

#include "net/describe.h"
#include "net/inet-diag.h"
#include "net/inet-internal.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SYN_RECV \
	(1u << INET_SYN_RECV) /* TCP_NEW_SYN_RECV comes with it; inet_diag_dump_icsk() in net/ipv4/inet_diag.c */
#define LISTEN (1u << INET_LISTENING)

/* What the lock is about. */
struct held_port {
	struct net_port port;
	uint32_t ino;
};

#define PORT_BYTES (65536 / 8)

DEFINE_VEC(held_port_vec, struct held_port)

struct listeners {
	struct net_lock *lock;
	struct held_port_vec ports;
	struct map by_ino;            /* ino + 1 -> anything */
	uint8_t any_with[PORT_BYTES]; /* a bit for each number that a port of them has */
	bool failed;                  /* it was tried once, and said why not */
};

struct listeners *listeners_new(void)
{
	return calloc(1, sizeof(struct listeners));
}

void listeners_let_go(struct listeners *l)
{
	if (l)
		net_lock_lift(l->lock);
}

void listeners_free(struct listeners *l)
{
	if (!l)
		return;
	net_lock_free(l->lock);
	held_port_vec_done(&l->ports);
	map_done(&l->by_ino);
	free(l);
}

/* -------------------------------------------------------------------- note */

/* Or are connections that nobody has accepted lost with the tree by the user's own word? */
static bool accepting_matters(const struct file_table *t)
{
	return !t->ctx->opts->rpc->tcp_skip_in_flight && !t->ctx->opts->rpc->tcp_close;
}

static void port_of(int fd, const struct inet_end *own, struct net_port *ret)
{
	struct inet_end end = inet_end_unmap(own);
	int device = inet_int(fd, SOL_SOCKET, SO_BINDTOIFINDEX);

	*ret = (struct net_port){ .family = end.family, .port = htons(end.port) };
	memcpy(ret->addr, end.addr, inet_words(end.family) * sizeof(uint32_t));
	ret->v6only = end.family == AF_INET6 && inet_int(fd, IPPROTO_IPV6, IPV6_V6ONLY) > 0;
	ret->device = device > 0 ? (uint32_t)device : own->scope;
}

/* Return: 0; 1 noted as an obstacle; -ENOMEM. */
static int refuse_waiting(struct file_table *t, struct open_file *f, uint32_t waiting)
{
	char what[128];

	if (!accepting_matters(t))
		return 0;
	socket_describe(f->fd, what, sizeof(what));
	return file_refuse_passing(t, f, "--skip-in-flight: they are closed when the tree ends",
				   "%s with %u connections that nobody has accepted", what, waiting);
}

int inet_listener_add(struct file_table *t, struct open_file *f, uint32_t waiting, struct cr_error *err)
{
	struct inet_listener *at = inet_listener_vec_add(&t->inet->listeners);
	struct inet_end own;
	int r;

	if (!at)
		return pool_failed(err);
	at->f = f;
	r = inet_end_own(f->fd, &own);
	if (r < 0)
		return cr_fail(err, r, "address of a listening socket");
	port_of(f->fd, &own, &at->port);
	f->keep_fd = true;
	return waiting ? refuse_waiting(t, f, waiting) : 0;
}

/* -------------------------------------------------------------------- hold */

static bool same_port(const struct net_port *a, const struct net_port *b)
{
	return a->family == b->family && a->port == b->port && a->v6only == b->v6only && a->device == b->device &&
	       memcmp(a->addr, b->addr, sizeof(a->addr)) == 0;
}

static bool same_ports(const struct held_port_vec *held, const struct inet_listener_vec *now)
{
	for (size_t i = 0; held->nr == now->nr && i < now->nr; i++)
		if (held->items[i].ino != (uint32_t)now->items[i].f->facts.st.st_ino ||
		    !same_port(&held->items[i].port, &now->items[i].port))
			return false;
	return held->nr == now->nr;
}

static int note_ports(struct listeners *l, const struct inet_listener_vec *now, struct cr_error *err)
{
	l->ports.nr = 0;
	map_done(&l->by_ino);
	memset(l->any_with, 0, sizeof(l->any_with));
	for (size_t i = 0; i < now->nr; i++) {
		struct held_port *p = held_port_vec_add(&l->ports);

		uint16_t number = ntohs(now->items[i].port.port);

		if (!p)
			return pool_failed(err);
		p->port = now->items[i].port;
		p->ino = (uint32_t)now->items[i].f->facts.st.st_ino;
		l->any_with[number / 8] |= (uint8_t)(1 << number % 8);
		if (map_put(&l->by_ino, (uint64_t)p->ino + 1, l) < 0)
			return pool_failed(err);
	}
	return 0;
}

static struct net_port *port_list(const struct held_port_vec *held)
{
	struct net_port *ports = calloc(held->nr, sizeof(*ports));

	for (size_t i = 0; ports && i < held->nr; i++)
		ports[i] = held->items[i].port;
	return ports;
}

int listeners_hold(struct listeners *l, struct file_table *t, const char *run_id, struct cr_error *err)
{
	autofree struct net_port *ports = NULL;
	struct net_lock *was = l->lock;
	struct cr_error why = { 0 };
	char name[NET_LOCK_NAME];
	int r;

	if (!t || !t->inet || !t->inet->listeners.nr || !inet_lock_wanted(t) || l->failed)
		return 0;
	if (was && same_ports(&l->ports, &t->inet->listeners))
		return 0;
	r = note_ports(l, &t->inet->listeners, err);
	if (r < 0)
		return r;
	ports = port_list(&l->ports);
	if (!ports)
		return pool_failed(err);
	inet_lock_name(run_id, "ports", name);
	l->lock = NULL;
	if (net_lock_new_ports(name, ports, l->ports.nr, &l->lock, &why) < 0) {
		l->failed = true;
		log_warn(&t->ctx->log,
			 "%s: listening sockets are not locked, continuing without: "
			 "connections that are made before the tree ends are reset",
			 why.text);
	}
	net_lock_free(was);
	return 0;
}

/* -------------------------------------------------------------------- look */

static bool leads_to(const struct tcp_fact *fact, const struct net_port *p)
{
	static const uint8_t any[sizeof(p->addr)] = { 0 };
	struct inet_end own = inet_end_unmap(&fact->own);

	if (htons(own.port) != p->port)
		return false;
	if (memcmp(p->addr, any, sizeof(any)) != 0)
		return own.family == p->family &&
		       memcmp(own.addr, p->addr, inet_words(own.family) * sizeof(uint32_t)) == 0;
	return own.family == p->family || (p->family == AF_INET6 && !p->v6only);
}

static bool concerns(const struct listeners *l, const struct tcp_fact *fact)
{
	if (fact->state == INET_LISTENING)
		return fact->waiting && map_find(&l->by_ino, (uint64_t)fact->ino + 1);
	if (!(l->any_with[fact->own.port / 8] & 1 << fact->own.port % 8))
		return false;
	for (size_t i = 0; i < l->ports.nr; i++)
		if (leads_to(fact, &l->ports.items[i].port))
			return true;
	return false;
}

/* Return: how many wait or are being made; 0 also where nobody tells */
static size_t count_waiting(const struct listeners *l, uint32_t states)
{
	struct tcp_fact_vec facts;
	size_t nr = 0;

	if (tcp_facts_read(states, &facts, NULL) == 0)
		for (size_t i = 0; i < facts.nr; i++)
			nr += concerns(l, &facts.items[i]);
	tcp_fact_vec_done(&facts);
	return nr;
}

/* TCP_INFO of a listening socket has the length of its queue; tcp_get_info() in net/ipv4/tcp.c. MPTCP gives that of its first subflow. */
static int look_at(struct file_table *t, struct open_file *f)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);

	if (getsockopt(f->fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0 || !info.tcpi_unacked)
		return 0;
	return refuse_waiting(t, f, info.tcpi_unacked);
}

int listeners_look(const struct listeners *l, struct file_table *t, bool last, struct cr_error *err)
{
	size_t half;
	int r = 0;

	/* there may have been some at the last attempt */
	if (!t->inet || !t->inet->listeners.nr || !accepting_matters(t))
		return 0;
	for (size_t i = 0; r >= 0 && i < t->inet->listeners.nr; i++)
		r = look_at(t, t->inet->listeners.items[i].f);
	/* without a lock there are always new ones */
	if (r < 0 || !l->lock)
		return r < 0 ? pool_failed(err) : 0;
	half = count_waiting(l, SYN_RECV);
	if (!half)
		return 0;
	if (!last)
		return file_refuse_passing(t, t->inet->listeners.items[0].f, "",
					   "%zu connections to listening sockets that are being made", half) < 0
			       ? pool_failed(err)
			       : 0;
	log_warn(&t->ctx->log,
		 "%zu connections are being made to listening sockets, continuing without: who waits is reset", half);
	return 0;
}

void listeners_await(const struct listeners *l, unsigned int least_ms, unsigned int limit_ms)
{
	for (unsigned int ms = 0; ms < limit_ms; ms++) {
		if (ms >= least_ms && (!l->lock || !count_waiting(l, LISTEN | SYN_RECV)))
			return;
		usleep(1000);
	}
}

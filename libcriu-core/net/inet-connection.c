/*
 * TCP connections, the dump half. Their packets are kept away from both sides before anything is read, and as long as the dump
 * lasts; so repair mode is needed for the moment of reading only, and a dumper that is killed leaves sockets as they were. When
 * the tree is to be killed they are put in it again: then close(2) is silent.
 */
#include "net/inet-internal.h"

#include "image/image-set.h"
#include "infect/leftovers.h"
#include "net/connections.h"
#include "net/describe.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ----------------------------------------------------------------- collect */

static bool can_be_saved(int state)
{
	struct tcp_fins fins = tcp_fins_of((uint32_t)state);

	return state == INET_ESTABLISHED || fins.received || fins.sent;
}

int inet_connection_add(struct file_table *t, struct open_file *f, img_inet_sk_entry *e, int state,
			struct cr_error *err)
{
	struct pollfd p = { .fd = f->fd, .events = POLLPRI };
	struct inet_connection *c;
	char what[128];
	int why;

	socket_describe(f->fd, what, sizeof(what));
	if (!can_be_saved(state))
		return file_refuse_passing(t, f, "--tcp-close: it is restored as closed",
					   "TCP connection that is being made, %s", what);
	if ((poll(&p, 1, 0) > 0 && p.revents & POLLPRI) || tcp_behind_urgent(f->fd))
		return file_refuse(t, f, "--tcp-close: it is restored as closed", "TCP connection with urgent data, %s",
				   what);
	why = kernel_why(&t->ctx->probes, KERNEL_TCP_HALF_CLOSED);
	if (why < 0)
		return file_refuse(t, f,
				   why == -EPERM ? "repair mode needs CAP_NET_ADMIN" : "this kernel has no repair mode",
				   "TCP connection, %s", what);
	c = inet_connection_vec_add(&t->inet->connections);
	if (!c)
		return pool_failed(err);
	*c = (struct inet_connection){ .f = f, .e = e };
	if (inet_end_own(f->fd, &c->own) < 0 || inet_end_peer(f->fd, &c->peer) < 0)
		return cr_fail(err, -errno, "addresses of a connection");
	c->reuse = inet_int(f->fd, SOL_SOCKET, SO_REUSEADDR) > 0;
	/* a dumper that was killed in the wrong moment: it will be let out of it at the end */
	if (inet_int(f->fd, IPPROTO_TCP, TCP_REPAIR) > 0)
		log_warn(&t->ctx->log, "%s was left in repair mode by somebody, continuing", what);
	e->state = (uint32_t)state;
	f->keep_fd = true;
	return 0;
}

/* -------------------------------------------------------------------- lock */

static void tuple_of(const struct inet_end *from, const struct inet_end *to, struct net_tuple *ret)
{
	struct inet_end src = inet_end_unmap(from), dst = inet_end_unmap(to);

	*ret = (struct net_tuple){ .family = src.family, .sport = htons(src.port), .dport = htons(dst.port) };
	memcpy(ret->src, src.addr, sizeof(ret->src));
	memcpy(ret->dst, dst.addr, sizeof(ret->dst));
}

void inet_tuples_of(const struct inet_end *own, const struct inet_end *peer, struct net_tuple ret[static 2])
{
	tuple_of(own, peer, &ret[0]);
	tuple_of(peer, own, &ret[1]);
}

void inet_lock_name(const char *run_id, const char *what, char ret[static NET_LOCK_NAME])
{
	snprintf(ret, NET_LOCK_NAME, "criu-%s-%.36s", what, run_id);
}

int inet_lock(const char *name, bool owned, const struct net_tuple *tuples, size_t nr, struct net_lock **ret,
	      struct cr_error *err)
{
	int r = net_lock_new(name, owned, tuples, nr, ret, err);

	if (r < 0)
		cr_advise(err, r == -EPERM
				       ? "this needs CAP_NET_ADMIN; --network-lock skip does without"
				       : "--network-lock skip does without, when nothing comes in for them meanwhile");
	return r;
}

static int lock_all(struct inet_table *n, const char *what, bool owned, struct net_lock **ret, struct cr_error *err)
{
	size_t nr = n->connections.nr;
	struct net_tuple *tuples = calloc(nr, 2 * sizeof(*tuples));
	char name[NET_LOCK_NAME];
	int r;

	if (!tuples)
		return pool_failed(err);
	for (size_t i = 0; i < nr; i++)
		inet_tuples_of(&n->connections.items[i].own, &n->connections.items[i].peer, &tuples[2 * i]);
	inet_lock_name(n->run_id, what, name);
	r = inet_lock(name, owned, tuples, 2 * nr, ret, err);
	free(tuples);
	return r;
}

bool inet_lock_wanted(const struct file_table *t)
{
	const rpc_criu_opts *o = t->ctx->opts->rpc;

	return !o->has_network_lock || o->network_lock != rpc_criu_network_lock_method_SKIP;
}

/* -------------------------------------------------------------------- hold */

/* It may have been reset since it was looked at, when packets still came in. */
static int became_closed(const struct inet_connection *c)
{
	c->e->state = INET_CLOSED;
	c->e->has_shutdown = true;
	c->e->shutdown = img_sk_shutdown_BOTH;
	c->e->src_port = c->e->dst_port = 0;
	return 0;
}

static void note_shutdown(const struct inet_connection *c)
{
	struct tcp_fins fins = tcp_fins_of(c->e->state);
	struct pollfd p = { .fd = c->f->fd, .events = POLLRDHUP };
	bool reading = poll(&p, 1, 0) > 0 && p.revents & POLLRDHUP;

	c->e->has_shutdown = reading || fins.sent;
	c->e->shutdown = reading && fins.sent ? img_sk_shutdown_BOTH
			 : reading            ? img_sk_shutdown_READ
					      : img_sk_shutdown_WRITE;
}

/* Should we be killed meanwhile, the process in front of us puts an end to repair mode. */
static int read_one(struct cr_leftovers *left, struct inet_connection *c, struct cr_error *err)
{
	int r, off;

	if (tcp_repair_state(c->f->fd) == INET_CLOSED)
		return became_closed(c);
	leftover_socket(left, c->f->task->host_pid, c->f->fd_there, c->reuse);
	r = tcp_repair_on(c->f->fd, err);
	if (r < 0)
		return r;
	r = tcp_repair_read(c->f->fd, &c->saved, err);
	off = tcp_repair_off(c->f->fd, c->reuse, false, r < 0 ? NULL : err);
	leftover_socket(left, 0, -1, false);
	if (r < 0 || off < 0)
		return r < 0 ? r : off;
	if (!can_be_saved((int)c->saved.state))
		return cr_refuse(err, -EBUSY, "a connection went from state %u to %u meanwhile", c->e->state,
				 c->saved.state);
	c->e->state = c->saved.state;
	note_shutdown(c);
	return 0;
}

int connections_hold(struct file_table *t, const char *run_id, struct cr_error *err)
{
	struct inet_table *n = t->inet;
	char text[2][INET_TEXT_MAX];
	int r = 0;

	if (!n || !n->connections.nr)
		return 0;
	snprintf(n->run_id, sizeof(n->run_id), "%s", run_id);
	if (inet_lock_wanted(t))
		r = lock_all(n, "hold", true, &n->lock, err);
	for (size_t i = 0; r == 0 && i < n->connections.nr; i++) {
		struct inet_connection *c = &n->connections.items[i];

		r = read_one(t->ctx->opts->leftovers, c, err);
		inet_end_text(&c->own, text[0]);
		inet_end_text(&c->peer, text[1]);
		r = cr_within(err, r, "pid %d: fd %d: connection %s to %s", c->f->task->host_pid, c->f->fd_there,
			      text[0], text[1]);
	}
	return r;
}

bool connections_kept(const struct file_table *t)
{
	return t->inet && t->inet->connections.nr;
}

bool connections_locked(const struct file_table *t)
{
	return t->inet && t->inet->lock;
}

static void repair_off_all(struct inet_table *n, bool probe)
{
	for (size_t i = 0; i < n->connections.nr; i++) {
		struct inet_connection *c = &n->connections.items[i];

		if (inet_int(c->f->fd, IPPROTO_TCP, TCP_REPAIR) > 0)
			tcp_repair_off(c->f->fd, c->reuse, probe, NULL);
	}
}

void connections_let_go(struct file_table *t)
{
	struct inet_table *n = t->inet;
	char name[NET_LOCK_NAME];

	if (!n)
		return;
	net_lock_lift(n->lock);
	if (n->locked_for_good && !n->vanished) {
		inet_lock_name(n->run_id, "lock", name);
		net_lock_remove(name, NULL);
		leftover_lock(t->ctx->opts->leftovers, "");
		n->locked_for_good = false;
	}
	/* what was dropped meanwhile is sent again when the other side answers the probe */
	if (!n->vanished)
		repair_off_all(n, true);
}

int connections_lock_for_good(struct file_table *t, struct cr_error *err)
{
	struct inet_table *n = t->inet;
	struct net_lock *stays = NULL;
	char name[NET_LOCK_NAME];
	int r;

	if (!connections_locked(t))
		return 0;
	inet_lock_name(n->run_id, "lock", name);
	leftover_lock(t->ctx->opts->leftovers, name);
	r = lock_all(n, "lock", false, &stays, err);
	if (r == 0)
		n->locked_for_good = true;
	net_lock_free(stays);
	return r;
}

bool connections_lock_may_go(const struct file_table *t)
{
	return leftover_locked(t->ctx->opts->leftovers);
}

void connections_lock_stays(struct file_table *t, bool stays)
{
	char name[NET_LOCK_NAME] = "";

	if (!stays && t->inet->locked_for_good)
		inet_lock_name(t->inet->run_id, "lock", name);
	leftover_lock(t->ctx->opts->leftovers, name);
}

int connections_vanish(struct file_table *t, struct cr_error *err)
{
	struct inet_table *n = t->inet;
	int r = 0;

	for (size_t i = 0; n && i < n->connections.nr; i++) {
		int now = n->connections.items[i].e->state != INET_CLOSED
				  ? tcp_repair_on(n->connections.items[i].f->fd, r ? NULL : err)
				  : 0;

		if (now < 0 && r == 0)
			r = now;
	}
	if (n)
		n->vanished = r == 0;
	return r;
}

/* ------------------------------------------------------------------- write */

int inet_connections_write(struct file_table *t, struct image_set *set, struct cr_error *err)
{
	int r = 0;

	for (size_t i = 0; t->inet && r == 0 && i < t->inet->connections.nr; i++) {
		const struct inet_connection *c = &t->inet->connections.items[i];
		autofree_by(image_writer_drop) struct image_writer *w = NULL;

		if (c->e->state == INET_CLOSED)
			continue;
		r = image_writer_open(set, IMG_TCP_STREAM, c->e->ino, &w, err);
		if (r == 0)
			r = image_write(w, &c->saved.stream, err);
		if (r == 0 && c->saved.stream.inq_len)
			r = image_write_raw(w, c->saved.in, c->saved.stream.inq_len, err);
		if (r == 0 && c->saved.stream.outq_len)
			r = image_write_raw(w, c->saved.out, c->saved.stream.outq_len, err);
		if (r == 0)
			r = image_writer_close(take_ptr(&w), true, err);
	}
	return r;
}

void inet_connections_done(struct file_table *t)
{
	connections_let_go(t);
	net_lock_free(t->inet->lock);
	for (size_t i = 0; i < t->inet->connections.nr; i++)
		tcp_saved_done(&t->inet->connections.items[i].saved);
	inet_connection_vec_done(&t->inet->connections);
}

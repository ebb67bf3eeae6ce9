/* TCP: states of sockets, and which of them can be saved. */
#include "net/inet-internal.h"

#include "net/describe.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>

static int listening_dump(struct file_table *t, struct open_file *f, const struct tcp_info *info, img_inet_sk_entry *e,
			  struct cr_error *err)
{
	e->state = INET_LISTENING;
	/* of a listening socket these are the limit of its queue and the length; tcp_get_info() in net/ipv4/tcp.c */
	e->backlog = info->tcpi_sacked;
	return inet_listener_add(t, f, info->tcpi_unacked, err);
}

/* A socket that has been connected can neither be read from nor written to any more. */
static int closed_dump(struct file_table *t, struct open_file *f, img_inet_sk_entry *e)
{
	struct pollfd p = { .fd = f->fd, .events = POLLRDHUP };
	int unread = 0;
	char what[128];

	e->state = INET_CLOSED;
	if (poll(&p, 1, 0) > 0 && p.revents & POLLRDHUP) {
		e->has_shutdown = true;
		e->shutdown = img_sk_shutdown_BOTH;
	}
	if (e->proto == IPPROTO_MPTCP || ioctl(f->fd, SIOCINQ, &unread) < 0 || unread <= 0)
		return 0;
	socket_describe(f->fd, what, sizeof(what));
	return file_refuse(t, f, "", "%s that is closed, with %d unread bytes", what, unread);
}

static int connected_dump(struct file_table *t, struct open_file *f, img_inet_sk_entry *e, int state,
			  struct cr_error *err)
{
	const rpc_criu_opts *o = t->ctx->opts->rpc;
	char what[128];

	socket_describe(f->fd, what, sizeof(what));
	if (o->tcp_close) {
		/* the connection ends with the tasks, as by close(2) */
		e->state = INET_CLOSED;
		e->src_port = e->dst_port = 0;
		for (size_t i = 0; i < e->src_addr.nr; i++)
			e->src_addr.items[i] = e->dst_addr.items[i] = 0;
		e->has_shutdown = true;
		e->shutdown = img_sk_shutdown_BOTH;
		return 0;
	}
	if (e->proto == IPPROTO_MPTCP)
		return file_refuse(t, f, "--tcp-close: it is restored as closed", "MPTCP connection, %s", what);
	if (!o->tcp_established)
		return file_refuse(t, f, "--tcp-established, or --tcp-close: it is restored as closed",
				   "TCP connection, %s", what);
	return inet_connection_add(t, f, e, state, err);
}

/* TCP_INFO of an MPTCP socket is that of its first subflow, or not to be had without one. */
int inet_tcp_dump(struct file_table *t, struct open_file *f, img_inet_sk_entry *e, struct cr_error *err)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);
	struct inet_end peer;
	int r = getsockopt(f->fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0 ? -errno : 0;

	if (inet_int(f->fd, SOL_SOCKET, SO_ACCEPTCONN) == 1) {
		if (r < 0)
			return cr_fail(err, r, "state of a listening socket");
		return listening_dump(t, f, &info, e, err);
	}
	if (e->proto == IPPROTO_MPTCP)
		return inet_end_peer(f->fd, &peer) == 0 ? connected_dump(t, f, e, INET_ESTABLISHED, err)
							: closed_dump(t, f, e);
	if (r < 0)
		return cr_fail(err, r, "state of a TCP socket");
	return info.tcpi_state == INET_CLOSED ? closed_dump(t, f, e) : connected_dump(t, f, e, info.tcpi_state, err);
}

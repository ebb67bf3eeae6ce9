/*
 * Datagrams that wait in a UDP socket. A dump peeks at them one after the other (SO_PEEK_OFF moves on by itself); a restore
 * sends them again, from where they came (inet-packet.h). The rest of their headers is new, and they come in by the
 * loopback device.
 */
#include "net/inet-internal.h"

#include "net/describe.h"
#include "net/inet-packet.h"

#include <errno.h>
#include <linux/sock_diag.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef SO_MEMINFO
#define SO_MEMINFO 55
#endif

#define DATAGRAM_MAX 65535
#define QUEUE_MAX    (1u << 20) /* datagrams */
#define ARRIVE_MS    200
#define UDP_HEADROOM 4096 /* what the kernel counts for a small datagram is below that */

static bool has_queue(const img_inet_sk_entry *e)
{
	return e->type == SOCK_DGRAM && (e->proto == IPPROTO_UDP || e->proto == IPPROTO_UDPLITE);
}

/* Bytes of memory that what is queued takes; 0: nothing, or it cannot be told */
static uint32_t queued_memory(int fd)
{
	uint32_t info[SK_MEMINFO_VARS] = { 0 };
	socklen_t len = sizeof(info);

	return getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &len) < 0 ? 0 : info[SK_MEMINFO_RMEM_ALLOC];
}

/* -------------------------------------------------------------------- dump */

static int add_address(struct file_table *t, const struct sockaddr_storage *sa, img_inet_datagram *d,
		       struct cr_error *err)
{
	const struct sockaddr_in *in = (const void *)sa;
	const struct sockaddr_in6 *in6 = (const void *)sa;
	bool four = sa->ss_family == AF_INET;
	const void *addr = four ? (const void *)&in->sin_addr : (const void *)&in6->sin6_addr;
	size_t len = four ? 4 : 16;

	d->from = (struct proto_bytes){ (const uint8_t *)pool_text(&t->pool, addr, len), len };
	d->from_port = ntohs(four ? in->sin_port : in6->sin6_port);
	return d->from.data ? 0 : pool_failed(err);
}

/* Where it was sent to, if the socket asks for that */
static int add_destination(struct file_table *t, struct msghdr *m, img_inet_datagram *d, struct cr_error *err)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		const void *addr = NULL;
		size_t len = 0;

		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO &&
		    c->cmsg_len >= CMSG_LEN(sizeof(struct in_pktinfo))) {
			addr = CMSG_DATA(c) + offsetof(struct in_pktinfo, ipi_addr);
			len = 4;
		} else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO &&
			   c->cmsg_len >= CMSG_LEN(sizeof(struct in6_pktinfo))) {
			addr = CMSG_DATA(c) + offsetof(struct in6_pktinfo, ipi6_addr);
			len = 16;
		}
		if (!addr)
			continue;
		d->to = (struct proto_bytes){ (const uint8_t *)pool_text(&t->pool, addr, len), len };
		return d->to.data ? 0 : pool_failed(err);
	}
	return 0;
}

/* Return: 1 one was added; 0 there are no more; negative errno */
static int peek_one(struct file_table *t, int fd, char *buf, img_inet_sk_entry *e, struct cr_error *err)
{
	struct sockaddr_storage from = { 0 };
	char control[512];
	struct iovec iov = { buf, DATAGRAM_MAX };
	struct msghdr m = { .msg_name = &from,
			    .msg_namelen = sizeof(from),
			    .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control,
			    .msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(fd, &m, MSG_PEEK | MSG_DONTWAIT | MSG_TRUNC);
	img_inet_datagram *d;
	void *items;
	int r;

	if (n < 0)
		return errno == EAGAIN ? 0 : cr_fail(err, -errno, "look at a waiting datagram");
	if (n > DATAGRAM_MAX || e->ext->queue.nr >= QUEUE_MAX)
		return cr_refuse(err, -E2BIG, "datagram of %zd bytes, or too many of them", n);
	items = e->ext->queue.items;
	d = pool_vec_add(&t->pool, &items, &e->ext->queue.nr, sizeof(*d));
	if (!d)
		return pool_failed(err);
	e->ext->queue.items = items;
	d->data = (struct proto_bytes){ (const uint8_t *)pool_text(&t->pool, buf, (size_t)n), (size_t)n };
	r = d->data.data ? add_address(t, &from, d, err) : pool_failed(err);
	if (r == 0)
		r = add_destination(t, &m, d, err);
	return r < 0 ? r : 1;
}

static int set_offset(int fd, int offset)
{
	return setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof(offset)) < 0 ? -errno : 0;
}

/* An empty one that was seen before shows only where it is the first, and without an offset. Return: as peek_one(), but 1 for none */
static int peek_first_empty(struct file_table *t, int fd, char *buf, img_inet_sk_entry *e, struct cr_error *err)
{
	int len, r;

	if (ioctl(fd, FIONREAD, &len) < 0 || len)
		return 1;
	r = set_offset(fd, -1);
	if (r < 0)
		return cr_fail(err, r, "look at a waiting datagram");
	r = peek_one(t, fd, buf, e, err);
	if (r == 1 && e->ext->queue.items[0].data.len)
		e->ext->queue.nr = 0;
	return r < 0 ? r : 1;
}

/* The offset says how many bytes are passed over, empty datagrams included once they were seen: __skb_try_recv_from_queue(). */
static int peek_all(struct file_table *t, int fd, img_inet_sk_entry *e, struct cr_error *err)
{
	int was = inet_int(fd, SOL_SOCKET, SO_PEEK_OFF), r;
	char *buf = malloc(DATAGRAM_MAX);

	if (!buf || !inet_ext(t, e, err)) {
		free(buf);
		return pool_failed(err);
	}
	r = peek_first_empty(t, fd, buf, e, err);
	if (r == 1 && set_offset(fd, 0) < 0)
		r = cr_fail(err, -errno, "look at waiting datagrams");
	while (r == 1)
		r = peek_one(t, fd, buf, e, err);
	if (set_offset(fd, was) < 0 && r == 0)
		r = cr_fail(err, -errno, "put SO_PEEK_OFF back");
	free(buf);
	return r;
}

int inet_queue_dump(struct file_table *t, struct open_file *f, img_inet_sk_entry *e, struct cr_error *err)
{
	struct pollfd p = { .fd = f->fd, .events = POLLIN };
	char what[128];

	if (e->shutdown || poll(&p, 1, 0) <= 0 || !(p.revents & POLLIN))
		return 0;
	if (has_queue(e))
		return peek_all(t, f->fd, e, err);
	socket_describe(f->fd, what, sizeof(what));
	log_warn(&t->ctx->log, "%s: packets that wait to be received are lost, continuing without them", what);
	return 0;
}

/* ----------------------------------------------------------------- restore */

int inet_queue_check(const img_inet_sk_entry *e, struct cr_error *err)
{
	for (size_t i = 0; e->ext && i < e->ext->queue.nr; i++) {
		const img_inet_datagram *d = &e->ext->queue.items[i];

		if (!has_queue(e) || (d->from.len != 4 && d->from.len != 16) ||
		    (e->family == AF_INET && d->from.len != 4) || d->from_port > UINT16_MAX ||
		    d->data.len > DATAGRAM_MAX || (d->to.data && d->to.len != 4 && d->to.len != 16))
			return cr_refuse(err, -EBADMSG, "socket %u: waiting datagram %zu makes no sense", e->id, i);
	}
	return 0;
}

static struct inet_end end_of_bytes(struct proto_bytes addr, uint16_t port)
{
	struct inet_end end = { .family = addr.len == 4 ? AF_INET : AF_INET6, .port = port };

	memcpy(end.addr, addr.data, addr.len);
	return end;
}

/* Its own address where it has one, the one that it was told where it was told, else one that leads here. */
static struct inet_end destination(const img_inet_datagram *d, const struct inet_end *from, const struct inet_end *own)
{
	struct inet_end to = inet_end_unmap(own), src = inet_end_unmap(from);

	if (!inet_end_any(&to) && to.family == src.family)
		return to;
	if (d->to.data)
		to = end_of_bytes(d->to, own->port);
	to = inet_end_unmap(&to);
	if (to.family == src.family && !inet_end_any(&to))
		return to;
	to = (struct inet_end){ .family = src.family, .port = own->port };
	to.addr[src.family == AF_INET ? 0 : 3] = src.family == AF_INET ? htonl(INADDR_LOOPBACK) : htonl(1);
	return to;
}

static bool arrived(int fd, uint32_t before)
{
	for (int left = ARRIVE_MS; left > 0; left--) {
		if (queued_memory(fd) > before)
			return true;
		usleep(1000);
	}
	return false;
}

static int send_again(struct files *fs, struct inet_set *s, int fd, const img_inet_sk_entry *e,
		      const img_inet_datagram *d, const struct inet_end *own, struct cr_error *err)
{
	struct inet_end from = end_of_bytes(d->from, (uint16_t)d->from_port), to = destination(d, &from, own);
	uint32_t before = queued_memory(fd);
	int raw = inet_raw(s, inet_end_unmap(&from).family, err);
	char text[INET_TEXT_MAX];
	int r = raw < 0 ? raw : inet_packet_udp(raw, (int)e->proto, &from, &to, d->data.data, d->data.len, err);

	if ((r < 0 && r != -EPERM) || (r == 0 && arrived(fd, before)))
		return r;
	inet_end_text(own, text);
	log_warn(&fs->ctx->log, "UDP socket %s: a waiting datagram of %zu bytes %s, continuing without it", text,
		 d->data.len, r < 0 ? "cannot be brought back without CAP_NET_RAW" : "did not come in again");
	return 0;
}

/* What the kernel counts for a datagram depends on how it came in: there has to be more room than there was. */
static uint64_t room_for(const img_inet_sk_entry *e)
{
	uint64_t room = 0;

	for (size_t i = 0; i < e->ext->queue.nr; i++)
		room += e->ext->queue.items[i].data.len * 2 + UDP_HEADROOM;
	return room < INT32_MAX / 2 ? room : INT32_MAX / 2;
}

int inet_queue_refill(struct files *fs, int fd, const img_inet_sk_entry *e, const struct inet_end *own,
		      struct cr_error *err)
{
	struct inet_set *s = inet_set_of(fs, err);
	int r = 0, room;

	if (!e->ext || !e->ext->queue.nr)
		return 0;
	if (!s)
		return -ENOMEM;
	room = (int)room_for(e);
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)) < 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room)) < 0)
		return cr_fail(err, -errno, "make room for waiting datagrams");
	for (size_t i = 0; r == 0 && i < e->ext->queue.nr; i++)
		r = send_again(fs, s, fd, e, &e->ext->queue.items[i], own, err);
	return r;
}

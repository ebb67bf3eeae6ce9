/* Connections of page servers; see page-conn.h. Every call is made without blocking, and poll() is what waits. */
#include "mm/page-conn.h"
#include "mm/page-tls.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define STALL_MS  120000 /* a disk that is busy with other things can make a server wait for very long */
#define LINGER_MS 10000
#define LOOK_MS   100 /* between looks after who waits for the whole */
#define GATHER_MIN (64 * 1024)
#define GATHER_MAX (1024 * 1024)
#define IOV_ONCE  1024 /* UIO_MAXIOV of include/uapi/linux/uio.h */

void page_conn_init(struct page_conn *c, int fd)
{
	*c = (struct page_conn){ .fd = fd, .stall_ms = STALL_MS, .gathers = 1 };
}

/* Return: what is possible; 0 the time is over; -ECANCELED who waits for us has ended; negative errno */
static int wait_for(const struct page_conn *c, short events, int ms)
{
	struct pollfd p = { .fd = c->fd, .events = events };
	int r;

	for (;;) {
		int now = c->guard && (ms < 0 || ms > LOOK_MS) ? LOOK_MS : ms;

		r = poll(&p, 1, now);
		if (r > 0)
			return p.revents;
		if (r < 0 && errno != EINTR)
			return -errno;
		if (c->guard && getppid() != c->guard)
			return -ECANCELED;
		if (r == 0 && now == ms)
			return 0;
		ms -= r == 0 && ms > 0 ? now : 0;
	}
}

/* Return: bytes, 0 at the end, -EAGAIN there is nothing */
static ssize_t recv_now(struct page_conn *c, void *buf, size_t len)
{
	ssize_t n;

	do {
		n = recv(c->fd, buf, len, MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

/*
 * Be woken up when much has come, instead of for each segment of it: of what is waited for, all of which certainly comes. A
 * hint, which poll() follows for TCP (tcp_poll() in net/ipv4/tcp.c).
 */
static void gather(struct page_conn *c, size_t len)
{
	int want = len < GATHER_MIN ? 1 : len < GATHER_MAX ? (int)len : GATHER_MAX;

	if (want != c->gathers && setsockopt(c->fd, SOL_SOCKET, SO_RCVLOWAT, &want, sizeof(want)) == 0)
		c->gathers = want;
}

void page_conn_rest(struct page_conn *c)
{
	gather(c, 1);
}

void page_conn_close(struct page_conn *c)
{
	if (c->fd >= 0) {
		gather(c, 1); /* others may have it, too */
		close(c->fd);
	}
	if (c->tls > 0)
		page_tls_end(c->tls);
	*c = (struct page_conn){ .fd = -1 };
}

/* At most @len bytes, of which @least will certainly come. */
static ssize_t recv_within(struct page_conn *c, void *buf, size_t len, size_t least, int ms)
{
	for (;;) {
		ssize_t n = recv_now(c, buf, len);
		int r;

		if (n != -EAGAIN)
			return n;
		gather(c, least);
		r = wait_for(c, POLLIN, ms);
		if (r < 0)
			return r;
		/* less than was to be gathered may be there */
		if (r == 0 && (n = recv_now(c, buf, len)) != -EAGAIN)
			return n;
		if (r == 0)
			return -ETIMEDOUT;
	}
}

void page_conn_read_ahead(struct page_conn *c, char *room)
{
	c->ahead = room;
	c->ahead_at = c->ahead_nr = 0;
}

/* As recv_within(), for all of @len bytes that are wanted. */
static ssize_t recv_part(struct page_conn *c, void *buf, size_t len, int ms)
{
	ssize_t n;

	if (!c->ahead || (!c->ahead_nr && len >= PAGE_CONN_AHEAD))
		return recv_within(c, buf, len, len, ms);
	if (!c->ahead_nr) {
		n = recv_within(c, c->ahead, PAGE_CONN_AHEAD, len, ms);
		if (n <= 0)
			return n;
		c->ahead_at = 0;
		c->ahead_nr = (size_t)n;
	}
	len = len < c->ahead_nr ? len : c->ahead_nr;
	memcpy(buf, c->ahead + c->ahead_at, len);
	c->ahead_at += len;
	c->ahead_nr -= len;
	return (ssize_t)len;
}

int page_conn_recv(struct page_conn *c, void *buf, size_t len, bool patient, struct cr_error *err)
{
	for (size_t got = 0; got < len;) {
		ssize_t n = recv_part(c, (char *)buf + got, len - got, patient && got == 0 ? -1 : c->stall_ms);

		if (n == 0 && got == 0 && patient)
			return 1;
		if (n == 0)
			return cr_refuse(err, -ECONNRESET, "the connection has ended in the middle of something");
		if (n == -ETIMEDOUT)
			return cr_refuse(err, -ETIMEDOUT, "nothing came for %d seconds after %zu of %zu bytes",
					 c->stall_ms / 1000, got, len);
		if (n < 0)
			return cr_fail(err, (int)n, "receive");
		got += (size_t)n;
	}
	return 0;
}

ssize_t page_conn_recv_some(struct page_conn *c, void *buf, size_t len, struct cr_error *err)
{
	ssize_t n = recv_part(c, buf, len, c->stall_ms);

	return n < 0 ? cr_fail(err, (int)n, "receive") : n;
}

static ssize_t send_now(struct page_conn *c, struct iovec *iov, size_t nr)
{
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = nr < IOV_ONCE ? nr : IOV_ONCE };
	ssize_t n;

	do {
		n = sendmsg(c->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

/* Has it said something? Return: 1 yes; 0; -ECONNRESET it has gone */
static int look(struct page_conn *c)
{
	char byte;
	ssize_t n = recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	return n > 0 ? 1 : -ECONNRESET;
}

/* Return: 0 go on; 1 the other side has something to say; negative errno */
static int wait_to_send(struct page_conn *c, struct cr_error *err)
{
	for (;;) {
		int r = wait_for(c, (short)(POLLOUT | (c->hears ? POLLIN : 0)), c->stall_ms);
		int said = r > 0 && c->hears ? look(c) : 0;

		if (r == 0)
			return cr_refuse(err, -ETIMEDOUT, "nothing was taken for %d seconds", c->stall_ms / 1000);
		if (r < 0)
			return cr_fail(err, r, "wait for the connection");
		if (said != 0)
			return said < 0 ? cr_fail(err, said, "send") : 1;
		if (r & ~POLLIN)
			return 0;
	}
}

int page_conn_send(struct page_conn *c, struct iovec *iov, size_t nr, struct cr_error *err)
{
	while (nr) {
		ssize_t n = iov->iov_len ? send_now(c, iov, nr) : 0;
		int r;

		if (n == -EAGAIN) {
			r = wait_to_send(c, err);
			if (r != 0)
				return r;
			continue;
		}
		if (n < 0)
			return c->hears && look(c) > 0 ? 1 : cr_fail(err, (int)n, "send");
		while (nr && (size_t)n >= iov->iov_len) {
			n -= (ssize_t)iov->iov_len;
			iov++;
			nr--;
		}
		if (nr) {
			iov->iov_base = (char *)iov->iov_base + n;
			iov->iov_len -= (size_t)n;
		}
	}
	return 0;
}

/* Closing it at once, with bytes unread, would reset it and take away what was said last; tcp_close() in net/ipv4/tcp.c. */
void page_conn_linger(struct page_conn *c)
{
	shutdown(c->fd, SHUT_WR);
	wait_for(c, POLLRDHUP, LINGER_MS);
}

#include "net/tcp-repair.h"

#include "base/array.h"

#include <errno.h>
#include <linux/sock_diag.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define QUEUE_MAX  (1u << 30)
#define PIECE_MAX  (64u << 10) /* of a queue that is refilled at a time: larger ones need contiguous memory */
#define WSCALE_MAX 14
#define MAXSEG_MIN 88    /* TCP_MIN_MSS of the kernel */
#define MAXSEG_MAX 32767 /* MAX_TCP_WINDOW */

#ifndef SO_MEMINFO
#define SO_MEMINFO 55
#endif

enum {
	STATE_ESTABLISHED = 1,
	STATE_FIN_WAIT1 = 4,
	STATE_FIN_WAIT2,
	STATE_CLOSE_WAIT = 8,
	STATE_LAST_ACK,
	STATE_CLOSING = 11
};

/* codes of TCP_REPAIR_OPTIONS are those of TCP options in packets */
enum { OPTION_MSS = 2, OPTION_WINDOW = 3, OPTION_SACK = 4, OPTION_TIMESTAMP = 8 };
/* tcp_info.tcpi_options */
enum { HAS_TIMESTAMPS = 1, HAS_SACK = 2, HAS_WSCALE = 4 };

static int set(int fd, int option, int value, const char *name, struct cr_error *err)
{
	return setsockopt(fd, IPPROTO_TCP, option, &value, sizeof(value)) < 0
		       ? cr_fail(err, -errno, "%s %d", name, value)
		       : 0;
}

static int get(int fd, int option, uint32_t *ret, const char *name, struct cr_error *err)
{
	socklen_t len = sizeof(*ret);

	return getsockopt(fd, IPPROTO_TCP, option, ret, &len) < 0 ? cr_fail(err, -errno, "%s", name) : 0;
}

int tcp_repair_on(int fd, struct cr_error *err)
{
	int r = set(fd, TCP_REPAIR, TCP_REPAIR_ON, "TCP_REPAIR", err);

	if (r == -EPERM)
		cr_advise(err, "connections need CAP_NET_ADMIN in the network namespace");
	return r;
}

int tcp_repair_off(int fd, bool reuse, bool probe, struct cr_error *err)
{
	int on = reuse, r;

	r = set(fd, TCP_REPAIR, probe ? TCP_REPAIR_OFF : TCP_REPAIR_OFF_NO_WP, "TCP_REPAIR", err);
	/* before 4.19 there is only one way to leave it */
	if (r == -EINVAL && !probe)
		r = set(fd, TCP_REPAIR, TCP_REPAIR_OFF, "TCP_REPAIR", err);
	/* do_tcp_setsockopt() in net/ipv4/tcp.c turns sk_reuse off */
	if (reuse && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 && r == 0)
		r = cr_fail(err, -errno, "SO_REUSEADDR");
	return r;
}

struct tcp_fins tcp_fins_of(uint32_t state)
{
	return (struct tcp_fins){
		.received = state == STATE_CLOSE_WAIT || state == STATE_LAST_ACK || state == STATE_CLOSING,
		.sent = state == STATE_FIN_WAIT1 || state == STATE_FIN_WAIT2 || state == STATE_LAST_ACK ||
			state == STATE_CLOSING,
		.acked = state == STATE_FIN_WAIT2,
	};
}

/* -------------------------------------------------------------------- read */

void tcp_saved_done(struct tcp_saved *s)
{
	free(s->in);
	free(s->out);
	s->in = s->out = NULL;
}

static int get_info(int fd, struct tcp_info *ret, struct cr_error *err)
{
	socklen_t len = sizeof(*ret);

	memset(ret, 0, sizeof(*ret));
	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, ret, &len) < 0 ? cr_fail(err, -errno, "TCP_INFO") : 0;
}

int tcp_repair_state(int fd)
{
	struct tcp_info info;
	int r = get_info(fd, &info, NULL);

	return r < 0 ? r : info.tcpi_state;
}

/*
 * SIOCINQ counts up to urgent data (tcp_inq() in include/net/tcp.h), also to a byte that was read by itself already, and looking ends
 * there. Only where it is taken for data like any other all is counted. Sockets that have no unread data are left alone.
 */
int tcp_behind_urgent(int fd)
{
	uint32_t info[SK_MEMINFO_VARS] = { 0 };
	int shown, all, on = 1, off = 0, inlined;
	socklen_t len = sizeof(info), int_len = sizeof(inlined);

	if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &len) == 0 && !info[SK_MEMINFO_RMEM_ALLOC])
		return 0;
	if (getsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &inlined, &int_len) < 0 || inlined || ioctl(fd, SIOCINQ, &shown) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &on, sizeof(on)) < 0)
		return 0;
	if (ioctl(fd, SIOCINQ, &all) < 0)
		all = shown;
	setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &off, sizeof(off));
	return all - shown > 1 ? all - shown - 1 : 0;
}

/* Looks at all of one queue; what cannot be looked at is behind urgent data. */
static int peek(int fd, int queue, uint32_t len, uint32_t *ret_seq, char **ret, struct cr_error *err)
{
	int r = set(fd, TCP_REPAIR_QUEUE, queue, "TCP_REPAIR_QUEUE", err);
	char *buf = NULL;
	ssize_t n = 0;

	if (r == 0)
		r = get(fd, TCP_QUEUE_SEQ, ret_seq, "TCP_QUEUE_SEQ", err);
	if (r < 0 || !len)
		return r;
	if (len > QUEUE_MAX)
		return cr_refuse(err, -EFBIG, "%u bytes in a queue", len);
	buf = malloc(len);
	if (!buf)
		return cr_fail(err, -ENOMEM, "queue of %u bytes", len);
	n = recv(fd, buf, len, MSG_PEEK | MSG_DONTWAIT);
	if (n == (ssize_t)len) {
		*ret = buf;
		return 0;
	}
	r = n < 0 ? -errno : -EBUSY;
	free(buf);
	return n < 0 ? cr_fail(err, r, "look into a queue of %u bytes", len)
		     : cr_refuse(err, r, "of a queue of %u bytes %zd could be read; is there urgent data?", len, n);
}

/* Lengths in bytes of data: what the kernel counts includes a FIN that is not acknowledged, or not sent. */
static int lengths(int fd, uint32_t state, img_tcp_stream_entry *s, struct cr_error *err)
{
	struct tcp_fins fins = tcp_fins_of(state);
	int in, out, unsent;

	if (ioctl(fd, SIOCINQ, &in) < 0 || ioctl(fd, SIOCOUTQ, &out) < 0 || ioctl(fd, SIOCOUTQNSD, &unsent) < 0)
		return cr_fail(err, -errno, "length of a queue");
	if (fins.sent && !fins.acked && out > 0)
		out--;
	else
		fins.sent = false;
	if (fins.sent && unsent > 0)
		unsent--;
	if (in < 0 || out < 0 || unsent < 0 || unsent > out)
		return cr_refuse(err, -EBADMSG, "queues of %d, %d and %d bytes", in, out, unsent);
	s->inq_len = (uint32_t)in;
	s->outq_len = (uint32_t)out;
	s->has_unsq_len = true;
	s->unsq_len = (uint32_t)unsent;
	return 0;
}

static int read_agreed(int fd, const struct tcp_info *info, img_tcp_stream_entry *s, struct cr_error *err)
{
	int r;

	s->opt_mask = info->tcpi_options;
	if (s->opt_mask & HAS_WSCALE) {
		s->snd_wscale = info->tcpi_snd_wscale;
		s->has_rcv_wscale = true;
		s->rcv_wscale = info->tcpi_rcv_wscale;
	}
	/* in repair mode this is the other side's limit; do_tcp_getsockopt() */
	r = get(fd, TCP_MAXSEG, &s->mss_clamp, "TCP_MAXSEG", err);
	if (r < 0 || !(s->opt_mask & HAS_TIMESTAMPS))
		return r;
	s->has_timestamp = true;
	return get(fd, TCP_TIMESTAMP, &s->timestamp, "TCP_TIMESTAMP", err);
}

static int read_window(int fd, img_tcp_stream_entry *s, struct cr_error *err)
{
	struct tcp_repair_window w = { 0 };
	socklen_t len = sizeof(w);

	if (getsockopt(fd, IPPROTO_TCP, TCP_REPAIR_WINDOW, &w, &len) < 0)
		return cr_fail(err, -errno, "TCP_REPAIR_WINDOW");
	s->has_snd_wl1 = s->has_snd_wnd = s->has_max_window = s->has_rcv_wnd = s->has_rcv_wup = true;
	s->snd_wl1 = w.snd_wl1;
	s->snd_wnd = w.snd_wnd;
	s->max_window = w.max_window;
	s->rcv_wnd = w.rcv_wnd;
	s->rcv_wup = w.rcv_wup;
	return 0;
}

/* SO_PEEK_OFF is for TCP, too, since 6.9: looking would begin there, and move it. */
static int peek_both(int fd, struct tcp_saved *ret, struct cr_error *err)
{
	int from = -1, off = -1, r;
	socklen_t len = sizeof(from);

	if (getsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &from, &len) < 0)
		from = -1;
	if (from >= 0 && setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &off, sizeof(off)) < 0)
		return cr_fail(err, -errno, "SO_PEEK_OFF");
	r = peek(fd, TCP_RECV_QUEUE, ret->stream.inq_len, &ret->stream.inq_seq, &ret->in, err);
	if (r == 0)
		r = peek(fd, TCP_SEND_QUEUE, ret->stream.outq_len, &ret->stream.outq_seq, &ret->out, err);
	if (from >= 0 && setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &from, sizeof(from)) < 0 && r == 0)
		r = cr_fail(err, -errno, "SO_PEEK_OFF");
	return r;
}

static bool urgent_waits(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLPRI };

	return poll(&p, 1, 0) > 0 && p.revents & POLLPRI;
}

int tcp_repair_read(int fd, struct tcp_saved *ret, struct cr_error *err)
{
	struct tcp_info info;
	int r;

	*ret = (struct tcp_saved){ 0 };
	r = get_info(fd, &info, err);
	if (r < 0)
		return r;
	ret->state = info.tcpi_state;
	/* it may have come since the tree was looked at */
	if (urgent_waits(fd) || tcp_behind_urgent(fd))
		return cr_refuse(err, -EBUSY, "urgent data has come in, try again");
	r = lengths(fd, ret->state, &ret->stream, err);
	if (r == 0)
		r = peek_both(fd, ret, err);
	if (r == 0)
		r = read_agreed(fd, &info, &ret->stream, err);
	return r < 0 ? r : read_window(fd, &ret->stream, err);
}

/* --------------------------------------------------------------------- set */

int tcp_repair_check(const img_tcp_stream_entry *s, uint32_t state, struct cr_error *err)
{
	if (state != STATE_ESTABLISHED && !tcp_fins_of(state).received && !tcp_fins_of(state).sent)
		return cr_refuse(err, -EBADMSG, "state %u is not that of a connection", state);
	if (s->inq_len > QUEUE_MAX || s->outq_len > QUEUE_MAX || (s->has_unsq_len && s->unsq_len > s->outq_len))
		return cr_refuse(err, -EBADMSG, "queues of %u, %u and %u bytes", s->inq_len, s->outq_len, s->unsq_len);
	if (s->snd_wscale > WSCALE_MAX || (s->has_rcv_wscale && s->rcv_wscale > WSCALE_MAX) ||
	    s->mss_clamp > UINT16_MAX)
		return cr_refuse(err, -EBADMSG, "window scales %u and %u, segments of %u bytes", s->snd_wscale,
				 s->rcv_wscale, s->mss_clamp);
	return 0;
}

int tcp_repair_sequences(int fd, uint32_t state, const img_tcp_stream_entry *s, struct cr_error *err)
{
	struct tcp_fins fins = tcp_fins_of(state);
	uint32_t in = s->inq_seq - s->inq_len - fins.received, out = s->outq_seq - s->outq_len - fins.sent;
	int r = set(fd, TCP_REPAIR_QUEUE, TCP_RECV_QUEUE, "TCP_REPAIR_QUEUE", err);

	if (r == 0)
		r = set(fd, TCP_QUEUE_SEQ, (int)in, "TCP_QUEUE_SEQ", err);
	if (r == 0)
		r = set(fd, TCP_REPAIR_QUEUE, TCP_SEND_QUEUE, "TCP_REPAIR_QUEUE", err);
	return r < 0 ? r : set(fd, TCP_QUEUE_SEQ, (int)out, "TCP_QUEUE_SEQ", err);
}

/*
 * How long segments may be is worked out when a socket is connected (tcp_connect_init() in net/ipv4/tcp_output.c), and not again
 * when the limit of the other side becomes known: without more all would be of 536 or 1220 bytes from then on. So for IPv6 the limit
 * is said beforehand, in place of what the program may once have asked for, which does not matter any more.
 */
int tcp_repair_limit(int fd, int family, const img_tcp_stream_entry *s, struct cr_error *err)
{
	int limit = s->mss_clamp < MAXSEG_MAX ? (int)s->mss_clamp : MAXSEG_MAX;

	return family == AF_INET6 && limit >= MAXSEG_MIN ? set(fd, TCP_MAXSEG, limit, "TCP_MAXSEG", err) : 0;
}

/* For IPv4 it is worked out again when IP options are set, if to none. */
static int limit_applies(int fd, int family, struct cr_error *err)
{
	if (family == AF_INET6)
		return set(fd, TCP_MAXSEG, 0, "TCP_MAXSEG", err);
	return setsockopt(fd, IPPROTO_IP, IP_OPTIONS, "", 0) < 0 ? cr_fail(err, -errno, "IP_OPTIONS") : 0;
}

int tcp_repair_options(int fd, int family, const img_tcp_stream_entry *s, struct cr_error *err)
{
	int r;

	struct tcp_repair_opt o[4];
	socklen_t nr = 0;

	if (s->opt_mask & HAS_SACK)
		o[nr++] = (struct tcp_repair_opt){ OPTION_SACK, 0 };
	if (s->opt_mask & HAS_WSCALE)
		o[nr++] = (struct tcp_repair_opt){ OPTION_WINDOW, s->snd_wscale | s->rcv_wscale << 16 };
	if (s->opt_mask & HAS_TIMESTAMPS)
		o[nr++] = (struct tcp_repair_opt){ OPTION_TIMESTAMP, 0 };
	o[nr++] = (struct tcp_repair_opt){ OPTION_MSS, s->mss_clamp };
	if (setsockopt(fd, IPPROTO_TCP, TCP_REPAIR_OPTIONS, o, nr * (socklen_t)sizeof(o[0])) < 0)
		return cr_fail(err, -errno, "TCP_REPAIR_OPTIONS");
	r = limit_applies(fd, family, err);
	if (r < 0)
		return r;
	return s->opt_mask & HAS_TIMESTAMPS && s->has_timestamp
		       ? set(fd, TCP_TIMESTAMP, (int)s->timestamp, "TCP_TIMESTAMP", err)
		       : 0;
}

static int refill(int fd, int queue, const char *data, size_t len, struct cr_error *err)
{
	size_t piece = PIECE_MAX;
	int r = len ? set(fd, TCP_REPAIR_QUEUE, queue, "TCP_REPAIR_QUEUE", err) : 0;

	while (r == 0 && len) {
		ssize_t n = send(fd, data, len < piece ? len : piece, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n > 0) {
			data += n;
			len -= (size_t)n;
		} else if (n < 0 && errno == ENOMEM && piece > 1024) {
			piece /= 2;
		} else {
			return cr_fail(err, n < 0 ? -errno : -EIO, "refill a queue, %zu bytes to go", len);
		}
	}
	return r;
}

int tcp_repair_queues(int fd, const img_tcp_stream_entry *s, const char *in, const char *out, struct cr_error *err)
{
	int r = refill(fd, TCP_RECV_QUEUE, in, s->inq_len, err);

	/* also where there is nothing to send, a FIN that was sent is of this queue */
	if (r == 0)
		r = set(fd, TCP_REPAIR_QUEUE, TCP_SEND_QUEUE, "TCP_REPAIR_QUEUE", err);
	return r < 0 ? r : refill(fd, TCP_SEND_QUEUE, out, s->outq_len - (s->has_unsq_len ? s->unsq_len : 0), err);
}

int tcp_repair_window(int fd, const img_tcp_stream_entry *s, struct cr_error *err)
{
	struct tcp_repair_window w = { .snd_wl1 = s->snd_wl1,
				       .snd_wnd = s->snd_wnd,
				       .max_window = s->max_window,
				       .rcv_wnd = s->rcv_wnd,
				       .rcv_wup = s->rcv_wup };

	if (!s->has_snd_wl1 || !s->has_snd_wnd || !s->has_max_window || !s->has_rcv_wnd || !s->has_rcv_wup)
		return 0;
	return setsockopt(fd, IPPROTO_TCP, TCP_REPAIR_WINDOW, &w, sizeof(w)) < 0
		       ? cr_fail(err, -errno, "TCP_REPAIR_WINDOW")
		       : 0;
}

#include "net/inet-options.h"

#include "files/dump-internal.h"
#include "kernel/uapi.h"
#include "net/inet-internal.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* not in the headers of glibc 2.36, or only in those of the kernel that do not go with it */
#ifndef IPV6_FLOWINFO
#define IPV6_FLOWINFO 11 /* linux/in6.h, which does not go with netinet/in.h */
#endif
#ifndef IP_LOCAL_PORT_RANGE
#define IP_LOCAL_PORT_RANGE 51
#endif
#ifndef IPV6_FLOWINFO_SEND
#define IPV6_FLOWINFO_SEND 33
#endif
#ifndef IPV6_FREEBIND
#define IPV6_FREEBIND 78
#endif
#ifndef TCP_RTO_MAX_MS
#define TCP_RTO_MAX_MS 44
#endif
#ifndef TCP_RTO_MIN_US
#define TCP_RTO_MIN_US 45
#endif
#ifndef TCP_DELACK_MAX_US
#define TCP_DELACK_MAX_US 46
#endif
#define UDPLITE_SEND_CSCOV 10
#define UDPLITE_RECV_CSCOV 11
#define SOL_UDPLITE_       136
#define RAW_FILTER         1 /* ICMP_FILTER of SOL_RAW, ICMPV6_FILTER of IPPROTO_ICMPV6 */
#define SOL_RAW_           255

#define CONGESTION_MAX 16 /* TCP_CA_NAME_MAX of include/net/tcp.h */
#define KEY_LEN        16 /* TCP_FASTOPEN_KEY_LENGTH; twice that with a backup */
#define KEYS_MAX       (2 * KEY_LEN)

enum option_when {
	ALWAYS,
	UNCONNECTED, /* in other states it says something else, or cannot be set */
	DATAGRAM,    /* TCP has values there that nobody can set */
	V6_ONLY,     /* an IPv4 socket has a field for it upstream */
};

struct inet_option {
	uint8_t level, number;
	uint8_t when;
	const char *name;
};

#define O(level, name)                     \
	{                                  \
		level, name, ALWAYS, #name \
	}
#define WHEN(w, level, name)          \
	{                             \
		level, name, w, #name \
	}

/* What fits in an int. MULTICAST_IF of IPv4 is an address, and so is kept where it is set by address. */
static const struct inet_option options[] = {
	O(SOL_SOCKET, SO_TXREHASH), /* what a new one has is for net.core.txrehash to say */
	WHEN(V6_ONLY, IPPROTO_IP, IP_TOS),
	WHEN(V6_ONLY, IPPROTO_IP, IP_TTL),
	WHEN(V6_ONLY, IPPROTO_IP, IP_PKTINFO),
	O(IPPROTO_IP, IP_RECVOPTS),
	O(IPPROTO_IP, IP_RETOPTS),
	O(IPPROTO_IP, IP_MTU_DISCOVER),
	O(IPPROTO_IP, IP_RECVERR),
	O(IPPROTO_IP, IP_RECVTTL),
	O(IPPROTO_IP, IP_RECVTOS),
	O(IPPROTO_IP, IP_PASSSEC),
	O(IPPROTO_IP, IP_TRANSPARENT),
	O(IPPROTO_IP, IP_RECVORIGDSTADDR),
	O(IPPROTO_IP, IP_MINTTL),
	O(IPPROTO_IP, IP_CHECKSUM),
	O(IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT),
	O(IPPROTO_IP, IP_RECVFRAGSIZE),
	O(IPPROTO_IP, IP_RECVERR_RFC4884),
	WHEN(DATAGRAM, IPPROTO_IP, IP_MULTICAST_IF),
	WHEN(DATAGRAM, IPPROTO_IP, IP_MULTICAST_TTL),
	O(IPPROTO_IP, IP_MULTICAST_LOOP),
	O(IPPROTO_IP, IP_MULTICAST_ALL),
	O(IPPROTO_IP, IP_ROUTER_ALERT),
	O(IPPROTO_IP, IP_UNICAST_IF),
	O(IPPROTO_IP, IP_LOCAL_PORT_RANGE),
	O(IPPROTO_IPV6, IPV6_2292PKTINFO),
	O(IPPROTO_IPV6, IPV6_2292HOPOPTS),
	O(IPPROTO_IPV6, IPV6_2292DSTOPTS),
	O(IPPROTO_IPV6, IPV6_2292RTHDR),
	O(IPPROTO_IPV6, IPV6_2292HOPLIMIT),
	O(IPPROTO_IPV6, IPV6_CHECKSUM),
	O(IPPROTO_IPV6, IPV6_UNICAST_HOPS),
	WHEN(DATAGRAM, IPPROTO_IPV6, IPV6_MULTICAST_IF),
	WHEN(DATAGRAM, IPPROTO_IPV6, IPV6_MULTICAST_HOPS),
	O(IPPROTO_IPV6, IPV6_MULTICAST_LOOP),
	O(IPPROTO_IPV6, IPV6_MULTICAST_ALL),
	O(IPPROTO_IPV6, IPV6_FLOWINFO),
	O(IPPROTO_IPV6, IPV6_MTU_DISCOVER),
	O(IPPROTO_IPV6, IPV6_RECVERR),
	O(IPPROTO_IPV6, IPV6_RECVERR_RFC4884),
	O(IPPROTO_IPV6, IPV6_ROUTER_ALERT_ISOLATE),
	O(IPPROTO_IPV6, IPV6_FLOWINFO_SEND),
	O(IPPROTO_IPV6, IPV6_HDRINCL),
	O(IPPROTO_IPV6, IPV6_RECVHOPLIMIT),
	O(IPPROTO_IPV6, IPV6_RECVHOPOPTS),
	O(IPPROTO_IPV6, IPV6_RECVRTHDR),
	O(IPPROTO_IPV6, IPV6_RECVDSTOPTS),
	O(IPPROTO_IPV6, IPV6_RECVPATHMTU),
	O(IPPROTO_IPV6, IPV6_DONTFRAG),
	O(IPPROTO_IPV6, IPV6_RECVTCLASS),
	O(IPPROTO_IPV6, IPV6_TCLASS),
	O(IPPROTO_IPV6, IPV6_AUTOFLOWLABEL),
	O(IPPROTO_IPV6, IPV6_ADDR_PREFERENCES),
	O(IPPROTO_IPV6, IPV6_MINHOPCOUNT),
	O(IPPROTO_IPV6, IPV6_ORIGDSTADDR),
	O(IPPROTO_IPV6, IPV6_TRANSPARENT),
	O(IPPROTO_IPV6, IPV6_UNICAST_IF),
	O(IPPROTO_IPV6, IPV6_RECVFRAGSIZE),
	WHEN(UNCONNECTED, IPPROTO_TCP, TCP_MAXSEG),
	WHEN(UNCONNECTED, IPPROTO_TCP, TCP_WINDOW_CLAMP),
	O(IPPROTO_TCP, TCP_SYNCNT),
	O(IPPROTO_TCP, TCP_LINGER2),
	WHEN(UNCONNECTED, IPPROTO_TCP, TCP_DEFER_ACCEPT),
	O(IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS),
	O(IPPROTO_TCP, TCP_USER_TIMEOUT),
	WHEN(UNCONNECTED, IPPROTO_TCP, TCP_FASTOPEN),
	O(IPPROTO_TCP, TCP_NOTSENT_LOWAT),
	WHEN(UNCONNECTED, IPPROTO_TCP, TCP_SAVE_SYN),
	WHEN(UNCONNECTED, IPPROTO_TCP, TCP_FASTOPEN_CONNECT),
	WHEN(UNCONNECTED, IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE),
	O(IPPROTO_TCP, TCP_INQ),
	O(IPPROTO_TCP, TCP_TX_DELAY),
	O(IPPROTO_TCP, TCP_RTO_MAX_MS),
	O(IPPROTO_TCP, TCP_RTO_MIN_US),
	O(IPPROTO_TCP, TCP_DELACK_MAX_US),
	O(IPPROTO_UDP, UDP_CORK),
	O(IPPROTO_UDP, UDP_ENCAP),
	O(IPPROTO_UDP, UDP_NO_CHECK6_TX),
	O(IPPROTO_UDP, UDP_NO_CHECK6_RX),
	O(IPPROTO_UDP, UDP_SEGMENT),
	O(IPPROTO_UDP, UDP_GRO),
	O(SOL_UDPLITE_, UDPLITE_SEND_CSCOV),
	O(SOL_UDPLITE_, UDPLITE_RECV_CSCOV),
};

/* Answers of a new socket: where .there is not set, the option is not for sockets of this kind, or not known. */
struct inet_fresh {
	uint32_t family, type, proto;
	struct {
		bool there;
		int value;
	} of[ARRAY_LEN(options)];
	char congestion[CONGESTION_MAX + 1];
	char keys[KEYS_MAX]; /* of the network */
	size_t keys_len;
};

static int get_int(int fd, int level, int number, int *ret)
{
	socklen_t len = sizeof(*ret);

	*ret = 0;
	return getsockopt(fd, level, number, ret, &len) < 0 ? -errno : 0;
}

static int set_int(int fd, int level, int number, int value, const char *name, struct cr_error *err)
{
	return setsockopt(fd, level, number, &value, sizeof(value)) < 0
		       ? cr_fail(err, -errno, "socket option %s %d", name, value)
		       : 0;
}

static void get_congestion(int fd, char ret[static CONGESTION_MAX + 1])
{
	socklen_t len = CONGESTION_MAX;

	memset(ret, 0, CONGESTION_MAX + 1);
	if (getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, ret, &len) < 0)
		ret[0] = '\0';
}

/* Return: bytes; 0 there is none, or the kernel does not tell */
static size_t get_fastopen(int fd, char ret[static KEYS_MAX])
{
	socklen_t len = KEYS_MAX;

	return getsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_KEY, ret, &len) == 0 && len <= KEYS_MAX ? len : 0;
}

/* -------------------------------------------------------------------- dump */

img_inet_sk_ext *inet_ext(struct file_table *t, img_inet_sk_entry *e, struct cr_error *err)
{
	if (!e->ext && !(e->ext = pool_new(&t->pool, img_inet_sk_ext)))
		pool_failed(err);
	return e->ext;
}

void inet_fresh_done(struct inet_fresh_vec *v)
{
	for (size_t i = 0; i < v->nr; i++)
		free(v->items[i]);
	inet_fresh_vec_done(v);
}

/* A kind of which no new socket can be had here (ping sockets, by rights) is compared with zeroes. */
static void learn_fresh(struct inet_fresh *n)
{
	int fd = socket((int)n->family, (int)n->type | SOCK_CLOEXEC, (int)n->proto);

	for (size_t i = 0; i < ARRAY_LEN(options); i++)
		n->of[i].there = fd < 0 || get_int(fd, options[i].level, options[i].number, &n->of[i].value) == 0;
	get_congestion(fd, n->congestion);
	n->keys_len = n->type == SOCK_STREAM ? get_fastopen(fd, n->keys) : 0;
	if (fd >= 0)
		close(fd);
}

static const struct inet_fresh *fresh_like(struct inet_fresh_vec *v, const img_inet_sk_entry *e)
{
	struct inet_fresh *n, **at;

	for (size_t i = 0; i < v->nr; i++) {
		n = v->items[i];
		if (n->family == e->family && n->type == e->type && n->proto == e->proto)
			return n;
	}
	n = calloc(1, sizeof(*n));
	at = n ? inet_fresh_vec_add(v) : NULL;
	if (!at) {
		free(n);
		return NULL;
	}
	*n = (struct inet_fresh){ .family = e->family, .type = e->type, .proto = e->proto };
	*at = n;
	learn_fresh(n);
	return n;
}

static bool is_asked(const struct inet_option *o, const img_inet_sk_entry *e)
{
	/* MPTCP sockets of IPv4 answer, but let nobody set it (net/mptcp/sockopt.c, 6.18) */
	if (o->level == IPPROTO_IPV6 && e->family != AF_INET6)
		return false;
	if (o->when == UNCONNECTED)
		return (e->state == INET_CLOSED && !e->has_shutdown) || e->state == INET_LISTENING;
	if (o->when == DATAGRAM)
		return e->type != SOCK_STREAM;
	return o->when != V6_ONLY || e->family == AF_INET6;
}

static int dump_more(struct file_table *t, int fd, const struct inet_fresh *fresh, img_inet_sk_entry *e,
		     struct cr_error *err)
{
	for (size_t i = 0; i < ARRAY_LEN(options); i++) {
		const struct inet_option *o = &options[i];
		img_inet_sk_ext *ext;
		uint64_t *at;
		void *items;
		int v;

		if (!fresh->of[i].there || !is_asked(o, e) || get_int(fd, o->level, o->number, &v) < 0 ||
		    v == fresh->of[i].value)
			continue;
		ext = inet_ext(t, e, err);
		if (!ext)
			return -ENOMEM;
		items = ext->more.items;
		at = pool_vec_add(&t->pool, &items, &ext->more.nr, sizeof(*at));
		if (!at)
			return pool_failed(err);
		ext->more.items = items;
		*at = (uint64_t)o->level << 56 | (uint64_t)o->number << 32 | (uint32_t)v;
	}
	return 0;
}

static int dump_raw(struct file_table *t, int fd, img_inet_sk_entry *e, struct cr_error *err)
{
	img_ip_opts_raw_entry *raw = pool_new(&t->pool, img_ip_opts_raw_entry);
	uint32_t filter[8] = { 0 };
	socklen_t len = sizeof(filter);
	bool icmp6 = e->proto == IPPROTO_ICMPV6;
	int v;

	if (!raw)
		return pool_failed(err);
	if (e->family == AF_INET) {
		raw->has_hdrincl = get_int(fd, IPPROTO_IP, IP_HDRINCL, &v) == 0 && v;
		raw->hdrincl = raw->has_hdrincl;
		raw->has_nodefrag = get_int(fd, IPPROTO_IP, IP_NODEFRAG, &v) == 0 && v;
		raw->nodefrag = raw->has_nodefrag;
	} else {
		raw->has_checksum = get_int(fd, IPPROTO_IPV6, IPV6_CHECKSUM, &v) == 0 && v >= 0;
		raw->checksum = raw->has_checksum;
	}
	if ((e->proto == IPPROTO_ICMP || icmp6) &&
	    getsockopt(fd, icmp6 ? IPPROTO_ICMPV6 : SOL_RAW_, RAW_FILTER, filter, &len) == 0) {
		raw->icmpv_filter.nr = icmp6 ? 8 : 1;
		raw->icmpv_filter.items = pool_alloc(&t->pool, sizeof(filter));
		if (!raw->icmpv_filter.items)
			return pool_failed(err);
		memcpy(raw->icmpv_filter.items, filter, sizeof(filter));
	}
	e->ip_opts->raw = raw;
	return 0;
}

static int dump_ip(struct file_table *t, int fd, img_inet_sk_entry *e, struct cr_error *err)
{
	img_ip_opts_entry *ip = pool_new(&t->pool, img_ip_opts_entry);
	int v;

	if (!ip)
		return pool_failed(err);
	e->ip_opts = ip;
	if (e->family == AF_INET6 && get_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v) == 0) {
		e->has_v6only = true;
		e->v6only = v;
	}
	ip->has_freebind = (e->family == AF_INET6 ? get_int(fd, IPPROTO_IPV6, IPV6_FREEBIND, &v)
						  : get_int(fd, IPPROTO_IP, IP_FREEBIND, &v)) == 0 &&
			   v;
	ip->freebind = ip->has_freebind;
	ip->has_pktinfo = (e->family == AF_INET6 ? get_int(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &v)
						 : get_int(fd, IPPROTO_IP, IP_PKTINFO, &v)) == 0 &&
			  v;
	ip->pktinfo = ip->has_pktinfo;
	if (e->family == AF_INET) {
		ip->has_tos = get_int(fd, IPPROTO_IP, IP_TOS, &v) == 0 && v;
		ip->tos = ip->has_tos ? (uint32_t)v : 0;
		ip->has_ttl = get_int(fd, IPPROTO_IP, IP_TTL, &v) == 0 && v;
		ip->ttl = ip->has_ttl ? (uint32_t)v : 0;
	}
	return e->type == SOCK_RAW ? dump_raw(t, fd, e, err) : 0;
}

static int dump_congestion(struct file_table *t, int fd, const struct inet_fresh *fresh, img_inet_sk_entry *e,
			   struct cr_error *err)
{
	char congestion[CONGESTION_MAX + 1];

	get_congestion(fd, congestion);
	if (!congestion[0] || strcmp(congestion, fresh->congestion) == 0)
		return 0;
	if (!inet_ext(t, e, err))
		return -ENOMEM;
	e->ext->congestion = pool_text(&t->pool, congestion, strlen(congestion));
	return e->ext->congestion ? 0 : pool_failed(err);
}

/* Cookies that clients have are void without it. Those of a connection are its listening socket's. */
static int dump_fastopen(struct file_table *t, int fd, const struct inet_fresh *fresh, img_inet_sk_entry *e,
			 struct cr_error *err)
{
	char keys[KEYS_MAX];
	size_t len = e->state == INET_CLOSED || e->state == INET_LISTENING ? get_fastopen(fd, keys) : 0;

	if ((len != KEY_LEN && len != KEYS_MAX) || (len == fresh->keys_len && memcmp(keys, fresh->keys, len) == 0))
		return 0;
	if (!inet_ext(t, e, err))
		return -ENOMEM;
	e->ext->fastopen_key = (struct proto_bytes){ (const uint8_t *)pool_text(&t->pool, keys, len), len };
	return e->ext->fastopen_key.data ? 0 : pool_failed(err);
}

static int dump_tcp(struct file_table *t, int fd, const struct inet_fresh *fresh, img_inet_sk_entry *e,
		    struct cr_error *err)
{
	img_tcp_opts_entry *tcp = pool_new(&t->pool, img_tcp_opts_entry);
	int v, r;

	if (!tcp)
		return pool_failed(err);
	e->tcp_opts = tcp;
	if (e->type != SOCK_STREAM)
		return 0;
	tcp->has_cork = get_int(fd, IPPROTO_TCP, TCP_CORK, &v) == 0 && v;
	tcp->cork = tcp->has_cork;
	tcp->has_nodelay = get_int(fd, IPPROTO_TCP, TCP_NODELAY, &v) == 0 && v;
	tcp->nodelay = tcp->has_nodelay;
	tcp->has_keepcnt = get_int(fd, IPPROTO_TCP, TCP_KEEPCNT, &v) == 0;
	tcp->keepcnt = (uint32_t)v;
	tcp->has_keepidle = get_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, &v) == 0;
	tcp->keepidle = (uint32_t)v;
	tcp->has_keepintvl = get_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, &v) == 0;
	tcp->keepintvl = (uint32_t)v;
	r = dump_congestion(t, fd, fresh, e, err);
	return r < 0 ? r : dump_fastopen(t, fd, fresh, e, err);
}

/* Headers that go out with every packet; their lengths show. */
static bool has_headers6(int fd)
{
	static const int headers[] = { IPV6_HOPOPTS, IPV6_RTHDRDSTOPTS, IPV6_RTHDR, IPV6_DSTOPTS };

	for (size_t i = 0; i < ARRAY_LEN(headers); i++) {
		char text[64];
		socklen_t len = sizeof(text);

		if (getsockopt(fd, IPPROTO_IPV6, headers[i], text, &len) == 0 && len)
			return true;
	}
	return false;
}

/* What the kernel has no other way to set again, or to read. */
static int find_obstacles(struct file_table *t, struct open_file *f, const img_inet_sk_entry *e)
{
	char text[64] = "";
	socklen_t len = sizeof(text) - 1;

	if (e->type == SOCK_STREAM && getsockopt(f->fd, IPPROTO_TCP, TCP_ULP, text, &len) == 0 && len && text[0] &&
	    e->proto != IPPROTO_MPTCP)
		return file_refuse(t, f, "", "TCP socket with %s (kTLS or the like) in the kernel",
				   strcmp(text, "tls") == 0 ? "TLS" : text);
	len = sizeof(text);
	if (getsockopt(f->fd, IPPROTO_IP, IP_OPTIONS, text, &len) == 0 && len)
		return file_refuse(t, f, "", "IP socket with IP options (IP_OPTIONS)");
	if (e->family == AF_INET6 && has_headers6(f->fd))
		return file_refuse(t, f, "", "IPv6 socket with extension headers (IPV6_HOPOPTS and the like)");
	return 0;
}

int inet_options_dump(struct file_table *t, struct open_file *f, struct inet_fresh_vec *fresh, img_inet_sk_entry *e,
		      struct cr_error *err)
{
	const struct inet_fresh *like = fresh_like(fresh, e);
	int r = like ? dump_ip(t, f->fd, e, err) : pool_failed(err);

	if (r == 0)
		r = dump_tcp(t, f->fd, like, e, err);
	if (r == 0)
		r = dump_more(t, f->fd, like, e, err);
	return r < 0 ? r : find_obstacles(t, f, e);
}

/* ----------------------------------------------------------------- restore */

static const struct inet_option *option_find(uint64_t item)
{
	for (size_t i = 0; i < ARRAY_LEN(options); i++)
		if (options[i].level == item >> 56 && options[i].number == (item >> 32 & 0xffffff))
			return &options[i];
	return NULL;
}

int inet_options_check(const img_inet_sk_entry *e, struct cr_error *err)
{
	const img_ip_opts_raw_entry *raw = e->ip_opts ? e->ip_opts->raw : NULL;

	if (raw && raw->icmpv_filter.nr && raw->icmpv_filter.nr != (e->proto == IPPROTO_ICMPV6 ? 8 : 1))
		return cr_refuse(err, -EBADMSG, "socket %u: ICMP filter of %zu words", e->id, raw->icmpv_filter.nr);
	if (e->ext && e->ext->congestion && strlen(e->ext->congestion) >= CONGESTION_MAX)
		return cr_refuse(err, -EBADMSG, "socket %u: name of a congestion control of %zu bytes", e->id,
				 strlen(e->ext->congestion));
	if (e->ext && e->ext->fastopen_key.data && e->ext->fastopen_key.len != KEY_LEN &&
	    e->ext->fastopen_key.len != KEYS_MAX)
		return cr_refuse(err, -EBADMSG, "socket %u: keys of TCP Fast Open of %zu bytes", e->id,
				 e->ext->fastopen_key.len);
	for (size_t i = 0; e->ext && i < e->ext->more.nr; i++)
		if (!option_find(e->ext->more.items[i]))
			return cr_refuse(err, -EBADMSG,
					 "socket %u: option %" PRIu64 " of level %" PRIu64 " is not known", e->id,
					 e->ext->more.items[i] >> 32 & 0xffffff, e->ext->more.items[i] >> 56);
	return 0;
}

static int restore_raw(int fd, const img_inet_sk_entry *e, const img_ip_opts_raw_entry *raw, struct cr_error *err)
{
	bool icmp6 = e->proto == IPPROTO_ICMPV6;
	int r = 0;

	if (e->family == AF_INET && raw->has_hdrincl && raw->hdrincl)
		r = set_int(fd, IPPROTO_IP, IP_HDRINCL, 1, "IP_HDRINCL", err);
	if (r == 0 && e->family == AF_INET && raw->has_nodefrag && raw->nodefrag)
		r = set_int(fd, IPPROTO_IP, IP_NODEFRAG, 1, "IP_NODEFRAG", err);
	if (r == 0 && raw->icmpv_filter.nr &&
	    setsockopt(fd, icmp6 ? IPPROTO_ICMPV6 : SOL_RAW_, RAW_FILTER, raw->icmpv_filter.items,
		       (socklen_t)(raw->icmpv_filter.nr * sizeof(uint32_t))) < 0)
		r = cr_fail(err, -errno, "filter of ICMP messages");
	return r;
}

static int restore_ip(int fd, const img_inet_sk_entry *e, const struct inet_kind *kind, struct cr_error *err)
{
	const img_ip_opts_entry *ip = e->ip_opts;
	bool six = e->family == AF_INET6;
	int r = 0, now;

	if (six && e->has_v6only && (get_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, &now) < 0 || !!now != e->v6only))
		r = set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, e->v6only, "IPV6_V6ONLY", err);
	if (r < 0 || !ip)
		return r;
	/* IPV6_FREEBIND is there since 4.15; the bit is the same, which raw sockets of IPv6 let nobody set in the other way */
	if (ip->has_freebind && ip->freebind && !(six && set_int(fd, IPPROTO_IPV6, IPV6_FREEBIND, 1, "", NULL) == 0))
		r = set_int(fd, IPPROTO_IP, IP_FREEBIND, 1, "IP_FREEBIND", err);
	if (r == 0 && ip->has_pktinfo && ip->pktinfo)
		r = six ? set_int(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1, "IPV6_RECVPKTINFO", err)
			: set_int(fd, IPPROTO_IP, IP_PKTINFO, 1, "IP_PKTINFO", err);
	if (r == 0 && ip->has_tos && ip->tos)
		r = set_int(fd, IPPROTO_IP, IP_TOS, (int)ip->tos, "IP_TOS", err);
	if (r == 0 && ip->has_ttl && ip->ttl && ip->ttl != kind->ttl)
		r = set_int(fd, IPPROTO_IP, IP_TTL, (int)ip->ttl, "IP_TTL", err);
	return r == 0 && ip->raw && e->type == SOCK_RAW ? restore_raw(fd, e, ip->raw, err) : r;
}

static int restore_tcp(int fd, const img_inet_sk_entry *e, const struct inet_kind *kind, struct cr_error *err)
{
	const img_tcp_opts_entry *tcp = e->tcp_opts;
	const char *congestion = e->ext ? e->ext->congestion : NULL;
	int r = 0;

	if (e->type != SOCK_STREAM)
		return 0;
	if (congestion && setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, congestion, (socklen_t)strlen(congestion)) < 0)
		return cr_fail(err, -errno, "congestion control %s", congestion);
	if (e->ext && e->ext->fastopen_key.data &&
	    setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_KEY, e->ext->fastopen_key.data,
		       (socklen_t)e->ext->fastopen_key.len) < 0)
		return cr_fail(err, -errno, "socket option TCP_FASTOPEN_KEY");
	if (!tcp)
		return 0;
	if (tcp->has_nodelay && tcp->nodelay)
		r = set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1, "TCP_NODELAY", err);
	if (r == 0 && tcp->has_keepcnt && tcp->keepcnt != kind->keepcnt)
		r = set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, (int)tcp->keepcnt, "TCP_KEEPCNT", err);
	if (r == 0 && tcp->has_keepidle && tcp->keepidle != kind->keepidle)
		r = set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, (int)tcp->keepidle, "TCP_KEEPIDLE", err);
	if (r == 0 && tcp->has_keepintvl && tcp->keepintvl != kind->keepintvl)
		r = set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, (int)tcp->keepintvl, "TCP_KEEPINTVL", err);
	return r;
}

static bool is_checksum6(const struct inet_option *o)
{
	return o->level == IPPROTO_IPV6 && o->number == IPV6_CHECKSUM;
}

int inet_options_restore(int fd, const img_inet_sk_entry *e, const struct inet_kind *kind, struct cr_error *err)
{
	int r = restore_ip(fd, e, kind, err);

	if (r == 0)
		r = restore_tcp(fd, e, kind, err);
	for (size_t i = 0; r == 0 && e->ext && i < e->ext->more.nr; i++) {
		const struct inet_option *o = option_find(e->ext->more.items[i]);

		/* that of ICMPv6 is changed in the level of raw sockets alone: rawv6_setsockopt() in net/ipv6/raw.c */
		if (o)
			r = set_int(fd, is_checksum6(o) ? SOL_RAW_ : o->level, o->number,
				    (int)(uint32_t)e->ext->more.items[i], o->name, err);
	}
	return r;
}

int inet_options_cork(int fd, const img_inet_sk_entry *e, struct cr_error *err)
{
	return e->tcp_opts && e->tcp_opts->has_cork && e->tcp_opts->cork
		       ? set_int(fd, IPPROTO_TCP, TCP_CORK, 1, "TCP_CORK", err)
		       : 0;
}

/*
 * Options of SOL_SOCKET. What a new socket has is not set again: at restore most sockets cost two calls. Options that upstream
 * has no field for are listed in the member ext, by number.
 */
#include "net/sock-opts.h"

#include "base/array.h"
#include "files/dump-internal.h"
#include "kernel/uapi.h"
#include "net/sock-inode.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/filter.h>
#include <linux/net_tstamp.h>
#include <linux/socket.h>
#include <net/if.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#define FILTER_MAX 4096 /* BPF_MAXINSNS of linux/bpf_common.h */

/* Options that are one int, and 0 in a new socket, with a field upstream. */
struct plain_opt {
	int option;
	bool is_bool; /* the field is; else it is an uint32 */
	bool late;    /* for sock_opts_finish() */
	const char *name;
	size_t has_at, at;
};

#define FIELD(f) offsetof(img_sk_opts_entry, has_##f), offsetof(img_sk_opts_entry, f)

static const struct plain_opt plain[] = {
	{ SO_PRIORITY, false, false, "SO_PRIORITY", FIELD(so_priority) },
	{ SO_MARK, false, false, "SO_MARK", FIELD(so_mark) },
	{ SO_DONTROUTE, true, false, "SO_DONTROUTE", FIELD(so_dontroute) },
	{ SO_NO_CHECK, true, false, "SO_NO_CHECK", FIELD(so_no_check) },
	{ SO_BROADCAST, true, false, "SO_BROADCAST", FIELD(so_broadcast) },
	{ SO_KEEPALIVE, true, false, "SO_KEEPALIVE", FIELD(so_keepalive) },
	{ SO_OOBINLINE, false, false, "SO_OOBINLINE", FIELD(so_oobinline) },
	{ SO_REUSEADDR, true, true, "SO_REUSEADDR", FIELD(reuseaddr) },
	{ SO_REUSEPORT, true, true, "SO_REUSEPORT", FIELD(so_reuseport) },
	{ SO_PASSCRED, true, true, "SO_PASSCRED", FIELD(so_passcred) },
	{ SO_PASSSEC, true, true, "SO_PASSSEC", FIELD(so_passsec) },
};

/* The same for those of the member ext; the value in a new socket is not always 0. */
struct more_opt {
	int option;
	const char *name;
	int fresh;
	bool late;
};

static const struct more_opt more[] = {
	{ SO_TIMESTAMP_OLD, "SO_TIMESTAMP", 0, false },
	{ SO_TIMESTAMPNS_OLD, "SO_TIMESTAMPNS", 0, false },
	{ SO_TIMESTAMP_NEW, "SO_TIMESTAMP_NEW", 0, false },
	{ SO_TIMESTAMPNS_NEW, "SO_TIMESTAMPNS_NEW", 0, false },
	{ SO_TIMESTAMPING_OLD, "SO_TIMESTAMPING", 0, false },
	{ SO_TIMESTAMPING_NEW, "SO_TIMESTAMPING_NEW", 0,
	  false }, /* behind the former, which takes back that any is new */
	{ SO_DEBUG, "SO_DEBUG", 0, false },
	{ SO_WIFI_STATUS, "SO_WIFI_STATUS", 0, false },
	{ SO_BUSY_POLL, "SO_BUSY_POLL", 0, false },
	{ SO_TXTIME, "SO_TXTIME", 0, false },
	{ SO_MAX_PACING_RATE, "SO_MAX_PACING_RATE", -1, false },
	{ SO_INCOMING_CPU, "SO_INCOMING_CPU", -1, false },
	{ SO_RESERVE_MEM, "SO_RESERVE_MEM", 0, false },
	{ SO_RXQ_OVFL, "SO_RXQ_OVFL", 0, false },
	{ SO_NOFCS, "SO_NOFCS", 0, false },
	{ SO_SELECT_ERR_QUEUE, "SO_SELECT_ERR_QUEUE", 0, false },
	{ SO_RCVMARK, "SO_RCVMARK", 0, false },
	{ SO_RCVPRIORITY, "SO_RCVPRIORITY", 0, false },
	{ SO_ZEROCOPY, "SO_ZEROCOPY", 0, false },
	{ SO_PREFER_BUSY_POLL, "SO_PREFER_BUSY_POLL", 0, false },
	{ SO_PEEK_OFF, "SO_PEEK_OFF", -1, true },
	{ SO_PASSPIDFD, "SO_PASSPIDFD", 0, true },
	{ SO_PASSRIGHTS, "SO_PASSRIGHTS", 1, true },
	{ SO_INQ, "SO_INQ", 0, true },
	{ SO_LOCK_FILTER, "SO_LOCK_FILTER", 0, true }, /* last: nothing can be said about filters after it */
};

static int get_int(int fd, int option, int *ret)
{
	socklen_t len = sizeof(*ret);

	*ret = 0;
	return getsockopt(fd, SOL_SOCKET, option, ret, &len) < 0 ? -errno : 0;
}

static int set_int(int fd, int option, int value, const char *name, struct cr_error *err)
{
	return setsockopt(fd, SOL_SOCKET, option, &value, sizeof(value)) < 0
		       ? cr_fail(err, -errno, "socket option %s %d", name, value)
		       : 0;
}

/* All are one int but SO_TXTIME, whose two are taken for one: a clock of 16 bits, and flags. */
static int get_more(int fd, int option, int *ret)
{
	struct sock_txtime t = { 0 };
	socklen_t len = sizeof(t);

	if (option != SO_TXTIME)
		return get_int(fd, option, ret);
	if (getsockopt(fd, SOL_SOCKET, option, &t, &len) < 0)
		return -errno;
	*ret = (int)((uint32_t)t.clockid & 0xffff) | (int)(t.flags << 16);
	return 0;
}

static int set_more(int fd, const struct more_opt *m, uint32_t value, struct cr_error *err)
{
	struct sock_txtime t = { .clockid = (clockid_t)(value & 0xffff), .flags = value >> 16 };

	if (m->option != SO_TXTIME)
		return set_int(fd, m->option, (int)value, m->name, err);
	return setsockopt(fd, SOL_SOCKET, m->option, &t, sizeof(t)) < 0
		       ? cr_fail(err, -errno, "socket option SO_TXTIME")
		       : 0;
}

/* -------------------------------------------------------------------- dump */

static int dump_plain(int fd, img_sk_opts_entry *o)
{
	for (size_t i = 0; i < ARRAY_LEN(plain); i++) {
		int v;

		/* not of this family, or not of this kernel */
		if (get_int(fd, plain[i].option, &v) < 0 || (plain[i].option == SO_MARK && !v))
			continue;
		*(bool *)((char *)o + plain[i].has_at) = true;
		if (plain[i].is_bool)
			*(bool *)((char *)o + plain[i].at) = v;
		else
			memcpy((char *)o + plain[i].at, &v, sizeof(v));
	}
	return 0;
}

static int dump_more(struct file_table *t, int fd, img_sk_opts_entry *o, struct cr_error *err)
{
	img_sk_opts_ext *ext = NULL;

	for (size_t i = 0; i < ARRAY_LEN(more); i++) {
		uint64_t *at;
		void *items;
		int v;

		if (get_more(fd, more[i].option, &v) < 0 || v == more[i].fresh)
			continue;
		if (!ext && !(ext = pool_new(&t->pool, img_sk_opts_ext)))
			return pool_failed(err);
		items = ext->more.items;
		at = pool_vec_add(&t->pool, &items, &ext->more.nr, sizeof(*at));
		if (!at)
			return pool_failed(err);
		ext->more.items = items;
		*at = (uint64_t)more[i].option << 32 | (uint32_t)v;
	}
	o->ext = ext;
	return 0;
}

static void dump_timeouts(int fd, img_sk_opts_entry *o)
{
	struct timeval tv = { 0 };
	socklen_t len = sizeof(tv);

	if (getsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, &len) == 0) {
		o->so_snd_tmo_sec = (uint64_t)tv.tv_sec;
		o->so_snd_tmo_usec = (uint64_t)tv.tv_usec;
	}
	len = sizeof(tv);
	if (getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, &len) == 0) {
		o->so_rcv_tmo_sec = (uint64_t)tv.tv_sec;
		o->so_rcv_tmo_usec = (uint64_t)tv.tv_usec;
	}
}

static int dump_sizes(int fd, img_sk_opts_entry *o, struct cr_error *err)
{
	struct linger linger = { 0 };
	socklen_t len = sizeof(linger);
	int v, r;

	if ((r = get_int(fd, SO_SNDBUF, &v)) < 0)
		return cr_fail(err, r, "size of a socket's buffer");
	o->so_sndbuf = (uint32_t)v;
	if ((r = get_int(fd, SO_RCVBUF, &v)) < 0)
		return cr_fail(err, r, "size of a socket's buffer");
	o->so_rcvbuf = (uint32_t)v;
	if (get_int(fd, SO_BUF_LOCK, &v) == 0) {
		o->has_so_buf_lock = true;
		o->so_buf_lock = (uint32_t)v;
	}
	if (get_int(fd, SO_RCVLOWAT, &v) == 0) {
		o->has_so_rcvlowat = true;
		o->so_rcvlowat = (uint32_t)v;
	}
	if (getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &len) == 0 && linger.l_onoff) {
		o->has_so_linger = true;
		o->so_linger = (uint32_t)linger.l_linger;
	}
	return 0;
}

/* ENODEV: the device has gone, and the socket waits for packets of its number for ever; sock_getbindtodevice() in net/core/sock.c. */
static int dump_device(struct file_table *t, struct open_file *f, img_sk_opts_entry *o, struct cr_error *err)
{
	char name[IFNAMSIZ] = "";
	socklen_t len = sizeof(name);

	if (getsockopt(f->fd, SOL_SOCKET, SO_BINDTODEVICE, name, &len) < 0)
		return errno == ENODEV
			       ? file_refuse(t, f, SOCK_DEVICE_GONE, "socket bound to a network device that has gone")
			       : 0;
	if (!len || !name[0])
		return 0;
	o->so_bound_dev = pool_text(&t->pool, name, strnlen(name, sizeof(name)));
	return o->so_bound_dev ? 0 : pool_failed(err);
}

/* SO_GET_FILTER counts in instructions; sk_get_filter() in net/core/filter.c, Linux 3.8. EACCES: it is no classic program. */
static int dump_filter(struct file_table *t, struct open_file *f, img_sk_opts_entry *o, struct cr_error *err)
{
	struct sock_filter code[FILTER_MAX];
	socklen_t len = 0;
	void *items;

	if (getsockopt(f->fd, SOL_SOCKET, SO_GET_FILTER, NULL, &len) < 0)
		return errno == EACCES ? file_refuse(t, f, "", "socket with an eBPF program as its filter") : 0;
	if (!len)
		return 0;
	if (len > ARRAY_LEN(code))
		return cr_refuse(err, -E2BIG, "socket filter of %u instructions", len);
	if (getsockopt(f->fd, SOL_SOCKET, SO_GET_FILTER, code, &len) < 0)
		return cr_fail(err, -errno, "filter of a socket");
	items = pool_alloc(&t->pool, len * sizeof(uint64_t));
	if (!items)
		return pool_failed(err);
	o->so_filter.items = items;
	o->so_filter.nr = len;
	for (size_t i = 0; i < len; i++)
		o->so_filter.items[i] = (uint64_t)code[i].code << 48 | (uint64_t)code[i].jt << 40 |
					(uint64_t)code[i].jf << 32 | code[i].k;
	return 0;
}

int sock_opts_dump(struct file_table *t, struct open_file *f, img_sk_opts_entry **ret, struct cr_error *err)
{
	img_sk_opts_entry *o = pool_new(&t->pool, img_sk_opts_entry);
	int r;

	if (!o)
		return pool_failed(err);
	r = dump_sizes(f->fd, o, err);
	if (r < 0)
		return r;
	dump_timeouts(f->fd, o);
	dump_plain(f->fd, o);
	r = dump_more(t, f->fd, o, err);
	if (r == 0)
		r = sock_inode_dump(t, f, o, err);
	if (r == 0)
		r = dump_device(t, f, o, err);
	if (r == 0)
		r = dump_filter(t, f, o, err);
	if (r == 0)
		*ret = o;
	return r;
}

/* ----------------------------------------------------------------- restore */

static const struct more_opt *more_find(uint64_t item)
{
	for (size_t i = 0; i < ARRAY_LEN(more); i++)
		if (more[i].option == (int)(item >> 32))
			return &more[i];
	return NULL;
}

int sock_opts_check(const img_sk_opts_entry *o, uint32_t id, struct cr_error *err)
{
	if (o->so_snd_tmo_usec >= 1000000 || o->so_rcv_tmo_usec >= 1000000 || o->so_snd_tmo_sec > INT64_MAX ||
	    o->so_rcv_tmo_sec > INT64_MAX)
		return cr_refuse(err, -EBADMSG, "socket %u: timeout out of range", id);
	if (o->so_sndbuf > INT32_MAX || o->so_rcvbuf > INT32_MAX)
		return cr_refuse(err, -EBADMSG, "socket %u: buffers of %u and %u bytes", id, o->so_sndbuf,
				 o->so_rcvbuf);
	if ((o->has_so_rcvlowat && o->so_rcvlowat > INT32_MAX) ||
	    (o->has_so_buf_lock && o->so_buf_lock > (SOCK_SNDBUF_LOCK | SOCK_RCVBUF_LOCK)))
		return cr_refuse(err, -EBADMSG, "socket %u: an option is out of range", id);
	if (o->so_bound_dev && strlen(o->so_bound_dev) >= IFNAMSIZ)
		return cr_refuse(err, -EBADMSG, "socket %u: name of a device of %zu bytes", id,
				 strlen(o->so_bound_dev));
	if (o->so_filter.nr > FILTER_MAX)
		return cr_refuse(err, -EBADMSG, "socket %u: filter of %zu instructions", id, o->so_filter.nr);
	if (!sock_inode_check(o))
		return cr_refuse(err, -EBADMSG, "socket %u: mode 0%o, owner %u and %u", id, o->ext->mode, o->ext->uid,
				 o->ext->gid);
	for (size_t i = 0; o->ext && i < o->ext->more.nr; i++)
		if (!more_find(o->ext->more.items[i]))
			return cr_refuse(err, -EBADMSG, "socket %u: option %" PRIu64 " is not known", id,
					 o->ext->more.items[i] >> 32);
	return 0;
}

static int restore_plain(int fd, const img_sk_opts_entry *o, bool late, struct cr_error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_LEN(plain); i++) {
		const char *at = (const char *)o + plain[i].at;
		int v;

		if (plain[i].late != late || !*(const bool *)((const char *)o + plain[i].has_at))
			continue;
		if (plain[i].is_bool)
			v = *(const bool *)at;
		else
			memcpy(&v, at, sizeof(v));
		if (v)
			r = set_int(fd, plain[i].option, v, plain[i].name, err);
	}
	return r;
}

static int restore_more(int fd, const img_sk_opts_entry *o, bool late, struct cr_error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && o->ext && i < o->ext->more.nr; i++) {
		const struct more_opt *m = more_find(o->ext->more.items[i]);

		if (m && m->late == late && m->option != SO_LOCK_FILTER)
			r = set_more(fd, m, (uint32_t)o->ext->more.items[i], err);
	}
	return r;
}

/*
 * The kernel doubles what it is given (sk_setsockopt() in net/core/sock.c) and notes that the size is not to be changed any
 * more. Beyond net.core.wmem_max and rmem_max only the forced form helps, which needs CAP_NET_ADMIN.
 */
static int restore_size(struct cr_context *ctx, int fd, uint32_t want, int option, int forced, bool *changed,
			struct cr_error *err)
{
	int half = (int)(want / 2), now;
	int r = get_int(fd, option, &now);

	if (r < 0)
		return cr_fail(err, r, "size of a socket's buffer");
	if ((uint32_t)now == want)
		return 0;
	*changed = true;
	if (setsockopt(fd, SOL_SOCKET, forced, &half, sizeof(half)) == 0)
		return 0;
	if (setsockopt(fd, SOL_SOCKET, option, &half, sizeof(half)) < 0 || get_int(fd, option, &now) < 0)
		return cr_fail(err, -errno, "size of a socket's buffer");
	if ((uint32_t)now < want)
		log_warn(&ctx->log, "a socket's buffer has %d bytes, it had %u: net.core.%cmem_max, continuing", now,
			 want, option == SO_SNDBUF ? 'w' : 'r');
	return 0;
}

/*
 * A size that the kernel has chosen is set only if it may choose again afterwards. MPTCP sockets do not let that be said: they
 * know SO_SNDBUF and SO_RCVBUF, but not SO_BUF_LOCK (net/mptcp/sockopt.c, 6.18).
 */
static bool lock_stays(int fd, const img_sk_opts_entry *o, uint32_t which)
{
	int lock;

	return o->has_so_buf_lock && !(o->so_buf_lock & which) && get_int(fd, SO_BUF_LOCK, &lock) == 0 &&
	       setsockopt(fd, SOL_SOCKET, SO_BUF_LOCK, &lock, sizeof(lock)) < 0;
}

static int restore_sizes(struct cr_context *ctx, int fd, const img_sk_opts_entry *o, const struct sock_sizes *now,
			 struct cr_error *err)
{
	bool changed = false;
	int r = 0, lock;

	if ((!now || now->snd != o->so_sndbuf) && !lock_stays(fd, o, SOCK_SNDBUF_LOCK))
		r = restore_size(ctx, fd, o->so_sndbuf, SO_SNDBUF, SO_SNDBUFFORCE, &changed, err);
	if (r == 0 && (!now || now->rcv != o->so_rcvbuf) && !lock_stays(fd, o, SOCK_RCVBUF_LOCK))
		r = restore_size(ctx, fd, o->so_rcvbuf, SO_RCVBUF, SO_RCVBUFFORCE, &changed, err);
	if (r == 0 && o->has_so_buf_lock && (changed || o->so_buf_lock) && get_int(fd, SO_BUF_LOCK, &lock) == 0 &&
	    (uint32_t)lock != o->so_buf_lock)
		r = set_int(fd, SO_BUF_LOCK, (int)o->so_buf_lock, "SO_BUF_LOCK", err);
	return r;
}

/* A negative time is for ever, and reads back as what an int has of LONG_MAX / HZ: mostly another negative number. */
static int restore_timeouts(int fd, const img_sk_opts_entry *o, struct cr_error *err)
{
	struct timeval snd = { (time_t)o->so_snd_tmo_sec, (suseconds_t)o->so_snd_tmo_usec };
	struct timeval rcv = { (time_t)o->so_rcv_tmo_sec, (suseconds_t)o->so_rcv_tmo_usec };
	struct linger linger = { .l_onoff = 1, .l_linger = (int)o->so_linger };

	if (((snd.tv_sec || snd.tv_usec) && setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &snd, sizeof(snd)) < 0) ||
	    ((rcv.tv_sec || rcv.tv_usec) && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &rcv, sizeof(rcv)) < 0))
		return cr_fail(err, -errno, "timeouts of a socket");
	if (linger.l_linger < 0)
		linger.l_linger = -1;
	if (o->has_so_linger && setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)) < 0)
		return cr_fail(err, -errno, "socket option SO_LINGER %d", linger.l_linger);
	return 0;
}

/* One that is bound to a device is bound again only by who has CAP_NET_RAW: sock_bindtoindex_locked() in net/core/sock.c. */
int sock_opts_device(int fd, const img_sk_opts_entry *o, struct cr_error *err)
{
	char now[IFNAMSIZ] = "";
	socklen_t len = sizeof(now);

	if (!o->so_bound_dev || !o->so_bound_dev[0] ||
	    (getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, now, &len) == 0 && len &&
	     strncmp(now, o->so_bound_dev, sizeof(now)) == 0))
		return 0;
	return setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, o->so_bound_dev, (socklen_t)strlen(o->so_bound_dev) + 1) < 0
		       ? cr_fail(err, -errno, "bind a socket to device %s", o->so_bound_dev)
		       : 0;
}

int sock_opts_restore(struct cr_context *ctx, int fd, const img_sk_opts_entry *o, const struct sock_sizes *now,
		      struct cr_error *err)
{
	int r = restore_sizes(ctx, fd, o, now, err);

	if (r == 0)
		r = sock_inode_restore(ctx, fd, o, err);
	if (r == 0)
		r = restore_timeouts(fd, o, err);
	if (r == 0)
		r = restore_plain(fd, o, false, err);
	if (r == 0)
		r = restore_more(fd, o, false, err);
	return r < 0 ? r : sock_opts_device(fd, o, err);
}

static int restore_filter(int fd, const img_sk_opts_entry *o, struct cr_error *err)
{
	struct sock_filter code[FILTER_MAX];
	struct sock_fprog prog = { .len = (unsigned short)o->so_filter.nr, .filter = code };

	if (!o->so_filter.nr)
		return 0;
	for (size_t i = 0; i < o->so_filter.nr; i++) {
		uint64_t v = o->so_filter.items[i];

		code[i] = (struct sock_filter){ .code = (uint16_t)(v >> 48),
						.jt = (uint8_t)(v >> 40),
						.jf = (uint8_t)(v >> 32),
						.k = (uint32_t)v };
	}
	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)) < 0
		       ? cr_fail(err, -errno, "filter of a socket")
		       : 0;
}

static bool locks_filter(const img_sk_opts_entry *o)
{
	for (size_t i = 0; o->ext && i < o->ext->more.nr; i++)
		if (o->ext->more.items[i] >> 32 == SO_LOCK_FILTER && (uint32_t)o->ext->more.items[i])
			return true;
	return false;
}

int sock_opts_finish(int fd, const img_sk_opts_entry *o, struct cr_error *err)
{
	int r = restore_plain(fd, o, true, err);

	if (r == 0)
		r = restore_more(fd, o, true, err);
	if (r == 0 && o->has_so_rcvlowat && o->so_rcvlowat > 1)
		r = set_int(fd, SO_RCVLOWAT, (int)o->so_rcvlowat, "SO_RCVLOWAT", err);
	if (r == 0)
		r = restore_filter(fd, o, err);
	return r == 0 && locks_filter(o) ? set_int(fd, SO_LOCK_FILTER, 1, "SO_LOCK_FILTER", err) : r;
}

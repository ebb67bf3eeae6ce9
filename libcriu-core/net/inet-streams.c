/*
 * TCP connections, the restore half: made in repair mode, in which nothing is sent and a close is silent. Their queues are
 * refilled, and what their ends had agreed upon is set. States behind the first FIN are reached by packets that seem to come from the
 * other side (inet-packet.h). Until connections_go_on() all real ones are kept away.
 */
#include "net/inet-internal.h"

#include "image/image-set.h"
#include "net/connections.h"
#include "net/inet-packet.h"
#include "net/sock-opts.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define ARRIVE_MS 200

/* -------------------------------------------------------------------- read */

bool inet_is_connection(const img_inet_sk_entry *e)
{
	struct tcp_fins fins = tcp_fins_of(e->state);

	return e->type == SOCK_STREAM && (e->state == INET_ESTABLISHED || fins.received || fins.sent);
}

const struct inet_stream *inet_stream_find(const struct files *fs, uint32_t id)
{
	uintptr_t i = fs->inet ? (uintptr_t)map_find(&fs->inet->stream_by_id, (uint64_t)id + 1) : 0;

	return i ? &fs->inet->streams.items[i - 1] : NULL;
}

static int read_queue(struct files *fs, struct image_reader *rd, uint32_t len, const char **ret, struct cr_error *err)
{
	const void *bytes;
	int r = len ? image_read_raw(rd, len, &bytes, err) : 0;

	if (r < 0 || !len)
		return r;
	*ret = pool_text(&fs->pool, bytes, len);
	return *ret ? 0 : files_no_memory(err);
}

static int read_stream(struct files *fs, struct inet_set *s, struct restored_file *f, struct cr_error *err)
{
	autofree_by(image_reader_close) struct image_reader *rd = NULL;
	const img_inet_sk_entry *e = f->entry->isk;
	struct inet_stream *at = inet_stream_vec_add(&s->streams);
	void *entry = NULL;
	int r;

	if (!at || map_put(&s->stream_by_id, (uint64_t)f->id + 1, (void *)(uintptr_t)s->streams.nr) < 0)
		return files_no_memory(err);
	at->file = f;
	r = image_reader_open(fs->set, IMG_TCP_STREAM, e->ino, &rd, err);
	if (r == 1)
		return cr_refuse(err, -ENOENT, "it is missing");
	if (r == 0)
		r = image_read(rd, &entry, err);
	if (r == 0)
		return cr_refuse(err, -EBADMSG, "it is empty");
	if (r < 0)
		return r;
	at->entry = entry;
	r = tcp_repair_check(at->entry, e->state, err);
	if (r == 0)
		r = read_queue(fs, rd, at->entry->inq_len, &at->in, err);
	return r == 0 ? read_queue(fs, rd, at->entry->outq_len, &at->out, err) : r;
}

/* The image that says whether connections were locked, and by what name. */
static int read_inventory(struct files *fs, struct inet_set *s, bool *ret_locked, struct cr_error *err)
{
	const rpc_criu_opts *o = fs->ctx->opts->rpc;
	img_inventory_entry *inv;
	void *entry = NULL;
	int r = image_read_single(fs->set, IMG_INVENTORY, 0, &entry, err);

	*ret_locked = false;
	if (r != 0)
		return r < 0 ? r : 0;
	inv = entry;
	/* absent is the way of iptables; 2 is none */
	*ret_locked = !inv->has_network_lock_method || inv->network_lock_method != 2;
	if (inv->dump_criu_run_id)
		snprintf(s->run_id, sizeof(s->run_id), "%s", inv->dump_criu_run_id);
	if (inv->has_tcp_close && inv->tcp_close && !o->tcp_close) {
		r = cr_refuse(err, -EINVAL, "TCP connections were dumped as closed ones");
		cr_advise(err, "restore with --tcp-close as well");
	}
	img_entry_free(entry);
	return r;
}

int inet_streams_read(struct files *fs, struct cr_error *err)
{
	const rpc_criu_opts *o = fs->ctx->opts->rpc;
	struct inet_set *s = NULL;
	int r = 0;

	for (size_t i = 0; r == 0 && i < fs->files.nr; i++) {
		struct restored_file *f = fs->files.items[i];

		if (f->entry->type != img_fd_types_INETSK || f->entry->isk->type != SOCK_STREAM)
			continue;
		if (!s) {
			s = inet_set_of(fs, err);
			r = s ? read_inventory(fs, s, &s->lock_wanted, err) : -ENOMEM;
		}
		if (r < 0 || !f->used || !inet_is_connection(f->entry->isk) || o->tcp_close)
			continue;
		if (!o->tcp_established) {
			r = cr_refuse(err, -EINVAL, "file %u is a TCP connection", f->id);
			cr_advise(err, "--tcp-established keeps it, --tcp-close restores it as closed");
			return r;
		}
		r = cr_within(err, read_stream(fs, s, f, err), "tcp-stream-%x.img", f->entry->isk->ino);
	}
	return r;
}

/* -------------------------------------------------------------------- lock */

int inet_streams_lock(struct files *fs, struct cr_error *err)
{
	struct inet_set *s = fs->inet;
	struct cr_error why = { 0 };
	struct net_tuple *tuples;
	char name[NET_LOCK_NAME], id[INET_RUN_ID];
	int r = 0;

	if (!s || !s->streams.nr || !s->lock_wanted)
		return 0;
	tuples = calloc(s->streams.nr, 2 * sizeof(*tuples));
	if (!tuples)
		return files_no_memory(err);
	for (size_t i = 0; r == 0 && i < s->streams.nr; i++) {
		struct inet_end own, peer;

		r = inet_entry_ends(s->streams.items[i].file->entry->isk, &own, &peer, err);
		if (r == 0)
			inet_tuples_of(&own, &peer, &tuples[2 * i]);
	}
	/* images may be restored several times at once, in different networks */
	snprintf(id, sizeof(id), "%d", getpid());
	inet_lock_name(id, "restore", name);
	if (r == 0 && inet_lock(name, true, tuples, 2 * s->streams.nr, &s->lock, &why) < 0)
		log_warn(&fs->ctx->log, "%s, continuing without: packets that come in now may upset a connection",
			 why.text);
	free(tuples);
	return r;
}

/* Both that of the dump, which is by name, and ours. */
static int unlock(struct inet_set *s, struct cr_error *err)
{
	char name[NET_LOCK_NAME];
	int r = 0;

	if (s->lock_wanted && s->run_id[0]) {
		inet_lock_name(s->run_id, "lock", name);
		r = net_lock_remove(name, err);
	}
	net_lock_lift(s->lock);
	return r;
}

void inet_streams_done(struct files *fs)
{
	struct inet_set *s = fs->inet;

	net_lock_free(s->lock);
	for (size_t i = 0; i < s->streams.nr; i++)
		img_entry_free(s->streams.items[i].entry);
	inet_stream_vec_done(&s->streams);
	map_done(&s->stream_by_id);
}

/* -------------------------------------------------------------------- make */

static bool is_unsent(const struct inet_stream *s)
{
	return s->entry->has_unsq_len && s->entry->unsq_len;
}

static int await_state(int fd, uint32_t want)
{
	int state = 0;

	for (int left = ARRIVE_MS; left > 0; left--) {
		state = tcp_repair_state(fd);
		if (state == (int)want)
			return 0;
		usleep(1000);
	}
	return state;
}

static int segment(struct files *fs, const struct inet_end *own, const struct inet_end *peer, uint32_t seq,
		   uint32_t ack, bool fin, struct cr_error *err)
{
	struct tcp_segment seg = { .seq = seq, .ack = ack, .fin = fin };
	int raw = inet_raw(fs->inet, inet_end_unmap(own).family, err);

	return raw < 0 ? raw : inet_packet_tcp(raw, peer, own, &seg, err);
}

/*
 * From established to what it was. A FIN is the last thing in a queue: one that waits behind data that were never sent
 * comes when these are sent. What the other side has sent is made up: its FIN, and its word that it has ours.
 */
static int advance(struct files *fs, int fd, const struct inet_stream *s, const struct inet_end *own,
		   const struct inet_end *peer, struct cr_error *err)
{
	const img_tcp_stream_entry *t = s->entry;
	uint32_t state = s->file->entry->isk->state, want = state;
	struct tcp_fins fins = tcp_fins_of(state);
	uint32_t una = t->outq_seq - t->outq_len - (fins.sent && !fins.acked);
	bool later = fins.sent && is_unsent(s), first = state == INET_LAST_ACK;
	int r = 0, now;

	/* who was first: in LAST_ACK the other side, in the other states that have both we were */
	if (fins.received && (first || !fins.sent || later))
		r = segment(fs, own, peer, t->inq_seq - 1, una, true, err);
	if (r == 0 && first && !later && await_state(fd, INET_CLOSE_WAIT) != 0)
		r = cr_refuse(err, -EIO, "a made-up packet was not taken");
	if (r == 0 && fins.sent && !later && shutdown(fd, SHUT_WR) < 0)
		r = cr_fail(err, -errno, "shut a connection");
	if (r == 0 && fins.received && !first && fins.sent && !later)
		r = segment(fs, own, peer, t->inq_seq - 1, una, true, err);
	if (r == 0 && fins.acked)
		r = segment(fs, own, peer, t->inq_seq, t->outq_seq, false, err);
	if (later)
		want = fins.received ? INET_CLOSE_WAIT : INET_ESTABLISHED;
	now = r == 0 ? await_state(fd, want) : 0;
	return now ? cr_refuse(err, -EIO,
			       "a connection is in state %d, should be in %u: do packets through the loopback device "
			       "get lost?",
			       now, want)
		   : r;
}

/* While queues are refilled, as much as there is must fit. */
static int make_room(struct files *fs, int fd, const struct inet_stream *s, struct cr_error *err)
{
	int in = (int)s->entry->inq_len + 65536, out = (int)s->entry->outq_len + 65536;

	(void)fs;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &in, sizeof(in)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &out, sizeof(out)) < 0)
		return cr_fail(err, -errno, "make room for queues");
	return 0;
}

static int connect_in_repair(int fd, const struct inet_stream *s, const struct inet_end *own,
			     const struct inet_end *peer, struct cr_error *err)
{
	int family = (int)s->file->entry->isk->family;
	int r = tcp_repair_on(fd, err);

	if (r == 0)
		r = tcp_repair_limit(fd, family, s->entry, err);
	if (r == 0)
		r = tcp_repair_sequences(fd, s->file->entry->isk->state, s->entry, err);
	if (r == 0)
		r = inet_bind_to(fd, own, err);
	if (r == 0)
		r = inet_connect_to(fd, peer, err);
	return r < 0 ? r : tcp_repair_options(fd, family, s->entry, err);
}

int inet_stream_make(struct files *fs, int fd, const struct inet_stream *s, struct cr_error *err)
{
	const img_inet_sk_entry *e = s->file->entry->isk;
	struct inet_end own, peer;
	int r = inet_entry_ends(e, &own, &peer, err);

	if (r == 0)
		r = sock_opts_restore(fs->ctx, fd, e->opts, NULL, err);
	if (r == 0)
		r = connect_in_repair(fd, s, &own, &peer, err);
	if (r == 0)
		r = make_room(fs, fd, s, err);
	if (r == 0)
		r = tcp_repair_queues(fd, s->entry, s->in, s->out, err);
	if (r == 0)
		r = advance(fs, fd, s, &own, &peer, err);
	if (r == 0)
		r = tcp_repair_window(fd, s->entry, err);
	if (r == 0)
		r = inet_options_cork(fd, e, err);
	return r;
}

/* ------------------------------------------------------------------- go on */

static int send_unsent(int fd, const struct inet_stream *s, struct cr_error *err)
{
	size_t len = s->entry->has_unsq_len ? s->entry->unsq_len : 0, at = s->entry->outq_len - len;

	while (len) {
		ssize_t n = send(fd, s->out + at, len, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n <= 0)
			return cr_fail(err, n < 0 ? -errno : -EIO, "queue %zu bytes that were not sent yet", len);
		at += (size_t)n;
		len -= (size_t)n;
	}
	return 0;
}

static int go_on(struct files *fs, const struct restored_inet *i, struct cr_error *err)
{
	const struct inet_stream *s = inet_stream_find(fs, i->file->id);
	const img_inet_sk_entry *e = i->file->entry->isk;
	struct tcp_fins fins = tcp_fins_of(e->state);
	int fd = i->file->fd;
	int r = tcp_repair_off(fd, e->opts->has_reuseaddr && e->opts->reuseaddr, true, err);

	if (r == 0)
		r = send_unsent(fd, s, err);
	if (r == 0 && fins.sent && is_unsent(s) && shutdown(fd, SHUT_WR) < 0)
		r = cr_fail(err, -errno, "shut a connection");
	if (r == 0 && e->has_shutdown && e->shutdown & img_sk_shutdown_READ && !fins.received &&
	    shutdown(fd, SHUT_RD) < 0)
		r = cr_fail(err, -errno, "shut a connection for reading");
	/* sizes of buffers, which had to be larger */
	if (r == 0)
		r = sock_opts_restore(fs->ctx, fd, e->opts, NULL, err);
	return r < 0 ? r : sock_opts_finish(fd, e->opts, err);
}

int connections_go_on(struct files *fs, struct cr_error *err)
{
	struct inet_set *s = fs->inet;
	int r = 0;

	if (!s || !s->streams.nr)
		return 0;
	r = unlock(s, err);
	for (size_t i = 0; r == 0 && i < s->socks.nr; i++)
		if (s->socks.items[i].repaired)
			r = cr_within(err, go_on(fs, &s->socks.items[i], err), "file %u", s->socks.items[i].file->id);
	return r;
}

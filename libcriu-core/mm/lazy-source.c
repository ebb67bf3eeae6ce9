/* The side that has the memory; see lazy-source.h. */
#include "mm/lazy-source.h"
#include "mm/lazy-asks.h"
#include "mm/page-conn.h"
#include "mm/page-socket.h"
#include "mm/page-tls.h"

#include "kernel/context.h"
#include "kernel/stage.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHUNK      ((size_t)256 * 1024) /* fits the L2 cache */
#define SILENT_MAX 16                   /* connections that have not said anything yet */
#define FIRST_MS   5000                 /* for the rest of a first record that has begun */
#define LOOK_MS    500                  /* between looks whether anybody still waits for us */

struct lazy_source {
	struct cr_context *ctx;
	int listener;           /* -1: the socket was given */
	int silent[SILENT_MAX]; /* connected, the oldest first */
	size_t nr_silent;
	struct page_conn conn;
	struct lazy_asks asks;
	uint8_t round[PAGE_ROUND_SIZE]; /* the dump that it is memory of */
	const struct lazy_store_ops *ops;
	void *arg;
	char *buf;
	uint64_t nr_bytes;
};

static bool uses_tls(const struct lazy_source *s)
{
	const rpc_criu_opts *o = s->ctx->opts->rpc;

	return o->has_tls && o->tls;
}

int lazy_source_open(struct cr_context *ctx, struct lazy_source **ret, uint16_t *ret_port, struct cr_error *err)
{
	autofree_by(lazy_source_free) struct lazy_source *s = calloc(1, sizeof(*s));
	const rpc_criu_page_server_info *ps = ctx->opts->rpc->ps;
	bool given = ps && ps->has_fd;
	int fd;

	if (!s)
		return cr_fail(err, -ENOMEM, "serve memory");
	*s = (struct lazy_source){ .ctx = ctx, .listener = -1, .conn.fd = -1 };
	s->buf = aligned_alloc(CHUNK, CHUNK);
	if (!s->buf)
		return cr_fail(err, -ENOMEM, "serve memory");
	if (uses_tls(s) && page_tls_check(ctx->opts->rpc, err) < 0)
		return err->code;
	*ret_port = 0;
	fd = given ? page_socket_given(ps->fd, err)
		   : page_socket_listen(ps ? ps->address : NULL, ps && ps->has_port ? (uint16_t)ps->port : 0, ret_port, err);
	if (fd < 0)
		return fd;
	if (given)
		s->silent[s->nr_silent++] = fd;
	else
		s->listener = fd;
	*ret = take_ptr(&s);
	return 0;
}

void lazy_source_free(struct lazy_source *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->nr_silent; i++)
		close(s->silent[i]);
	if (s->listener >= 0)
		close(s->listener);
	page_conn_close(&s->conn);
	free(s->buf);
	free(s);
}

/* ------------------------------------------------ who is it? */

static void drop_silent(struct lazy_source *s, size_t i)
{
	memmove(&s->silent[i], &s->silent[i + 1], (s->nr_silent - i - 1) * sizeof(*s->silent));
	s->nr_silent--;
}

/* Too many that say nothing: the oldest one goes, so that nobody can keep the door shut. */
static int let_in(struct lazy_source *s, struct cr_error *err)
{
	int fd = page_socket_accept(s->listener, err);

	if (fd < 0)
		return fd;
	if (s->nr_silent == SILENT_MAX) {
		close(s->silent[0]);
		drop_silent(s, 0);
	}
	s->silent[s->nr_silent++] = fd;
	return 0;
}

/* Return: descriptor of somebody who speaks, or has gone again; negative errno */
static int await_speaker(struct lazy_source *s, struct cr_error *err)
{
	for (;;) {
		struct pollfd polls[SILENT_MAX + 1] = { { .fd = s->listener, .events = POLLIN } };
		size_t nr = s->nr_silent;
		int r = stage_called_off(s->ctx, err);

		if (r < 0)
			return r;
		for (size_t i = 0; i < nr; i++)
			polls[i + 1] = (struct pollfd){ .fd = s->silent[i], .events = POLLIN };
		r = poll(polls, nr + 1, LOOK_MS);
		if (r < 0 && errno != EINTR)
			return cr_fail(err, -errno, "wait for connections");
		for (size_t i = 0; r > 0 && i < nr; i++)
			if (polls[i + 1].revents) {
				int fd = s->silent[i];

				drop_silent(s, i);
				return fd;
			}
		if (r > 0 && polls[0].revents && let_in(s, err) < 0)
			return err->code;
	}
}

/* ------------------------------------------------ the conversation */

static int say32(struct lazy_source *s, int32_t value, struct cr_error *err)
{
	uint32_t word = htole32((uint32_t)value);
	struct iovec iov = { &word, sizeof(word) };

	return page_conn_send(&s->conn, &iov, 1, err);
}

static int send_pages(struct lazy_source *s, const struct page_wire *ask, struct cr_error *err)
{
	struct page_wire head = *ask;
	uint8_t rec[PAGE_WIRE_SIZE];
	struct iovec iov[2] = { { rec, sizeof(rec) } };
	uint64_t at = ask->vaddr, end = at + ask->nr_pages * MM_PAGE;
	size_t nr = 1;

	head.cmd = PAGE_WIRE_ADD_F;
	head.flags = MM_PE_PRESENT;
	page_wire_encode(&head, rec);
	while (at < end) {
		size_t len = end - at < CHUNK ? (size_t)(end - at) : CHUNK;
		int r = s->ops->read(s->arg, (uint32_t)ask->dst_id, at, s->buf, len, err);

		iov[nr++] = (struct iovec){ s->buf, len };
		if (r == 0)
			r = page_conn_send(&s->conn, iov, nr, err);
		if (r < 0)
			return r;
		at += len;
		s->nr_bytes += len;
		nr = 0;
	}
	return 0;
}

/* Return: 1 there is one; 0 none yet; -ECONNRESET; negative errno */
static int hear_one(struct lazy_source *s, bool wait, struct cr_error *err)
{
	struct pollfd p = { .fd = s->conn.fd, .events = POLLIN };
	uint8_t rec[PAGE_WIRE_SIZE];
	struct page_wire w;
	int r = wait ? stage_called_off(s->ctx, err) : 0;

	if (r < 0)
		return r;
	r = poll(&p, 1, wait ? LOOK_MS : 0);
	if (r <= 0)
		return r == 0 || errno == EINTR ? 0 : cr_fail(err, -errno, "wait for questions");
	r = page_conn_recv(&s->conn, rec, sizeof(rec), true, err);
	if (r == 1)
		return cr_refuse(err, -ECONNRESET, "the other side has gone before it had all");
	if (r == 0)
		r = lazy_ask_check(rec, &w, err);
	if (r == 0 && w.cmd == PAGE_WIRE_GET)
		r = s->ops->check(s->arg, (uint32_t)w.dst_id, w.vaddr, w.vaddr + w.nr_pages * MM_PAGE, err);
	if (r < 0)
		return r;
	lazy_asks_add(&s->asks, &w);
	s->conn.stall_ms = s->asks.usual_ms;
	return 1;
}

static void note_start(struct lazy_source *s, bool before)
{
	if (!before && s->asks.started && s->ops->started)
		s->ops->started(s->arg);
}

/* Nobody has a parent here: the question is whether we have the memory of that dump. */
static bool is_about_ours(const struct lazy_source *s, const struct page_wire *w)
{
	uint8_t round[PAGE_ROUND_SIZE];

	page_wire_get_round(w, round);
	return page_round_is_set(round) && memcmp(round, s->round, sizeof(round)) == 0;
}

/* Return: 1 it was the last word; 0; negative errno */
static int answer(struct lazy_source *s, const struct page_wire *w, struct cr_error *err)
{
	int r;

	switch (w->cmd) {
	case PAGE_WIRE_GET:
		return send_pages(s, w, err);
	case PAGE_WIRE_PARENT:
		return say32(s, lazy_asks_is_ours(w) || is_about_ours(s, w), err);
	default:
		r = say32(s, 0, err);
		return r < 0 ? r : 1;
	}
}

static int converse(struct lazy_source *s, struct cr_error *err)
{
	int r = 0;

	while (r == 0) {
		bool before = s->asks.started;
		struct page_wire w;

		/* all that was asked up to now, so that what is urgent can be told from what is not */
		do {
			r = s->asks.ended ? 0 : hear_one(s, s->asks.nr == 0, err);
		} while (r > 0 && s->asks.nr < LAZY_ASKS_MAX && s->asks.started == before && !s->asks.ended);
		if (r < 0)
			break;
		note_start(s, before);
		r = 0;
		if (lazy_asks_take(&s->asks, &w))
			r = answer(s, &w, err);
	}
	return r < 0 ? r : 0;
}

/* Return: 0; negative errno. Was it anybody? lazy_asks_begun() says so */
static int serve_one(struct lazy_source *s, int fd, struct cr_error *err)
{
	int r;

	page_conn_init(&s->conn, fd);
	s->asks = (struct lazy_asks){ .usual_ms = s->conn.stall_ms };
	r = uses_tls(s) ? page_tls_begin(&s->conn, s->ctx->opts->rpc, PAGE_TLS_SERVES, err) : 0;
	s->conn.stall_ms = FIRST_MS;
	if (r == 0)
		r = converse(s, err);
	if (r == 0)
		page_conn_linger(&s->conn);
	page_conn_close(&s->conn);
	return r;
}

int lazy_source_serve(struct lazy_source *s, const char *run_id, const struct lazy_store_ops *ops, void *arg, struct cr_error *err)
{
	page_round_parse(run_id, s->round);
	s->ops = ops;
	s->arg = arg;
	for (;;) {
		int fd = await_speaker(s, err), r;

		if (fd < 0)
			return fd;
		r = serve_one(s, fd, err);
		if (r == 0)
			log_info(&s->ctx->log, "%" PRIu64 " KiB of memory were fetched", s->nr_bytes >> 10);
		if (r == 0 || r == -ECANCELED || lazy_asks_begun(&s->asks) || s->listener < 0)
			return cr_within(err, r, "lazy pages");
		log_warn(&s->ctx->log, "somebody who does not ask for memory: %s, continuing without him", err->text);
		cr_error_clear(err);
	}
}

/* One connection of a page server; see page-line.h. */
#include "mm/page-line.h"
#include "mm/mm-internal.h"
#include "mm/page-conn.h"
#include "mm/page-session.h"
#include "mm/page-store.h"
#include "mm/page-tls.h"

#include "base/own.h"
#include "kernel/context.h"

#include <errno.h>
#include <unistd.h>

#define FIRST_MS 5000 /* for the rest of the first record, once it has begun */

struct line {
	struct page_conn conn;
	struct page_session session;
	struct page_intake *intake;
	char *ahead;
	uint64_t *received;
};

static int say(struct line *l, const struct page_answer *a, struct cr_error *err)
{
	struct iovec iov = { (void *)a->bytes, a->nr };

	return a->nr ? page_conn_send(&l->conn, &iov, 1, err) : 0;
}

static int take_content(struct line *l, uint64_t left, struct cr_error *err)
{
	while (left) {
		size_t n = 0;
		char *to = NULL;
		int r = page_intake_room(l->intake, &to, &n, err);

		n = left < n ? (size_t)left : n;
		if (r == 0)
			r = page_conn_recv(&l->conn, to, n, false, err);
		if (r < 0)
			return r;
		page_intake_put(l->intake, n);
		__atomic_add_fetch(l->received, n, __ATOMIC_RELAXED);
		left -= n;
	}
	return 0;
}

/* Versions up to 4.1 send 24 bytes and wait for an answer. */
static int first_record(struct line *l, uint8_t *rec, struct cr_error *err)
{
	int usual = l->conn.stall_ms, r;

	l->conn.stall_ms = FIRST_MS;
	r = page_conn_recv(&l->conn, rec, PAGE_WIRE_SIZE, true, err);
	l->conn.stall_ms = usual;
	if (r == -ETIMEDOUT)
		cr_advise(err, "the other side may be CRIU 4.1 or older, whose records are shorter");
	return r;
}

static int converse(struct line *l, bool *began, struct cr_error *err)
{
	uint8_t rec[PAGE_WIRE_SIZE];
	int r = first_record(l, rec, err);

	for (;;) {
		struct page_answer answer = { .nr = 0 };
		uint64_t content = 0;

		if (r == 1)
			return cr_refuse(err, -ECONNRESET, "the connection has ended before all was said");
		if (r == 0)
			r = page_session_take(&l->session, rec, &answer, &content, err);
		if (l->session.open)
			*began = true;
		/*
		 * Small contents come in a row with their records. Behind content there is always a record, and until the other side
		 * has heard that all is well nobody has anything else to say there.
		 */
		if (content && !l->conn.ahead_nr)
			page_conn_read_ahead(&l->conn, content < PAGE_CONN_AHEAD ? l->ahead : NULL);
		if (r == 0 && l->session.ended && l->conn.ahead_nr)
			r = cr_refuse(err, -EPROTO, "%zu bytes follow the end", l->conn.ahead_nr);
		if (r == 0 && content)
			r = take_content(l, content, err);
		if (r == 0)
			r = say(l, &answer, err);
		if (r < 0 && l->session.ended)
			page_intake_withdraw(l->intake);
		if (r < 0 || l->session.ended)
			return r;
		r = page_conn_recv(&l->conn, rec, sizeof(rec), true, err);
	}
}

/* Why it ends, for those who can hear it. */
static void say_failure(struct line *l, int code)
{
	struct cr_error ignored = { 0 };
	struct page_answer a;

	page_session_status(code, &a);
	if (say(l, &a, &ignored) == 0)
		page_conn_linger(&l->conn);
}

/* The other side closes first: so it is its port that stays in TIME_WAIT, not that of a server that is to be started again. */
static void await_close(struct line *l)
{
	struct cr_error ignored = { 0 };
	char byte;

	while (page_conn_recv_some(&l->conn, &byte, 1, &ignored) > 0)
		;
}

int page_line_serve(const struct page_line *line, struct cr_error *err)
{
	autofree char *ahead = malloc(PAGE_CONN_AHEAD);
	struct line l = { .session.ops = &page_store_ops, .ahead = ahead, .received = line->received };
	const rpc_criu_opts *o = line->ctx->opts->rpc;
	int r;

	page_conn_init(&l.conn, line->fd);
	r = ahead ? page_intake_new(line->store, &l.intake, err) : cr_fail(err, -ENOMEM, "receive pages");
	if (r == 0 && o->has_tls && o->tls)
		r = page_tls_begin(&l.conn, o, PAGE_TLS_SERVES, err);
	if (r < 0) {
		page_conn_close(&l.conn);
		page_intake_free(l.intake);
		return r;
	}
	l.session.arg = l.intake;
	r = converse(&l, line->began, err);
	if (r < 0)
		say_failure(&l, r);
	else if (l.session.leaves)
		await_close(&l);
	page_conn_close(&l.conn);
	page_intake_free(l.intake);
	return r;
}

/* Sending pages to a page server; see page-client.h. */
#include "mm/page-client.h"
#include "mm/page-conn.h"
#include "mm/page-entries.h"
#include "mm/page-socket.h"
#include "mm/page-tls.h"
#include "mm/page-wire.h"

#include "kernel/context.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <sys/socket.h>

#define ANSWER_MS   15000 /* for the first sign of life */
#define ASK_AT_ONCE 1024  /* questions whose answers certainly fit into the buffers of the socket */
#define RECORDS     128
#define PIECES      256 /* of what is sent at once: records and content in turn */

struct question {
	uint64_t ns_pid;
	bool yes;
};
DEFINE_VEC(questions, struct question)

struct page_client {
	struct cr_context *ctx;
	struct page_conn conn;
	bool given; /* the socket is the caller's, who goes on to use it */
	uint8_t round[PAGE_ROUND_SIZE];
	struct questions asked;
	size_t heard;

	size_t job; /* where it has got to */
	bool open, finished;
	struct page_walk walk;
	uint64_t left; /* bytes of content that the last record has announced */

	uint8_t records[RECORDS][PAGE_WIRE_SIZE]; /* not sent yet */
	size_t nr_records;
	struct iovec pieces[PIECES];
	size_t nr_pieces;
};

/* ------------------------------------------------ the connection */

static int within(struct cr_error *err, int r)
{
	return cr_within(err, r, "page server");
}

/* It speaks although nothing was asked, so it has given up and says why. */
static int verdict(struct page_client *c, struct cr_error *err)
{
	uint32_t word = 0;
	int r = page_conn_recv(&c->conn, &word, sizeof(word), false, err);
	int32_t code = (int32_t)le32toh(word);

	if (r < 0)
		return r;
	if (code >= 0 || code < -4095)
		return cr_refuse(err, -EPROTO, "it has said something that is no answer");
	cr_fail(err, code, "it has given up");
	cr_advise(err, "its own log says more");
	return code;
}

static int flush(struct page_client *c, struct cr_error *err)
{
	int r = c->nr_pieces ? page_conn_send(&c->conn, c->pieces, c->nr_pieces, err) : 0;

	c->nr_pieces = c->nr_records = 0;
	return r == 1 ? verdict(c, err) : r;
}

static int put_piece(struct page_client *c, const void *data, size_t len, struct cr_error *err)
{
	struct iovec *last = c->nr_pieces ? &c->pieces[c->nr_pieces - 1] : NULL;

	if (last && (const char *)last->iov_base + last->iov_len == data) {
		last->iov_len += len;
		return 0;
	}
	c->pieces[c->nr_pieces++] = (struct iovec){ (void *)data, len };
	return c->nr_pieces == PIECES ? flush(c, err) : 0;
}

static int put_record(struct page_client *c, const struct page_wire *w, struct cr_error *err)
{
	uint8_t *to = c->records[c->nr_records++];
	int r;

	page_wire_encode(w, to);
	r = put_piece(c, to, PAGE_WIRE_SIZE, err);
	return r == 0 && c->nr_records == RECORDS ? flush(c, err) : r;
}

static int hear_number(struct page_client *c, int32_t *ret, struct cr_error *err)
{
	uint32_t word = 0;
	int r = page_conn_recv(&c->conn, &word, sizeof(word), false, err);

	*ret = (int32_t)le32toh(word);
	return r;
}

/* A question that everybody answers with no: there is no such process. Whoever does not understand it will not answer. */
static int greet(struct page_client *c, struct cr_error *err)
{
	struct page_wire w = { .cmd = PAGE_WIRE_PARENT, .dst_id = page_wire_id(IMG_PAGEMAP, INT32_MAX) };
	int32_t answer = 0;
	int usual = c->conn.stall_ms, r = put_record(c, &w, err);

	c->conn.stall_ms = ANSWER_MS;
	if (r == 0)
		r = flush(c, err);
	if (r == 0)
		r = hear_number(c, &answer, err);
	c->conn.stall_ms = usual;
	if (r == 0 && answer != 0)
		r = cr_refuse(err, -EPROTO, "it has answered %" PRId32 " to the greeting", answer);
	if (r < 0)
		cr_advise(err, "is it a page server of version 4.2 or later, with TLS if we have it, and not in use already?");
	return r;
}

static int get_socket(struct page_client *c, struct cr_error *err)
{
	const rpc_criu_page_server_info *ps = c->ctx->opts->rpc->ps;
	int fd = ps->has_fd ? page_socket_given(ps->fd, err)
			    : page_socket_connect(ps->address ? ps->address : "127.0.0.1", (uint16_t)ps->port, err);

	if (fd < 0)
		return fd;
	page_conn_init(&c->conn, fd);
	c->given = ps->has_fd;
	return 0;
}

int page_client_open(struct cr_context *ctx, struct page_client **ret, struct cr_error *err)
{
	autofree_by(page_client_free) struct page_client *c = calloc(1, sizeof(*c));
	const rpc_criu_opts *o = ctx->opts->rpc;
	bool tls = o->has_tls && o->tls;
	int r;

	if (!c)
		return cr_fail(err, -ENOMEM, "send pages");
	c->ctx = ctx;
	c->conn.fd = -1;
	r = get_socket(c, err);
	c->conn.guard = ctx->opts->guard;
	if (r == 0 && tls)
		r = page_tls_begin(&c->conn, o, PAGE_TLS_CALLS, err);
	if (r == 0)
		r = greet(c, err);
	if (r < 0)
		return within(err, r);
	*ret = take_ptr(&c);
	return 0;
}

void page_client_free(struct page_client *c)
{
	if (!c)
		return;
	/* the socket stays open with the caller, and the server must not wait for the rest */
	if (c->given && c->open && !c->finished)
		shutdown(c->conn.fd, SHUT_RDWR);
	page_conn_close(&c->conn);
	questions_done(&c->asked);
	free(c);
}

void page_client_round(struct page_client *c, const char *round)
{
	page_round_parse(round, c->round);
}

/* ------------------------------------------------ questions */

int page_client_ask(struct page_client *c, uint64_t ns_pid, const char *round, struct cr_error *err)
{
	struct page_wire w = { .cmd = PAGE_WIRE_PARENT, .dst_id = page_wire_id(IMG_PAGEMAP, ns_pid) };
	uint8_t bytes[PAGE_ROUND_SIZE];
	struct question *q = questions_add(&c->asked);
	int r;

	if (!q)
		return cr_fail(err, -ENOMEM, "ask the page server");
	q->ns_pid = ns_pid;
	page_round_parse(round, bytes);
	page_wire_set_round(&w, bytes);
	r = put_record(c, &w, err);
	if (r < 0)
		return within(err, r);
	return c->asked.nr - c->heard < ASK_AT_ONCE ? 0 : page_client_hear(c, err);
}

static int by_pid(const void *a, const void *b)
{
	const struct question *x = a, *y = b;

	return x->ns_pid < y->ns_pid ? -1 : x->ns_pid > y->ns_pid;
}

int page_client_hear(struct page_client *c, struct cr_error *err)
{
	int r = flush(c, err);

	while (r == 0 && c->heard < c->asked.nr) {
		int32_t answer = 0;

		r = hear_number(c, &answer, err);
		if (r == 0 && answer < 0)
			r = cr_fail(err, answer > -4096 ? answer : -EPROTO, "it has given up");
		c->asked.items[c->heard++].yes = answer == 1;
	}
	if (r == 0 && c->asked.nr)
		qsort(c->asked.items, c->asked.nr, sizeof(*c->asked.items), by_pid);
	return within(err, r);
}

bool page_client_parent_has(const struct page_client *c, uint64_t ns_pid)
{
	struct question key = { .ns_pid = ns_pid };
	const struct question *q =
		c->asked.nr ? bsearch(&key, c->asked.items, c->asked.nr, sizeof(key), by_pid) : NULL;

	return q && q->yes;
}

/* ------------------------------------------------ pages */

static int begin_object(struct page_client *c, const struct page_object *o, struct cr_error *err)
{
	struct page_wire w = { .cmd = PAGE_WIRE_OPEN, .dst_id = page_wire_id(o->type, o->id) };

	page_wire_set_round(&w, c->round);
	c->open = true;
	c->walk = (struct page_walk){ .of = o };
	/* from here on the server has no reason to say anything */
	c->conn.hears = true;
	return put_record(c, &w, err);
}

/* The next record of the object at hand. Return: 1; 0 there is none; negative errno */
static int next_record(struct page_client *c, struct cr_error *err)
{
	struct map_entry e;
	struct page_wire w = { .cmd = PAGE_WIRE_ADD_F, .dst_id = page_wire_id(c->walk.of->type, c->walk.of->id) };
	int r;

	if (!page_walk_next(&c->walk, &e))
		return 0;
	w.flags = e.flags;
	w.vaddr = e.start;
	w.nr_pages = (e.end - e.start) / MM_PAGE;
	c->left = e.flags & MM_PE_PRESENT ? e.end - e.start : 0;
	r = put_record(c, &w, err);
	return r < 0 ? r : 1;
}

/* Go on to job @to: what is left of those before it has no content. */
static int reach_job(struct page_client *c, const struct copy_job *jobs, size_t to, struct cr_error *err)
{
	int r = 0;

	while (r >= 0 && (c->job < to || !c->walk.of)) {
		if (!c->walk.of)
			r = begin_object(c, jobs[c->job].object, err);
		while (r >= 0 && c->job < to && c->left == 0 && (r = next_record(c, err)) > 0)
			;
		if (r >= 0 && c->left)
			return cr_refuse(err, -EIO, "content is missing");
		if (r >= 0 && c->job < to) {
			c->job++;
			c->walk.of = NULL;
		}
	}
	return r < 0 ? r : 0;
}

int page_client_send(struct page_client *c, const struct copy_job *jobs, const struct copy_job *at, const void *buf,
		     size_t len, struct cr_error *err)
{
	const char *data = buf;
	int r = reach_job(c, jobs, (size_t)(at - jobs), err);

	while (r >= 0 && len) {
		size_t n = c->left < len ? (size_t)c->left : len;

		if (n == 0) {
			r = next_record(c, err);
			if (r == 0)
				r = cr_refuse(err, -EIO, "content of pages that were not announced");
			continue;
		}
		r = put_piece(c, data, n, err);
		data += n;
		len -= n;
		c->left -= n;
	}
	/* the buffer is the caller's */
	if (r >= 0)
		r = flush(c, err);
	return within(err, r < 0 ? r : 0);
}

int page_client_send_rest(struct page_client *c, const struct copy_job *jobs, size_t nr, struct cr_error *err)
{
	int r = 0;

	if (nr)
		r = reach_job(c, jobs, nr - 1, err);
	while (r >= 0 && nr && c->left == 0 && (r = next_record(c, err)) > 0)
		;
	if (r >= 0 && c->left)
		r = cr_refuse(err, -EIO, "content is missing");
	if (r >= 0)
		r = flush(c, err);
	return within(err, r < 0 ? r : 0);
}

int page_client_finish(struct page_client *c, struct cr_error *err)
{
	struct page_wire w = { .cmd = c->given ? PAGE_WIRE_FORCE_CLOSE : PAGE_WIRE_CLOSE };
	int32_t status = 0;
	int r = put_record(c, &w, err);

	if (r == 0)
		r = flush(c, err);
	if (r == 0)
		r = hear_number(c, &status, err);
	if (r == 0 && status != 0) {
		cr_fail(err, status < 0 && status > -4096 ? status : -EPROTO, "it has given up");
		cr_advise(err, "its own log says more");
		r = err ? err->code : -EPROTO;
	}
	c->finished = r == 0;
	return within(err, r);
}

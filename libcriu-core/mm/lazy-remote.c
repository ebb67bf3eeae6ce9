/* Memory that is somewhere else; see lazy-remote.h. */
#include "mm/lazy-remote.h"
#include "mm/mm-internal.h"
#include "mm/page-conn.h"
#include "mm/page-socket.h"
#include "mm/page-tls.h"

#include "kernel/context.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define ANSWER_MS 15000 /* for the first sign of life */

struct lazy_remote {
	struct cr_context *ctx;
	struct page_conn conn;
	uint8_t round[PAGE_ROUND_SIZE]; /* the dump whose memory is wanted; all zero: the images do not say */
};

static int within(struct cr_error *err, int r)
{
	return cr_within(err, r, "source of memory");
}

static bool uses_tls(const struct lazy_remote *rm)
{
	const rpc_criu_opts *o = rm->ctx->opts->rpc;

	return o->has_tls && o->tls;
}

static int say(struct lazy_remote *rm, const struct page_wire *w, struct cr_error *err)
{
	uint8_t rec[PAGE_WIRE_SIZE];
	struct iovec iov = { rec, sizeof(rec) };

	page_wire_encode(w, rec);
	return page_conn_send(&rm->conn, &iov, 1, err);
}

static int hear_number(struct lazy_remote *rm, int32_t *ret, struct cr_error *err)
{
	uint32_t word = 0;
	int r = page_conn_recv(&rm->conn, &word, sizeof(word), false, err);

	*ret = (int32_t)le32toh(word);
	return r;
}

/* Ours answers with 1, everybody else with 0. */
static int say_word(struct lazy_remote *rm, const char *word, bool *ret, struct cr_error *err)
{
	struct page_wire w = { .cmd = PAGE_WIRE_PARENT, .dst_id = page_wire_id(IMG_PAGEMAP, INT32_MAX) };
	int32_t answer = 0;
	int r;

	page_wire_set_round(&w, (const uint8_t *)word);
	r = say(rm, &w, err);
	if (r == 0)
		r = hear_number(rm, &answer, err);
	if (r == 0 && answer != 0 && answer != 1)
		r = cr_refuse(err, -EPROTO, "it has answered %" PRId32 " to a greeting", answer);
	*ret = answer == 1;
	return r;
}

/* Registers of one dump are nothing with memory of another. */
static int agree_on_dump(struct lazy_remote *rm, struct cr_error *err)
{
	bool same = true;
	int r = page_round_is_set(rm->round) ? say_word(rm, (const char *)rm->round, &same, err) : 0;

	if (r < 0 || same)
		return r;
	cr_refuse(err, -EINVAL, "it has the memory of another dump than these images");
	cr_advise(err, "both ends need the images of one dump");
	return -EINVAL;
}

static int greet(struct lazy_remote *rm, struct cr_error *err)
{
	int usual = rm->conn.stall_ms, r;
	bool ours = false;

	rm->conn.stall_ms = ANSWER_MS;
	r = say_word(rm, PAGE_LAZY_HELLO, &ours, err);
	if (r == 0 && ours)
		r = agree_on_dump(rm, err);
	rm->conn.stall_ms = usual;
	if (r < 0)
		cr_advise(err, "is it criu dump --lazy-pages, or criu page-server --lazy-pages, with TLS if we have it, and not in use already?");
	return within(err, r);
}

static int get_socket(struct cr_context *ctx, struct cr_error *err)
{
	const rpc_criu_page_server_info *ps = ctx->opts->rpc->ps;

	return ps->has_fd ? page_socket_given(ps->fd, err)
			  : page_socket_connect(ps->address ? ps->address : "127.0.0.1", (uint16_t)ps->port, err);
}

int lazy_remote_open(struct cr_context *ctx, const char *run_id, struct lazy_remote **ret, struct cr_error *err)
{
	autofree_by(lazy_remote_free) struct lazy_remote *rm = calloc(1, sizeof(*rm));
	const rpc_criu_opts *o = ctx->opts->rpc;
	int fd;

	if (!rm)
		return cr_fail(err, -ENOMEM, "fetch memory");
	rm->ctx = ctx;
	page_round_parse(run_id, rm->round);
	rm->conn.fd = -1;
	if (uses_tls(rm) && page_tls_check(o, err) < 0)
		return err->code;
	fd = get_socket(ctx, err);
	if (fd < 0)
		return within(err, fd);
	page_conn_init(&rm->conn, fd);
	if (!uses_tls(rm) && greet(rm, err) < 0)
		return err->code;
	*ret = take_ptr(&rm);
	return 0;
}

/* The program that does TLS is a child of who starts it, and is waited for in the end. */
int lazy_remote_begin(struct lazy_remote *rm, struct cr_error *err)
{
	int r;

	if (!uses_tls(rm))
		return 0;
	r = page_tls_begin(&rm->conn, rm->ctx->opts->rpc, PAGE_TLS_CALLS, err);
	return r < 0 ? within(err, r) : greet(rm, err);
}

void lazy_remote_free(struct lazy_remote *rm)
{
	if (!rm)
		return;
	page_conn_close(&rm->conn);
	free(rm);
}

int lazy_remote_fd(const struct lazy_remote *rm)
{
	return rm->conn.fd;
}

int lazy_remote_ask(struct lazy_remote *rm, const struct lazy_piece *what, struct cr_error *err)
{
	struct page_wire w = { .cmd = PAGE_WIRE_GET, .nr_pages = what->len / MM_PAGE, .vaddr = what->at, .dst_id = what->ns_pid };

	return within(err, say(rm, &w, err));
}

ssize_t lazy_answer_check(const uint8_t rec[static PAGE_WIRE_SIZE], const struct lazy_piece *asked, size_t nr,
			  struct lazy_piece *ret, struct cr_error *err)
{
	struct page_wire w;
	ssize_t best = -1;
	int r = page_wire_decode(rec, &w, err);

	if (r < 0)
		return r;
	if (w.cmd != PAGE_WIRE_ADD_F || !(w.flags & MM_PE_PRESENT))
		return cr_refuse(err, -EPROTO, "it has answered with command %" PRIu32 ", and no pages", w.cmd);
	r = page_wire_check_range(&w, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < nr; i++) {
		const struct lazy_piece *a = &asked[i];

		/* with several at one address it is the shortest one that this is enough for */
		if (a->at == w.vaddr && a->ns_pid == w.dst_id && w.nr_pages <= a->len / MM_PAGE &&
		    (best < 0 || a->len < asked[best].len))
			best = (ssize_t)i;
	}
	*ret = (struct lazy_piece){ (uint32_t)w.dst_id, w.vaddr, w.nr_pages * MM_PAGE };
	return best >= 0 ? best : cr_refuse(err, -EPROTO, "it has sent %" PRIu64 " pages at %" PRIx64 " of process %" PRIu64 ", which were not asked for",
			 w.nr_pages, w.vaddr, w.dst_id);
}

ssize_t lazy_remote_hear(struct lazy_remote *rm, const struct lazy_piece *asked, size_t nr, void *buf,
			 struct lazy_piece *ret, struct cr_error *err)
{
	uint8_t rec[PAGE_WIRE_SIZE];
	ssize_t i = page_conn_recv(&rm->conn, rec, sizeof(rec), false, err);

	if (i == 0)
		i = lazy_answer_check(rec, asked, nr, ret, err);
	if (i >= 0) {
		int r = page_conn_recv(&rm->conn, buf, ret->len, false, err);

		i = r < 0 ? r : i;
	}
	/* whoever polls for the next answer is to be told of its first byte */
	page_conn_rest(&rm->conn);
	return within(err, (int)i);
}

int lazy_remote_start(struct lazy_remote *rm, struct cr_error *err)
{
	bool ours;

	return within(err, say_word(rm, PAGE_LAZY_START, &ours, err));
}

int lazy_remote_close(struct lazy_remote *rm, struct cr_error *err)
{
	struct page_wire w = { .cmd = PAGE_WIRE_CLOSE };
	int32_t status = 0;
	int r = say(rm, &w, err);

	if (r == 0)
		r = hear_number(rm, &status, err);
	if (r == 0 && status != 0)
		r = cr_fail(err, status < 0 && status > -4096 ? status : -EPROTO, "it has refused the end");
	return within(err, r);
}

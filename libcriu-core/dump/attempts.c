/*
 * The verb dump: one attempt or several. Some of what stands in the way is so for a moment only, on a busy server nearly always:
 * connections that nobody has accepted yet, or that are being made. Then the tree is let go, with nothing new coming in, until
 * it has accepted what waits, and is looked at again.
 */
#include "dump/dump-internal.h"
#include "dump/first-round.h"
#include "mm/lazy-source.h"
#include "mm/page-client.h"
#include "net/listeners.h"

#include <errno.h>

/* How long the tree runs after each attempt: at least, since not everything that passes can be watched, and at most. */
static const struct {
	unsigned int least_ms, most_ms;
} pauses[] = { { 1, 20 }, { 2, 50 }, { 10, 100 }, { 50, 150 } };

/* A snapshot may have relied on something that was not so any more; with less of that it stops the tree longer and is surer. */
static int try_until_sure(struct cr_context *ctx, struct dump_attempt *at, struct cr_dump_result *ret, struct cr_error *err)
{
	int r = dump_once(ctx, at, ret, err);

	while (r == -ESTALE && !at->sure) {
		log_info(&ctx->log, "%s: this is tried again", err->text);
		obstacles_done(&ctx->obstacles);
		cr_error_clear(err);
		at->sure = at->unsparing;
		at->unsparing = true;
		at->again = true; /* scripts and the client have been told of the dump */
		r = dump_once(ctx, at, ret, err);
	}
	return r;
}

static int try_often(struct cr_context *ctx, const struct dump_attempt *common, struct cr_dump_result *ret, struct cr_error *err)
{
	for (size_t i = 0;; i++) {
		struct dump_attempt at = *common;
		int r;

		at.again = i > 0;
		at.last = i == ARRAY_LEN(pauses);
		r = try_until_sure(ctx, &at, ret, err);
		if (at.last || !dump_may_pass(ctx, r))
			return r;
		log_info(&ctx->log, "%s: the tree runs on for a moment, then this is tried again",
			 ctx->obstacles.items[0].what);
		obstacles_done(&ctx->obstacles);
		cr_error_clear(err);
		listeners_await(common->listeners, pauses[i].least_ms, pauses[i].most_ms);
	}
}

int cr_dump(struct cr_context *ctx, struct cr_dump_result *ret, struct cr_error *err)
{
	autofree_by(listeners_free) struct listeners *l = listeners_new();
	autofree_by(page_client_free) struct page_client *server = NULL;
	autofree_by(lazy_source_free) struct lazy_source *source = NULL;
	struct dump_attempt common = { .listeners = l };
	int r;

	if (!l)
		return cr_fail(err, -ENOMEM, "begin a dump");
	r = dump_open_server(ctx, &server, err);
	if (r == 0)
		r = dump_open_source(ctx, &source, err);
	if (r < 0)
		return r;
	common.server = server;
	common.source = source;
	common.first_round = first_round_make(ctx);
	r = try_often(ctx, &common, ret, err);
	if (r < 0 && common.first_round) {
		first_round_remove(ctx);
		mm_track_end(ctx->opts->pid);
	}
	return r;
}

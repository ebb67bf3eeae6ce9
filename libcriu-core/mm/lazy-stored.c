/* Images as the source of a lazy restore elsewhere; see lazy-stored.h. */
#include "mm/lazy-stored.h"

#include "mm/lazy-source.h"
#include "mm/page-chain.h"

#include "base/io.h"
#include "base/own.h"
#include "kernel/context.h"

#include <errno.h>
#include <inttypes.h>

/* Pages of a process that was asked about. */
struct stored {
	uint32_t ns_pid;
	struct stored_runs runs;
	struct page_files files;
};
DEFINE_VEC(storeds, struct stored)

struct store {
	struct image_set *set;
	struct storeds all;
};

static void stored_done(struct stored *s)
{
	stored_runs_done(&s->runs);
	page_files_close(&s->files);
}

static void store_done(struct store *st)
{
	for (size_t i = 0; i < st->all.nr; i++)
		stored_done(&st->all.items[i]);
	storeds_done(&st->all);
	image_set_free(st->set);
}

static struct stored *find_read(struct store *st, uint32_t ns_pid)
{
	for (size_t i = 0; i < st->all.nr; i++)
		if (st->all.items[i].ns_pid == ns_pid)
			return &st->all.items[i];
	return NULL;
}

/* Page maps are read when they are first asked about; nothing is remembered of what is not there. */
static int find_process(struct store *st, uint32_t ns_pid, struct stored **ret, struct cr_error *err)
{
	struct stored s = { .ns_pid = ns_pid }, *slot;
	int r;

	*ret = find_read(st, ns_pid);
	if (*ret)
		return 0;
	r = page_chain_read(st->set, IMG_PAGEMAP, ns_pid, NULL, NULL, &s.runs, &s.files, err);
	if (r == 0 && !s.runs.nr)
		r = cr_refuse(err, -EPROTO, "pages of process %" PRIu32 ", of which the images have none", ns_pid);
	slot = r == 0 ? storeds_add(&st->all) : NULL;
	if (r == 0 && !slot)
		r = cr_fail(err, -ENOMEM, "remember where pages are");
	if (r < 0) {
		stored_done(&s);
		return r;
	}
	*slot = s;
	*ret = slot;
	return 0;
}

static const struct stored_run *find_run(const struct stored_runs *runs, uint64_t at)
{
	size_t i = stored_runs_find(runs, at);

	return i < runs->nr && runs->items[i].start <= at ? &runs->items[i] : NULL;
}

static int check(void *arg, uint32_t ns_pid, uint64_t start, uint64_t end, struct cr_error *err)
{
	struct stored *s;
	int r = find_process(arg, ns_pid, &s, err);

	for (uint64_t at = start; r == 0 && at < end;) {
		const struct stored_run *run = find_run(&s->runs, at);

		if (!run)
			return cr_refuse(err, -EPROTO, "the images have no page of process %" PRIu32 " at %" PRIx64, ns_pid, at);
		at = run->end;
	}
	return r;
}

static int read_some(void *arg, uint32_t ns_pid, uint64_t at, void *buf, size_t len, struct cr_error *err)
{
	struct stored *s = find_read(arg, ns_pid);
	char *to = buf;

	while (len) {
		const struct stored_run *run = find_run(&s->runs, at);
		const struct page_file *file = &s->files.items[run->file];
		size_t some = run->end - at < len ? (size_t)(run->end - at) : len;
		uint64_t off = run->off + (at - run->start);
		ssize_t n = page_file_read(file, to, some, off);
		int r;

		if (n < 0 || (size_t)n != some)
			return cr_fail(err, n < 0 ? (int)n : -EIO, "read pages at %" PRIx64 " of the images", at);
		r = page_file_check(file, off, to, some, err);
		if (r < 0)
			return r;
		at += some;
		to += some;
		len -= some;
	}
	return 0;
}

static const struct lazy_store_ops of_images = { .check = check, .read = read_some };

/* What has to do with pages that are brought to a server. */
static int check_options(const rpc_criu_opts *o, struct cr_error *err)
{
	if (o->has_auto_dedup && o->auto_dedup)
		return cr_refuse(err, -EINVAL, "--auto-dedup frees pages, which a page server with --lazy-pages only gives away");
	return o->parent_img ? cr_refuse(err, -EINVAL, "--prev-images-dir: with --lazy-pages the images themselves say what their parent is")
			     : 0;
}

int lazy_stored_serve(struct cr_context *ctx, int (*listening)(void *arg, uint16_t port, struct cr_error *err), void *arg,
		      struct cr_error *err)
{
	autofree_by(lazy_source_free) struct lazy_source *source = NULL;
	struct store st = { 0 };
	const char *run_id = "";
	uint16_t port = 0;
	int r = check_options(ctx->opts->rpc, err);

	if (r == 0)
		r = image_set_open(ctx->opts->images_dirfd, &st.set, err);
	if (r == 0)
		r = image_set_run_id(st.set, &run_id, err);
	if (r == 0 && ctx->opts->no_checksums)
		image_set_ignore_sums(st.set);
	if (r == 0)
		r = lazy_source_open(ctx, &source, &port, err);
	if (r == 0)
		r = listening(arg, port, err);
	if (r == 0)
		r = lazy_source_serve(source, run_id, &of_images, &st, err);
	store_done(&st);
	return r;
}

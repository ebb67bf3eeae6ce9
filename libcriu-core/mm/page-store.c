/* What a page server has received, on its way to the disk; see page-store.h. */
#include "mm/page-store.h"
#include "mm/page-behind.h"
#include "mm/page-chain.h"
#include "mm/store-sums.h"

#include "base/map.h"
#include "image/stream.h"
#include "kernel/context.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <string.h>

#define FIRST_ID 0x10001u

struct page_store {
	struct cr_context *ctx;
	struct image_set *parent; /* NULL: none is named */
	uint8_t parent_round[PAGE_ROUND_SIZE]; /* as its inventory says; all zero: it has none */
	pthread_mutex_t lock; /* of all that follows, and of what the parent remembers */
	struct image_set *set; /* begun with the first image; of its files, it has the link alone */
	struct map opened;     /* what was begun, by its id on the wire */
	uint32_t next_id;
	struct store_sums sums; /* of what stays */
	struct image_set *sums_set; /* pages.sum; NULL: there is none */
};

struct page_intake {
	struct page_store *st;
	struct image_set *set; /* what came on this connection; NULL: nothing yet */
	struct store_sums sums; /* of that */
	enum img_type type;
	uint64_t id;
	uint32_t pages_id;
	uint8_t round[PAGE_ROUND_SIZE]; /* whose dump it is of; all zero: nobody says */
	struct image_writer *map; /* NULL: no image is open */
	int pages;
	struct page_behind *behind; /* what writes to it */
	struct map_entry last; /* not written yet, since what follows may join; empty: none */
	struct stored_runs in_parent;
	size_t at; /* in these, since all is ascending */
};

static const uint8_t no_round[PAGE_ROUND_SIZE];

static bool packs(const struct page_store *st)
{
	return st->ctx->opts->rpc->has_compress && st->ctx->opts->rpc->compress;
}

static unsigned int flags_of(const struct page_store *st)
{
	return (st->ctx->opts->no_checksums ? 0 : PAGE_BEHIND_SUMS) | (packs(st) ? PAGE_BEHIND_PACKS : 0);
}

/* ------------------------------------------------ the parent */

static int open_parent(struct page_store *st, struct cr_error *err)
{
	const char *path = st->ctx->opts->rpc->parent_img;
	img_inventory_entry *inv;
	void *entry = NULL;
	int r;

	if (!path)
		return 0;
	r = image_set_open_previous(st->ctx->opts->images_dirfd, path, &st->parent, err);
	if (r == 0)
		r = image_read_single(st->parent, IMG_INVENTORY, 0, &entry, err);
	if (r < 0)
		return cr_within(err, r, "previous images");
	if (r == 1) {
		cr_error_clear(err);
		return 0;
	}
	inv = entry;
	page_round_parse(inv->dump_criu_run_id ? inv->dump_criu_run_id : "", st->parent_round);
	img_entry_free(entry);
	return 0;
}

/* Which dump stored an image: what the image says itself, or what the inventory says of the whole directory. */
static bool is_of_round(const struct page_store *st, const struct page_map *m, const uint8_t *round)
{
	if (!page_round_is_set(round))
		return true;
	if (m->has_round)
		return memcmp(round, m->round, PAGE_ROUND_SIZE) == 0;
	return memcmp(round, st->parent_round, PAGE_ROUND_SIZE) == 0;
}

/* @ret: the dump that the parent's image is of; all zero: it does not say */
static int check_round(struct page_store *st, enum img_type type, uint64_t id, const uint8_t *round,
		       uint8_t ret[static PAGE_ROUND_SIZE], struct cr_error *err)
{
	struct page_map m = { 0 };
	int r = page_map_read(st->parent, type, id, &m, err);

	if (r != 0)
		return r < 0 ? r : -ENOENT;
	memcpy(ret, m.has_round ? m.round : st->parent_round, PAGE_ROUND_SIZE);
	if (!is_of_round(st, &m, round))
		r = cr_refuse(err, -ESTALE, "they are not of the dump since which written pages are known");
	page_map_done(&m);
	return r;
}

/* All that the parent has of an image, or nothing; and the dump that it is of. */
static int read_parent(struct page_store *st, enum img_type type, uint64_t id, const uint8_t *round, struct stored_runs *ret,
		       uint8_t ret_round[static PAGE_ROUND_SIZE], struct cr_error *err)
{
	struct page_files files = { 0 };
	struct cr_error why = { 0 };
	int r = 0;

	if (!st->parent)
		return 0;
	pthread_mutex_lock(&st->lock);
	r = check_round(st, type, id, round, ret_round, &why);
	if (r == 0)
		r = page_chain_read(st->parent, type, id, NULL, NULL, ret, &files, &why);
	pthread_mutex_unlock(&st->lock);
	page_files_close(&files);
	if (r == 0)
		return 0;
	stored_runs_done(ret);
	if (r == -ENOMEM)
		return cr_fail(err, r, "read the pages of the parent");
	if (r != -ENOENT)
		log_warn(&st->ctx->log, "earlier images of %" PRIu64 ": %s, continuing with all pages", id, why.text);
	return 0;
}

static int store_parent(void *arg, enum img_type type, uint64_t id, const uint8_t round[static PAGE_ROUND_SIZE],
			struct cr_error *err)
{
	struct page_intake *in = arg;
	struct stored_runs runs = { 0 };
	uint8_t of[PAGE_ROUND_SIZE];
	int r;

	/* what is open has been looked up, unless this is about a certain round */
	if (in->map && in->type == type && in->id == id && !page_round_is_set(round))
		return in->in_parent.nr > 0;
	r = read_parent(in->st, type, id, round, &runs, of, err);
	if (r == 0)
		r = runs.nr > 0;
	stored_runs_done(&runs);
	return r;
}

/* Are pages that are said to be in the parent there? What is missing would be missing for good. */
static int check_parent(struct page_intake *in, uint64_t start, uint64_t end, struct cr_error *err)
{
	const struct stored_runs *runs = &in->in_parent;

	for (uint64_t at = start; at < end; at = runs->items[in->at].end) {
		while (in->at < runs->nr && runs->items[in->at].end <= at)
			in->at++;
		if (in->at == runs->nr || runs->items[in->at].start > at) {
			cr_refuse(err, -EBADMSG, "the parent does not have the pages at %" PRIx64 " of %" PRIu64, at,
				  in->id);
			cr_advise(err, "dump again without --prev-images-dir, all pages");
			return -EBADMSG;
		}
	}
	return 0;
}

/* ------------------------------------------------ images */

/* Called with the lock held: the first image is what begins the set. */
static int begin_set(struct page_store *st, struct cr_error *err)
{
	int r;

	if (st->set)
		return 0;
	r = image_set_create(st->ctx->opts->images_dirfd, &st->set, err);
	if (r == 0 && st->parent)
		r = image_set_link(st->set, st->ctx->opts->rpc->parent_img, err);
	/* pages that are left to the parent would be nowhere for the next connection */
	if (r < 0)
		image_set_free(take_ptr(&st->set));
	return r;
}

static int take_number(struct page_intake *in, struct cr_error *err)
{
	struct page_store *st = in->st;
	uint64_t key = in->id << 1 | (in->type == IMG_PAGEMAP);
	int r;

	pthread_mutex_lock(&st->lock);
	r = begin_set(st, err);
	if (r == 0 && map_find(&st->opened, key))
		r = cr_refuse(err, -EEXIST, "the pages of %" PRIu64 " have been sent already", in->id);
	if (r == 0 && map_put(&st->opened, key, st) < 0)
		r = cr_fail(err, -ENOMEM, "note an image");
	if (r == 0 && !in->set)
		r = image_set_beside(st->set, &in->set, err);
	if (r == 0)
		in->pages_id = st->next_id++;
	pthread_mutex_unlock(&st->lock);
	return r;
}

static int put_last(struct page_intake *in, struct cr_error *err)
{
	img_pagemap_entry e = {
		.vaddr = in->last.start,
		.has_flags = true,
		.flags = in->last.flags,
		.has_nr_pages = true,
		.nr_pages = (in->last.end - in->last.start) / MM_PAGE,
	};
	int r = e.nr_pages ? image_write(in->map, &e, err) : 0;

	in->last = (struct map_entry){ 0 };
	return r;
}

static void drop_image(struct page_intake *in)
{
	page_behind_drop(in->behind);
	image_writer_drop(take_ptr(&in->map));
	if (in->pages >= 0)
		close(take_fd(&in->pages));
	stored_runs_done(&in->in_parent);
}

static void note_sums(struct page_intake *in, uint64_t nr_pages)
{
	struct page_sum_vec sums;

	page_behind_take_sums(in->behind, &sums);
	store_sums_put(&in->sums, in->round, in->pages_id, nr_pages, &sums);
}

static int end_pages(struct page_intake *in, struct cr_error *err)
{
	int r = image_set_close(in->set, take_fd(&in->pages));

	return r < 0 ? cr_fail(err, r, "end pages-%" PRIu32 ".img", in->pages_id) : 0;
}

static int end_image(struct page_intake *in, struct cr_error *err)
{
	off_t size = 0;
	int r;

	if (!in->map)
		return 0;
	r = put_last(in, err);
	if (r == 0)
		r = image_writer_close(take_ptr(&in->map), true, err);
	if (r == 0)
		r = cr_within(err, page_behind_end(in->behind, &size, err), "pages-%" PRIu32 ".img", in->pages_id);
	/* holes at the end */
	if (r == 0 && !packs(in->st) && ftruncate(in->pages, size) < 0)
		r = cr_fail(err, -errno, "make room in pages-%" PRIu32 ".img", in->pages_id);
	if (r == 0)
		r = end_pages(in, err);
	if (r == 0)
		note_sums(in, (uint64_t)size / MM_PAGE);
	drop_image(in);
	return r;
}

static int begin_map(struct page_intake *in, const uint8_t *round, const uint8_t *parent_round, struct cr_error *err)
{
	img_pagemap_head_ext ext = { 0 };
	img_pagemap_head head = { .pages_id = in->pages_id };
	int r = image_writer_open(in->set, in->type, in->id, &in->map, err);

	if (page_round_is_set(round))
		ext.round = (struct proto_bytes){ .data = round, .len = PAGE_ROUND_SIZE };
	if (page_round_is_set(parent_round))
		ext.parent_round = (struct proto_bytes){ .data = parent_round, .len = PAGE_ROUND_SIZE };
	if (ext.round.len || ext.parent_round.len)
		head.ext = &ext;
	return r == 0 ? image_write(in->map, &head, err) : r;
}

static int store_open(void *arg, enum img_type type, uint64_t id, const uint8_t round[static PAGE_ROUND_SIZE],
		      struct cr_error *err)
{
	struct page_intake *in = arg;
	uint8_t parent_round[PAGE_ROUND_SIZE] = { 0 };
	int r = end_image(in, err);

	if (r < 0)
		return r;
	in->type = type;
	in->id = id;
	in->at = 0;
	memcpy(in->round, round, sizeof(in->round));
	r = read_parent(in->st, type, id, no_round, &in->in_parent, parent_round, err);
	if (r == 0)
		r = take_number(in, err);
	if (r == 0)
		r = begin_map(in, round, in->in_parent.nr ? parent_round : no_round, err);
	if (r < 0)
		return r;
	in->pages = image_open_raw(in->set, packs(in->st) ? IMG_PAGES_PACKED : IMG_PAGES, in->pages_id, err);
	if (in->pages < 0)
		return in->pages;
	page_behind_begin(in->behind, in->pages);
	return 0;
}

static int store_add(void *arg, uint64_t start, uint64_t end, uint32_t flags, struct cr_error *err)
{
	struct page_intake *in = arg;
	int r = flags & MM_PE_PARENT ? check_parent(in, start, end, err) : 0;

	if (r == 0 && (in->last.end != start || in->last.flags != flags)) {
		r = put_last(in, err);
		in->last = (struct map_entry){ .start = start, .flags = flags };
	}
	in->last.end = end;
	return r;
}

static void drop_sums(struct page_store *st)
{
	if (st->sums_set)
		image_set_withdraw(st->sums_set);
	image_set_free(take_ptr(&st->sums_set));
}

/*
 * The file is written anew by each connection; a dump has one. If it cannot be written this connection fails, and what came
 * before stays without checksums.
 */
static int keep_sums(struct page_store *st, struct store_sums *more, struct cr_error *err)
{
	bool had = st->sums_set;
	int r;

	store_sums_join(&st->sums, more);
	drop_sums(st);
	r = image_set_beside(st->set, &st->sums_set, err);
	if (r == 0)
		r = store_sums_write(&st->sums, st->sums_set, err);
	if (r == 0)
		r = image_set_keep(st->sums_set, err);
	if (r != 0)
		drop_sums(st);
	if (r >= 0)
		return 0;
	st->sums.none = true;
	if (had)
		log_warn(&st->ctx->log, "write pages.sum: %s, continuing without checksums of what came before", strerror(-r));
	return r;
}

/* Called with the lock held. From here on nothing that others do takes it away. */
static int keep_intake(struct page_intake *in, struct cr_error *err)
{
	int r = image_set_keep(in->set, err);

	if (r == 0)
		r = keep_sums(in->st, &in->sums, err);
	if (r == 0)
		r = image_set_keep(in->st->set, err);
	if (r < 0)
		image_set_withdraw(in->set);
	return r;
}

static int store_finish(void *arg, struct cr_error *err)
{
	struct page_intake *in = arg;
	int r = end_image(in, err);

	if (r < 0 || !in->set)
		return r;
	pthread_mutex_lock(&in->st->lock);
	r = keep_intake(in, err);
	pthread_mutex_unlock(&in->st->lock);
	return r;
}

const struct page_store_ops page_store_ops = {
	.parent = store_parent,
	.open = store_open,
	.add = store_add,
	.finish = store_finish,
};

/* ------------------------------------------------ content */

int page_intake_room(struct page_intake *in, char **ret, size_t *ret_len, struct cr_error *err)
{
	return cr_within(err, page_behind_room(in->behind, ret, ret_len, err), "pages-%" PRIu32 ".img", in->pages_id);
}

void page_intake_put(struct page_intake *in, size_t len)
{
	page_behind_put(in->behind, len);
}

int page_intake_new(struct page_store *st, struct page_intake **ret, struct cr_error *err)
{
	autofree struct page_intake *in = calloc(1, sizeof(*in));
	int r = in ? page_behind_new(flags_of(st), &in->behind, err) : cr_fail(err, -ENOMEM, "receive pages");

	if (r < 0)
		return r;
	in->st = st;
	in->pages = -1;
	*ret = take_ptr(&in);
	return 0;
}

void page_intake_free(struct page_intake *in)
{
	if (!in)
		return;
	drop_image(in);
	image_set_free(in->set);
	store_sums_done(&in->sums);
	page_behind_free(in->behind);
	free(in);
}

void page_intake_withdraw(struct page_intake *in)
{
	if (in->set)
		image_set_withdraw(in->set);
}

/* ------------------------------------------------ the whole */

int page_store_new(struct cr_context *ctx, struct page_store **ret, struct cr_error *err)
{
	autofree_by(page_store_free) struct page_store *st = calloc(1, sizeof(*st));
	int r;

	if (!st)
		return cr_fail(err, -ENOMEM, "receive pages");
	st->ctx = ctx;
	st->next_id = FIRST_ID;
	pthread_mutex_init(&st->lock, NULL);
	r = open_parent(st, err);
	if (r == 0)
		*ret = take_ptr(&st);
	return r;
}

void page_store_end(struct page_store *st)
{
	const rpc_criu_opts *rpc = st->ctx->opts->rpc;
	struct cr_error why = { 0 };

	if (!st->set)
		return;
	if (!st->sums_set)
		log_info(&st->ctx->log, "these pages have no checksums: who has sent them does not say which dump they are of");
	if (image_set_mark_whole(st->set, &why) < 0)
		log_warn(&st->ctx->log, "mark the pages as whole: %s, continuing without: no pages of earlier images are freed", why.text);
	else if (st->parent && rpc->has_auto_dedup && rpc->auto_dedup && mm_dedup(st->ctx, st->set, &why) < 0)
		log_warn(&st->ctx->log, "free pages of earlier images: %s, continuing without", why.text);
}

void page_store_free(struct page_store *st)
{
	if (!st)
		return;
	image_set_free(st->sums_set);
	image_set_free(st->set);
	image_set_free(st->parent);
	map_done(&st->opened);
	store_sums_done(&st->sums);
	pthread_mutex_destroy(&st->lock);
	free(st);
}

/* What a dump has to do with those before and after it. */
#include "dump/dump-internal.h"
#include "dump/first-round.h"
#include "image/page-sums.h"
#include "mm/page-client.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

const char *dump_parent_path(const struct dump *d)
{
	return d->first_round ? FIRST_ROUND_DIR : d->ctx->opts->rpc->parent_img;
}

/* Before the tree is stopped: a bad parent is no reason to stop it. */
int dump_open_parent(struct dump *d, struct cr_error *err)
{
	const char *path = dump_parent_path(d);
	img_inventory_entry *inv;
	void *entry = NULL;
	int r = 0;

	if (d->pre || (d->ctx->opts->rpc->has_track_mem && d->ctx->opts->rpc->track_mem))
		r = mm_can_track(d->ctx, err);
	if (r == 0 && path)
		r = image_set_open_previous(d->ctx->opts->images_dirfd, path, &d->parent, err);
	/* contents of earlier images are of no interest here, where they are is */
	if (r == 0 && d->parent)
		image_set_ignore_sums(d->parent);

	if (r < 0 || !path)
		return r;
	if (path[0] == '/')
		log_warn(&d->ctx->log, "the path of the previous images is absolute, continuing: they must not be moved");
	r = image_read_single(d->parent, IMG_INVENTORY, 0, &entry, err);
	if (r < 0)
		return cr_within(err, r, "previous images");
	/* a page server stores none; then it is not known which round this is */
	if (r == 1) {
		cr_error_clear(err);
		return 0;
	}
	inv = entry;
	snprintf(d->parent_round, sizeof(d->parent_round), "%s", inv->dump_criu_run_id ? inv->dump_criu_run_id : "");
	img_entry_free(entry);
	return d->parent_round[0] ? mm_parent_read(d->ctx, d->parent, &d->parent_pages, err) : 0;
}

int dump_open_server(struct cr_context *ctx, struct page_client **ret, struct cr_error *err)
{
	const rpc_criu_opts *rpc = ctx->opts->rpc;
	bool lazy = rpc->has_lazy_pages && rpc->lazy_pages; /* then ps is where pages are asked for */

	*ret = NULL;
	return rpc->ps && !lazy ? page_client_open(ctx, ret, err) : 0;
}

uint64_t dump_uptime(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

bool dump_makes_sums(const struct dump *d)
{
	/* they are those of pages files, which a page server writes */
	return !d->ctx->opts->no_checksums && !d->server;
}

/* Once the images are whole: until then the earlier ones are all that there is. */
void dump_dedup(struct dump *d)
{
	const rpc_criu_opts *rpc = d->ctx->opts->rpc;
	struct cr_error err = { 0 };

	if (d->parent && rpc->has_auto_dedup && rpc->auto_dedup && mm_dedup(d->ctx, d->set, &err) < 0)
		log_warn(&d->ctx->log, "free pages of earlier images: %s, continuing without", err.text);
}

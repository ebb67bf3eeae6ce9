/* Restore, the part that leaves memory to a pager: what comes later is chosen, and handed over between two stages. */
#include "mm/lazy.h"
#include "mm/lazy-pager.h"
#include "restore/restore-internal.h"

#include <errno.h>
#include <unistd.h>

/* The nearest process above it that is none of the helpers, and has memory. */
static struct rtask *maker_of(struct restore *rs, size_t n)
{
	int by = rs->tree.nodes.items[n].forked_by;

	while (by >= 0 && (rs->tree.nodes.items[by].input < 0 || !rs->tasks[rs->tree.nodes.items[by].input].space))
		by = rs->tree.nodes.items[by].forked_by;
	return by >= 0 ? &rs->tasks[rs->tree.nodes.items[by].input] : NULL;
}

int restore_lazy_choose(struct restore *rs, struct cr_error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < rs->nr_tasks; i++)
		if (rs->tasks[i].space)
			r = mm_lazy_choose(rs->tasks[i].space, err);
	for (size_t i = 0; r == 0 && i < rs->nr_tasks; i++) {
		struct rtask *maker = rs->tasks[i].space ? maker_of(rs, i) : NULL;

		if (maker)
			mm_lazy_share(rs->tasks[i].space, maker->space);
	}
	rs->lazy = false;
	for (size_t i = 0; r == 0 && i < rs->nr_tasks; i++)
		rs->lazy |= rs->tasks[i].space && mm_space_is_lazy(rs->tasks[i].space);
	if (r == 0 && !rs->lazy)
		log_info(&rs->ctx->log, "there is too little memory to bring in later: all of it is read at once");
	return r;
}

static int take_all(struct restore *rs, struct lazy_load *ret, struct cr_error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < rs->nr_tasks; i++) {
		const struct rtask *t = &rs->tasks[i];
		const uint64_t *number = t->uffd_at ? arena_at(&rs->program.arena, t->uffd_at, sizeof(*number)) : NULL;

		if (!t->uffd_at)
			continue;
		if (!number || *number > INT32_MAX)
			return cr_refuse(err, -EPROTO, "pid %u: no userfaultfd", t->entry->pid);
		r = mm_lazy_take(t->space, (pid_t)t->entry->pid, (int)*number, ret, err);
	}
	return r;
}

/* Before anything is made: is all there that it takes? */
int restore_lazy_check(struct restore *rs, struct cr_error *err)
{
	const rpc_criu_opts *o = rs->ctx->opts->rpc;
	int r;

	rs->lazy = o->lazy || o->lazy_pages;
	r = rs->lazy ? mm_lazy_check(rs->ctx, err) : 0;
	if (r == 0 && o->lazy_pages)
		rs->lazy_go = r = mm_lazy_connect(rs->ctx, err);
	return r < 0 ? r : 0;
}

/* All tasks wait; none has touched memory that it does not have yet. */
int restore_lazy_begin(struct restore *rs, struct cr_error *err)
{
	struct lazy_load load = { 0 };
	int r = take_all(rs, &load, err);

	if (r == 0 && rs->lazy_go >= 0)
		r = mm_lazy_send(rs->lazy_go, &load, rs->set, err);
	else if (r == 0)
		r = mm_lazy_start(rs->ctx, &load, &rs->lazy_go, err);
	mm_lazy_drop(&load);
	return r;
}

/* A daemon has to tell whoever still has the memory, before there are two who could run. */
int restore_lazy_start(struct restore *rs, struct cr_error *err)
{
	const rpc_criu_opts *o = rs->ctx->opts->rpc;

	return o->lazy_pages && rs->lazy_go >= 0 ? mm_lazy_say_start(rs->lazy_go, err) : 0;
}

void restore_lazy_runs(struct restore *rs)
{
	if (rs->ctx->opts->rpc->lazy_pages && rs->lazy_go >= 0)
		mm_lazy_say_runs(rs->lazy_go);
	restore_lazy_go(rs);
}

void restore_lazy_go(struct restore *rs)
{
	if (rs->lazy_go >= 0)
		close(rs->lazy_go);
	rs->lazy_go = -1;
}

int cr_lazy_pages(struct cr_context *ctx, int (*listening)(void *arg, struct cr_error *err), void *arg,
		  struct cr_error *err)
{
	struct image_set *set = NULL;
	int r = mm_lazy_check(ctx, err);

	if (r == 0)
		r = image_set_open(ctx->opts->images_dirfd, &set, err);
	if (r == 0)
		r = mm_lazy_serve(ctx, set, listening, arg, err);
	image_set_free(set);
	return r;
}

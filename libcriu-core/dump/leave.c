/*
 * A lazy dump: what may come later is not stored but stays with the tasks, which remain stopped until their memory has been
 * fetched by whoever restores them. They end with that. If it does not come to it they run on, as after any dump that fails;
 * unless the tree has begun to run at its destination, where it may have been heard and seen by others.
 */
#include "dump/dump-internal.h"
#include "mm/lazy-source.h"

#include <errno.h>
#include <signal.h>

int dump_open_source(struct cr_context *ctx, struct lazy_source **ret, struct cr_error *err)
{
	const rpc_criu_opts *rpc = ctx->opts->rpc;
	uint16_t port = 0;
	int r;

	*ret = NULL;
	if (!rpc->has_lazy_pages || !rpc->lazy_pages)
		return 0;
	if (ctx->opts->client_is_peer)
		return cr_refuse(err, -EPERM, "--lazy-pages: only root may give memory away through the network");
	r = lazy_source_open(ctx, ret, &port, err);
	if (r == 0 && port)
		log_info(&ctx->log, "memory will be given away on port %u", port);
	return r;
}

/*
 * Should this process be killed after that, a tree that runs elsewhere does not run on here either: what is pending when a
 * tracer ends is delivered.
 */
static void note_start(void *arg)
{
	struct dump *d = arg;
	const rpc_criu_opts *rpc = d->ctx->opts->rpc;

	d->elsewhere = true;
	if (rpc->leave_running || rpc->leave_stopped)
		return;
	for (size_t i = 0; i < d->tree->tasks.nr; i++)
		if (d->tree->tasks.items[i]->state != TASK_DEAD)
			kill(d->tree->tasks.items[i]->host_pid, SIGSTOP);
}

int dump_stage_give(void *op, struct cr_error *err)
{
	struct dump *d = op;
	const struct cr_observer *obs = d->ctx->obs;
	int r;

	if (!d->source)
		return 0;
	r = obs->notify ? obs->notify(obs->arg, "status-ready", 0) : 0;
	if (r < 0)
		return cr_refuse(err, r, "notification status-ready was refused");
	log_info(&d->ctx->log, "waiting for criu lazy-pages: %llu pages are left with the tasks",
		 (unsigned long long)d->pages.pages_left);
	return mm_give_left(d->mm, d->source, note_start, d, err);
}

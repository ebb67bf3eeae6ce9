/*
 * Restore, last stage: every thread is parked in the blob. Stop them all, take the region away, give them their
 * registers, and let them go. Until the first one is let go everything can still be undone; afterwards nothing may fail
 * for reasons that could have been known before.
 */
#include "infect/takeover.h"
#include "kernel/stage.h"
#include "restore/restore-internal.h"
#include "xstate.h"

#include <errno.h>

static int stop_all(struct restore *rs, struct cr_error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < rs->threads.nr; i++)
		r = takeover_interrupt(rs->threads.items[i].hand, err);
	for (size_t i = 0; r == 0 && i < rs->threads.nr; i++) {
		r = takeover_wait(rs->threads.items[i].hand, err);
		r = cr_within(err, r, "thread %d", rs->threads.items[i].tid);
	}
	return r;
}

static int load_all(struct restore *rs, struct cr_error *err)
{
	struct xstate_layout layout;

	xstate_layout_init(&layout);
	for (size_t i = 0; i < rs->threads.nr; i++) {
		struct rthread *t = &rs->threads.items[i];
		const img_core_entry *core = t->task->cores[t->index];
		int r = 0;

		if (t->first)
			r = takeover_unmap(t->hand, rs->region.all.start, rs->region.all.end - rs->region.all.start, err);
		if (r == 0)
			r = takeover_load(t->hand, &layout, core, thread_sigmask(core, t->index == 0), err);
		if (r == 0)
			r = thread_release(rs->ctx, core, t->tid, err);
		if (r < 0)
			return cr_within(err, r, "thread %d", t->tid);
	}
	return 0;
}

static bool stays_stopped(const struct restore *rs, const struct rthread *t)
{
	if (!t->first)
		return false;
	return rs->ctx->opts->rpc->leave_stopped || t->task->cores[0]->tc->task_state == TASK_STOPPED;
}

int restore_resume(struct restore *rs, struct cr_error *err)
{
	int r = stop_all(rs, err);

	if (r == 0)
		r = load_all(rs, err);
	if (r < 0)
		return r;
	/* from here on it is theirs */
	rs->resumed = true;
	mm_segments_keep(rs->segments);
	files_commit(rs->files);
	for (size_t i = 0; i < rs->threads.nr; i++) {
		struct rthread *t = &rs->threads.items[i];
		struct cr_error gone = { 0 };

		/* a thread may be killed by one that runs already */
		if (takeover_release(t->hand, stays_stopped(rs, t), &gone) < 0)
			log_debug(&rs->ctx->log, "thread %d: %s", t->tid, gone.text);
		takeover_free(t->hand);
		t->hand = NULL;
	}
	return 0;
}

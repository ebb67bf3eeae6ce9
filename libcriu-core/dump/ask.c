/*
 * Dump: what only the processes themselves can tell. Into each goes one program, run once by every thread, and out come
 * the answers; nothing of ours is left behind.
 */
#include "dump/dump-internal.h"
#include "infect/parasite.h"
#include "infect/thread-image.h"
#include "tasks/tasks.h"
#include "xstate.h"

#include <errno.h>
#include <stdlib.h>

#define MM_ROOM (16u << 10)   /* arena bytes of the few questions about memory */

/* Questions of the other folders ride along with those of the leading thread. */
static int ask_more(void *arg, struct task *t, struct program *p, struct routine *r, struct cr_error *err)
{
	struct dump *d = arg;
	int n = mm_ask(d->mm, t, p, r, err);

	if (n == 0)
		files_ask(d->files, t, p, r);
	return n;
}

static int run_all(struct task *t, struct parasite *host, struct cr_error *err)
{
	struct thread **threads = calloc(t->threads.nr, sizeof(*threads));
	uint32_t *routines = calloc(t->threads.nr, sizeof(*routines));
	size_t nr = 0;
	int r = threads && routines ? 0 : cr_fail(err, -ENOMEM, "list threads");

	for (size_t i = 0; r == 0 && i < t->threads.nr; i++) {
		if (t->threads.items[i].dead)
			continue;
		threads[nr] = &t->threads.items[i];
		routines[nr++] = tasks_routine_of(&t->threads.items[i]);
	}
	if (r == 0)
		r = parasite_run(host, threads, routines, nr, err);
	free(threads);
	free(routines);
	return r;
}

static int ask_task(struct dump *d, struct task *t, const struct xstate_layout *layout, struct cr_error *err)
{
	autofree_by(parasite_free) struct parasite *host = NULL;
	size_t room = tasks_ask_size(t) + files_ask_size(d->files, t) + MM_ROOM;
	struct tasks_more more = { ask_more, d };
	struct program *p;
	int r = parasite_infect(t, room, (uint32_t)t->threads.nr + 1, &host, err);

	if (r < 0)
		return r;
	p = parasite_program(host);
	r = tasks_ask(d->ctx, t, p, &more, err);
	if (r == 0)
		r = run_all(t, host, err);
	if (r == 0)
		r = parasite_cure(host, err);
	for (size_t k = 0; r == 0 && k < t->threads.nr; k++)
		if (!t->threads.items[k].dead)
			r = thread_image(&t->threads.items[k], layout, err);
	if (r == 0)
		r = tasks_dump(d->ctx, t, p, err);
	if (r == 0)
		r = mm_answer(d->mm, t, p, err);
	if (r == 0)
		r = files_answers(d->files, t, p, err);
	return r;
}

int dump_ask(struct dump *d, struct cr_error *err)
{
	struct xstate_layout layout;

	xstate_layout_init(&layout);
	for (size_t i = 0; i < d->tree->tasks.nr; i++) {
		struct task *t = d->tree->tasks.items[i];
		int r;

		if (t->state == TASK_DEAD)
			continue;
		r = ask_task(d, t, &layout, err);
		if (r < 0)
			return cr_within(err, r, "pid %d (%s)", t->host_pid, t->comm);
		tasks_fill_mm(t, t->mm);
	}
	return 0;
}

/*
 * Dump: what only the processes themselves can tell. Into each goes one program, run once by every thread, and out come
 * the answers; nothing of ours is left behind. Several processes are asked at the same time: they run while the tracer is
 * busy with others, and its waits find them done.
 */
#include "dump/dump-internal.h"
#include "infect/parasite.h"
#include "infect/thread-image.h"
#include "infect/twin.h"
#include "tasks/tasks.h"
#include "tasks/undo.h"
#include "xstate.h"

#include <errno.h>
#include <stdlib.h>

#define TOGETHER \
	8u /* processes asked at the same time: twice as many are hardly faster, and are more to harm if we are killed */

/* What is found out once, and holds for all processes */
struct known {
	struct infect_aid aid;
};

/* Questions of the other folders ride along with those of the leading thread. */
static int ask_more(void *arg, struct task *t, struct program *p, struct routine *r, struct cr_error *err)
{
	struct dump *d = arg;
	int n = mm_ask(d->mm, t, p, r, err);

	if (n == 0)
		files_ask(d->files, t, p, r);
	return n;
}

/* One process of those that are asked at the same time */
struct asked {
	struct task *task;
	struct parasite *host;
	struct thread **threads; /* those that live, and what each of them runs */
	uint32_t *routines;
	size_t nr;
};

static void asked_done(struct asked *a, size_t nr)
{
	for (size_t i = 0; i < nr; i++) {
		parasite_free(a[i].host);
		free(a[i].threads);
		free(a[i].routines);
		a[i] = (struct asked){ 0 };
	}
}

static int infect(struct dump *d, struct asked *a, struct known *k, struct cr_error *err)
{
	size_t room = tasks_ask_size(a->task) + files_ask_size(d->files, a->task) + mm_ask_size(d->mm, a->task);
	uint32_t nr_routines = (uint32_t)a->task->threads.nr + 1 + (d->snapshot ? TWIN_ROUTINES : 0);

	return parasite_infect_begin(a->task, &d->layout, &k->aid, room, nr_routines, &a->host, err);
}

static int run(struct dump *d, struct asked *a, struct known *k, struct cr_error *err)
{
	struct thread_vec *all = &a->task->threads;
	struct tasks_more more = { ask_more, d };
	int r = tasks_ask(d->ctx, a->task, parasite_program(a->host), &more, err);

	(void)k;
	if (r < 0)
		return r;
	a->threads = calloc(all->nr, sizeof(*a->threads));
	a->routines = calloc(all->nr, sizeof(*a->routines));
	if (!a->threads || !a->routines)
		return cr_fail(err, -ENOMEM, "list threads");
	for (size_t i = 0; i < all->nr; i++) {
		if (all->items[i].dead)
			continue;
		a->threads[a->nr] = &all->items[i];
		a->routines[a->nr++] = tasks_routine_of(&all->items[i]);
	}
	return parasite_run_begin(a->host, a->threads, a->routines, a->nr, err);
}

static int take_copy(struct dump *d, struct asked *a, struct known *k, struct cr_error *err)
{
	(void)k;
	return mm_take_copy(d->mm, a->task, a->host, &d->layout, err);
}

static int cure(struct dump *d, struct asked *a, struct known *k, struct cr_error *err)
{
	(void)d;
	(void)k;
	return parasite_cure_begin(a->host, err);
}

static int keep(struct dump *d, struct asked *a, struct known *k, struct cr_error *err)
{
	struct program *p = parasite_program(a->host);
	struct task *t = a->task;
	int r = 0;

	(void)k;
	for (size_t i = 0; r == 0 && i < t->threads.nr; i++)
		if (!t->threads.items[i].dead)
			r = thread_image_ask(&t->threads.items[i], err);
	if (r == 0)
		r = tasks_dump(d->ctx, t, p, err);
	if (r == 0)
		r = mm_answer(d->mm, t, p, err);
	if (r == 0)
		r = files_answers(d->files, t, p, err);
	if (r == 0)
		tasks_fill_mm(t, t->mm);
	return r;
}

/* Until the step that was begun in all of them is done: each goes on as soon as its turn comes. */
static int finish(struct asked *a, size_t nr, struct cr_error *err)
{
	bool goes_on = true;

	while (goes_on) {
		goes_on = false;
		for (size_t i = 0; i < nr; i++) {
			int r = parasite_continue(a[i].host, err);

			if (r < 0)
				return cr_within(err, r, "pid %d (%s)", a[i].task->host_pid, a[i].task->comm);
			goes_on |= r == PARASITE_GOES_ON;
		}
	}
	return 0;
}

static int ask_together(struct dump *d, struct asked *a, size_t nr, struct known *k, struct cr_error *err)
{
	static int (*const steps[])(struct dump *, struct asked *, struct known *, struct cr_error *) = {
		infect,
		run,
		take_copy,
		cure,
		keep,
	};

	for (size_t s = 0; s < ARRAY_LEN(steps); s++) {
		int r = 0;

		for (size_t i = 0; i < nr; i++) {
			r = steps[s](d, &a[i], k, err);
			if (r < 0)
				return cr_within(err, r, "pid %d (%s)", a[i].task->host_pid, a[i].task->comm);
		}
		r = finish(a, nr, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int dump_ask(struct dump *d, struct cr_error *err)
{
	struct asked together[TOGETHER] = { 0 };
	struct known known = { 0 };
	size_t nr = 0;
	int r = 0;

	known.aid.leftovers = d->ctx->opts->leftovers;
	xstate_layout_init(&d->layout);
	for (size_t i = 0; r == 0 && i < d->tree->tasks.nr; i++) {
		struct task *t = d->tree->tasks.items[i];

		if (t->state != TASK_DEAD)
			together[nr++].task = t;
		if (nr == TOGETHER || i + 1 == d->tree->tasks.nr) {
			r = ask_together(d, together, nr, &known, err);
			asked_done(together, nr);
			nr = 0;
		}
	}
	if (r < 0 && d->snapshot)
		twin_advise(r, err);
	return r == 0 ? undo_collect(d->ctx, d->tree, d->ipc != NULL, &d->layout, &known.aid, err) : r;
}

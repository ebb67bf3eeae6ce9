/* Walks the kinds of process state; see tasks.h for who calls what and when. */
#include "tasks/tasks.h"

#include "tasks/task-ops.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Upper bounds of what one thread's routine and the questions about the process take. */
#define OPS_PER_THREAD  32
#define OPS_PER_PROCESS (NR_SIGACTIONS + 3 + NR_RLIMITS + 24)
#define OPS_PER_TIMER   2
#define ARENA_SLACK     64 /* alignment, per piece of data */

struct process_state *process_state_of(const struct task *task)
{
	return task->tasks_priv;
}

struct thread_state *thread_state_of(const struct thread *thread)
{
	return thread->priv;
}

static bool thread_asked(const struct thread *th)
{
	return !th->dead && th->priv;
}

static int state_new(struct task *task, struct cr_error *err)
{
	size_t nr = task->threads.nr;
	struct process_state *ps = calloc(1, sizeof(*ps) + nr * sizeof(ps->threads[0]));

	if (!ps)
		return cr_fail(err, -ENOMEM, "state of process %d", (int)task->host_pid);
	task->tasks_priv = ps;
	ps->dumpable = -1;
	for (size_t i = 0; i < nr; i++) {
		struct thread *th = &task->threads.items[i];
		struct thread_state *ts = &ps->threads[i];

		ts->routine = NO_OP;
		for (int q = 0; q < Q_NR; q++)
			ts->op[q] = NO_OP;
		th->priv = ts;
		ts->core.mtype = img_core_entry_march_X86_64;
		ts->core.thread_core = &ts->tc;
		th->core = &ts->core;
	}
	ps->tc.task_state = task->state;
	ps->tc.flags = task->stat.flags;
	ps->threads[0].core.tc = &ps->tc;
	return 0;
}

/*
 * The main thread has exited while others run: its status becomes that of the process when the last of them ends without
 * exit_group(). While the process is stopped, the kernel shows the signal in its place (do_task_stat() in fs/proc/array.c).
 */
static int note_dead_leader(struct task_dump *d, struct cr_error *err)
{
	struct task *task = d->task;

	if (!task->threads.items[0].dead)
		return 0;
	d->ps->tc.exit_code = (uint32_t)task->stat.exit_code;
	if (task->state == TASK_STOPPED &&
	    task_obstacle(d, NULL, "continue it first (SIGCONT)",
			  "stopped after its main thread has exited, whose exit status is not to be seen now") < 0)
		return cr_fail(err, -ENOMEM, "note an obstacle");
	return 0;
}

int tasks_collect(struct cr_context *ctx, struct task *task, struct cr_error *err)
{
	struct task_dump d = { .ctx = ctx, .task = task };
	int r;

	if (task->state == TASK_DEAD || !task->threads.nr)
		return 0;
	r = state_new(task, err);
	if (r < 0)
		return r;
	d.ps = process_state_of(task);
	r = note_dead_leader(&d, err);
	if (r < 0)
		return r;
	for (size_t k = 0; k < nr_task_kinds && r >= 0; k++) {
		const struct task_kind *kind = task_kinds[k];

		if (kind->collect_process)
			r = kind->collect_process(&d, err);
		for (size_t i = 0; kind->collect_thread && i < task->threads.nr && r >= 0; i++) {
			struct thread *th = &task->threads.items[i];

			if (thread_asked(th) || (th->dead && kind->collect_dead))
				r = kind->collect_thread(&d, th, thread_state_of(th), err);
		}
		if (r < 0)
			cr_within(err, r, "%s", kind->name);
	}
	return cr_within(err, r < 0 ? r : 0, "pid %d", (int)task->host_pid);
}

size_t tasks_ask_size(const struct task *task)
{
	const struct process_state *ps = process_state_of(task);
	size_t ops = OPS_PER_THREAD + (ps && ps->rseq_searched ? RSEQ_PLACES : 0);
	size_t per_thread = ops * sizeof(struct abi_op) + sizeof(struct thread_answers) + 7 * ARENA_SLACK +
			    sizeof(struct abi_routine);
	size_t timers = ps && ps->timers_unknown ? TIMER_IDS_TRIED : ps ? ps->timers.nr : 0;

	if (!ps)
		return 0;
	return task->threads.nr * per_thread + OPS_PER_PROCESS * sizeof(struct abi_op) +
	       sizeof(struct process_answers) +
	       timers * (OPS_PER_TIMER * sizeof(struct abi_op) + sizeof(struct timer_answer)) + 8 * ARENA_SLACK;
}

void ask_note(struct asker *a, enum question q, struct abi_op *op)
{
	(void)op;
	if (!a->routine->error)
		a->ts->op[q] = (uint32_t)a->routine->ops.nr - 1;
}

static int ask_thread(struct task *task, struct thread *th, struct program *p, const struct tasks_more *more,
		      struct cr_error *err)
{
	struct routine routine;
	struct asker a = { .program = p,
			   .routine = &routine,
			   .task = task,
			   .thread = th,
			   .ps = process_state_of(task),
			   .ts = thread_state_of(th) };
	int r = routine_begin(p, &routine, err);

	if (r < 0)
		return r;
	a.ts->routine = routine.index;
	a.answers = th->answers = emit_data(p, &routine, NULL, sizeof(struct thread_answers), 8);
	if (th == task->lead) {
		a.process = a.ps->answers = emit_data(p, &routine, NULL, sizeof(struct process_answers), 8);
		for (size_t k = 0; k < nr_task_kinds; k++)
			if (task_kinds[k]->ask_process)
				task_kinds[k]->ask_process(&a);
		if (more && more->ask)
			r = more->ask(more->arg, task, p, &routine, err);
	}
	for (size_t k = 0; k < nr_task_kinds; k++)
		if (task_kinds[k]->ask_thread)
			task_kinds[k]->ask_thread(&a);
	if (r < 0) {
		routine_drop(&routine);
		return r;
	}
	emit(p, &routine, ABI_OP_TRAP, "end of questions", 0, 0, 0, 0, 0, 0, 0);
	r = routine_finish(p, &routine, err);
	return r < 0 ? cr_fail(err, r, "questions to thread %d", (int)th->host_tid) : 0;
}

int tasks_ask(struct cr_context *ctx, struct task *task, struct program *program, const struct tasks_more *more,
	      struct cr_error *err)
{
	(void)ctx;
	for (size_t i = 0; i < task->threads.nr; i++) {
		struct thread *th = &task->threads.items[i];

		if (!thread_asked(th))
			continue;

		int r = ask_thread(task, th, program, more, err);

		if (r < 0)
			return cr_within(err, r, "pid %d", (int)task->host_pid);
	}
	return 0;
}

uint32_t tasks_routine_of(const struct thread *thread)
{
	const struct thread_state *ts = thread_state_of(thread);

	return ts ? ts->routine : NO_OP;
}

static const struct abi_op *op_of(const struct program *p, const struct thread_state *ts, uint32_t index)
{
	const struct abi_routine *r = index == NO_OP || ts->routine == NO_OP ? NULL : program_routine(p, ts->routine);

	if (!r || index >= r->nr_ops)
		return NULL;
	return arena_at(&p->arena, r->ops + (uint64_t)index * sizeof(struct abi_op), sizeof(struct abi_op));
}

int64_t answer_at(const struct task_dump *d, const struct thread_state *ts, uint32_t op)
{
	const struct abi_op *o = op_of(d->program, ts, op);

	return o ? (int64_t)o->arg[0] : -ENODATA;
}

int64_t answer_of(const struct task_dump *d, const struct thread_state *ts, enum question q)
{
	return answer_at(d, ts, ts->op[q]);
}

const struct thread_answers *thread_answers_of(const struct task_dump *d, const struct thread *th)
{
	return th->answers ? arena_at(&d->program->arena, th->answers, sizeof(struct thread_answers)) : NULL;
}

const struct process_answers *process_answers_of(const struct task_dump *d)
{
	return d->ps->answers ? arena_at(&d->program->arena, d->ps->answers, sizeof(struct process_answers)) : NULL;
}

int tasks_dump(struct cr_context *ctx, struct task *task, const struct program *program, struct cr_error *err)
{
	struct task_dump d = { .ctx = ctx, .task = task, .ps = process_state_of(task), .program = program };
	int r = 0;

	if (!d.ps)
		return 0;
	if (!process_answers_of(&d))
		return cr_fail(err, -EINVAL, "pid %d: no answers", (int)task->host_pid);
	for (size_t k = 0; k < nr_task_kinds && r >= 0; k++) {
		const struct task_kind *kind = task_kinds[k];

		if (kind->dump_process)
			r = kind->dump_process(&d, err);
		for (size_t i = 0; kind->dump_thread && i < task->threads.nr && r >= 0; i++) {
			struct thread *th = &task->threads.items[i];

			if (thread_asked(th) && !thread_answers_of(&d, th))
				r = cr_fail(err, -EINVAL, "no answers of thread %d", (int)th->host_tid);
			else if (thread_asked(th))
				r = kind->dump_thread(&d, th, thread_state_of(th), err);
		}
		if (r < 0)
			cr_within(err, r, "%s", kind->name);
	}
	return cr_within(err, r < 0 ? r : 0, "pid %d", (int)task->host_pid);
}

void tasks_fill_mm(const struct task *task, img_mm_entry *ret)
{
	struct process_state *ps = process_state_of(task);

	if (!ps)
		return;
	if (ps->dumpable >= 0) {
		ret->has_dumpable = true;
		ret->dumpable = ps->dumpable;
	}
	ret->has_thp_disabled = true;
	ret->thp_disabled = ps->thp_disabled;
	if (ps->has_mm_ext)
		ret->ext = &ps->mm_ext;
}

uint64_t tasks_clear_tid(const struct thread *thread)
{
	const struct thread_state *ts = thread_state_of(thread);

	return ts ? ts->clear_tid : 0;
}

void tasks_zombie_core(const struct task *task, img_task_ext *ret_ext, img_task_core_entry *ret_tc,
		       img_core_entry *ret_core)
{
	*ret_ext = (img_task_ext){ .has_exit_signal = true, .exit_signal = (uint32_t)task->stat.exit_signal };
	*ret_tc = (img_task_core_entry){ .task_state = TASK_DEAD,
					 .exit_code = (uint32_t)task->exit_code,
					 .comm = (char *)task->comm };
	if (task->stat.exit_signal >= 0 && task->stat.exit_signal != SIGCHLD)
		ret_tc->ext = ret_ext;
	*ret_core = (img_core_entry){ .mtype = img_core_entry_march_X86_64, .tc = ret_tc };
}

void tasks_drop(struct task *task)
{
	struct process_state *ps = process_state_of(task);

	if (!ps)
		return;
	for (size_t i = 0; i < task->threads.nr; i++) {
		task->threads.items[i].core = NULL;
		task->threads.items[i].priv = NULL;
		task->threads.items[i].answers = 0;
	}
	for (size_t k = 0; k < nr_task_kinds; k++)
		if (task_kinds[k]->drop_process)
			task_kinds[k]->drop_process(ps);
	task->tasks_priv = NULL;
	proc_timer_vec_done(&ps->timers);
	pool_done(&ps->pool);
	free(ps);
}

int task_obstacle(struct task_dump *d, const struct thread *th, const char *advice, const char *what_fmt, ...)
{
	char where[32] = "", what[sizeof(((struct obstacle *)0)->what)];
	va_list ap;

	if (th && th->host_tid != d->task->host_pid)
		snprintf(where, sizeof(where), "thread %d", (int)th->host_tid);
	va_start(ap, what_fmt);
	vsnprintf(what, sizeof(what), what_fmt, ap);
	va_end(ap);
	return obstacle_add(&d->ctx->obstacles, d->task->host_pid, d->task->comm, where, advice, "%s", what);
}

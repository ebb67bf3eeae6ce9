/*
 * POSIX timers, timer_create(2). procfs lists them, the process itself tells interval, time left and overrun. The overrun of
 * the last signal can be read but not set, timer_settime() resets it: it is stored for readers of the images.
 *
 * Ids: PR_TIMER_CREATE_RESTORE_IDS (Linux 6.15) lets timer_create() take the id it is given. Without it ids of a new
 * process count up from 0, so timers are made and deleted until the wanted one comes.
 */
#include "tasks/task-ops.h"

#include "base/own.h"
#include "kernel/uapi.h"

#include <errno.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>

#define TIMERS_MAX 65536 /* of one process in an image */

#define THREAD_CPU_CLOCK    (-2) /* how the kernel keeps CLOCK_THREAD_CPUTIME_ID: CPU clock of "the thread that asked" */
#define CPU_CLOCK_PERTHREAD 4
#define CPU_CLOCK_SCHED     2

struct kernel_sigevent {
	uint64_t value;
	int32_t signo, notify, tid;
	uint8_t rest[64 - 20];
};
_Static_assert(sizeof(struct kernel_sigevent) == 64, "SIGEV_MAX_SIZE");

static int timers_collect_process(struct task_dump *d, struct cr_error *err)
{
	int r = proc_timers_read(&d->task->dir, &d->ps->timers, err);

	if (r == -ENOENT) {
		/* before 6.13 the file depends on CONFIG_CHECKPOINT_RESTORE */
		cr_error_clear(err);
		d->ps->timers_unknown = true;
		return 0;
	}
	if (r < 0)
		return r;
	if (d->ps->timers.nr > TIMERS_MAX)
		return task_obstacle(d, NULL, "", "%zu POSIX timers, more than %d", d->ps->timers.nr, TIMERS_MAX);
	return 0;
}

static void timers_ask_process(struct asker *a)
{
	struct process_state *ps = a->ps;
	size_t nr = ps->timers_unknown ? TIMER_IDS_TRIED : ps->timers.nr;

	ask_call(a, Q_TIMER_IDS, "who chooses timer ids", __NR_prctl, PR_TIMER_CREATE_RESTORE_IDS,
		 PR_TIMER_CREATE_RESTORE_IDS_GET, 0, 0, 0);
	if (!nr)
		return;
	ps->timer_answers = emit_data(a->program, a->routine, NULL, nr * sizeof(struct timer_answer), 8);
	ps->timer_gettime_op = (uint32_t)a->routine->ops.nr;
	for (size_t i = 0; i < nr; i++) {
		int id = ps->timers_unknown ? (int)i : ps->timers.items[i].id;

		op_result(emit_call(a->program, a->routine, "time of a timer", __NR_timer_gettime, id,
				    ps->timer_answers + i * sizeof(struct timer_answer)));
	}
	ps->timer_overrun_op = (uint32_t)a->routine->ops.nr;
	for (size_t i = 0; i < ps->timers.nr; i++)
		op_result(emit_call(a->program, a->routine, "overrun of a timer", __NR_timer_getoverrun,
				    ps->timers.items[i].id));
}

/* The list shows whom a timer notifies as the reader's procfs counts; images hold the numbers of the tree's namespace. */
static pid_t ns_tid_of(const struct task *task, pid_t host_tid)
{
	for (size_t i = 0; i < task->threads.nr; i++)
		if (task->threads.items[i].host_tid == host_tid)
			return task->threads.items[i].ns_tid;
	return 0;
}

static int dump_timer(struct task_dump *d, size_t i, img_posix_timer_entry *e, struct cr_error *err)
{
	const struct proc_timer *t = &d->ps->timers.items[i];
	const struct timer_answer *a = arena_at(&d->program->arena, d->ps->timer_answers + i * sizeof(*a), sizeof(*a));
	const struct thread_state *ts = thread_state_of(d->task->lead);
	int64_t r = answer_at(d, ts, d->ps->timer_gettime_op + (uint32_t)i);
	int64_t overrun = answer_at(d, ts, d->ps->timer_overrun_op + (uint32_t)i);

	if (r < 0 || !a)
		return cr_fail(err, a ? (int)r : -EINVAL, "ask for timer %d", t->id);
	*e = (img_posix_timer_entry){
		.it_id = (uint32_t)t->id,
		.clock_id = (uint32_t)t->clock_id,
		.si_signo = (uint32_t)t->signo,
		.it_sigev_notify = (uint32_t)(t->notify | (t->to_thread ? SIGEV_THREAD_ID : 0)),
		.sival_ptr = t->sigev_value,
		.overrun = overrun > 0 ? (uint32_t)overrun : 0,
		.isec = a->interval_sec,
		.insec = a->interval_nsec,
		.vsec = a->value_sec,
		.vnsec = a->value_nsec,
	};
	if (t->to_thread) {
		e->has_notify_thread_id = true;
		e->notify_thread_id = ns_tid_of(d->task, t->pid);
		if (!e->notify_thread_id)
			return task_obstacle(d, NULL, "", "POSIX timer %d notifies a thread that has ended", t->id);
	} else if (t->clock_id == THREAD_CPU_CLOCK && d->task->threads.nr > 1) {
		/* the kernel knows which thread, and does not tell */
		log_warn(&d->ctx->log,
			 "pid %d: timer %d runs on the cpu clock of some thread, continuing as if it were the first",
			 (int)d->task->host_pid, t->id);
	}
	return 0;
}

static int timers_dump_process(struct task_dump *d, struct cr_error *err)
{
	struct process_state *ps = d->ps;
	img_posix_timer_entry *items;

	if (answer_of(d, thread_state_of(d->task->lead), Q_TIMER_IDS) == 1) {
		ps->ext.has_timer_restore_ids = ps->ext.timer_restore_ids = true;
		ps->tc.ext = &ps->ext;
	}
	if (ps->timers_unknown) {
		for (uint32_t i = 0; i < TIMER_IDS_TRIED; i++)
			if (answer_at(d, thread_state_of(d->task->lead), ps->timer_gettime_op + i) >= 0)
				return task_obstacle(d, NULL, "use a kernel with CONFIG_CHECKPOINT_RESTORE",
						     "POSIX timer %u, which this kernel does not list", i);
		return 0;
	}
	items = pool_alloc(&ps->pool, ps->timers.nr * sizeof(*items));
	if (!items)
		return cr_fail(err, -ENOMEM, "POSIX timers");
	/* the kernel lists the newest first */
	for (size_t i = 0; i < ps->timers.nr; i++) {
		int r = dump_timer(d, i, &items[ps->timers.nr - 1 - i], err);

		if (r < 0)
			return r;
	}
	ps->timers_entry.posix.items = items;
	ps->timers_entry.posix.nr = ps->timers.nr;
	return 0;
}

static int check_timer(const img_posix_timer_entry *e, struct cr_error *err)
{
	uint32_t notify = e->it_sigev_notify;

	if (e->it_id > INT32_MAX)
		return cr_refuse(err, -EBADMSG, "timer id %u", e->it_id);
	if ((notify & ~(uint32_t)SIGEV_THREAD_ID) > SIGEV_THREAD)
		return cr_refuse(err, -EBADMSG, "timer %u: notification 0x%x", e->it_id, notify);
	if ((notify & ~(uint32_t)SIGEV_THREAD_ID) != SIGEV_NONE && (e->si_signo < 1 || e->si_signo > NR_SIGNALS))
		return cr_refuse(err, -EBADMSG, "timer %u: signal %u", e->it_id, e->si_signo);
	if (notify & SIGEV_THREAD_ID && (!e->has_notify_thread_id || e->notify_thread_id <= 0))
		return cr_refuse(err, -EBADMSG, "timer %u notifies a thread that is not named", e->it_id);
	if (e->insec >= 1000000000 || e->vnsec >= 1000000000 || e->isec > INT64_MAX || e->vsec > INT64_MAX)
		return cr_refuse(err, -EBADMSG, "timer %u: time is out of range", e->it_id);
	return 0;
}

static int timers_check_process(const img_core_entry *core, struct cr_error *err)
{
	const img_task_timers_entry *t = core->tc->timers;
	size_t nr = t ? t->posix.nr : 0;

	if (nr > TIMERS_MAX)
		return cr_refuse(err, -EBADMSG, "%zu POSIX timers, more than %d", nr, TIMERS_MAX);
	for (size_t i = 0; i < nr; i++) {
		int r = check_timer(&t->posix.items[i], err);

		if (r < 0)
			return r;
	}
	return 0;
}

static int by_id(const void *x, const void *y)
{
	const img_posix_timer_entry *const *a = x, *const *b = y;

	return (*a)->it_id < (*b)->it_id ? -1 : (*a)->it_id > (*b)->it_id;
}

static void plan_create(struct planner *p, const img_posix_timer_entry *e)
{
	struct kernel_sigevent ev = { .value = e->sival_ptr,
				      .signo = (int32_t)e->si_signo,
				      .notify = (int32_t)e->it_sigev_notify,
				      .tid = e->has_notify_thread_id ? e->notify_thread_id : 0 };
	struct timer_answer spec = { e->isec, e->insec, e->vsec, e->vnsec };
	int32_t clock = (int32_t)e->clock_id, id = (int32_t)e->it_id;

	/* "the thread that asked" was that one, as far as one can know; here it is the leader that asks */
	if (clock == THREAD_CPU_CLOCK && e->has_notify_thread_id)
		clock = (int32_t)(~(uint32_t)e->notify_thread_id << 3 | CPU_CLOCK_PERTHREAD | CPU_CLOCK_SCHED);
	plan_call(p, "create a POSIX timer", __NR_timer_create, clock, plan_data(p, &ev, sizeof(ev), 8),
		  plan_data(p, &id, sizeof(id), 4));
	/* setting it by its number proves that it got it */
	plan_call(p, "set a POSIX timer", __NR_timer_settime, id, 0, plan_data(p, &spec, sizeof(spec), 8), 0);
}

static void plan_choice_of_ids(struct planner *p, bool own, const char *what)
{
	plan_call(p, what, __NR_prctl, PR_TIMER_CREATE_RESTORE_IDS,
		  own ? PR_TIMER_CREATE_RESTORE_IDS_ON : PR_TIMER_CREATE_RESTORE_IDS_OFF, 0, 0, 0);
}

static int plan_timers(struct planner *p, bool given)
{
	const img_task_timers_entry *t = p->core->tc->timers;
	size_t nr = t->posix.nr;

	autofree const img_posix_timer_entry **sorted = calloc(nr, sizeof(*sorted));

	if (!sorted)
		return cr_fail(p->err, -ENOMEM, "POSIX timers");
	for (size_t i = 0; i < nr; i++)
		sorted[i] = &t->posix.items[i];
	qsort(sorted, nr, sizeof(*sorted), by_id);
	if (!given && sorted[nr - 1]->it_id > TIMER_IDS_COUNTED) {
		cr_refuse(p->err, -EOPNOTSUPP, "timer id %u cannot be reached by counting", sorted[nr - 1]->it_id);
		cr_advise(p->err, "a kernel with PR_TIMER_CREATE_RESTORE_IDS (6.15 and later) can give it");
		return -EOPNOTSUPP;
	}
	if (given)
		plan_choice_of_ids(p, true, "choose timer ids");

	uint32_t next = 0;
	struct kernel_sigevent none = { .notify = SIGEV_NONE };
	uint64_t ev = given ? 0 : plan_data(p, &none, sizeof(none), 8), scratch = given ? 0 : plan_data(p, NULL, 8, 8);

	for (size_t i = 0; i < nr; i++) {
		if (i && sorted[i]->it_id == sorted[i - 1]->it_id)
			return cr_refuse(p->err, -EBADMSG, "two timers with id %u", sorted[i]->it_id);
		for (; !given && next < sorted[i]->it_id; next++) {
			plan_call(p, "count timer ids", __NR_timer_create, CLOCK_MONOTONIC, ev, scratch);
			plan_call(p, "count timer ids", __NR_timer_delete, next);
		}
		plan_create(p, sorted[i]);
		next = sorted[i]->it_id + 1;
	}
	return 0;
}

static int timers_plan_process(struct planner *p)
{
	const img_task_core_entry *tc = p->core->tc;
	bool given = p->t->restorer->timer_restore_ids, wanted = tc->ext && tc->ext->timer_restore_ids;
	int r = 0;

	if (p->phase != TASK_PHASE_MAIN)
		return 0;
	if (tc->timers && tc->timers->posix.nr) {
		r = plan_timers(p, given);
		if (r == 0 && given && !wanted)
			plan_choice_of_ids(p, false, "choose timer ids no more");
	}
	if (r == 0 && wanted && !given)
		log_warn(&p->t->ctx->log, "pid %d: this kernel does not let it choose timer ids, continuing without",
			 (int)p->t->pid);
	else if (r == 0 && wanted)
		plan_choice_of_ids(p, true, "let it choose timer ids");
	return r;
}

const struct task_kind posix_timers_kind = {
	.name = "POSIX timers",
	.collect_process = timers_collect_process,
	.ask_process = timers_ask_process,
	.dump_process = timers_dump_process,
	.check_process = timers_check_process,
	.plan_process = timers_plan_process,
};

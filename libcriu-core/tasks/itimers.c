/* The three interval timers of setitimer(2). Their time is what is left; it goes on when the process does. */
#include "tasks/task-ops.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>

static const int which[3] = { ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF };

static void itimers_ask_process(struct asker *a)
{
	for (size_t i = 0; i < 3; i++)
		emit_call(a->program, a->routine, "interval timer", __NR_getitimer, which[i],
			  a->process + offsetof(struct process_answers, itimer) +
				  i * sizeof(((struct process_answers *)0)->itimer[0]));
}

static int itimers_dump_process(struct task_dump *d, struct cr_error *err)
{
	const struct process_answers *a = process_answers_of(d);
	struct process_state *ps = d->ps;

	(void)err;
	for (size_t i = 0; i < 3; i++)
		ps->itimer[i] = (img_itimer_entry){ .isec = a->itimer[i][0],
						    .iusec = a->itimer[i][1],
						    .vsec = a->itimer[i][2],
						    .vusec = a->itimer[i][3] };
	ps->timers_entry.real = &ps->itimer[0];
	ps->timers_entry.virt = &ps->itimer[1];
	ps->timers_entry.prof = &ps->itimer[2];
	ps->tc.timers = &ps->timers_entry;
	return 0;
}

static int check_one(const img_itimer_entry *e, const char *name, struct cr_error *err)
{
	if (!e)
		return cr_refuse(err, -EBADMSG, "%s timer is missing", name);
	if (e->iusec >= 1000000 || e->vusec >= 1000000 || e->isec > INT64_MAX || e->vsec > INT64_MAX)
		return cr_refuse(err, -EBADMSG, "%s timer is out of range", name);
	return 0;
}

static int itimers_check_process(const img_core_entry *core, struct cr_error *err)
{
	const img_task_timers_entry *t = core->tc->timers;
	int r;

	if (!t)
		return 0;
	if ((r = check_one(t->real, "real", err)) < 0 || (r = check_one(t->virt, "virtual", err)) < 0)
		return r;
	return check_one(t->prof, "profiling", err);
}

static bool alarm_waits(const img_core_entry *core)
{
	const img_signal_queue_entry *q = core->tc->signals_s;

	for (size_t i = 0; q && i < q->signals.nr; i++) {
		siginfo_t si;

		memcpy(&si, q->signals.items[i].siginfo.data, sizeof(si));
		if (si.si_signo == SIGALRM)
			return true;
	}
	return false;
}

/*
 * The real timer starts anew when its signal is taken (dequeue_signal() in kernel/signal.c): until then nothing is left of
 * its time, and set to that it would be off for good. The time of the signal that waits is not known, so the next one
 * comes a whole interval from now. Without such a signal it has stopped already: nobody took one that was ignored.
 */
static bool is_between(const img_core_entry *core, int kind, const img_itimer_entry *e)
{
	return kind == ITIMER_REAL && !e->vsec && !e->vusec && (e->isec || e->iusec) && alarm_waits(core);
}

static int itimers_plan_process(struct planner *p)
{
	const img_task_timers_entry *t = p->core->tc->timers;

	if (p->phase != TASK_PHASE_MAIN || !t)
		return 0;

	const img_itimer_entry *e[3] = { t->real, t->virt, t->prof };

	for (size_t i = 0; i < 3; i++) {
		uint64_t v[4] = { e[i]->isec, e[i]->iusec, e[i]->vsec, e[i]->vusec };

		if (is_between(p->core, which[i], e[i])) {
			v[2] = v[0];
			v[3] = v[1];
		}
		/* a new process has none running: fork() does not inherit them */
		if (v[0] | v[1] | v[2] | v[3])
			plan_call(p, "set an interval timer", __NR_setitimer, which[i], plan_data(p, v, sizeof(v), 8),
				  0);
	}
	return 0;
}

const struct task_kind itimers_kind = {
	.name = "interval timers",
	.ask_process = itimers_ask_process,
	.dump_process = itimers_dump_process,
	.check_process = itimers_check_process,
	.plan_process = itimers_plan_process,
};

/*
 * Resource limits. The process reads its own: prlimit(2) on another user's process wants CAP_SYS_RESOURCE. A restore may
 * lower anything; a hard limit above the restorer's own needs that capability, and without it the highest possible is
 * set and a warning names the limit.
 */
#include "tasks/task-ops.h"

#include <errno.h>
#include <sys/resource.h>
#include <sys/syscall.h>

/* By RLIMIT_*: what a warning says */
static const char *const too_high[NR_RLIMITS] = {
	"hard limit of cpu time is lower than it was, continuing with the highest possible",
	"hard limit of file size is lower than it was, continuing with the highest possible",
	"hard limit of data size is lower than it was, continuing with the highest possible",
	"hard limit of stack size is lower than it was, continuing with the highest possible",
	"hard limit of core size is lower than it was, continuing with the highest possible",
	"hard limit of resident set is lower than it was, continuing with the highest possible",
	"hard limit of processes is lower than it was, continuing with the highest possible",
	"hard limit of open files is lower than it was, continuing with the highest possible",
	"hard limit of locked memory is lower than it was, continuing with the highest possible",
	"hard limit of address space is lower than it was, continuing with the highest possible",
	"hard limit of file locks is lower than it was, continuing with the highest possible",
	"hard limit of pending signals is lower than it was, continuing with the highest possible",
	"hard limit of message queues is lower than it was, continuing with the highest possible",
	"hard limit of nice is lower than it was, continuing with the highest possible",
	"hard limit of real-time priority is lower than it was, continuing with the highest possible",
	"hard limit of real-time timeout is lower than it was, continuing with the highest possible",
};

static void rlimits_ask_process(struct asker *a)
{
	for (size_t i = 0; i < NR_RLIMITS; i++)
		emit_call(a->program, a->routine, "resource limit", __NR_prlimit64, 0, i, 0,
			  a->process + offsetof(struct process_answers, rlimit) + i * 16);
}

static int rlimits_dump_process(struct task_dump *d, struct cr_error *err)
{
	const struct process_answers *a = process_answers_of(d);
	struct process_state *ps = d->ps;

	(void)err;
	for (size_t i = 0; i < NR_RLIMITS; i++)
		ps->rlimits[i] = (img_rlimit_entry){ .cur = a->rlimit[i][0], .max = a->rlimit[i][1] };
	ps->rlimits_entry.rlimits.items = ps->rlimits;
	ps->rlimits_entry.rlimits.nr = NR_RLIMITS;
	ps->tc.rlimits = &ps->rlimits_entry;
	return 0;
}

static int rlimits_check_process(const img_core_entry *core, struct cr_error *err)
{
	const img_task_rlimits_entry *e = core->tc->rlimits;

	if (!e)
		return 0;
	if (e->rlimits.nr > NR_RLIMITS)
		return cr_refuse(err, -EBADMSG, "%zu resource limits, more than %d", e->rlimits.nr, NR_RLIMITS);
	for (size_t i = 0; i < e->rlimits.nr; i++)
		if (e->rlimits.items[i].cur > e->rlimits.items[i].max)
			return cr_refuse(err, -EBADMSG, "limit %zu: soft limit above the hard one", i);
	return 0;
}

static int rlimits_plan_process(struct planner *p)
{
	const img_task_rlimits_entry *e = p->core->tc->rlimits;

	if (p->phase != TASK_PHASE_LATE || !e)
		return 0;
	for (size_t i = 0; i < e->rlimits.nr; i++) {
		uint64_t have = p->t->restorer->rlim_max[i];
		uint64_t want[2] = { e->rlimits.items[i].cur, e->rlimits.items[i].max };
		uint64_t can[2] = { want[0] < have ? want[0] : have, want[1] < have ? want[1] : have };

		/* first what is surely allowed, then the rest: the result is the highest possible either way */
		plan_call(p, "set a resource limit", __NR_prlimit64, 0, i, plan_data(p, can, sizeof(can), 8), 0);
		if (want[1] <= have)
			continue;

		int r = plan_note(p,
				  plan_call(p, "raise a resource limit", __NR_prlimit64, 0, i,
					    plan_data(p, want, sizeof(want), 8), 0),
				  too_high[i]);

		if (r < 0)
			return r;
	}
	return 0;
}

const struct task_kind rlimits_kind = {
	.name = "resource limits",
	.ask_process = rlimits_ask_process,
	.dump_process = rlimits_dump_process,
	.check_process = rlimits_check_process,
	.plan_process = rlimits_plan_process,
};

/*
 * Alternate signal stacks. Only a thread itself can ask, and only while it is not on that stack can it set it: both
 * happen on a stack of ours. SS_ONSTACK in the answer would speak of that stack, so it is not kept: a thread is on its
 * alternate stack by where its stack pointer is, nothing else. With SS_AUTODISARM the setting is in the signal frame
 * while the handler runs, and comes back from there.
 */
#include "tasks/task-ops.h"

#include <errno.h>
#include <sys/syscall.h>

#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1U << 31)
#endif

struct kernel_stack {
	uint64_t sp;
	uint32_t flags, pad;
	uint64_t size;
};
_Static_assert(offsetof(struct thread_answers, sas_size) - offsetof(struct thread_answers, sas_sp) ==
		       offsetof(struct kernel_stack, size),
	       "the answer is a stack_t");

static void sas_ask_thread(struct asker *a)
{
	ask_call(a, Q_SIGALTSTACK, "alternate signal stack", __NR_sigaltstack, 0,
		 a->answers + offsetof(struct thread_answers, sas_sp));
}

static int sas_dump_thread(struct task_dump *d, struct thread *th, struct thread_state *ts, struct cr_error *err)
{
	const struct thread_answers *a = thread_answers_of(d, th);
	int64_t r = answer_of(d, ts, Q_SIGALTSTACK);

	if (r < 0)
		return cr_fail(err, (int)r, "ask for the alternate signal stack");
	ts->sas = (img_thread_sas_entry){ .ss_sp = a->sas_sp,
					  .ss_size = a->sas_size,
					  .ss_flags = a->sas_flags & ~(uint32_t)SS_ONSTACK };
	ts->tc.sas = &ts->sas;
	return 0;
}

static int sas_check_thread(const img_core_entry *core, struct cr_error *err)
{
	const img_thread_sas_entry *s = core->thread_core->sas;

	if (s && s->ss_flags & ~(SS_AUTODISARM | SS_DISABLE | SS_ONSTACK))
		return cr_refuse(err, -EBADMSG, "flags 0x%x of the alternate signal stack", s->ss_flags);
	return 0;
}

static int sas_plan_thread(struct planner *p)
{
	const img_thread_sas_entry *s = p->core->thread_core->sas;

	if (p->phase != TASK_PHASE_MAIN)
		return 0;

	struct kernel_stack st = { .flags = SS_DISABLE };

	if (s && !(s->ss_flags & SS_DISABLE))
		st = (struct kernel_stack){ .sp = s->ss_sp,
					    .size = s->ss_size,
					    .flags = s->ss_flags & ~(uint32_t)SS_ONSTACK };
	plan_call(p, "set the alternate signal stack", __NR_sigaltstack, plan_data(p, &st, sizeof(st), 8), 0);
	return 0;
}

const struct task_kind sigaltstack_kind = {
	.name = "alternate signal stack",
	.ask_thread = sas_ask_thread,
	.dump_thread = sas_dump_thread,
	.check_thread = sas_check_thread,
	.plan_thread = sas_plan_thread,
};

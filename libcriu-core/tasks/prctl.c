/* What is left of prctl(2): subreaper, timer slack, parent death signal (set with the credentials), memory failures, I/O flusher. */
#include "tasks/task-ops.h"

#include "kernel/uapi.h"

#include <errno.h>
#include <linux/prctl.h>
#include <sys/syscall.h>

#define TIMER_SLACK_USUAL 50000 /* nanoseconds; init_task.c */

static void prctl_ask_process(struct asker *a)
{
	ask_call(a, Q_SUBREAPER, "child subreaper", __NR_prctl, PR_GET_CHILD_SUBREAPER,
		 a->process + offsetof(struct process_answers, subreaper), 0, 0, 0);
}

static void prctl_ask_thread(struct asker *a)
{
	ask_call(a, Q_TIMERSLACK, "timer slack", __NR_prctl, PR_GET_TIMERSLACK, 0, 0, 0, 0);
	ask_call(a, Q_PDEATHSIG, "parent death signal", __NR_prctl, PR_GET_PDEATHSIG,
		 a->answers + offsetof(struct thread_answers, pdeath_sig), 0, 0, 0);
	ask_call(a, Q_IO_FLUSHER, "I/O flusher", __NR_prctl, PR_GET_IO_FLUSHER, 0, 0, 0, 0);
	ask_call(a, Q_MCE_KILL, "memory failure policy", __NR_prctl, PR_MCE_KILL_GET, 0, 0, 0, 0);
}

static int prctl_dump_process(struct task_dump *d, struct cr_error *err)
{
	int64_t r = answer_of(d, thread_state_of(d->task->lead), Q_SUBREAPER);

	if (r < 0)
		return cr_fail(err, (int)r, "ask for child subreaper");
	d->ps->tc.has_child_subreaper = true;
	d->ps->tc.child_subreaper = process_answers_of(d)->subreaper != 0;
	return 0;
}

static int prctl_dump_thread(struct task_dump *d, struct thread *th, struct thread_state *ts, struct cr_error *err)
{
	int64_t slack = answer_of(d, ts, Q_TIMERSLACK), mce = answer_of(d, ts, Q_MCE_KILL);

	if (answer_of(d, ts, Q_PDEATHSIG) < 0)
		return cr_fail(err, (int)answer_of(d, ts, Q_PDEATHSIG), "ask for the parent death signal");
	if (thread_answers_of(d, th)->pdeath_sig > 0) {
		ts->tc.has_pdeath_sig = true;
		ts->tc.pdeath_sig = (uint32_t)thread_answers_of(d, th)->pdeath_sig;
	}
	/* 0: real-time threads have none; the rest of a 64-bit number does not survive the int that prctl() returns in */
	if (slack > 0 && slack != TIMER_SLACK_USUAL) {
		ts->ext.has_timer_slack_ns = true;
		ts->ext.timer_slack_ns = (uint64_t)slack;
	}
	/* only who may set it can ask */
	if (answer_of(d, ts, Q_IO_FLUSHER) == 1)
		ts->ext.has_io_flusher = ts->ext.io_flusher = true;
	if (mce >= 0 && mce != PR_MCE_KILL_DEFAULT) {
		ts->ext.has_mce_kill = true;
		ts->ext.mce_kill = (uint32_t)mce;
	}
	ts->tc.ext = &ts->ext;
	return 0;
}

static int prctl_check_thread(const img_core_entry *core, struct cr_error *err)
{
	const img_thread_core_entry *tc = core->thread_core;

	if (tc->has_pdeath_sig && tc->pdeath_sig > NR_SIGNALS)
		return cr_refuse(err, -EBADMSG, "parent death signal %u", tc->pdeath_sig);
	if (tc->ext && tc->ext->has_mce_kill && tc->ext->mce_kill > PR_MCE_KILL_DEFAULT)
		return cr_refuse(err, -EBADMSG, "memory failure policy %u", tc->ext->mce_kill);
	return 0;
}

static int prctl_plan_thread(struct planner *p)
{
	const img_thread_ext *x = p->core->thread_core->ext;
	const struct restorer *own = p->t->restorer;
	uint64_t slack = x && x->has_timer_slack_ns && x->timer_slack_ns ? x->timer_slack_ns : TIMER_SLACK_USUAL;
	int r = 0;

	if (p->phase != TASK_PHASE_MAIN)
		return 0;
	plan_call(p, "set timer slack", __NR_prctl, PR_SET_TIMERSLACK, slack, 0, 0, 0);
	if (own->io_flusher && !(x && x->has_io_flusher && x->io_flusher))
		op_may_fail(plan_call(p, "be no I/O flusher", __NR_prctl, PR_SET_IO_FLUSHER, 0, 0, 0, 0));
	if (own->mce_kill >= 0 && own->mce_kill != PR_MCE_KILL_DEFAULT && !(x && x->has_mce_kill))
		op_may_fail(plan_call(p, "have the usual memory failure policy", __NR_prctl, PR_MCE_KILL,
				      PR_MCE_KILL_CLEAR, 0, 0, 0));
	if (x && x->has_io_flusher && x->io_flusher)
		r = plan_note(p, plan_call(p, "set I/O flusher", __NR_prctl, PR_SET_IO_FLUSHER, 1, 0, 0, 0),
			      "the thread cannot be made an I/O flusher, continuing without");
	if (r >= 0 && x && x->has_mce_kill)
		r = plan_note(p,
			      plan_call(p, "set memory failure policy", __NR_prctl, PR_MCE_KILL, PR_MCE_KILL_SET,
					x->mce_kill, 0, 0),
			      "the policy for memory failures cannot be set, continuing with the default");
	return r;
}

const struct task_kind prctl_kind = {
	.name = "settings",
	.ask_process = prctl_ask_process,
	.ask_thread = prctl_ask_thread,
	.dump_process = prctl_dump_process,
	.dump_thread = prctl_dump_thread,
	.check_thread = prctl_check_thread,
	.plan_thread = prctl_plan_thread,
};

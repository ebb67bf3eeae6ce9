/*
 * Signals: actions, blocked masks, and what is queued to the process and to each thread.
 *
 * Masks and queues are read through ptrace (PTRACE_PEEKSIGINFO, Linux 3.10), actions by the process itself. A restore sets
 * actions while everything is blocked, then queues: setting an action to "ignore" would throw away what is queued, and
 * setting SIGCHLD to its default throws away those that helpers and zombies of the restore have caused.
 */
#include "tasks/task-ops.h"

#include "infect/restarted.h"
#include "infect/tracee.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>

#define SIGINFO_SIZE  128
#define SIGINFO_BATCH 32
/* RLIMIT_SIGPENDING bounds the queue of a user; more than this would not fit a program either */
#define QUEUE_MAX    65536
#define MASK_OF(sig) (UINT64_C(1) << ((sig)-1))
#define MASK_NEVER   (MASK_OF(SIGKILL) | MASK_OF(SIGSTOP))

/* Of SI_TIMER: si_sys_private, by which kernels before 6.13 find the timer to restart. Means nothing in a new process. */
#define SI_SYS_PRIVATE_OFFSET 32

static int next_signal(int sig)
{
	do
		sig++;
	while (sig == SIGKILL || sig == SIGSTOP);
	return sig;
}

/*
 * A standard signal is pending without an entry in the queue if there was no room for one: sent by tgkill() or sigqueue()
 * when RLIMIT_SIGPENDING is used up. It is delivered as one from nobody; __send_signal_locked() and collect_signal() in
 * kernel/signal.c. Adds to the @n that are queued the rest of @pending. Return: how many there are now.
 */
static size_t add_unqueued(siginfo_t *all, size_t n, uint64_t pending)
{
	for (size_t i = 0; i < n; i++)
		pending &= ~MASK_OF(all[i].si_signo);
	pending &= ~MASK_NEVER;
	for (int sig = 1; pending; sig++, pending >>= 1)
		if (pending & 1)
			all[n++] = (siginfo_t){ .si_signo = sig, .si_code = SI_USER };
	return n;
}

/* @pending: those that are waiting, by number */
static int collect_queue(struct task_dump *d, struct thread *th, bool shared, uint64_t pending,
			 img_signal_queue_entry *q, struct cr_error *err)
{
	siginfo_t batch[SIGINFO_BATCH + NR_SIGNALS];
	siginfo_t *all;
	ssize_t n = tracee_signals(th->tracee, shared, batch, SIGINFO_BATCH, err);
	size_t room = SIGINFO_BATCH;

	if (n < 0 || (n == 0 && !pending))
		return (int)n;
	for (all = batch; (size_t)n == room; room *= 4) {
		if (room > QUEUE_MAX)
			return task_obstacle(d, th, "", "more than %d queued signals", QUEUE_MAX) < 0 ? -ENOMEM : 0;
		all = pool_alloc(&d->ps->pool, (room * 4 + NR_SIGNALS) * sizeof(*all));
		if (!all)
			return cr_fail(err, -ENOMEM, "queued signals");
		n = tracee_signals(th->tracee, shared, all, room * 4, err);
		if (n < 0)
			return (int)n;
	}
	n = (ssize_t)add_unqueued(all, (size_t)n, pending);

	q->signals.items = pool_alloc(&d->ps->pool, (size_t)n * sizeof(*q->signals.items));
	char *bytes = pool_alloc(&d->ps->pool, (size_t)n * SIGINFO_SIZE);

	if (!q->signals.items || !bytes)
		return cr_fail(err, -ENOMEM, "queued signals");
	for (ssize_t i = 0; i < n; i++) {
		memcpy(bytes + i * SIGINFO_SIZE, &all[i], SIGINFO_SIZE);
		q->signals.items[i].siginfo =
			(struct proto_bytes){ .data = (uint8_t *)bytes + i * SIGINFO_SIZE, .len = SIGINFO_SIZE };
	}
	q->signals.nr = (size_t)n;
	return 0;
}
_Static_assert(sizeof(siginfo_t) == SIGINFO_SIZE, "images hold the kernel's structure");

static int signals_collect_process(struct task_dump *d, struct cr_error *err)
{
	d->ps->tc.signals_s = &d->ps->signals_s;
	if (d->task->state == TASK_STOPPED) {
		d->ps->tc.has_stop_signo = true;
		d->ps->tc.stop_signo = (uint32_t)d->task->stop_signo;
	}
	return d->task->lead->tracee
		       ? collect_queue(d, d->task->lead, true, d->task->status.shd_pnd, &d->ps->signals_s, err)
		       : 0;
}

static int signals_collect_thread(struct task_dump *d, struct thread *th, struct thread_state *ts, struct cr_error *err)
{
	int r;

	ts->tc.signals_p = &ts->signals_p;
	if (!th->tracee)
		return 0;
	r = tracee_settle(th->tracee, err);
	if (r >= 0)
		r = restarted_find(d->task, th, err);
	if (r < 0)
		return r;
	if (r == 1)
		log_warn(&d->ctx->log,
			 "thread %d: in which call it was stopped before cannot be told, continuing as if by a signal",
			 (int)th->host_tid);
	if (ts->core.tc) {
		ts->core.tc->blk_sigset = th->tracee->mask;
	} else {
		ts->tc.has_blk_sigset = true;
		ts->tc.blk_sigset = th->tracee->mask;
	}
	/* status says whether there is anything: most queues are empty, which saves the call */
	return th->status.sig_pnd ? collect_queue(d, th, false, th->status.sig_pnd, &ts->signals_p, err) : 0;
}

static void signals_ask_process(struct asker *a)
{
	int sig = 0;

	for (size_t i = 0; i < NR_SIGACTIONS; i++) {
		sig = next_signal(sig);
		emit_call(a->program, a->routine, "signal action", __NR_rt_sigaction, sig, 0,
			  a->process + offsetof(struct process_answers, act) + i * sizeof(struct kernel_sigaction),
			  sizeof(uint64_t));
	}
}

/*
 * Timers go on while a tree is stopped. One that goes off between the look at the queues and the moment at which the
 * process is asked for its timers would be in neither. So the queues are looked at once more, for signals of timers that
 * had gone off by then. One that did so even later is stored as still to come.
 */
static bool had_gone_off(const struct task_dump *d, const siginfo_t *si)
{
	const struct process_state *ps = d->ps;

	if (si->si_signo == SIGALRM && si->si_code == SI_KERNEL)
		return !process_answers_of(d)->itimer[0][2] && !process_answers_of(d)->itimer[0][3];
	if (si->si_code != SI_TIMER)
		return false;
	for (size_t i = 0; i < ps->timers.nr; i++) {
		const struct timer_answer *a =
			arena_at(&d->program->arena, ps->timer_answers + i * sizeof(*a), sizeof(*a));

		/* one with an interval runs on, whether its signal waits or not */
		if (ps->timers.items[i].id == si->si_timerid)
			return a && ((!a->value_sec && !a->value_nsec) || a->interval_sec || a->interval_nsec);
	}
	return false;
}

static bool is_queued(const img_signal_queue_entry *q, const siginfo_t *si)
{
	for (size_t i = 0; i < q->signals.nr; i++) {
		siginfo_t other;

		memcpy(&other, q->signals.items[i].siginfo.data, sizeof(other));
		if (other.si_signo == si->si_signo && other.si_code == si->si_code &&
		    (si->si_code != SI_TIMER || other.si_timerid == si->si_timerid))
			return true;
	}
	return false;
}

static int catch_up(struct task_dump *d, struct thread *th, bool shared, img_signal_queue_entry *q,
		    struct cr_error *err)
{
	img_signal_queue_entry now = { 0 }, all = { 0 };
	int r = collect_queue(d, th, shared, 0, &now, err);

	if (r < 0 || !now.signals.nr)
		return r;
	all.signals.items = pool_alloc(&d->ps->pool, (q->signals.nr + now.signals.nr) * sizeof(*all.signals.items));
	if (!all.signals.items)
		return cr_fail(err, -ENOMEM, "queued signals");
	for (size_t i = 0; i < q->signals.nr; i++)
		all.signals.items[all.signals.nr++] = q->signals.items[i];
	for (size_t i = 0; i < now.signals.nr; i++) {
		siginfo_t si;

		memcpy(&si, now.signals.items[i].siginfo.data, sizeof(si));
		/* in this order: queues may be very long, and few of what is in there come from timers */
		if (had_gone_off(d, &si) && !is_queued(q, &si))
			all.signals.items[all.signals.nr++] = now.signals.items[i];
	}
	*q = all;
	return 0;
}

/* Queues of threads have signals of timers only if one was made for that. */
static int signals_dump_thread(struct task_dump *d, struct thread *th, struct thread_state *ts, struct cr_error *err)
{
	bool to_thread = false;

	for (size_t i = 0; i < d->ps->timers.nr; i++)
		to_thread |= d->ps->timers.items[i].to_thread;
	return to_thread && th->tracee ? catch_up(d, th, false, &ts->signals_p, err) : 0;
}

static int signals_dump_process(struct task_dump *d, struct cr_error *err)
{
	const struct process_answers *a = process_answers_of(d);

	for (size_t i = 0; i < NR_SIGACTIONS; i++)
		d->ps->acts[i] = (img_sa_entry){ .sigaction = a->act[i].handler,
						 .flags = a->act[i].flags,
						 .mask = a->act[i].mask,
						 .restorer = a->act[i].restorer,
						 .has_compat_sigaction = true };
	d->ps->tc.sigactions.items = d->ps->acts;
	d->ps->tc.sigactions.nr = NR_SIGACTIONS;
	return d->task->lead->tracee ? catch_up(d, d->task->lead, true, &d->ps->signals_s, err) : 0;
}

bool tasks_default_action(const img_task_core_entry *tc, int signo)
{
	int sig = 0;

	for (size_t i = 0; i < tc->sigactions.nr; i++) {
		sig = next_signal(sig);
		if (sig == signo)
			return tc->sigactions.items[i].sigaction == 0;
	}
	return true;
}

static int check_queue(const img_signal_queue_entry *q, struct cr_error *err)
{
	if (!q)
		return 0;
	if (q->signals.nr > QUEUE_MAX)
		return cr_refuse(err, -EBADMSG, "%zu queued signals, more than %d", q->signals.nr, QUEUE_MAX);
	for (size_t i = 0; i < q->signals.nr; i++) {
		const struct proto_bytes *b = &q->signals.items[i].siginfo;
		int32_t signo;

		if (!b->data || b->len != SIGINFO_SIZE)
			return cr_refuse(err, -EBADMSG, "queued signal %zu has %zu bytes instead of %d", i, b->len,
					 SIGINFO_SIZE);
		memcpy(&signo, b->data, sizeof(signo));
		if (signo < 1 || signo > NR_SIGNALS)
			return cr_refuse(err, -EBADMSG, "queued signal %zu has number %d", i, (int)signo);
	}
	return 0;
}

static bool stops(uint32_t signo)
{
	return signo == SIGSTOP || signo == SIGTSTP || signo == SIGTTIN || signo == SIGTTOU;
}

static int signals_check_process(const img_core_entry *core, struct cr_error *err)
{
	const img_task_core_entry *tc = core->tc;

	if (tc->sigactions.nr != NR_SIGACTIONS)
		return cr_refuse(err, -EBADMSG, "%zu signal actions instead of %d", tc->sigactions.nr, NR_SIGACTIONS);
	for (size_t i = 0; i < NR_SIGACTIONS; i++)
		if (tc->sigactions.items[i].has_compat_sigaction && tc->sigactions.items[i].compat_sigaction)
			return cr_refuse(err, -EOPNOTSUPP, "signal actions of a 32-bit process");
	if (tc->task_state == TASK_STOPPED && tc->has_stop_signo && !stops(tc->stop_signo))
		return cr_refuse(err, -EBADMSG, "stopped by signal %u", tc->stop_signo);
	return check_queue(tc->signals_s, err);
}

static int signals_check_thread(const img_core_entry *core, struct cr_error *err)
{
	return check_queue(core->thread_core->signals_p, err);
}

static void plan_actions(struct planner *p)
{
	const img_task_core_entry *tc = p->core->tc;
	struct kernel_sigaction act[NR_SIGACTIONS], dfl = { 0 };
	int sig = 0;

	/* what the restore itself has caused is thrown away: SIGCHLD is ignored by default */
	plan_call(p, "drop own SIGCHLD", __NR_rt_sigaction, SIGCHLD, plan_data(p, &dfl, sizeof(dfl), 8), 0,
		  sizeof(uint64_t));
	for (size_t i = 0; i < NR_SIGACTIONS; i++) {
		const img_sa_entry *e = &tc->sigactions.items[i];

		act[i] = (struct kernel_sigaction){ e->sigaction, e->flags, e->restorer, e->mask & ~MASK_NEVER };
	}

	uint64_t data = plan_data(p, act, sizeof(act), 8);

	for (size_t i = 0; i < NR_SIGACTIONS; i++) {
		sig = next_signal(sig);
		plan_call(p, "set a signal action", __NR_rt_sigaction, sig, data + i * sizeof(act[0]), 0,
			  sizeof(uint64_t));
	}
}

/*
 * A task may send itself any siginfo, also one that says it comes from the kernel: rt_sigqueueinfo() and
 * rt_tgsigqueueinfo() look at si_code only if the target is somebody else (kernel/signal.c, 2.6.39 and later).
 */
static void plan_queue(struct planner *p, const img_signal_queue_entry *q, bool shared)
{
	for (size_t i = 0; q && i < q->signals.nr; i++) {
		union {
			siginfo_t si;
			uint8_t bytes[SIGINFO_SIZE];
		} u;

		memcpy(&u.si, q->signals.items[i].siginfo.data, SIGINFO_SIZE);
		/*
		 * A queued SIGSTOP would stop the task here and now: it is a signal that cannot be blocked, so being queued it
		 * was about to act; leave that to the state of the task. SIGKILL never waits in a queue that one can see.
		 */
		if (u.si.si_signo == SIGSTOP || u.si.si_signo == SIGKILL) {
			log_warn(&p->t->ctx->log, "pid %d: queued signal %d cannot wait, continuing without it",
				 (int)p->t->pid, u.si.si_signo);
			continue;
		}
		if (u.si.si_code == SI_TIMER)
			memset(u.bytes + SI_SYS_PRIVATE_OFFSET, 0, sizeof(int32_t));

		uint64_t info = plan_data(p, &u, SIGINFO_SIZE, 8);

		if (shared)
			plan_call(p, "queue a signal to the process", __NR_rt_sigqueueinfo, p->t->pid, u.si.si_signo,
				  info);
		else
			plan_call(p, "queue a signal to the thread", __NR_rt_tgsigqueueinfo, p->t->pid, p->tid,
				  u.si.si_signo, info);
	}
}

static int signals_plan_process(struct planner *p)
{
	if (p->phase != TASK_PHASE_MAIN)
		return 0;
	plan_actions(p);
	plan_queue(p, p->core->tc->signals_s, true);
	return 0;
}

static int signals_plan_thread(struct planner *p)
{
	if (p->phase == TASK_PHASE_MAIN)
		plan_queue(p, p->core->thread_core->signals_p, false);
	return 0;
}

const struct task_kind signals_kind = {
	.name = "signals",
	.collect_process = signals_collect_process,
	.collect_thread = signals_collect_thread,
	.ask_process = signals_ask_process,
	.dump_process = signals_dump_process,
	.dump_thread = signals_dump_thread,
	.check_process = signals_check_process,
	.check_thread = signals_check_thread,
	.plan_process = signals_plan_process,
	.plan_thread = signals_plan_thread,
};

/*
 * What a process is known by: names, personality, audit user, its standing with the out-of-memory killer, who adopts
 * orphans, and which memory barriers it registered for.
 */
#include "tasks/task-ops.h"

#include "procfs/attrs.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <linux/prctl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include "kernel/uapi.h"

#define COMM_LEN        15
#define LOGINUID_UNSET  UINT32_MAX
#define PERSONALITY_ASK UINT32_C(0xffffffff)

/* Each kind of registration is made by its own command, which is also its bit in the answer of GET_REGISTRATIONS. */
static const uint32_t registrations[] = {
	MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED,
	MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED,
	MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE,
	UAPI_MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ,
};

/*
 * Linux before 6.3 does not list them; what a registration allows fails with EPERM without it, and does no more to stopped
 * threads than a page fault does: membarrier_private_expedited() in kernel/sched/membarrier.c. A global one cannot be seen.
 */
static const struct {
	enum question q;
	uint32_t command, registration;
} barriers[] = {
	{ Q_MEMBARRIER_PRIVATE, MEMBARRIER_CMD_PRIVATE_EXPEDITED, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED },
	{ Q_MEMBARRIER_SYNC_CORE, MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE,
	  MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE },
	{ Q_MEMBARRIER_RSEQ, UAPI_MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ,
	  UAPI_MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ },
};

static int identity_collect_process(struct task_dump *d, struct cr_error *err)
{
	img_task_core_entry *tc = &d->ps->tc;
	int adj, r = proc_oom_score_adj_read(&d->task->dir, &adj, err);

	if (r < 0)
		return r;
	tc->has_oom_score_adj = true;
	tc->oom_score_adj = adj;
	d->ps->membarriers_tried = !kernel_has(&d->ctx->probes, KERNEL_MEMBARRIER_GET);

	r = proc_loginuid_read(&d->task->dir, &tc->loginuid, err);
	tc->has_loginuid = r >= 0;
	if (r == -ENOENT)
		cr_error_clear(err);
	else if (r < 0)
		return r;

	/* 17 is SIGCHLD; -1 would be a thread */
	if (d->task->stat.exit_signal >= 0 && d->task->stat.exit_signal != SIGCHLD) {
		d->ps->ext.has_exit_signal = true;
		d->ps->ext.exit_signal = (uint32_t)d->task->stat.exit_signal;
		tc->ext = &d->ps->ext;
	}
	/*
	 * The signal until the parent has waited for the stop, then 0: do_task_stat() in fs/proc/array.c and
	 * wait_task_stopped() in kernel/exit.c. Older kernels always show 0: there the parent is told again rather than never.
	 */
	if (d->task->state == TASK_STOPPED && !d->task->stat.exit_code &&
	    kernel_has(&d->ctx->probes, KERNEL_STOP_CODE)) {
		d->ps->ext.has_stop_seen = d->ps->ext.stop_seen = true;
		tc->ext = &d->ps->ext;
	}
	return 0;
}

static int identity_collect_thread(struct task_dump *d, struct thread *th, struct thread_state *ts,
				   struct cr_error *err)
{
	(void)d;
	(void)err;
	memcpy(ts->comm, th->stat.comm, sizeof(ts->comm) - 1);
	ts->tc.comm = ts->comm;
	if (ts->core.tc)
		ts->core.tc->comm = ts->comm;
	return 0;
}

static void identity_ask_process(struct asker *a)
{
	if (!a->ps->membarriers_tried)
		ask_call(a, Q_MEMBARRIER, "memory barrier registrations", __NR_membarrier,
			 UAPI_MEMBARRIER_CMD_GET_REGISTRATIONS, 0, 0);
	else
		for (size_t i = 0; i < ARRAY_LEN(barriers); i++)
			ask_call(a, barriers[i].q, "memory barrier", __NR_membarrier, barriers[i].command, 0, 0);
}

/* Each thread has its own, which it hands down to those that it makes, and to programs that it runs. */
static void identity_ask_thread(struct asker *a)
{
	ask_call(a, Q_PERSONALITY, "personality", __NR_personality, PERSONALITY_ASK);
}

static uint32_t membarriers_of(const struct task_dump *d, const struct thread_state *ts)
{
	int64_t mask = answer_of(d, ts, Q_MEMBARRIER);
	uint32_t tried = 0;

	for (size_t i = 0; d->ps->membarriers_tried && i < ARRAY_LEN(barriers); i++)
		if (answer_of(d, ts, barriers[i].q) == 0)
			tried |= barriers[i].registration;
	return mask > 0 ? (uint32_t)mask : tried;
}

static int identity_dump_process(struct task_dump *d, struct cr_error *err)
{
	const struct thread_state *ts = thread_state_of(d->task->lead);
	int64_t personality = answer_of(d, ts, Q_PERSONALITY);
	uint32_t mask = membarriers_of(d, ts);

	if (personality < 0)
		return cr_fail(err, (int)personality, "ask for the personality");
	d->ps->tc.personality = (uint32_t)personality;
	if (mask) {
		d->ps->tc.has_membarrier_registration_mask = true;
		d->ps->tc.membarrier_registration_mask = mask;
	}
	return 0;
}

static int identity_dump_thread(struct task_dump *d, struct thread *th, struct thread_state *ts, struct cr_error *err)
{
	int64_t personality = answer_of(d, ts, Q_PERSONALITY);

	if (personality < 0)
		return cr_fail(err, (int)personality, "thread %d: ask for the personality", (int)th->host_tid);
	if ((uint32_t)personality != d->ps->tc.personality) {
		ts->ext.has_personality = true;
		ts->ext.personality = (uint32_t)personality;
		ts->tc.ext = &ts->ext;
	}
	return 0;
}

static int check_name(const char *comm, struct cr_error *err)
{
	if (!comm || strlen(comm) > COMM_LEN)
		return cr_refuse(err, -EBADMSG, comm ? "name longer than %d bytes" : "no name (%d bytes at most)",
				 COMM_LEN);
	return 0;
}

static int identity_check_process(const img_core_entry *core, struct cr_error *err)
{
	const img_task_core_entry *tc = core->tc;

	if (tc->has_oom_score_adj && (tc->oom_score_adj < -1000 || tc->oom_score_adj > 1000))
		return cr_refuse(err, -EBADMSG, "oom_score_adj %d", (int)tc->oom_score_adj);
	if (tc->ext && tc->ext->has_exit_signal && tc->ext->exit_signal > NR_SIGNALS)
		return cr_refuse(err, -EBADMSG, "exit signal %u", tc->ext->exit_signal);
	return check_name(tc->comm, err);
}

static int identity_check_thread(const img_core_entry *core, struct cr_error *err)
{
	/* images of old versions name threads not at all: then they have the name of the process */
	return core->thread_core->comm ? check_name(core->thread_core->comm, err) : 0;
}

/*
 * How far down a process may go by itself is inherited, but set only by who has CAP_SYS_RESOURCE (__set_oom_adj() in
 * fs/proc/base.c): a service that lacks it has taken over its client's value without that.
 */
static bool may_have_oom_score(const struct planner *p, int adj)
{
	if (!p->t->ctx->opts->client_is_peer || adj >= p->t->restorer->oom_score_adj)
		return true;
	log_warn(&p->t->ctx->log, "pid %d: oom_score_adj cannot be lowered, continuing with that of the client",
		 (int)p->t->pid);
	return false;
}

/* While /proc is still the restorer's: the process may be about to get a root directory without one. */
static int plan_proc_files(struct planner *p)
{
	const img_task_core_entry *tc = p->core->tc;
	const struct restorer *own = p->t->restorer;
	uint32_t inherited = p->t->parent && p->t->parent->tc && p->t->parent->tc->has_loginuid
				     ? p->t->parent->tc->loginuid
				     : own->loginuid;
	char text[16];
	int r = 0;

	if (!own->has_proc) {
		log_warn(&p->t->ctx->log,
			 "pid %d: /proc is not mounted, continuing without oom_score_adj, loginuid and coredump_filter",
			 (int)p->t->pid);
		return 0;
	}
	if (tc->has_oom_score_adj && may_have_oom_score(p, tc->oom_score_adj)) {
		int len = snprintf(text, sizeof(text), "%d", (int)tc->oom_score_adj);

		r = plan_write_file(p, "/proc/self/oom_score_adj", text, (size_t)len,
				    "oom_score_adj cannot be lowered, continuing with that of the restorer");
	}
	if (r >= 0 && tc->has_loginuid && own->has_loginuid && tc->loginuid != inherited) {
		int len = snprintf(text, sizeof(text), "%u", tc->loginuid);

		r = plan_write_file(p, "/proc/self/loginuid", text, (size_t)len,
				    "loginuid cannot be changed, continuing with that of the restorer");
	}
	return r;
}

static int plan_membarrier(struct planner *p)
{
	uint32_t mask = p->core->tc->has_membarrier_registration_mask ? p->core->tc->membarrier_registration_mask : 0;
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(registrations) && r >= 0; i++)
		if (mask & registrations[i])
			r = plan_note(
				p,
				plan_call(p, "register for memory barriers", __NR_membarrier, registrations[i], 0, 0),
				"this kernel lacks a kind of memory barrier, continuing without its registration");
	return r;
}

static int identity_plan_process(struct planner *p)
{
	const img_task_core_entry *tc = p->core->tc;

	if (p->phase == TASK_PHASE_EARLY)
		return plan_proc_files(p);
	if (p->phase != TASK_PHASE_MAIN)
		return 0;
	/* also switches off what the restore of the tree needed for a while */
	plan_call(p, "set child subreaper", __NR_prctl, PR_SET_CHILD_SUBREAPER,
		  tc->has_child_subreaper && tc->child_subreaper, 0, 0, 0);
	return plan_membarrier(p);
}

static int identity_plan_thread(struct planner *p)
{
	const char *comm = p->core->thread_core->comm ? p->core->thread_core->comm : p->t->leader->tc->comm;
	const img_thread_ext *x = p->core->thread_core->ext;

	if (p->phase != TASK_PHASE_MAIN)
		return 0;
	plan_call(p, "set name", __NR_prctl, PR_SET_NAME, plan_data(p, comm, strlen(comm) + 1, 1), 0, 0, 0);
	plan_call(p, "set personality", __NR_personality,
		  x && x->has_personality ? x->personality : p->t->leader->tc->personality);
	return 0;
}

const struct task_kind identity_kind = {
	.name = "identity",
	.collect_dead = true,
	.collect_process = identity_collect_process,
	.collect_thread = identity_collect_thread,
	.ask_process = identity_ask_process,
	.ask_thread = identity_ask_thread,
	.dump_process = identity_dump_process,
	.dump_thread = identity_dump_thread,
	.check_process = identity_check_process,
	.check_thread = identity_check_thread,
	.plan_process = identity_plan_process,
	.plan_thread = identity_plan_thread,
};

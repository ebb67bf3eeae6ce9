/*
 * Scheduling of each thread: policy, priority, nice, deadline parameters, utilisation clamps, processors it may run on,
 * I/O priority and memory policy. All but the memory policy is asked from outside.
 */
#include "tasks/task-ops.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SCHED_DEADLINE_     6
#define FLAG_RESET_ON_FORK  0x01
#define FLAG_RECLAIM        0x02
#define FLAG_DL_OVERRUN     0x04
#define FLAG_UTIL_CLAMP_MIN 0x20
#define FLAG_UTIL_CLAMP_MAX 0x40
#define FLAGS_KEPT          (FLAG_RESET_ON_FORK | FLAG_RECLAIM | FLAG_DL_OVERRUN)
#define UTIL_MAX            1024

#define IOPRIO_WHO_PROCESS_ 1
#define IOPRIO_CLASS_OF(v)  ((v) >> 13)

#define MPOL_F_FLAGS (1u << 15 | 1u << 14 | 1u << 13) /* static nodes, relative nodes, NUMA balancing */

/* struct sched_attr with the clamps of Linux 5.3; older kernels fill less of it */
struct kernel_sched_attr {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
	uint32_t util_min, util_max;
};
_Static_assert(sizeof(struct kernel_sched_attr) == 56, "SCHED_ATTR_SIZE_VER1");

static bool policy_is_rt(uint32_t policy)
{
	return policy == SCHED_FIFO || policy == SCHED_RR;
}

static int attr_get(pid_t tid, struct kernel_sched_attr *ret)
{
	memset(ret, 0, sizeof(*ret));
	return syscall(__NR_sched_getattr, tid, ret, sizeof(*ret), 0) < 0 ? -errno : 0;
}

static bool policy_is_fair(uint32_t policy)
{
	return policy == SCHED_OTHER || policy == SCHED_BATCH;
}

/* @nice: of /proc/PID/stat, which shows it for every policy; the attributes have it for some only */
static void dump_attr(const struct kernel_sched_attr *a, int nice, uint64_t usual_slice, struct thread_state *ts)
{
	bool clamped = policy_is_rt(a->policy) ? a->util_min != UTIL_MAX || a->util_max != UTIL_MAX
					       : a->util_min != 0 || a->util_max != UTIL_MAX;

	ts->tc.has_sched_nice = ts->tc.has_sched_policy = true;
	ts->tc.sched_policy = a->policy;
	ts->tc.sched_nice = nice;
	if (policy_is_rt(a->policy)) {
		ts->tc.has_sched_prio = true;
		ts->tc.sched_prio = a->priority;
	}
	if (a->flags & FLAGS_KEPT) {
		ts->ext.has_sched_flags = true;
		ts->ext.sched_flags = (uint32_t)a->flags & FLAGS_KEPT;
	}
	if (a->policy == SCHED_DEADLINE_) {
		ts->ext.has_sched_runtime = ts->ext.has_sched_deadline = ts->ext.has_sched_period = true;
		ts->ext.sched_runtime = a->runtime;
		ts->ext.sched_deadline = a->deadline;
		ts->ext.sched_period = a->period;
	} else if (!policy_is_rt(a->policy) && usual_slice && a->runtime && a->runtime != usual_slice) {
		/* since 6.12 a fair task may have a slice of its own; the usual one is shown for all others */
		ts->ext.has_sched_runtime = true;
		ts->ext.sched_runtime = a->runtime;
	}
	/* both 0: a kernel without CONFIG_UCLAMP_TASK */
	if (clamped && (a->util_min || a->util_max)) {
		ts->ext.has_sched_util_min = ts->ext.has_sched_util_max = true;
		ts->ext.sched_util_min = a->util_min;
		ts->ext.sched_util_max = a->util_max;
	}
}

static size_t count_bits(const struct proc_bits *b)
{
	size_t n = 0;

	for (uint32_t i = 0; i < b->nr_words; i++)
		n += (size_t)__builtin_popcount(b->words[i]);
	return n;
}

/* All processors there are is what a new task has, and is not stored: another machine may have other ones. */
static int dump_affinity(struct task_dump *d, struct thread *th, struct thread_state *ts, struct cr_error *err)
{
	const struct proc_bits *b = &th->status.cpus_allowed;
	size_t len = (size_t)b->nr_words * 4;

	if (!(th->status.lines & PROC_STATUS_CPUS) || len > AFFINITY_BYTES || count_bits(b) >= d->ps->nr_cpus)
		return 0;

	uint8_t *bytes = pool_alloc(&d->ps->pool, len);

	if (!bytes)
		return cr_fail(err, -ENOMEM, "processor mask");
	for (uint32_t i = 0; i < b->nr_words * 4; i++)
		bytes[i] = (uint8_t)(b->words[i / 4] >> i % 4 * 8);
	while (len > 1 && !bytes[len - 1])
		len--;
	ts->ext.cpu_affinity = (struct proto_bytes){ .data = bytes, .len = len };
	return 0;
}

/* What the dumper has itself is the usual slice: nobody gives it another. */
static int sched_collect_process(struct task_dump *d, struct cr_error *err)
{
	const struct process_state *parent = d->task->parent ? process_state_of(d->task->parent) : NULL;
	struct kernel_sched_attr own;

	(void)err;
	d->ps->nr_cpus = parent ? parent->nr_cpus : (size_t)sysconf(_SC_NPROCESSORS_ONLN);
	if (parent)
		d->ps->usual_slice = parent->usual_slice;
	else if (attr_get(0, &own) == 0 && !policy_is_rt(own.policy) && own.policy != SCHED_DEADLINE_)
		d->ps->usual_slice = own.runtime;
	return 0;
}

static int sched_collect_thread(struct task_dump *d, struct thread *th, struct thread_state *ts, struct cr_error *err)
{
	struct kernel_sched_attr a;
	int r = attr_get(th->host_tid, &a);

	if (r < 0)
		return cr_fail(err, r, "thread %d: ask for its scheduling", (int)th->host_tid);
	dump_attr(&a, th->stat.nice, d->ps->usual_slice, ts);

	long io = syscall(__NR_ioprio_get, IOPRIO_WHO_PROCESS_, th->host_tid);

	if (io > 0 && IOPRIO_CLASS_OF(io)) {
		ts->ext.has_ioprio = true;
		ts->ext.ioprio = (uint32_t)io;
	}
	return dump_affinity(d, th, ts, err);
}

static void sched_ask_thread(struct asker *a)
{
	ask_call(a, Q_MEMPOLICY, "memory policy", __NR_get_mempolicy,
		 a->answers + offsetof(struct thread_answers, mempolicy_mode),
		 a->answers + offsetof(struct thread_answers, mempolicy_nodes), MEMPOLICY_NODES, 0, 0);
}

static int sched_dump_thread(struct task_dump *d, struct thread *th, struct thread_state *ts, struct cr_error *err)
{
	const struct thread_answers *a = thread_answers_of(d, th);
	size_t len = sizeof(ts->nodes);

	(void)err;
	/* ENOSYS: no NUMA in this kernel; mode 0 is MPOL_DEFAULT */
	if (answer_of(d, ts, Q_MEMPOLICY) < 0 || a->mempolicy_mode <= 0)
		return 0;
	ts->ext.has_mempolicy_mode = true;
	ts->ext.mempolicy_mode = (uint32_t)a->mempolicy_mode;
	memcpy(ts->nodes, a->mempolicy_nodes, len);
	while (len && !ts->nodes[len - 1])
		len--;
	if (len)
		ts->ext.mempolicy_nodes = (struct proto_bytes){ .data = ts->nodes, .len = len };
	return 0;
}

static int sched_check_thread(const img_core_entry *core, struct cr_error *err)
{
	const img_thread_core_entry *tc = core->thread_core;
	const img_thread_ext *x = tc->ext;
	uint32_t policy = tc->has_sched_policy ? tc->sched_policy : SCHED_OTHER;

	/* 4 is not used by Linux, 7 is SCHED_EXT */
	if (policy > 7 || policy == 4)
		return cr_refuse(err, -EBADMSG, "scheduling policy %u", policy);
	if (tc->has_sched_nice && (tc->sched_nice < -20 || tc->sched_nice > 19))
		return cr_refuse(err, -EBADMSG, "nice %d", (int)tc->sched_nice);
	if (policy_is_rt(policy) && (!tc->has_sched_prio || tc->sched_prio < 1 || tc->sched_prio > 99))
		return cr_refuse(err, -EBADMSG, "real-time priority %u", tc->has_sched_prio ? tc->sched_prio : 0);
	if (policy == SCHED_DEADLINE_ &&
	    (!x || !x->has_sched_runtime || !x->has_sched_deadline || !x->has_sched_period))
		return cr_refuse(err, -EOPNOTSUPP, "deadline scheduling without its parameters");
	if (!x)
		return 0;
	if (x->has_sched_flags && x->sched_flags & ~(uint32_t)FLAGS_KEPT)
		return cr_refuse(err, -EBADMSG, "scheduling flags 0x%x", x->sched_flags);
	if ((x->has_sched_util_min && x->sched_util_min > UTIL_MAX) ||
	    (x->has_sched_util_max && x->sched_util_max > UTIL_MAX))
		return cr_refuse(err, -EBADMSG, "utilisation clamps %u, %u", x->sched_util_min, x->sched_util_max);
	if (x->cpu_affinity.len > AFFINITY_BYTES || x->mempolicy_nodes.len > MEMPOLICY_NODES / 8)
		return cr_refuse(err, -EBADMSG, "processor or node mask of %zu, %zu bytes", x->cpu_affinity.len,
				 x->mempolicy_nodes.len);
	if (x->has_mempolicy_mode && (x->mempolicy_mode & ~MPOL_F_FLAGS) > 64)
		return cr_refuse(err, -EBADMSG, "memory policy 0x%x", x->mempolicy_mode);
	return 0;
}

static int plan_policy(struct planner *p)
{
	const img_thread_core_entry *tc = p->core->thread_core;
	const img_thread_ext *x = tc->ext;
	struct kernel_sched_attr a = { .size = sizeof(a),
				       .policy = tc->has_sched_policy ? tc->sched_policy : SCHED_OTHER };
	struct abi_op *op;

	if (policy_is_rt(a.policy))
		a.priority = tc->sched_prio;
	else if (a.policy != SCHED_DEADLINE_)
		a.nice = tc->has_sched_nice ? tc->sched_nice : 0;
	if (x) {
		a.flags = x->has_sched_flags ? x->sched_flags : 0;
		a.runtime = x->has_sched_runtime ? x->sched_runtime : 0;
		a.deadline = x->has_sched_deadline ? x->sched_deadline : 0;
		a.period = x->has_sched_period ? x->sched_period : 0;
		if (x->has_sched_util_min) {
			a.util_min = x->sched_util_min;
			a.flags |= FLAG_UTIL_CLAMP_MIN;
		}
		if (x->has_sched_util_max) {
			a.util_max = x->sched_util_max;
			a.flags |= FLAG_UTIL_CLAMP_MAX;
		}
	}
	/* a kernel without clamps refuses the longer struct only if they are set */
	op = plan_call(p, "set scheduling policy and nice", __NR_sched_setattr, 0, plan_data(p, &a, sizeof(a), 8), 0);
	if (policy_is_rt(a.policy) || a.policy == SCHED_DEADLINE_)
		return 0;
	return plan_note(p, op, "nice or scheduling policy cannot be set, continuing with those of the restorer");
}

/*
 * Under the other policies nice waits for the thread to become an ordinary one again, and setting those leaves it alone
 * (__setscheduler_params() in kernel/sched/).
 */
static int plan_waiting_nice(struct planner *p)
{
	const img_thread_core_entry *tc = p->core->thread_core;

	if (policy_is_fair(tc->has_sched_policy ? tc->sched_policy : SCHED_OTHER) || !tc->has_sched_nice)
		return 0;
	return plan_note(p, plan_call(p, "set nice", __NR_setpriority, PRIO_PROCESS, 0, tc->sched_nice),
			 "nice cannot be set, continuing with that of the restorer");
}

/* What is not stored is what a new process has, unless its maker has something else: processors and nodes of its choice. */
static int plan_affinity(struct planner *p, const img_thread_ext *x)
{
	/* whole words of the kernel; a processor that this machine does not have is left out by it */
	uint8_t mask[AFFINITY_BYTES] = { 0 };
	size_t len = x ? (x->cpu_affinity.len + 7) & ~(size_t)7 : 0;

	if (len) {
		memcpy(mask, x->cpu_affinity.data, x->cpu_affinity.len);
	} else if (p->t->restorer->bound) {
		len = sizeof(mask);
		memset(mask, 0xff, len);
	} else {
		return 0;
	}
	return plan_note(p,
			 plan_call(p, "set processor affinity", __NR_sched_setaffinity, 0, len,
				   plan_data(p, mask, len, 8)),
			 "none of the processors it was bound to can be used, continuing on any");
}

static int plan_mempolicy(struct planner *p, const img_thread_ext *x)
{
	uint8_t nodes[MEMPOLICY_NODES / 8] = { 0 };
	size_t len = x && x->has_mempolicy_mode ? x->mempolicy_nodes.len : 0;

	if (!(x && x->has_mempolicy_mode) && p->t->restorer->mempolicy_mode <= 0)
		return 0;
	if (len)
		memcpy(nodes, x->mempolicy_nodes.data, len);
	/* mode 0 is MPOL_DEFAULT */
	return plan_note(p,
			 plan_call(p, "set memory policy", __NR_set_mempolicy,
				   x && x->has_mempolicy_mode ? x->mempolicy_mode : 0,
				   len ? plan_data(p, nodes, sizeof(nodes), 8) : 0, len ? MEMPOLICY_NODES : 0),
			 "memory policy cannot be set, continuing with the default");
}

static int sched_plan_thread(struct planner *p)
{
	const img_thread_ext *x = p->core->thread_core->ext;
	int r;

	if (p->phase != TASK_PHASE_MAIN)
		return 0;
	r = plan_waiting_nice(p);
	if (r >= 0)
		r = plan_policy(p);
	if (r >= 0 &&
	    (x && x->has_ioprio ? x->ioprio != p->t->restorer->ioprio : IOPRIO_CLASS_OF(p->t->restorer->ioprio) != 0))
		r = plan_note(p,
			      plan_call(p, "set I/O priority", __NR_ioprio_set, IOPRIO_WHO_PROCESS_, 0,
					x && x->has_ioprio ? x->ioprio : 0),
			      "I/O priority cannot be set, continuing with that of the restorer");
	if (r >= 0)
		r = plan_affinity(p, x);
	return r < 0 ? r : plan_mempolicy(p, x);
}

const struct task_kind sched_kind = {
	.name = "scheduling",
	.collect_process = sched_collect_process,
	.collect_thread = sched_collect_thread,
	.ask_thread = sched_ask_thread,
	.dump_thread = sched_dump_thread,
	.check_thread = sched_check_thread,
	.plan_thread = sched_plan_thread,
};

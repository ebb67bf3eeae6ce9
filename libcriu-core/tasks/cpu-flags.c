/*
 * Settings that the processor enforces: time stamp counter, cpuid traps, mitigations of speculation of a thread; a process's
 * own table of segments and bits of addresses that it masks, which are obstacles.
 */
#include "tasks/task-ops.h"

#include "kernel/uapi.h"

#include <errno.h>
#include <linux/prctl.h>
#include <sys/syscall.h>

#if defined(__x86_64__)
#ifndef ARCH_GET_CPUID
#define ARCH_GET_CPUID 0x1011
#define ARCH_SET_CPUID 0x1012
#endif
#endif

#if defined(__x86_64__)
/* The number of bytes read is 0 as long as the process has made no entry: read_ldt() in arch/x86/kernel/ldt.c. */
static void cpu_ask_process(struct asker *a)
{
	ask_call(a, Q_LDT, "local descriptor table", __NR_modify_ldt, 0,
		 a->process + offsetof(struct process_answers, ldt), sizeof(uint64_t));
	ask_call(a, Q_UNTAG, "linear address masking", __NR_arch_prctl, ARCH_GET_UNTAG_MASK,
		 a->process + offsetof(struct process_answers, untag_mask));
}

static int cpu_dump_process(struct task_dump *d, struct cr_error *err)
{
	const struct thread_state *ts = thread_state_of(d->task->lead);
	int r = 0;

	if (answer_of(d, ts, Q_LDT) > 0)
		r = task_obstacle(d, NULL, "", "a local descriptor table (modify_ldt)");
	/* without it the mask has all bits; arch/x86/kernel/process_64.c, Linux 6.4 */
	if (r >= 0 && answer_of(d, ts, Q_UNTAG) == 0 && process_answers_of(d)->untag_mask != UINT64_MAX)
		r = task_obstacle(d, NULL, "", "linear address masking (ARCH_ENABLE_TAGGED_ADDR)");
	return r < 0 ? cr_fail(err, -ENOMEM, "note an obstacle") : 0;
}
#endif

static void cpu_ask_thread(struct asker *a)
{
	ask_call(a, Q_TSC, "time stamp counter", __NR_prctl, PR_GET_TSC,
		 a->answers + offsetof(struct thread_answers, tsc), 0, 0, 0);
	ask_call(a, Q_SPEC_SSB, "speculative store bypass", __NR_prctl, PR_GET_SPECULATION_CTRL, PR_SPEC_STORE_BYPASS,
		 0, 0, 0);
	ask_call(a, Q_SPEC_IB, "indirect branch speculation", __NR_prctl, PR_GET_SPECULATION_CTRL,
		 PR_SPEC_INDIRECT_BRANCH, 0, 0, 0);
	ask_call(a, Q_SPEC_L1D, "cache flush", __NR_prctl, PR_GET_SPECULATION_CTRL, PR_SPEC_L1D_FLUSH, 0, 0, 0);
#if defined(__x86_64__)
	ask_call(a, Q_CPUID, "cpuid traps", __NR_arch_prctl, ARCH_GET_CPUID);
#endif
}

/* Kept is only what differs from a new thread and can be set by a thread: PR_SPEC_PRCTL. */
static void keep_spec(int64_t v, int64_t unusual, bool *has, uint32_t *value)
{
	if (v < 0 || !(v & PR_SPEC_PRCTL) || !(v & unusual))
		return;
	*has = true;
	*value = (uint32_t)v;
}

static int cpu_dump_thread(struct task_dump *d, struct thread *th, struct thread_state *ts, struct cr_error *err)
{
	const int64_t off = PR_SPEC_DISABLE | PR_SPEC_FORCE_DISABLE | PR_SPEC_DISABLE_NOEXEC;
	img_thread_ext *x = &ts->ext;

	(void)err;
	if (answer_of(d, ts, Q_TSC) >= 0 && thread_answers_of(d, th)->tsc == PR_TSC_SIGSEGV) {
		x->has_tsc_mode = true;
		x->tsc_mode = PR_TSC_SIGSEGV;
	}
	if (answer_of(d, ts, Q_CPUID) == 0)
		x->has_cpuid_faults = x->cpuid_faults = true;
	keep_spec(answer_of(d, ts, Q_SPEC_SSB), off, &x->has_spec_store_bypass, &x->spec_store_bypass);
	keep_spec(answer_of(d, ts, Q_SPEC_IB), off, &x->has_spec_indirect_branch, &x->spec_indirect_branch);
	keep_spec(answer_of(d, ts, Q_SPEC_L1D), PR_SPEC_ENABLE, &x->has_spec_l1d_flush, &x->spec_l1d_flush);
	return 0;
}

static int cpu_check_thread(const img_core_entry *core, struct cr_error *err)
{
	const img_thread_ext *x = core->thread_core->ext;

	if (x && x->has_tsc_mode && x->tsc_mode != PR_TSC_ENABLE && x->tsc_mode != PR_TSC_SIGSEGV)
		return cr_refuse(err, -EBADMSG, "time stamp counter mode %u", x->tsc_mode);
	return 0;
}

static int plan_spec(struct planner *p, bool has, unsigned int which, uint32_t value)
{
	if (!has)
		return 0;
	return plan_note(p,
			 plan_call(p, "set a mitigation", __NR_prctl, PR_SET_SPECULATION_CTRL, which,
				   value & ~(uint32_t)PR_SPEC_PRCTL, 0, 0),
			 "a mitigation of speculation cannot be set here, continuing with that of the restorer");
}

static int cpu_plan_thread(struct planner *p)
{
	const img_thread_ext *x = p->core->thread_core->ext;
	int r;

	if (p->phase != TASK_PHASE_LATE || !x)
		return 0;
	if (x->has_tsc_mode)
		plan_call(p, "set time stamp counter", __NR_prctl, PR_SET_TSC, x->tsc_mode, 0, 0, 0);
#if defined(__x86_64__)
	if (x->has_cpuid_faults && x->cpuid_faults)
		plan_call(p, "set cpuid traps", __NR_arch_prctl, ARCH_SET_CPUID, 0);
#endif
	r = plan_spec(p, x->has_spec_store_bypass, PR_SPEC_STORE_BYPASS, x->spec_store_bypass);
	if (r >= 0)
		r = plan_spec(p, x->has_spec_indirect_branch, PR_SPEC_INDIRECT_BRANCH, x->spec_indirect_branch);
	if (r >= 0)
		r = plan_spec(p, x->has_spec_l1d_flush, PR_SPEC_L1D_FLUSH, x->spec_l1d_flush);
	return r;
}

const struct task_kind cpu_flags_kind = {
	.name = "processor settings",
#if defined(__x86_64__)
	.ask_process = cpu_ask_process,
	.dump_process = cpu_dump_process,
#endif
	.ask_thread = cpu_ask_thread,
	.dump_thread = cpu_dump_thread,
	.check_thread = cpu_check_thread,
	.plan_thread = cpu_plan_thread,
};

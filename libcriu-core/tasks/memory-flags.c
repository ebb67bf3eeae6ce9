/*
 * Settings of an address space that are not mappings: dumpable, transparent huge pages off, memory-deny-write-execute,
 * merging of same pages, locking of future mappings, private futex buckets, what core dumps contain. mm-PID.img holds them.
 */
#include "tasks/task-ops.h"

#include "kernel/uapi.h"
#include "procfs/attrs.h"

#include <errno.h>
#include <linux/prctl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#ifndef MCL_ONFAULT
#define MCL_ONFAULT 4
#endif

#define PAGE 4096

/* Private buckets for futexes that the kernel takes by itself, four per thread that can run: futex_hash_allocate_default(), 6.16 */
#define FUTEX_SLOTS_LEAST 16
#define FUTEX_SLOTS_MAX   (1u << 20)

static int mflags_collect_process(struct task_dump *d, struct cr_error *err)
{
	uint32_t filter;
	int r = proc_coredump_filter_read(&d->task->dir, &filter, err);

	if (r == -ENOENT) {
		/* CONFIG_ELF_CORE is off */
		cr_error_clear(err);
		return 0;
	}
	if (r < 0)
		return r;
	d->ps->mm_ext.has_coredump_filter = d->ps->has_mm_ext = true;
	d->ps->mm_ext.coredump_filter = filter;
	return 0;
}

/*
 * mlockall(MCL_FUTURE) shows only in a mapping that is made afterwards: madvise(MADV_DONTNEED) refuses one that is locked, and
 * without MCL_ONFAULT its page is there at once.
 */
static void ask_mlock_future(struct asker *a)
{
	op_keep(op_result(emit_call(a->program, a->routine, "map a page", __NR_mmap, 0, PAGE, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)),
		SLOT_TMP);
	a->ts->op[Q_PROBE_MMAP] = (uint32_t)a->routine->ops.nr - 1;
	op_from_slot(op_result(emit_call(a->program, a->routine, "is a new page there", __NR_mincore, SLOT_TMP, PAGE,
					 a->process + offsetof(struct process_answers, mincore))),
		     0);
	a->ts->op[Q_PROBE_MINCORE] = (uint32_t)a->routine->ops.nr - 1;
	op_from_slot(op_result(emit_call(a->program, a->routine, "is a new page locked", __NR_madvise, SLOT_TMP, PAGE,
					 MADV_DONTNEED)),
		     0);
	a->ts->op[Q_PROBE_LOCKED] = (uint32_t)a->routine->ops.nr - 1;
	op_from_slot(op_may_fail(emit_call(a->program, a->routine, "unmap a page", __NR_munmap, SLOT_TMP, PAGE)), 0);
}

static void mflags_ask_process(struct asker *a)
{
	ask_call(a, Q_DUMPABLE, "dumpable", __NR_prctl, PR_GET_DUMPABLE, 0, 0, 0, 0);
	ask_call(a, Q_THP_DISABLE, "huge pages disabled", __NR_prctl, PR_GET_THP_DISABLE, 0, 0, 0, 0);
	ask_call(a, Q_MDWE, "memory deny write execute", __NR_prctl, PR_GET_MDWE, 0, 0, 0, 0);
	ask_call(a, Q_MEMORY_MERGE, "memory merging", __NR_prctl, PR_GET_MEMORY_MERGE, 0, 0, 0, 0);
	ask_call(a, Q_FUTEX_HASH, "private futex buckets", __NR_prctl, PR_FUTEX_HASH, PR_FUTEX_HASH_GET_SLOTS, 0, 0, 0);
	ask_mlock_future(a);
}

/* Kept is only what the kernel would not have chosen: whether it did does not show. 0 is the table that all share. */
static void dump_futex_hash(struct task_dump *d)
{
	int64_t slots = answer_of(d, thread_state_of(d->task->lead), Q_FUTEX_HASH);
	uint64_t most = FUTEX_SLOTS_LEAST;
	img_mm_ext *x = &d->ps->mm_ext;

	while (most < 4 * d->ps->nr_cpus)
		most *= 2;
	if (slots < 0 || (slots >= FUTEX_SLOTS_LEAST && (uint64_t)slots <= most) || (!slots && d->task->threads.nr == 1))
		return;
	x->has_futex_hash_slots = d->ps->has_mm_ext = true;
	x->futex_hash_slots = (uint32_t)slots;
}

static int mflags_dump_process(struct task_dump *d, struct cr_error *err)
{
	const struct thread_state *ts = thread_state_of(d->task->lead);
	struct process_state *ps = d->ps;
	int64_t dumpable = answer_of(d, ts, Q_DUMPABLE), thp = answer_of(d, ts, Q_THP_DISABLE);

	if (dumpable < 0)
		return cr_fail(err, (int)dumpable, "ask for dumpable");
	ps->dumpable = (int32_t)dumpable;
	ps->thp_disabled = thp > 0;
	/* bit 0: disabled; above it the flags of PR_SET_THP_DISABLE, since 6.18 */
	if (thp > 1) {
		ps->mm_ext.has_thp_disable_flags = ps->has_mm_ext = true;
		ps->mm_ext.thp_disable_flags = (uint32_t)thp & ~1u;
	}
	if (answer_of(d, ts, Q_MDWE) > 0) {
		ps->mm_ext.has_mdwe = ps->has_mm_ext = true;
		ps->mm_ext.mdwe = (uint32_t)answer_of(d, ts, Q_MDWE);
	}
	if (answer_of(d, ts, Q_MEMORY_MERGE) > 0)
		ps->mm_ext.has_ksm_merge_any = ps->mm_ext.ksm_merge_any = ps->has_mm_ext = true;
	dump_futex_hash(d);
	if (answer_of(d, ts, Q_PROBE_MMAP) >= 0 && answer_of(d, ts, Q_PROBE_LOCKED) == -EINVAL) {
		bool there = answer_of(d, ts, Q_PROBE_MINCORE) == 0 && process_answers_of(d)->mincore[0] & 1;

		ps->mm_ext.has_mlock_future = ps->has_mm_ext = true;
		ps->mm_ext.mlock_future = there ? MCL_FUTURE : MCL_FUTURE | MCL_ONFAULT;
	}
	return 0;
}

static int plan_coredump_filter(struct planner *p)
{
	const img_mm_ext *x = p->t->mm ? p->t->mm->ext : NULL;
	char text[16];

	/* images of upstream do not know it: then a new process has what it inherits */
	if (!p->t->restorer->has_proc || !x || !x->has_coredump_filter)
		return 0;

	int len = snprintf(text, sizeof(text), "0x%x", x->coredump_filter);

	return plan_write_file(p, "/proc/self/coredump_filter", text, (size_t)len,
			       "coredump_filter cannot be set, continuing without it");
}

static int plan_main(struct planner *p)
{
	const img_mm_entry *mm = p->t->mm;
	const img_mm_ext *x = mm->ext;
	bool off = mm->has_thp_disabled && mm->thp_disabled;
	struct abi_op *op;
	int r = 0;

	op = plan_call(p, "set huge pages disabled", __NR_prctl, PR_SET_THP_DISABLE, off,
		       off && x && x->has_thp_disable_flags ? x->thp_disable_flags : 0, 0, 0);
	if (off)
		r = plan_note(p, op, "huge pages cannot be disabled in this way, continuing with them");
	else
		op_may_fail(op);
	if (r >= 0 && x && x->has_ksm_merge_any && x->ksm_merge_any)
		r = plan_note(p, plan_call(p, "set memory merging", __NR_prctl, PR_SET_MEMORY_MERGE, 1, 0, 0, 0),
			      "memory merging cannot be switched on, continuing without it");
	if (x && x->has_futex_hash_slots && x->futex_hash_slots > FUTEX_SLOTS_MAX)
		return cr_refuse(p->err, -EBADMSG, "%u private futex buckets", x->futex_hash_slots);
	if (r >= 0 && x && x->has_futex_hash_slots)
		r = plan_note(p,
			      plan_call(p, "set private futex buckets", __NR_prctl, PR_FUTEX_HASH,
					PR_FUTEX_HASH_SET_SLOTS, x->futex_hash_slots, 0, 0),
			      "the number of futex buckets cannot be set, continuing with the kernel's choice");
	if (r >= 0 && x && x->has_mlock_future)
		r = plan_note(p,
			      plan_call(p, "lock future mappings", __NR_mlockall,
					x->mlock_future & (MCL_FUTURE | MCL_ONFAULT)),
			      "future mappings cannot be locked, continuing without");
	return r;
}

static int mflags_plan_process(struct planner *p)
{
	const img_mm_ext *x = p->t->mm ? p->t->mm->ext : NULL;

	if (!p->t->mm)
		return 0;
	if (p->phase == TASK_PHASE_EARLY) {
		/* handed down with the address space; before there are mappings that ask for it themselves */
		if (p->t->restorer->memory_merge)
			op_may_fail(plan_call(p, "merge no memory", __NR_prctl, PR_SET_MEMORY_MERGE, 0, 0, 0, 0));
		return plan_coredump_filter(p);
	}
	if (p->phase == TASK_PHASE_MAIN)
		return plan_main(p);
	/* cannot be taken back, and forbids mappings: as late as possible */
	if (x && x->has_mdwe && x->mdwe)
		return plan_note(
			p, plan_call(p, "set memory deny write execute", __NR_prctl, PR_SET_MDWE, x->mdwe, 0, 0, 0),
			"this kernel cannot deny mappings that are both writable and executable, continuing without");
	return 0;
}

const struct task_kind memory_flags_kind = {
	.name = "memory settings",
	.collect_process = mflags_collect_process,
	.ask_process = mflags_ask_process,
	.dump_process = mflags_dump_process,
	.plan_process = mflags_plan_process,
};

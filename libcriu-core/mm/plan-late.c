/* Advice, policies, names; and at the very end guards, locks and seals, in the one order that the kernel allows. */
#include "mm/planner.h"

#include "kernel/uapi.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>

static const struct {
	int advice;
	bool early; /* decides what pages are made of */
	bool hint;  /* nothing but speed or sharing depends on it: a kernel without it need not refuse */
} advices[] = {
	{ MADV_HUGEPAGE, true, true },     { MADV_NOHUGEPAGE, true, true },   { MADV_RANDOM, false, false },
	{ MADV_SEQUENTIAL, false, false }, { MADV_DONTFORK, false, false },   { MADV_MERGEABLE, false, true },
	{ MADV_DONTDUMP, false, false },   { MADV_WIPEONFORK, false, false },
};

static bool has_advice(const struct vma_work *w, int advice)
{
	return !w->special && !w->kept && !w->plain && w->v->has_madv && w->v->madv >> advice & 1;
}

static void advise(struct planner *pl, int advice, bool hint)
{
	for (size_t i = 0, n; i < pl->nr; i += n) {
		const struct vma_work *w = &pl->work[i];
		struct abi_op *op;

		n = 1;
		if (!has_advice(w, advice))
			continue;
		while (i + n < pl->nr && has_advice(w + n, advice) && w[n].v->start == w[n - 1].v->end)
			n++;
		op = plan_call(pl, "advise", SYS_madvise, w->v->start, w[n - 1].v->end - w->v->start, advice);
		if (hint)
			op_may_fail(op);
	}
}

static bool renewed(const struct vma_work *w)
{
	return w->v->ext && !w->special && !w->kept;
}

static void set_policies(struct planner *pl)
{
	for (size_t i = 0; i < pl->nr; i++) {
		const img_vma_entry *v = pl->work[i].v;
		uint64_t nodes = 0;

		if (!renewed(&pl->work[i]) || !v->ext->has_mempolicy_mode)
			continue;
		if (v->ext->mempolicy_nodes.len)
			nodes = emit_data(pl->program, pl->routine, v->ext->mempolicy_nodes.data,
					  v->ext->mempolicy_nodes.len, 8);
		/* the kernel reads one bit less than it is told; get_nodes() in mm/mempolicy.c */
		plan_call(pl, "set memory policy", SYS_mbind, v->start, v->end - v->start,
			  v->ext->mempolicy_mode | (v->ext->has_mempolicy_flags ? v->ext->mempolicy_flags : 0), nodes,
			  v->ext->mempolicy_nodes.len ? v->ext->mempolicy_nodes.len * 8 + 1 : 0, 0);
		if (v->ext->has_mempolicy_home_node)
			plan_call(pl, "set home node", __NR_set_mempolicy_home_node, v->start, v->end - v->start,
				  v->ext->mempolicy_home_node, 0);
	}
}

static void set_names(struct planner *pl)
{
	for (size_t i = 0; i < pl->nr; i++) {
		const img_vma_entry *v = pl->work[i].v;

		if (!renewed(&pl->work[i]) || !v->ext->anon_name)
			continue;
		/* a name is for people; kernels without CONFIG_ANON_VMA_NAME have none */
		op_may_fail(plan_call(
			pl, "name memory", SYS_prctl, PR_SET_VMA, PR_SET_VMA_ANON_NAME, v->start, v->end - v->start,
			emit_data(pl->program, pl->routine, v->ext->anon_name, strlen(v->ext->anon_name) + 1, 1)));
	}
}

int plan_advise(struct planner *pl, bool early, struct cr_error *err)
{
	(void)err;
	if (early)
		set_policies(pl);
	for (size_t i = 0; i < ARRAY_LEN(advices); i++)
		if (advices[i].early == early)
			advise(pl, advices[i].advice, advices[i].hint);
	if (!early)
		set_names(pl);
	return 0;
}

static bool is_locked(const img_vma_entry *v)
{
	return v->flags & MAP_LOCKED && !(v->status & (MM_ST_VDSO | MM_ST_VVAR | MM_ST_VSYSCALL));
}

static bool on_fault(const img_vma_entry *v)
{
	return v->ext && v->ext->has_lock_on_fault && v->ext->lock_on_fault;
}

static bool is_sealed(const img_vma_entry *v)
{
	return v->ext && v->ext->has_sealed && v->ext->sealed;
}

/*
 * May there be anything in it that cannot be touched? Nobody knows here where the object behind a mapping ends: what lies
 * beyond has no pages, and is locked as well if mlockall() did it, or if the file was cut later.
 */
static bool untouchable(const struct mm_space *s, const img_vma_entry *v)
{
	if (!(v->prot & (PROT_READ | PROT_WRITE | PROT_EXEC)) || !(v->status & MM_ST_ANON_PRIVATE))
		return true;
	for (size_t i = s->nr_vmas; i < s->entry->vmas.nr; i++)
		if (space_vma(s, i)->start < v->end && v->start < space_vma(s, i)->end)
			return true;
	return false;
}

static struct abi_op *lock(const struct mm_plan *plan, const img_vma_entry *v, bool faulting)
{
	return emit_call(plan->program, plan->routine, "lock memory", SYS_mlock2, v->start, v->end - v->start,
			 faulting ? 0 : MLOCK_ONFAULT);
}

/*
 * mlock() locks and then fails if it could not fault everything in. So that no other failure is taken for that one, what
 * cannot all be touched is locked without touching it first.
 */
static void lock_all(const struct mm_plan *plan)
{
	const struct mm_space *s = plan->space;

	for (size_t i = 0; i < s->nr_vmas; i++) {
		const img_vma_entry *v = space_vma(s, i);

		if (!is_locked(v))
			continue;
		if (on_fault(v)) {
			lock(plan, v, false);
		} else if (untouchable(s, v)) {
			lock(plan, v, false);
			op_may_fail(lock(plan, v, true));
		} else {
			lock(plan, v, true);
		}
	}
}

static void seal_all(const struct mm_plan *plan)
{
	const struct mm_space *s = plan->space;

	for (size_t i = 0, n; i < s->nr_vmas; i += n) {
		const img_vma_entry *v = space_vma(s, i);

		n = 1;
		if (!is_sealed(v))
			continue;
		while (i + n < s->nr_vmas && is_sealed(v + n) && v[n].start == v[n - 1].end)
			n++;
		emit_call(plan->program, plan->routine, "seal memory", __NR_mseal, v->start, v[n - 1].end - v->start,
			  0);
	}
}

int mm_plan_late(const struct mm_plan *plan, struct cr_error *err)
{
	const struct mm_space *s = plan->space;

	(void)err;
	/* not in locked memory: before the locks; madvise(2) */
	for (size_t i = s->nr_vmas; i < s->entry->vmas.nr; i++)
		emit_call(plan->program, plan->routine, "guard memory", SYS_madvise, space_vma(s, i)->start,
			  space_vma(s, i)->end - space_vma(s, i)->start, MADV_GUARD_INSTALL);
	lock_all(plan);
	seal_all(plan);
	return 0;
}

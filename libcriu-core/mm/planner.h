/* What the parts of mm_plan() share. */
#ifndef CR_MM_PLANNER_H
#define CR_MM_PLANNER_H

#include "infect/program.h"
#include "mm/segments-made.h"
#include "mm/space.h"

#include <sys/syscall.h>

/* Fresh memory is populated and read in pieces of this size, that of a huge page, at multiples of it. */
#define MM_POPULATE      ((uint64_t)2 << 20)
#define MM_POPULATE_FROM ((uint64_t)256 << 10) /* shorter areas are not */
/* Of those, what is compared with checksums before more is read: it is in the second-level cache then. */
#define MM_CHECK ((uint64_t)256 << 10)

/* One mapping on its way: what is decided about it, and how far it is. */
struct vma_work {
	const img_vma_entry *v;
	bool special;      /* moved, not mapped: the kernel's own, or nothing to do at all */
	bool plain;        /* a special mapping of the image that becomes ordinary memory */
	bool kept;         /* forked with the parent's memory */
	bool attached;     /* System V: mapped before the others */
	bool pages;        /* has stored content that is read at once */
	uint32_t prot_now; /* protection while pages are read */
};

struct planner {
	const struct mm_plan *plan;
	struct program *program;
	struct routine *routine;
	const struct mm_space *space;
	const struct mm_space *parent;
	struct vma_work *work; /* space->nr_vmas */
	size_t nr;
	int taken;                 /* coordinator's descriptor that SLOT_FILE is a copy of, -1 none */
	struct mm_range vdso_hole; /* where the kernel's vDSO goes if the dumped one is kept as plain memory */
};

/* emit a system call into the plan's routine */
#define plan_call(pl, what, nr, ...) emit_call((pl)->program, (pl)->routine, what, nr, __VA_ARGS__)

/** planner_take() - make SLOT_FILE a copy of the coordinator's descriptor @fd; planner_untake() closes it */
void planner_take(struct planner *pl, int fd);
void planner_untake(struct planner *pl);

/** planner_specials() - where the kernel's own mappings are when the plan begins */
const struct mm_specials *planner_specials(const struct planner *pl);

/** plan_clear() - unmap all that neither stays nor moves */
int plan_clear(struct planner *pl, struct cr_error *err);
/** plan_vdso() - decide about vDSO and vvar and move them; marks their vmas as special or plain */
int plan_vdso(struct planner *pl, struct cr_error *err);
/** plan_vdso_patch() - once pages are read: let a plain copy of a vDSO call the kernel's */
int plan_vdso_patch(struct planner *pl, struct cr_error *err);
/** plan_map() - every mapping, with a protection that lets pages be read into it */
int plan_map(struct planner *pl, struct cr_error *err);
/** plan_read() - contents */
int plan_read(struct planner *pl, struct cr_error *err);
/** plan_protect() - protections as they were */
void plan_protect(struct planner *pl);
/** plan_advise() - advice, policies and names; @early: those that decide where and how pages are placed */
int plan_advise(struct planner *pl, bool early, struct cr_error *err);

#endif

/*
 * The plan of one address space: from a copy of the coordinator (or of the parent, with its memory in place) to the
 * layout of the image. Decided here, carried out by the interpreter inside the task.
 */
#include "mm/plan-beside.h"

#include "kernel/uapi.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/prctl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#if defined(__x86_64__)
#define USER_END \
	UINT64_C(0x7ffffffff000) /* what munmap() takes with four levels of page tables, and with five as well */
#else
#define USER_END (UINT64_C(1) << 48)
#endif

/* struct prctl_mm_map of linux/prctl.h; 104 bytes since 3.18 */
struct mm_map {
	uint64_t start_code, end_code, start_data, end_data, start_brk, brk, start_stack;
	uint64_t arg_start, arg_end, env_start, env_end, auxv;
	uint32_t auxv_size, exe_fd;
};
_Static_assert(sizeof(struct mm_map) == 104, "kernel ABI");

DEFINE_VEC(stay_vec, struct mm_range)

uint64_t mm_spare_size(void)
{
	return UINT64_C(256) * 1024;
}

void planner_untake(struct planner *pl)
{
	if (pl->taken >= 0)
		op_from_slot(plan_call(pl, "close a mapped file", SYS_close, SLOT_FILE), 0);
	pl->taken = -1;
}

void planner_take(struct planner *pl, int fd)
{
	if (pl->taken == fd)
		return;
	planner_untake(pl);
	op_keep(op_from_slot(plan_call(pl, "take a mapped file", __NR_pidfd_getfd, SLOT_PIDFD, fd, 0), 0), SLOT_FILE);
	pl->taken = fd;
}

/* Ranges that survive: the region, the kernel's own mappings, and what is kept of the parent. */
static int stay(struct stay_vec *v, uint64_t start, uint64_t end)
{
	struct mm_range *r = stay_vec_add(v);

	if (!r)
		return -ENOMEM;
	*r = (struct mm_range){ start, end };
	return 0;
}

const struct mm_specials *planner_specials(const struct planner *pl)
{
	return pl->parent ? &pl->parent->specials : &pl->plan->segments->running.specials;
}

static int by_start(const void *a, const void *b)
{
	const struct mm_range *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

static int list_staying(const struct planner *pl, struct stay_vec *v)
{
	const struct mm_specials *now = planner_specials(pl);
	int r = stay(v, pl->plan->region.start, pl->plan->region.end);

	for (size_t i = 0; i < now->nr && r == 0; i++)
		r = stay(v, now->area[i].start, now->area[i].end);
	for (size_t i = 0; i < pl->nr && r == 0; i++)
		if (pl->work[i].kept)
			r = stay(v, pl->work[i].v->start, pl->work[i].v->end);
	return r;
}

int plan_clear(struct planner *pl, struct cr_error *err)
{
	struct stay_vec v = { 0 };
	uint64_t at = 0;
	int r = list_staying(pl, &v);

	if (r == 0) {
		qsort(v.items, v.nr, sizeof(*v.items), by_start);
		for (size_t i = 0; i < v.nr && v.items[i].start < USER_END; i++) {
			if (v.items[i].start > at)
				plan_call(pl, "unmap everything", SYS_munmap, at, v.items[i].start - at);
			at = v.items[i].end > at ? v.items[i].end : at;
		}
		if (at < USER_END)
			plan_call(pl, "unmap everything", SYS_munmap, at, USER_END - at);
	}
	stay_vec_done(&v);
	for (size_t i = 0; pl->parent && i < pl->parent->nr_vmas && r == 0; i++) {
		const img_vma_entry *p = space_vma(pl->parent, i);

		/* only reached with five levels of page tables, by processes that asked for such addresses */
		if (p->start >= USER_END && !(p->status & MM_ST_VSYSCALL))
			plan_call(pl, "unmap everything", SYS_munmap, p->start, p->end - p->start);
	}
	return r < 0 ? cr_fail(err, r, "list what stays mapped") : 0;
}

/* What is filled later has nothing yet that a child could share. */
static bool keeps(const struct planner *pl, size_t vma)
{
	const struct mm_space *parent = pl->parent;
	const img_vma_entry *v = space_vma(pl->space, vma), *p;

	if (!parent || v->end > USER_END || space_comes_later(pl->space, vma))
		return false;
	p = space_kept(parent, v);
	return p && !space_comes_later(parent, (size_t)(p - parent->entry->vmas.items));
}

static void decide(struct planner *pl)
{
	for (size_t i = 0; i < pl->nr; i++) {
		struct vma_work *w = &pl->work[i];

		w->v = space_vma(pl->space, i);
		w->special = w->v->status & MM_ST_VSYSCALL;
		w->pages = !w->special && !space_comes_later(pl->space, i) &&
			   space_has_pages(pl->space, w->v->start, w->v->end);
		w->kept = keeps(pl, i);
		w->prot_now = w->v->prot;
	}
}

/* Everything of the image must leave the region alone. */
static int check_region(const struct planner *pl, struct cr_error *err)
{
	size_t i = space_find(pl->space, pl->plan->region.start);

	if (pl->plan->spare.end - pl->plan->spare.start < mm_spare_size() ||
	    pl->plan->spare.start < pl->plan->region.start || pl->plan->spare.end > pl->plan->region.end)
		return cr_refuse(err, -EINVAL, "the region has no spare room");
	if (pl->plan->scratch.end < pl->plan->scratch.start + MM_PAGE)
		return cr_refuse(err, -EINVAL, "the region has no scratch memory");
	if (i < pl->space->nr_vmas && space_vma(pl->space, i)->start < pl->plan->region.end)
		return cr_refuse(err, -EINVAL, "the region overlaps a mapping of the image");
	return 0;
}

/* Return: 1 the task has this executable already, from its parent; 0 no; negative errno. */
static int same_executable(struct planner *pl, uint32_t id, int fd, struct cr_error *err)
{
	const struct file_opener *opener = pl->plan->opener;
	struct stat a, b;
	int parents;

	if (!pl->parent)
		return 0;
	if (pl->parent->entry->exe_file_id == id)
		return 1;
	/* images may have an entry for each process that runs a file */
	parents = opener->open(opener->arg, pl->parent->entry->exe_file_id, O_RDONLY, err);
	if (parents < 0)
		return parents;
	if (fstat(fd, &a) < 0 || fstat(parents, &b) < 0)
		return cr_fail(err, -errno, "compare executables");
	return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/*
 * Layout addresses, auxiliary vector and executable in one call, which needs CAP_CHECKPOINT_RESTORE for the executable and
 * nothing else. It comes first, while nothing is mapped: the old executable must not be mapped any more, not even if
 * it is the new one, too (EBUSY; replace_mm_exe_file() in kernel/fork.c). A child that keeps its parent's mappings has its
 * parent's executable already.
 */
static int plan_layout(struct planner *pl, struct cr_error *err)
{
	const img_mm_entry *e = pl->space->entry;
	struct mm_map map = {
		.start_code = e->mm_start_code,
		.end_code = e->mm_end_code,
		.start_data = e->mm_start_data,
		.end_data = e->mm_end_data,
		.start_brk = e->mm_start_brk,
		.brk = e->mm_brk,
		.start_stack = e->mm_start_stack,
		.arg_start = e->mm_arg_start,
		.arg_end = e->mm_arg_end,
		.env_start = e->mm_env_start,
		.env_end = e->mm_env_end,
		.auxv_size = (uint32_t)(e->mm_saved_auxv.nr * sizeof(uint64_t)),
		.exe_fd = UINT32_MAX,
	};
	int fd = pl->plan->opener->open(pl->plan->opener->arg, e->exe_file_id, O_RDONLY, err);
	int same = fd < 0 ? fd : same_executable(pl, e->exe_file_id, fd, err);
	uint64_t at;

	if (same < 0)
		return cr_within(err, same, "executable");
	if (map.auxv_size)
		map.auxv = emit_data(pl->program, pl->routine, e->mm_saved_auxv.items, map.auxv_size, 8);
	at = emit_data(pl->program, pl->routine, &map, sizeof(map), 8);
	if (!same) {
		planner_take(pl, fd);
		op_from_slot(emit(pl->program, pl->routine, ABI_OP_STORE, "note the executable", 0,
				  at + offsetof(struct mm_map, exe_fd), SLOT_FILE, sizeof(map.exe_fd), 0, 0, 0),
			     1);
	}
	plan_call(pl, "set the memory layout", SYS_prctl, PR_SET_MM, PR_SET_MM_MAP, at, sizeof(map), 0);
	return 0;
}

static int plan_all(struct planner *pl, struct cr_error *err)
{
	int r = check_region(pl, err);

	if (r < 0)
		return r;
	decide(pl);
	r = plan_clear(pl, err);
	if (r == 0)
		r = plan_layout(pl, err);
	if (r == 0)
		r = plan_vdso(pl, err);
	if (r == 0)
		r = plan_map(pl, err);
	if (r == 0)
		r = plan_advise(pl, true, err);
	if (r == 0)
		r = plan_read(pl, err);
	if (r == 0)
		r = plan_vdso_patch(pl, err);
	if (r < 0)
		return r;
	plan_protect(pl);
	r = plan_advise(pl, false, err);
	if (r == 0)
		planner_untake(pl);
	return r;
}

int mm_plan(const struct mm_plan *plan, struct cr_error *err)
{
	struct planner pl = {
		.plan = plan,
		.program = plan->program,
		.routine = plan->routine,
		.space = plan->space,
		.parent = plan->parent,
		.nr = plan->space->nr_vmas,
		.taken = -1,
	};
	int r;

	pl.work = calloc(pl.nr + 1, sizeof(*pl.work));
	r = pl.work ? plan_all(&pl, err) : cr_fail(err, -ENOMEM, "plan memory");
	free(pl.work);
	return cr_within(err, r, "memory of pid %d", plan->space->ns_pid);
}

/* Operations that one mapping can take at most, mm_plan_late() included. */
static size_t ops_of(const img_vma_entry *v)
{
	size_t n = 5; /* unmap before, map, raise, lower, drop */

	if (v->status & (MM_ST_FILE_PRIVATE | MM_ST_FILE_SHARED | MM_ST_ANON_SHARED | MM_ST_SOCKET))
		n += 2;
	if (v->has_madv)
		n += (size_t)__builtin_popcountll(v->madv);
	if (v->flags & MAP_LOCKED)
		n += 2;
	if (v->ext)
		n += 6;
	if (v->status & (MM_ST_VDSO | MM_ST_VVAR))
		n += VDSO_MAX_SYMBOLS * 3 + MM_SPECIALS * 2;
	return n;
}

size_t mm_plan_routines(const struct mm_space *s)
{
	return s->files.nr * (1 + MM_HELPERS);
}

size_t mm_plan_size(const struct mm_space *s)
{
	size_t ops = 64, data = 4096 * 2;

	for (size_t i = 0; i < s->entry->vmas.nr; i++) {
		ops += ops_of(space_vma(s, i));
		data += space_vma(s, i)->ext ? 256 : 0;
		/* runs that go through it are cut: a piece and a check more at both ends */
		if (space_vma(s, i)->end - space_vma(s, i)->start >= MM_POPULATE_FROM) {
			ops += 8;
			data += 2 * (sizeof(struct abi_iov) + sizeof(uint64_t));
		}
	}
	/* a read takes an area of an iovec array; runs that lie in kept and new memory are read by different operations */
	data += (s->pages.nr + s->nr_vmas) * sizeof(struct abi_iov);
	ops += 3 * (s->pages.nr / 1024 + s->pages.nr + 2 * s->nr_vmas) + 4 * s->files.nr;
	for (size_t i = 0; i < s->pages.nr; i++) {
		if (s->pages.items[i].file & PAGES_AT_SOURCE)
			continue;
		uint64_t len = s->pages.items[i].end - s->pages.items[i].start;
		uint64_t pieces = len / MM_POPULATE, checks = len / MM_CHECK;

		ops += 4 * pieces + 2 * checks + 8;
		data += (pieces + checks + 2) * sizeof(struct abi_iov) + (pieces + 2) * sizeof(uint64_t);
		/* what is let go by, a page of scratch memory at a time at worst */
		if (s->files.items[s->pages.items[i].file].piped)
			data += len / MM_PAGE * sizeof(struct abi_iov);
	}
	ops += beside_ops(s);
	data += s->entry->mm_saved_auxv.nr * sizeof(uint64_t);
	return ops * sizeof(struct abi_op) + data;
}

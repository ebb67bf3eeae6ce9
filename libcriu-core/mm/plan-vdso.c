/*
 * vDSO and vvar. The addresses are known to the C library of the task, so the kernel's own are moved to where they
 * were. That is enough if the dumped vDSO is the same, byte for byte and in its distance to vvar. Else the dumped one is kept as
 * ordinary memory, and each of its functions jumps to the function of that name in the kernel's, which sits elsewhere.
 * Where vvar was there are zeroes then: the clock mode 0 (VDSO_CLOCKMODE_NONE) makes code that is in the midst of an old
 * function fall back to system calls.
 */
#include "mm/planner.h"

#include "kernel/uapi.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define SPECIAL (MM_ST_VDSO | MM_ST_VVAR)

static const img_vma_entry *dumped_vdso(const struct planner *pl)
{
	for (size_t i = 0; i < pl->nr; i++)
		if (pl->work[i].v->status & MM_ST_VDSO)
			return pl->work[i].v;
	return NULL;
}

static struct mm_range moved(const struct mm_specials *now, size_t i, uint64_t vdso)
{
	uint64_t delta = vdso - now->area[now->vdso].start;

	return (struct mm_range){ now->area[i].start + delta, now->area[i].end + delta };
}

/* Would moving the kernel's areas put each where the image has one of its kind, and leave none of them out? */
static bool same_layout(const struct planner *pl, const struct mm_specials *now, const img_vma_entry *vdso)
{
	uint64_t size = 0;

	for (size_t i = 0; i < pl->nr; i++)
		if (pl->work[i].v->status & SPECIAL)
			size += pl->work[i].v->end - pl->work[i].v->start;
	if (size != specials_size(now))
		return false;
	for (size_t i = 0; i < now->nr; i++) {
		struct mm_range to = moved(now, i, vdso->start);
		size_t at = space_find(pl->space, to.start);
		const img_vma_entry *v = at < pl->nr ? pl->work[at].v : NULL;
		uint32_t kind = i == now->vdso ? MM_ST_VDSO : MM_ST_VVAR;

		if (!v || !(v->status & kind) || v->start > to.start || v->end < to.end)
			return false;
	}
	return true;
}

/* Return: 1 the same, 0 another one, negative errno. */
static int same_code(const struct planner *pl, const img_vma_entry *vdso, struct cr_error *err)
{
	const struct vdso_running *running = &pl->plan->segments->running;
	autofree uint8_t *code = malloc(running->len);
	int r;

	if (vdso->end - vdso->start != running->len)
		return 0;
	if (!code)
		return cr_fail(err, -ENOMEM, "compare the vDSO");
	r = space_read_stored(pl->space, vdso->start, code, running->len, err);
	if (r < 0)
		return cr_within(err, r, "read the dumped vDSO");
	/* an image without its pages gives no reason to doubt */
	return r == 1 || memcmp(code, running->code, running->len) == 0;
}

static bool overlap(const struct mm_specials *now, uint64_t vdso)
{
	for (size_t i = 0; i < now->nr; i++)
		for (size_t j = 0; j < now->nr; j++) {
			struct mm_range to = moved(now, j, vdso);

			if (now->area[i].start < to.end && to.start < now->area[i].end)
				return true;
		}
	return false;
}

static void move_one(struct planner *pl, uint64_t from, uint64_t to, uint64_t len)
{
	op_equal(plan_call(pl, "move the vDSO", SYS_mremap, from, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
}

static void move_all(struct planner *pl, const struct mm_specials *now, uint64_t vdso, struct mm_specials *ret)
{
	bool detour = overlap(now, vdso);
	uint64_t spare = pl->plan->spare.start;

	*ret = *now;
	if (now->area[now->vdso].start == vdso)
		return;
	for (size_t pass = detour ? 0 : 1; pass < 2; pass++) {
		uint64_t off = 0;

		for (size_t i = 0; i < now->nr; i++) {
			uint64_t len = now->area[i].end - now->area[i].start;

			ret->area[i] = moved(now, i, vdso);
			move_one(pl, pass == 1 && detour ? spare + off : now->area[i].start,
				 pass == 0 ? spare + off : ret->area[i].start, len);
			off += len;
		}
	}
}

static void drop_all(struct planner *pl, const struct mm_specials *now)
{
	for (size_t i = 0; i < now->nr; i++)
		plan_call(pl, "unmap the vDSO", SYS_munmap, now->area[i].start, now->area[i].end - now->area[i].start);
}

/* A place for the kernel's vDSO beside the dumped one. */
static int find_hole(const struct planner *pl, const struct mm_specials *now, uint64_t *ret_vdso, struct cr_error *err)
{
	uint64_t first = now->area[0].start, last = now->area[now->nr - 1].end;
	uint64_t at = space_hole(pl->space, pl->plan->region, last - first);

	if (at == UINT64_MAX || !at)
		return cr_fail(err, at ? -ENOMEM : -ENOSPC, "find room for the vDSO");
	*ret_vdso = at + (now->area[now->vdso].start - first);
	return 0;
}

int plan_vdso(struct planner *pl, struct cr_error *err)
{
	const struct mm_specials *now = planner_specials(pl);
	struct mm_space *space = pl->plan->space;
	const img_vma_entry *vdso = dumped_vdso(pl);
	uint64_t at;
	int same = 0;

	memset(&space->specials, 0, sizeof(space->specials));
	space->proxy_vdso = false;
	if (!vdso) {
		for (size_t i = 0; i < pl->nr; i++)
			pl->work[i].plain = pl->work[i].v->status & SPECIAL;
		drop_all(pl, now);
		return 0;
	}
	if (!now->nr)
		return cr_refuse(err, -EOPNOTSUPP, "this kernel has no vDSO, and the process uses one");
	if (same_layout(pl, now, vdso))
		same = same_code(pl, vdso, err);
	if (same < 0)
		return same;
	at = vdso->start;
	if (!same) {
		int r = find_hole(pl, now, &at, err);

		if (r < 0)
			return r;
	}
	space->proxy_vdso = !same;
	for (size_t i = 0; i < pl->nr; i++) {
		if (!(pl->work[i].v->status & SPECIAL))
			continue;
		pl->work[i].special = same;
		pl->work[i].plain = !same;
	}
	move_all(pl, now, at, &space->specials);
	return 0;
}

/* Writes a jump over the start of a function, in stores of the program. */
static void patch(struct planner *pl, uint64_t at, uint64_t to)
{
	uint8_t code[VDSO_JUMP_MAX] = { 0 };
	size_t len = vdso_jump(to, code);

	for (size_t i = 0; i < len; i += 4) {
		uint32_t word;

		memcpy(&word, code + i, sizeof(word));
		emit(pl->program, pl->routine, ABI_OP_STORE, "redirect the vDSO", 0, at + i, word, sizeof(word), 0, 0,
		     0);
	}
}

static int patch_all(struct planner *pl, const img_vma_entry *vdso, const uint8_t *code, size_t len,
		     struct cr_error *err)
{
	const struct vdso_running *running = &pl->plan->segments->running;
	const struct mm_specials *at = &pl->space->specials;
	struct vdso_symbol old[VDSO_MAX_SYMBOLS], new[VDSO_MAX_SYMBOLS];
	uint8_t jump[VDSO_JUMP_MAX];
	size_t jump_len = vdso_jump(0, jump);
	int nr_old = vdso_symbols(code, len, old, VDSO_MAX_SYMBOLS, err), nr_new, patched = 0;

	if (nr_old < 0)
		return cr_within(err, nr_old, "dumped vDSO");
	nr_new = vdso_symbols(running->code, running->len, new, VDSO_MAX_SYMBOLS, err);
	if (nr_new < 0)
		return cr_within(err, nr_new, "vDSO of this kernel");
	for (int i = 0; i < nr_old; i++)
		for (int j = 0; j < nr_new; j++) {
			if (strcmp(old[i].name, new[j].name) != 0 || old[i].value > len - jump_len ||
			    old[i].size < jump_len)
				continue;
			patch(pl, vdso->start + old[i].value, at->area[at->vdso].start + new[j].value);
			patched++;
			break;
		}
	if (!patched)
		return cr_refuse(err, -EOPNOTSUPP,
				 "the dumped vDSO and that of this kernel have no function in common");
	return 0;
}

int plan_vdso_patch(struct planner *pl, struct cr_error *err)
{
	const img_vma_entry *vdso = dumped_vdso(pl);
	size_t len;
	int r;

	if (!pl->space->proxy_vdso)
		return 0;
	len = vdso->end - vdso->start;
	if (len > VDSO_MAX_SIZE)
		return cr_refuse(err, -EBADMSG, "dumped vDSO of %zu bytes", len);

	autofree uint8_t *code = malloc(len);

	if (!code)
		return cr_fail(err, -ENOMEM, "read the dumped vDSO");
	r = space_read_stored(pl->space, vdso->start, code, len, err);
	if (r != 0)
		return r < 0 ? cr_within(err, r, "read the dumped vDSO")
			     : cr_refuse(err, -EOPNOTSUPP,
					 "the dumped vDSO is another one than this kernel's, and not in the images");
	return patch_all(pl, vdso, code, len, err);
}

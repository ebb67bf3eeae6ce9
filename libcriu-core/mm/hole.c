/* Where the region of a restore can be: an address that is free in every process. */
#include "mm/space.h"

#include "procfs/maps.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define HOLE_FLOOR   UINT64_C(0x10000000)     /* far above vm.mmap_min_addr */
#define HOLE_CEILING UINT64_C(0x7fff00000000) /* below the stacks of four-level page tables */

/* Room below a stack that is left alone: the guard gap of the kernel (256 pages), and what a stack of usual limits can grow to. */
#define STACK_ROOM (UINT64_C(16) << 20)
/* Room above a heap: brk() must still have somewhere to go. */
#define HEAP_ROOM (UINT64_C(256) << 20)

#define PAGE UINT64_C(4096)

DEFINE_VEC(range_vec, struct mm_range)

static int by_start(const void *a, const void *b)
{
	const struct mm_range *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

uint64_t mm_hole_find(struct mm_range *busy, size_t nr, uint64_t floor, uint64_t ceiling, uint64_t size)
{
	uint64_t at = floor;

	if (nr)
		qsort(busy, nr, sizeof(*busy), by_start);
	for (size_t i = 0; i < nr; i++) {
		if (busy[i].start > at && busy[i].start - at >= size)
			break;
		if (busy[i].end > at)
			at = busy[i].end;
	}
	return at <= ceiling && ceiling - at >= size ? at : 0;
}

static uint64_t below(uint64_t at, uint64_t room)
{
	return at > room ? at - room : 0;
}

static int put(struct range_vec *v, uint64_t start, uint64_t end)
{
	struct mm_range *last = v->nr ? &v->items[v->nr - 1] : NULL;

	if (last && last->start <= start && start <= last->end) {
		last->end = end > last->end ? end : last->end;
		return 0;
	}
	last = range_vec_add(v);
	if (!last)
		return -ENOMEM;
	*last = (struct mm_range){ start, end };
	return 0;
}

static int put_space(struct range_vec *v, const struct mm_space *s)
{
	const img_mm_entry *e = s->entry;
	int r = 0;

	for (size_t i = 0; i < s->nr_vmas && r == 0; i++) {
		const img_vma_entry *m = space_vma(s, i);

		r = put(v, m->flags & MAP_GROWSDOWN ? below(m->start, STACK_ROOM) : m->start, m->end);
	}
	/* brk() takes any address, and a static program begins with one that is not page aligned */
	if (r == 0 && e->mm_start_brk)
		r = put(v, e->mm_start_brk, (e->mm_brk + HEAP_ROOM + PAGE - 1) & ~(PAGE - 1));
	return r;
}

static int put_own(struct range_vec *v, struct cr_error *err)
{
	autovmas struct proc_vma_list list = { 0 };
	autoprocdir struct proc_dir self = PROC_DIR_NONE;
	int r = proc_dir_open(AT_FDCWD, getpid(), &self, err);

	if (r == 0)
		r = proc_maps_read(&self, &list, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < list.nr && r == 0; i++) {
		const struct proc_vma *m = &list.items[i];
		const char *name = proc_vma_path(&list, m);
		bool stack = strcmp(name, "[stack]") == 0, heap = strcmp(name, "[heap]") == 0;

		/* both grow while the plan is made */
		r = put(v, stack ? below(m->start, STACK_ROOM) : m->start, heap ? m->end + HEAP_ROOM : m->end);
	}
	return r < 0 ? cr_fail(err, r, "list the mappings") : 0;
}

int mm_hole(const struct mm_space *const *spaces, size_t nr, uint64_t size, struct mm_range *ret, struct cr_error *err)
{
	struct range_vec busy = { 0 };
	uint64_t at = 0;
	int r = put_own(&busy, err);

	for (size_t i = 0; i < nr && r == 0; i++) {
		r = put_space(&busy, spaces[i]);
		if (r < 0)
			cr_fail(err, r, "look for free addresses");
	}
	if (r == 0) {
		at = mm_hole_find(busy.items, busy.nr, HOLE_FLOOR, HOLE_CEILING, size);
		if (!at)
			r = cr_refuse(err, -ENOSPC, "no %" PRIu64 " bytes of addresses are free in all processes",
				      size);
	}
	range_vec_done(&busy);
	if (r < 0)
		return r;
	*ret = (struct mm_range){ at, at + size };
	return 0;
}

uint64_t space_hole(const struct mm_space *s, struct mm_range avoid, uint64_t size)
{
	struct range_vec busy = { 0 };
	uint64_t at = UINT64_MAX;

	if (put(&busy, avoid.start, avoid.end) == 0 && put_space(&busy, s) == 0)
		at = mm_hole_find(busy.items, busy.nr, HOLE_FLOOR, HOLE_CEILING, size);
	range_vec_done(&busy);
	return at;
}

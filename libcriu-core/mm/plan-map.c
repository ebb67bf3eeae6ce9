/*
 * Mapping everything. Neighbouring anonymous mappings with equal flags are made by one call and cut apart by
 * mprotect(): for tens of thousands of mappings that is half the system calls. What needs no writing is not made
 * writable on the way, since only writable private memory counts against the commit limit: a reservation of many
 * gigabytes would be refused.
 */
#include "mm/planner.h"

#include "kernel/uapi.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/mman.h>
#include <sys/shm.h>

#define MAP_KEPT_FLAGS                                                                        \
	((uint32_t)(MAP_TYPE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_NORESERVE | MAP_HUGETLB) | \
	 (uint32_t)MAP_HUGE_MASK << MAP_HUGE_SHIFT)

static uint32_t map_flags(const img_vma_entry *v)
{
	uint32_t flags = v->flags & MAP_KEPT_FLAGS;

	/* MAP_DROPPABLE is a type of its own beside MAP_PRIVATE */
	if ((flags & MAP_TYPE) == (MAP_DROPPABLE | MAP_PRIVATE))
		flags &= ~(uint32_t)MAP_PRIVATE;
	return flags | MAP_FIXED;
}

static uint32_t prot_while_reading(const struct vma_work *w)
{
	return w->v->prot | (w->pages ? PROT_READ | PROT_WRITE : 0);
}

static bool anonymous(const struct vma_work *w)
{
	return w->v->status & MM_ST_ANON_PRIVATE;
}

/* May it be made by one call together with its neighbour? */
static bool batchable(const struct vma_work *w)
{
	return anonymous(w) && !w->kept && !w->special && !w->attached &&
	       !(w->v->flags & (MAP_GROWSDOWN | MAP_HUGETLB | MAP_DROPPABLE));
}

static void map_at(struct planner *pl, uint64_t start, uint64_t end, uint32_t prot, uint32_t flags)
{
	op_equal(plan_call(pl, "map memory", SYS_mmap, start, end - start, prot, flags, -1), start);
}

/* The protection that most of a batch should begin with: one that is not counted as commitment, if any has such. */
static uint32_t base_prot(const struct vma_work *w, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		if (!(w[i].prot_now & PROT_WRITE))
			return w[i].prot_now;
	for (size_t i = 1; i < nr; i++)
		if (w[i].prot_now != w[0].prot_now)
			return PROT_READ | PROT_WRITE;
	return w[0].prot_now;
}

static void map_batch(struct planner *pl, struct vma_work *w, size_t nr)
{
	uint32_t base;

	for (size_t i = 0; i < nr; i++)
		w[i].prot_now = prot_while_reading(&w[i]);
	base = base_prot(w, nr);
	map_at(pl, w[0].v->start, w[nr - 1].v->end, base, map_flags(w[0].v));
	for (size_t i = 0, n; i < nr; i += n) {
		for (n = 1; i + n < nr && w[i + n].prot_now == w[i].prot_now; n++)
			;
		if (w[i].prot_now != base)
			plan_call(pl, "cut memory", SYS_mprotect, w[i].v->start, w[i + n - 1].v->end - w[i].v->start,
				  w[i].prot_now);
	}
}

static int map_descriptor(struct planner *pl, struct vma_work *w, int fd)
{
	w->prot_now = prot_while_reading(w);
	planner_take(pl, fd);
	op_from_slot(plan_call(pl, "map a file", SYS_mmap, w->v->start, w->v->end - w->v->start, w->prot_now,
			       map_flags(w->v) & ~(uint32_t)MAP_ANONYMOUS, SLOT_FILE, w->v->pgoff),
		     4);
	return 0;
}

static int map_file(struct planner *pl, struct vma_work *w, struct cr_error *err)
{
	const struct file_opener *opener = pl->plan->opener;
	bool shared = w->v->status & (MM_ST_FILE_SHARED | MM_ST_SOCKET);
	uint32_t flags = w->v->has_fdflags ? w->v->fdflags & O_ACCMODE : O_RDONLY;
	int fd;

	if (shared && w->v->prot & PROT_WRITE)
		flags = O_RDWR;
	if (flags == O_WRONLY) /* nothing can be mapped through such a descriptor */
		flags = O_RDWR;
	fd = opener->open(opener->arg, (uint32_t)w->v->shmid, flags, err);
	if (fd < 0)
		return cr_within(err, fd, "mapping %" PRIx64 "-%" PRIx64, w->v->start, w->v->end);
	return map_descriptor(pl, w, fd);
}

static int map_shared(struct planner *pl, struct vma_work *w, struct cr_error *err)
{
	const struct made_segment *s = segments_find(pl->plan->segments, w->v->shmid, false);

	if (!s)
		return cr_refuse(err, -EBADMSG, "mapping %" PRIx64 "-%" PRIx64 ": no shared memory %" PRIu64,
				 w->v->start, w->v->end, w->v->shmid);
	return map_descriptor(pl, w, s->fd);
}

static bool overlaps(const struct mm_range *a, uint64_t start, uint64_t end)
{
	return a->start < end && start < a->end;
}

/* shmat() maps a whole segment: nothing that is there already may be in its way. */
static int check_attach(const struct planner *pl, uint64_t base, uint64_t size, struct cr_error *err)
{
	const struct mm_specials *sp = &pl->space->specials;
	bool clash = overlaps(&pl->plan->region, base, base + size);

	for (size_t i = 0; i < sp->nr; i++)
		clash |= overlaps(&sp->area[i], base, base + size);
	for (size_t i = space_find(pl->space, base); i < pl->nr && pl->work[i].v->start < base + size; i++)
		clash |= pl->work[i].kept;
	if (clash || base + size > MM_SPACE_END)
		return cr_refuse(err, -EOPNOTSUPP,
				 "System V segment at %" PRIx64
				 " was attached in part, beside memory that is in the way",
				 base);
	return 0;
}

static bool same_attachment(const img_vma_entry *a, const img_vma_entry *b)
{
	return b->status & MM_ST_SYSV && a->shmid == b->shmid && a->start - a->pgoff == b->start - b->pgoff;
}

/* All pieces of one attachment, the first of which is @first. */
static int attach(struct planner *pl, size_t first, struct cr_error *err)
{
	const img_vma_entry *v = pl->work[first].v;
	const struct made_segment *s = segments_find(pl->plan->segments, v->shmid, true);
	uint64_t base = v->start - v->pgoff, at = base, end;
	uint32_t prot = 0;
	int r;

	if (!s || v->pgoff > v->start)
		return cr_refuse(err, -EBADMSG, "mapping %" PRIx64 "-%" PRIx64 ": no System V segment %" PRIu64,
				 v->start, v->end, v->shmid);
	end = base + ((s->size + MM_PAGE - 1) & ~(MM_PAGE - 1));
	r = check_attach(pl, base, end - base, err);
	if (r < 0)
		return r;
	for (size_t i = first; i < pl->nr && pl->work[i].v->start < end; i++)
		if (same_attachment(v, pl->work[i].v))
			prot |= pl->work[i].v->prot;
	op_equal(plan_call(pl, "attach shared memory", SYS_shmat, s->id, base,
			   SHM_REMAP | (prot & PROT_WRITE ? 0 : SHM_RDONLY) | (prot & PROT_EXEC ? SHM_EXEC : 0)),
		 base);
	for (size_t i = first; i < pl->nr && pl->work[i].v->start < end; i++) {
		struct vma_work *w = &pl->work[i];

		if (!same_attachment(v, w->v))
			continue;
		if (w->v->start > at)
			plan_call(pl, "unmap a part of shared memory", SYS_munmap, at, w->v->start - at);
		at = w->v->end;
		w->attached = true;
		w->prot_now = PROT_READ | (prot & (PROT_WRITE | PROT_EXEC));
	}
	if (at < end)
		plan_call(pl, "unmap a part of shared memory", SYS_munmap, at, end - at);
	return 0;
}

static int attach_all(struct planner *pl, struct cr_error *err)
{
	for (size_t i = 0; i < pl->nr; i++) {
		if (!(pl->work[i].v->status & MM_ST_SYSV) || pl->work[i].attached)
			continue;

		int r = attach(pl, i, err);

		if (r < 0)
			return r;
	}
	return 0;
}

/* A kept mapping is there; pages that differ must be written into it. */
static void open_kept(struct planner *pl, struct vma_work *w)
{
	w->prot_now = prot_while_reading(w);
	if (w->prot_now != w->v->prot)
		plan_call(pl, "make memory writable", SYS_mprotect, w->v->start, w->v->end - w->v->start, w->prot_now);
}

/* Maps from @i on. Return: how many were mapped, negative errno. */
static long map_some(struct planner *pl, size_t i, struct cr_error *err)
{
	struct vma_work *w = &pl->work[i];
	size_t n = 1;
	int r = 0;

	if (w->special || w->attached)
		return 1;
	if (w->kept) {
		open_kept(pl, w);
	} else if (batchable(w)) {
		while (i + n < pl->nr && batchable(w + n) && w[n].v->start == w[n - 1].v->end &&
		       map_flags(w[n].v) == map_flags(w->v))
			n++;
		map_batch(pl, w, n);
	} else if (anonymous(w)) {
		map_batch(pl, w, 1);
	} else if (w->v->status & MM_ST_ANON_SHARED) {
		r = map_shared(pl, w, err);
	} else {
		r = map_file(pl, w, err);
	}
	return r < 0 ? r : (long)n;
}

/* A new process has key 0 only, and pkey_mprotect() takes none that is not allocated; pkeys(7). */
static void allocate_keys(struct planner *pl)
{
	uint32_t max = 0, have = 0;

	for (size_t i = 0; i < pl->nr; i++)
		if (pl->work[i].v->ext && pl->work[i].v->ext->has_pkey && pl->work[i].v->ext->pkey > max)
			max = pl->work[i].v->ext->pkey;
	for (size_t i = 0; pl->parent && i < pl->parent->nr_vmas; i++) {
		const img_vma_ext *ext = space_vma(pl->parent, i)->ext;

		if (ext && ext->has_pkey && ext->pkey > have)
			have = ext->pkey;
	}
	for (uint32_t key = have + 1; key <= max; key++)
		op_equal(plan_call(pl, "allocate a protection key", SYS_pkey_alloc, 0, 0), key);
}

int plan_map(struct planner *pl, struct cr_error *err)
{
	int r;

	allocate_keys(pl);
	r = attach_all(pl, err);
	for (size_t i = 0; i < pl->nr && r == 0;) {
		long n = map_some(pl, i, err);

		if (n < 0)
			r = (int)n;
		else
			i += (size_t)n;
	}
	return r;
}

void plan_protect(struct planner *pl)
{
	for (size_t i = 0, n; i < pl->nr; i += n) {
		const struct vma_work *w = &pl->work[i];
		const img_vma_ext *ext = w->v->ext;

		n = 1;
		if (w->special)
			continue;
		if (ext && ext->has_pkey && ext->pkey) {
			plan_call(pl, "set a protection key", SYS_pkey_mprotect, w->v->start, w->v->end - w->v->start,
				  w->v->prot, ext->pkey);
			continue;
		}
		if (w->prot_now == w->v->prot)
			continue;
		while (i + n < pl->nr && w[n].v->start == w[n - 1].v->end && w[n].v->prot == w->v->prot &&
		       w[n].prot_now != w[n].v->prot && !w[n].special && !(w[n].v->ext && w[n].v->ext->has_pkey))
			n++;
		plan_call(pl, "set protection", SYS_mprotect, w->v->start, w[n - 1].v->end - w->v->start, w->v->prot);
	}
}

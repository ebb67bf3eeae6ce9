/*
 * Contents: pages go from the pages file straight to where they belong, many areas by one call. In mappings that a child
 * keeps from its parent they are compared first, so that equal ones stay shared. What was read is compared with its
 * checksums right away, where it is to stay and while it is in the cache.
 */
#include "mm/plan-beside.h"

#include "kernel/uapi.h"
#include "page-sum.h"

#include <errno.h>
#include <sys/mman.h>

#define READ_AREAS 1024 /* IOV_MAX: one preadv() */

/* what the kernel may drop at any time (MAP_DROPPABLE) is not checked: it may be gone by then */
enum read_mode { READ_SKIP, READ_PLAIN, READ_DROPPABLE, READ_COMPARE };

struct read_batch {
	struct page_file *file;
	enum read_mode mode;
	bool shared; /* by several threads: scratch memory is that of whoever runs the operation */
	uint64_t off, len; /* in the pages file */
	size_t nr;
	struct abi_iov iov[READ_AREAS];
};

static uint64_t from_pipe(const struct page_file *f)
{
	return f->piped || f->unpack ? ABI_FROM_PIPE : 0;
}

static uint64_t check_size(const struct planner *pl)
{
	return (pl->plan->scratch.end - pl->plan->scratch.start) | (crc32c_in_hardware() ? ABI_CHECK_HARDWARE : 0);
}

/* @at: the areas */
static void check_sums(struct planner *pl, const struct read_batch *b, uint64_t at)
{
	uint64_t scratch = b->shared ? SLOT_SCRATCH : pl->plan->scratch.start;
	struct abi_op *op = emit(pl->program, pl->routine, ABI_OP_CHECK, "check pages", 0, SLOT_SUMS,
				 b->file->sums_at + b->off / MM_PAGE * sizeof(uint32_t), at, b->nr, scratch, check_size(pl));

	op_from_slot(op, 0);
	if (b->shared)
		op_from_slot(op, 4);
}

static void flush(struct planner *pl, struct read_batch *b)
{
	uint64_t at;

	if (!b->nr)
		return;
	at = emit_data(pl->program, pl->routine, b->iov, b->nr * sizeof(b->iov[0]), 8);
	if (b->mode != READ_COMPARE) {
		op_from_slot(emit(pl->program, pl->routine, ABI_OP_READ, "read pages", 0, SLOT_PAGES, b->off, at, b->nr,
				  0, from_pipe(b->file)),
			     0);
	} else {
		op_from_slot(emit(pl->program, pl->routine, ABI_OP_COMPARE, "read and compare pages", 0, SLOT_PAGES,
				  b->off, at, b->nr, pl->plan->scratch.start,
				  (pl->plan->scratch.end - pl->plan->scratch.start) | from_pipe(b->file)),
			     0)
			->flags |= ABI_F_RESULT;
	}
	if (b->file->sums >= 0 && b->mode != READ_DROPPABLE)
		check_sums(pl, b, at);
	b->nr = 0;
}

static void put_area(struct planner *pl, struct read_batch *b, enum read_mode mode, uint64_t start, uint64_t end,
		     uint64_t off)
{
	struct abi_iov *last = b->nr ? &b->iov[b->nr - 1] : NULL;

	if (mode == READ_SKIP)
		return;
	/* such a pipe brings what is read here, and nothing else */
	if (b->file->unpack && unpack_want(b->file->unpack, off, end - start) < 0)
		pl->routine->error = -ENOMEM;
	*(mode == READ_COMPARE ? &pl->plan->space->planned.compared : &pl->plan->space->planned.read) += (end - start) / MM_PAGE;
	if (b->nr && (b->mode != mode || b->off + b->len != off || b->nr == READ_AREAS)) {
		flush(pl, b);
		last = NULL;
	}
	if (!b->nr) {
		b->mode = mode;
		b->off = off;
		b->len = 0;
	}
	if (last && last->base + last->len == start)
		last->len += end - start;
	else
		b->iov[b->nr++] = (struct abi_iov){ .base = start, .len = end - start };
	b->len += end - start;
}

/* What is not wanted goes by through a pipe all the same: into the scratch memory. */
static void drop_area(struct planner *pl, struct read_batch *b, uint64_t len)
{
	const uint64_t room = pl->plan->scratch.end - pl->plan->scratch.start;

	flush(pl, b);
	/* lengths of images that lie end with the arena */
	while (len && !pl->routine->error) {
		uint64_t at, n = 0;

		for (; len && n < READ_AREAS; n++) {
			b->iov[n] = (struct abi_iov){ pl->plan->scratch.start, len < room ? len : room };
			len -= b->iov[n].len;
		}
		at = emit_data(pl->program, pl->routine, b->iov, n * sizeof(b->iov[0]), 8);
		op_from_slot(emit(pl->program, pl->routine, ABI_OP_READ, "let pages go by", 0, SLOT_PAGES, 0, at, n, 0,
				  ABI_FROM_PIPE),
			     0);
	}
}

/*
 * Long areas of fresh memory are read in pieces, and each piece is populated first: one call that makes many pages costs
 * less than a fault for each of them in the midst of read(2). Measured with 6.18: 14 percent of the whole. Pieces end where
 * huge pages do, so that none is made by two threads at once, of which one would have cleared it for nothing.
 */
static uint64_t piece_len(uint64_t at, uint64_t end)
{
	uint64_t len = MM_POPULATE - at % MM_POPULATE;

	return end - at < len ? end - at : len;
}

static void read_populated(struct planner *pl, struct read_batch *b, uint64_t start, uint64_t end, uint64_t off)
{
	for (uint64_t at = start, len; at < end; at += len) {
		len = piece_len(at, end);
		/* since 5.14; without it pages come by faults */
		op_may_fail(plan_call(pl, "populate memory", SYS_madvise, at, len, MADV_POPULATE_WRITE));
		for (uint64_t from = at, piece; from < at + len; from += piece) {
			piece = b->file->sums < 0 || at + len - from < MM_CHECK ? at + len - from : MM_CHECK;
			put_area(pl, b, READ_PLAIN, from, from + piece, off + (from - start));
			flush(pl, b);
		}
	}
}

/* The same, as pieces for threads, if there are any. */
static void read_fresh(struct planner *pl, struct read_batch *b, struct beside *beside, uint64_t start, uint64_t end,
		       uint64_t off)
{
	struct routine *own = pl->routine;

	flush(pl, b);
	if (!beside->on) {
		read_populated(pl, b, start, end, off);
		return;
	}
	pl->routine = &beside->pieces;
	b->shared = true;
	for (uint64_t at = start, len; at < end; at += len) {
		len = piece_len(at, end);
		beside_piece(beside, pl);
		read_populated(pl, b, at, at + len, off + (at - start));
		beside_piece_end(beside);
	}
	b->shared = false;
	pl->routine = own;
}

/* hugetlbfs has its pages by few faults anyway, and pages of files would be copied only to be overwritten. */
static bool populates(const struct vma_work *w, uint64_t len)
{
	const img_vma_entry *v = w->v;

	return len >= MM_POPULATE_FROM && !w->special && !w->kept && v->status & MM_ST_ANON_PRIVATE &&
	       !(v->flags & (MAP_HUGETLB | MAP_DROPPABLE));
}

/* A child keeps what its parent has: pages that only the parent has stored were dropped by the child, or never there. */
static void drop_parents_pages(struct planner *pl, const struct vma_work *w)
{
	const struct stored_runs *runs = &pl->space->pages;
	uint64_t at = w->v->start;

	if (!(w->v->status & (MM_ST_ANON_PRIVATE | MM_ST_FILE_PRIVATE)))
		return;
	for (size_t i = space_first_run(pl->space, at); at < w->v->end; i++) {
		bool any = i < runs->nr && runs->items[i].start < w->v->end;
		uint64_t end = any ? runs->items[i].start : w->v->end;

		if (end > at && space_has_pages(pl->parent, at, end))
			plan_call(pl, "drop pages of the parent", SYS_madvise, at, end - at, MADV_DONTNEED);
		if (!any)
			return;
		at = runs->items[i].end;
	}
}

static enum read_mode mode_of(const struct vma_work *w)
{
	return w->special ? READ_SKIP : w->kept ? READ_COMPARE : w->v->flags & MAP_DROPPABLE ? READ_DROPPABLE : READ_PLAIN;
}

/* What is in one file; so each is taken once, and runs of the others go by. */
static void read_all(struct planner *pl, struct read_batch *b, struct beside *beside, uint32_t file)
{
	size_t at = 0;

	b->file = &pl->space->files.items[file];
	for (size_t i = 0; i < pl->space->pages.nr; i++) {
		const struct stored_run *run = &pl->space->pages.items[i];

		if (run->file != file)
			continue;
		while (at < pl->nr && pl->work[at].v->end <= run->start)
			at++;
		/* a run may go through several mappings: space_check_run() saw that there is no gap between them */
		for (size_t j = at; j < pl->nr && pl->work[j].v->start < run->end; j++) {
			const img_vma_entry *v = pl->work[j].v;
			uint64_t start = run->start > v->start ? run->start : v->start,
				 end = run->end < v->end ? run->end : v->end;

			uint64_t off = run->off + (start - run->start);

			if (space_comes_later(pl->space, j))
				continue;
			if (b->file->piped && mode_of(&pl->work[j]) == READ_SKIP)
				drop_area(pl, b, end - start);
			else if (populates(&pl->work[j], end - start))
				read_fresh(pl, b, beside, start, end, off);
			else
				put_area(pl, b, mode_of(&pl->work[j]), start, end, off);
		}
	}
	flush(pl, b);
}

/* Files from which anything is read; @ret: one flag for each. Of a vDSO, say, nothing may be needed. */
static void files_needed(const struct planner *pl, bool *ret)
{
	size_t at = 0;

	for (size_t i = 0; i < pl->space->pages.nr; i++) {
		const struct stored_run *run = &pl->space->pages.items[i];

		if (run->file & PAGES_AT_SOURCE)
			continue;
		while (at < pl->nr && pl->work[at].v->end <= run->start)
			at++;
		for (size_t j = at; j < pl->nr && pl->work[j].v->start < run->end && !ret[run->file]; j++)
			ret[run->file] = pl->space->files.items[run->file].piped ||
					 (!pl->work[j].special && !space_comes_later(pl->space, j));
	}
}

static void take(struct planner *pl, const char *what, int fd, unsigned int slot)
{
	op_keep(op_from_slot(plan_call(pl, what, __NR_pidfd_getfd, SLOT_PIDFD, fd, 0), 0), slot);
}

int plan_read(struct planner *pl, struct cr_error *err)
{
	const struct page_files *files = &pl->space->files;
	autofree struct read_batch *b = calloc(1, sizeof(*b));
	autofree bool *needed = calloc(files->nr + 1, sizeof(*needed));
	struct beside beside = { 0 };
	int r;

	if (!b || !needed)
		return cr_fail(err, -ENOMEM, "plan the reading of pages");
	for (size_t i = 0; i < pl->nr; i++)
		if (pl->work[i].kept)
			drop_parents_pages(pl, &pl->work[i]);
	files_needed(pl, needed);
	for (uint32_t i = 0; i < files->nr; i++) {
		if (!needed[i])
			continue;
		if (files->items[i].unpack) {
			r = unpack_pipe(files->items[i].unpack, err);
			if (r < 0)
				return r;
		}
		take(pl, "take a pages image", files->items[i].unpack ? files->items[i].unpack->in : files->items[i].fd, SLOT_PAGES);
		/* all sets of a chain have sums of their own: what was taken for the one before is not kept */
		if (files->items[i].sums >= 0)
			take(pl, "take the checksums", files->items[i].sums, SLOT_SUMS);
		r = beside_begin(&beside, pl, i, err);
		if (r < 0)
			return r;
		read_all(pl, b, &beside, i);
		r = beside_end(&beside, pl, err);
		if (r < 0)
			return r;
		op_from_slot(plan_call(pl, "close the pages image", SYS_close, SLOT_PAGES), 0);
		if (files->items[i].sums >= 0)
			op_from_slot(plan_call(pl, "close the checksums", SYS_close, SLOT_SUMS), 0);
	}
	return 0;
}

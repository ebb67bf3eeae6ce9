/* Threads that help to read; see plan-beside.h. They have to be gone before threads of the image want their numbers. */
#include "mm/plan-beside.h"

#include "kernel/context.h"

#include <sys/mman.h>

#define WORTH ((uint64_t)32 << 20) /* takes more than 10 ms; a thread is made in some 0.1 ms */

#define HELPER_OPS 3 /* scratch memory, pieces, end */
#define OWN_OPS    2 /* scratch memory, pieces */

int beside_begin(struct beside *ret, const struct planner *pl, uint32_t file, struct cr_error *err)
{
	const struct stored_runs *runs = &pl->space->pages;
	uint64_t scratch = pl->plan->scratch.end - pl->plan->scratch.start, sum = 0;

	ret->on = false;
	for (size_t i = 0; i < runs->nr; i++)
		if (runs->items[i].file == file)
			sum += runs->items[i].end - runs->items[i].start;
	/* from a pipe everything comes in order; and what is checked takes the same scratch memory everywhere */
	if (!pl->plan->nr_helpers || sum < WORTH || pl->space->files.items[file].piped || pl->space->files.items[file].unpack || scratch > MM_HELPER_SCRATCH)
		return 0;
	ret->on = true;
	return routine_begin(pl->program, &ret->pieces, err);
}

void beside_piece(struct beside *b, struct planner *pl)
{
	uint64_t word = emit_data(pl->program, &b->pieces, NULL, sizeof(uint32_t), sizeof(uint32_t));

	b->claim = b->pieces.ops.nr;
	emit(pl->program, &b->pieces, ABI_OP_CLAIM, "claim a piece of memory", 0, word, 0, 0, 0, 0, 0);
}

void beside_piece_end(struct beside *b)
{
	if (b->claim < b->pieces.ops.nr)
		b->pieces.ops.items[b->claim].arg[1] = b->pieces.ops.nr - b->claim - 1;
}

/* Scratch memory of whoever runs @r, which is there already: the call is what puts its address into the slot. */
static void emit_scratch(struct planner *pl, struct routine *r, uint64_t at)
{
	op_keep(emit_call(pl->program, r, "scratch memory of a thread", SYS_mmap, at, MM_HELPER_SCRATCH,
			  PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0),
		SLOT_SCRATCH);
}

/* @word: not 0 while it is there */
static int emit_helper(struct planner *pl, size_t n, uint32_t pieces, uint64_t word, struct cr_error *err)
{
	uint64_t at = pl->plan->helpers + n * MM_HELPER_ROOM;
	struct routine helper;
	int r = routine_begin(pl->program, &helper, err);

	if (r < 0)
		return r;
	emit_scratch(pl, &helper, at);
	emit(pl->program, &helper, ABI_OP_CALL, "read pages beside others", 0, pieces, 0, 0, 0, 0, 0);
	emit_call(pl->program, &helper, "end a thread that reads", SYS_exit, 0);
	/* where no thread can be made, for a limit, say, its share is read by those that are there */
	op_may_fail(emit(pl->program, pl->routine, ABI_OP_THREAD, "make a thread that reads", 0, helper.index, 0,
			 at + MM_HELPER_ROOM, word, 0, 0));
	return routine_finish(pl->program, &helper, err);
}

int beside_end(struct beside *b, struct planner *pl, struct cr_error *err)
{
	uint32_t pieces = b->pieces.index;
	uint64_t words[MM_HELPERS];
	size_t nr = pl->plan->nr_helpers < MM_HELPERS ? pl->plan->nr_helpers : MM_HELPERS;
	bool any;
	int r;

	if (!b->on)
		return 0;
	any = b->pieces.ops.nr || b->pieces.error;
	b->on = false;
	r = routine_finish(pl->program, &b->pieces, err);
	for (size_t i = 0; i < nr && any && r == 0; i++) {
		words[i] = emit_data(pl->program, pl->routine, NULL, sizeof(uint32_t), sizeof(uint32_t));
		r = emit_helper(pl, i, pieces, words[i], err);
	}
	if (r < 0 || !any)
		return r;
	log_debug(&pl->plan->ctx->log, "pid=%d threads_to_read=%zu", pl->space->ns_pid, nr);
	emit_scratch(pl, pl->routine, pl->plan->scratch.start);
	emit(pl->program, pl->routine, ABI_OP_CALL, "read pages", 0, pieces, 0, 0, 0, 0, 0);
	for (size_t i = 0; i < nr; i++)
		emit(pl->program, pl->routine, ABI_OP_AWAIT, "wait for a thread that reads", 0, words[i], 0, 0, 0, 0,
		     0);
	return 0;
}

size_t beside_ops(const struct mm_space *s)
{
	/* and data that is aligned, of one routine each, counts for one */
	return s->files.nr * (OWN_OPS + 2 + MM_HELPERS * (HELPER_OPS + 2 + 2));
}

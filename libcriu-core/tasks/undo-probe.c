/*
 * No interface tells what is in an undo list. But semop(2) does all of its operations or none, one after the other, and an
 * operation with SEM_UNDO that would take an entry out of the range of 16 bits ends it with ERANGE
 * (perform_atomic_semop_slow() in ipc/sem.c, Linux 2.6 and later). So an array whose last operation can never be carried out
 * asks whether an entry is at least so much: ERANGE yes, EAGAIN no, and nothing has happened in either case. A plain operation
 * in front, and between two large ones, brings the value to where the one that asks is possible.
 */
#include "tasks/undo-probe.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sem.h>
#include <sys/syscall.h>

#define OPS_MAX 5
#define WINDOW  512u /* questions of one run */
#define SLACK   ((size_t)8 << 10)

/* never possible, whatever the value is */
#define IMPOSSIBLE (-SEMAPHORE_MAX - 1)
#define ADJUST_MAX (SEMAPHORE_MAX + 1)

struct undo_probe {
	struct task *task;
	struct parasite *host;
	uint32_t routine;
	uint64_t ops; /* remote: first of @room system calls, each with OPS_MAX operations */
	size_t room;
};

/* How far the search for one entry has got: it is at least @low and less than @high, in the direction of @sign. */
struct search {
	struct semaphore *of;
	int sign; /* 0: nothing found yet */
	int low, high;
};

void undo_probe_free(struct undo_probe *p)
{
	if (!p)
		return;
	parasite_free(p->host);
	free(p);
}

static int make_routine(struct undo_probe *p, struct cr_error *err)
{
	struct program *program = parasite_program(p->host);
	struct routine r;
	int n = routine_begin(program, &r, err);

	if (n < 0)
		return n;
	p->routine = r.index;
	for (size_t i = 0; i < p->room; i++)
		op_result(emit_call(program, &r, "look at an undo list", SYS_semop, -1,
				    emit_data(program, &r, NULL, OPS_MAX * sizeof(struct sembuf), 8), 0));
	emit(program, &r, ABI_OP_TRAP, "end of questions", 0, 0, 0, 0, 0, 0, 0);
	n = routine_finish(program, &r, err);
	if (n == 0)
		p->ops = program_routine(program, p->routine)->ops;
	return n;
}

int undo_probe_new(struct task *t, const struct xstate_layout *layout, struct infect_aid *aid, size_t nr,
		   struct undo_probe **ret, struct cr_error *err)
{
	autofree_by(undo_probe_free) struct undo_probe *p = calloc(1, sizeof(*p));
	size_t each = sizeof(struct abi_op) + OPS_MAX * sizeof(struct sembuf) + 8;
	int r;

	if (!p)
		return cr_fail(err, -ENOMEM, "look at undo lists");
	p->task = t;
	p->room = nr < WINDOW / 2 ? 2 * nr : WINDOW;
	r = parasite_infect(t, layout, aid, SLACK + p->room * each, 2, &p->host, err);
	if (r == 0)
		r = make_routine(p, err);
	if (r < 0)
		return r;
	*ret = take_ptr(&p);
	return 0;
}

/* Is the entry @at or more (@sign 1), or -@at or less (@sign -1)? */
static size_t question(const struct semaphore *s, int sign, int at, struct sembuf ops[OPS_MAX])
{
	/* what the entry may still change by in that direction, if it is one less than asked */
	int left = sign > 0 ? ADJUST_MAX - at : ADJUST_MAX + 1 - at;
	int start = sign > 0 ? SEMAPHORE_MAX : 0, first = left < SEMAPHORE_MAX ? left : SEMAPHORE_MAX;
	size_t n = 0;

	if (s->value != start)
		ops[n++] = (struct sembuf){ s->num, (short)(start - s->value), IPC_NOWAIT };
	ops[n++] = (struct sembuf){ s->num, (short)(-sign * first), SEM_UNDO | IPC_NOWAIT };
	if (left > first) {
		ops[n++] = (struct sembuf){ s->num, (short)(sign * first), IPC_NOWAIT };
		ops[n++] = (struct sembuf){ s->num, (short)(-sign * (left - first)), SEM_UNDO | IPC_NOWAIT };
	}
	ops[n++] = (struct sembuf){ s->num, (short)IMPOSSIBLE, IPC_NOWAIT };
	return n;
}

static struct abi_op *op_at(const struct undo_probe *p, size_t i)
{
	return arena_at(&parasite_program(p->host)->arena, p->ops + i * sizeof(struct abi_op), sizeof(struct abi_op));
}

static void put(struct undo_probe *p, size_t i, const struct semaphore *s, int sign, int at)
{
	struct abi_op *op = op_at(p, i);
	void *ops = arena_at(&parasite_program(p->host)->arena, op->arg[1], OPS_MAX * sizeof(struct sembuf));

	op->arg[0] = (uint64_t)s->id;
	op->arg[2] = question(s, sign, at, ops);
}

static int ask(struct undo_probe *p, size_t nr, struct cr_error *err)
{
	/* what is not needed asks for nothing, which is an error at once */
	for (size_t i = nr; i < p->room; i++)
		op_at(p, i)->arg[2] = 0;
	return parasite_run(p->host, &p->task->lead, &p->routine, 1, err);
}

/* Return: 1 yes, 0 no, negative errno */
static int answer(struct undo_probe *p, size_t i, struct semaphore *s, struct cr_error *err)
{
	int64_t r = (int64_t)op_at(p, i)->arg[0];

	switch (r) {
	case -ERANGE:
		return 1;
	case -EAGAIN:
		return 0;
	case -EACCES:
		s->closed = true;
		return 0;
	case -EIDRM:
	case -EINVAL: /* it is gone, and its entries with it */
		return 0;
	default:
		return cr_fail(err, r < 0 ? (int)r : -EPROTO, "look at the undo list of semaphore set %d", s->id);
	}
}

static int begin(struct undo_probe *p, struct search *all, size_t nr, struct cr_error *err)
{
	int r = 0;

	for (size_t i = 0; i < nr; i++) {
		put(p, 2 * i, all[i].of, 1, 1);
		put(p, 2 * i + 1, all[i].of, -1, 1);
	}
	r = ask(p, 2 * nr, err);
	for (size_t i = 0; i < 2 * nr && r == 0; i++) {
		int yes = answer(p, i, all[i / 2].of, err);

		if (yes < 0)
			r = yes;
		else if (yes)
			all[i / 2].sign = i % 2 ? -1 : 1;
	}
	return r;
}

/* One step for each of those that are not found yet. Return: how many those were; negative errno. */
static int step(struct undo_probe *p, struct search *all, size_t nr, struct cr_error *err)
{
	size_t asked = 0, at = 0;
	int r;

	for (size_t i = 0; i < nr; i++)
		if (all[i].sign && all[i].high - all[i].low > 1)
			put(p, asked++, all[i].of, all[i].sign, (all[i].low + all[i].high) / 2);
	r = asked ? ask(p, asked, err) : 0;
	for (size_t i = 0; i < nr && r == 0; i++) {
		struct search *s = &all[i];
		int middle = (s->low + s->high) / 2, yes;

		if (!s->sign || s->high - s->low <= 1)
			continue;
		yes = answer(p, at++, s->of, err);
		if (yes < 0)
			r = yes;
		else if (yes)
			s->low = middle;
		else
			s->high = middle;
	}
	return r < 0 ? r : (int)asked;
}

int undo_probe_look(struct undo_probe *p, struct semaphores *list, struct cr_error *err)
{
	struct search all[WINDOW / 2];
	size_t window = p->room / 2;

	for (size_t from = 0, nr; from < list->nr; from += nr) {
		int r;

		nr = list->nr - from < window ? list->nr - from : window;
		for (size_t i = 0; i < nr; i++)
			all[i] = (struct search){ .of = &list->items[from + i], .low = 1, .high = ADJUST_MAX + 1 };
		r = begin(p, all, nr, err);
		while (r == 0 && (r = step(p, all, nr, err)) > 0)
			r = 0;
		if (r < 0)
			return r;
		for (size_t i = 0; i < nr; i++)
			all[i].of->adjust = all[i].sign * all[i].low;
	}
	return 0;
}

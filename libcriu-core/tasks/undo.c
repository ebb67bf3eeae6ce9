/*
 * Undo lists of System V semaphores. Dump: which processes have one is told by kcmp(2), what is in it by the process itself
 * (undo-probe.h). Restore: in an IPC namespace that came back with the tree the values are right already, so each entry is made by
 * two operations at a time that leave the value alone; elsewhere the end of the processes has changed the value, and each
 * of them changes back what is of its own, or one of them the sum where some have added and others taken.
 */
#include "tasks/undo.h"

#include "kernel/ipc-thread.h"
#include "tasks/task-ops.h"
#include "tasks/undo-probe.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/kcmp.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sem.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SEMAPHORES_MAX ((size_t)1 << 20)
#define TRIES          8 /* while others change semaphores */

/* A process that has a list */
struct holder {
	struct task *task;
	bool entries; /* and something in it */
};
DEFINE_VEC(holders, struct holder)

struct looking {
	struct cr_context *ctx;
	struct tree *tree;
	int ns_fd;
	const struct xstate_layout *layout;
	struct infect_aid *aid;
	struct semaphores all;
	struct holders holders;
	struct semaphores *looked_at; /* in the list of one of them */
	size_t unreadable;            /* sets */
};

/* ---------------------------------------------------------------- dump */

static int list_set(struct looking *l, int id, size_t nr, struct cr_error *err)
{
	autofree unsigned short *values = l->all.nr + nr > SEMAPHORES_MAX ? NULL : malloc(nr * sizeof(*values) + 1);

	if (!values)
		return cr_fail(err, -ENOMEM, "list the semaphores of set %d", id);
	if (semctl(id, 0, GETALL, values) < 0) {
		l->unreadable++;
		return 0;
	}
	for (size_t i = 0; i < nr; i++) {
		struct semaphore *s = semaphores_add(&l->all);

		if (!s)
			return cr_fail(err, -ENOMEM, "list the semaphores of set %d", id);
		*s = (struct semaphore){ .id = id, .num = (uint16_t)i, .value = values[i] };
	}
	return 0;
}

static int list_sets(struct looking *l, struct cr_error *err)
{
	struct seminfo info;
	int last = semctl(0, 0, SEM_INFO, &info), r = 0;

	if (last < 0)
		return cr_fail(err, -errno, "list semaphores");
	for (int i = 0; r == 0 && i <= last; i++) {
		struct semid_ds ds;
		int id = semctl(i, 0, SEM_STAT, &ds);

		if (id >= 0)
			r = list_set(l, id, ds.sem_nsems, err);
		else if (errno == EACCES)
			l->unreadable++;
		else if (errno != EINVAL && errno != EIDRM) /* an index that nobody has */
			r = cr_fail(err, -errno, "look at a semaphore set");
	}
	return r;
}

static bool same_list(pid_t a, pid_t b)
{
	return syscall(__NR_kcmp, a, b, KCMP_SYSVSEM, 0, 0) == 0;
}

/* The calling thread has no list, and whoever has none either is equal to it. */
static int find_holders(struct looking *l, struct cr_error *err)
{
	pid_t none = (pid_t)syscall(SYS_gettid);

	for (size_t i = 0; i < l->tree->tasks.nr; i++) {
		struct task *t = l->tree->tasks.items[i];
		struct holder *h;
		char where[32];

		if (t->state == TASK_DEAD)
			continue;
		for (size_t k = 0; k < t->threads.nr; k++) {
			pid_t tid = t->threads.items[k].host_tid;

			if (t->threads.items[k].dead || same_list(t->lead->host_tid, tid) || same_list(none, tid))
				continue;
			snprintf(where, sizeof(where), "thread %d", (int)tid);
			if (obstacle_add(&l->ctx->obstacles, t->host_pid, t->comm, where, "",
					 "own undo list of System V semaphores") < 0)
				return cr_fail(err, -ENOMEM, "note an obstacle");
		}
		if (same_list(none, t->lead->host_tid))
			continue;
		h = holders_add(&l->holders);
		if (!h)
			return cr_fail(err, -ENOMEM, "list undo lists");
		h->task = t;
	}
	return 0;
}

static int look_around(void *arg, struct cr_error *err)
{
	struct looking *l = arg;
	int r = list_sets(l, err);

	return r == 0 && (l->all.nr || l->unreadable) ? find_holders(l, err) : r;
}

static int read_values(void *arg, struct cr_error *err)
{
	struct looking *l = arg;

	(void)err;
	for (size_t i = 0; i < l->looked_at->nr; i++) {
		struct semaphore *s = &l->looked_at->items[i];

		s->now = semctl(s->id, s->num, GETVAL);
	}
	return 0;
}

static int note_entry(struct holder *h, const struct semaphore *s, struct cr_error *err)
{
	struct process_state *ps = process_state_of(h->task);
	img_sem_undo *e = pool_vec_add(&ps->pool, (void **)&ps->ext.undo.items, &ps->ext.undo.nr, sizeof(*e));

	if (!e)
		return cr_fail(err, -ENOMEM, "keep an undo list");
	*e = (img_sem_undo){ .semid = (uint32_t)s->id, .num = s->num, .adjust = s->adjust, .value = s->value };
	ps->tc.ext = &ps->ext;
	h->entries = true;
	return 0;
}

/* What was said of a semaphore whose value is another by now does not count: those stay in the list. */
static int sift(struct looking *l, struct holder *h, size_t *ret_closed, struct cr_error *err)
{
	struct semaphores *list = l->looked_at;
	size_t left = 0;
	int r = 0;

	for (size_t i = 0; i < list->nr && r == 0; i++) {
		struct semaphore s = list->items[i];

		if (s.now < 0)
			continue;
		if (s.now != s.value) {
			list->items[left++] = (struct semaphore){ .id = s.id, .num = s.num, .value = (uint16_t)s.now };
			continue;
		}
		*ret_closed += s.closed;
		if (s.adjust)
			r = note_entry(h, &s, err);
	}
	list->nr = left;
	return r;
}

static void warn(struct looking *l, const struct holder *h, size_t nr, const char *why)
{
	if (nr)
		log_warn(&l->ctx->log,
			 "pid %d (%s): continuing without looking for %zu System V semaphores in its undo list: %s",
			 (int)h->task->host_pid, h->task->comm, nr, why);
}

static int look_at(struct looking *l, struct holder *h, struct cr_error *err)
{
	autofree_by(undo_probe_free) struct undo_probe *probe = NULL;
	struct semaphores list = { 0 };
	size_t closed = 0;
	int r = undo_probe_new(h->task, l->layout, l->aid, l->all.nr, &probe, err);

	for (size_t i = 0; i < l->all.nr && r == 0; i++) {
		struct semaphore *s = semaphores_add(&list);

		if (s)
			*s = l->all.items[i];
		else
			r = cr_fail(err, -ENOMEM, "list semaphores");
	}
	l->looked_at = &list;
	for (int i = 0; i < TRIES && list.nr && r == 0; i++) {
		r = undo_probe_look(probe, &list, err);
		if (r == 0)
			r = ipc_thread_run(l->ns_fd, read_values, l, err);
		if (r == 0)
			r = sift(l, h, &closed, err);
	}
	if (r == 0) {
		warn(l, h, closed, "it may not change them");
		warn(l, h, list.nr, "they do not rest");
	}
	l->looked_at = NULL;
	semaphores_done(&list);
	return cr_within(err, r, "pid %d (%s)", (int)h->task->host_pid, h->task->comm);
}

/* A list is one, whoever has it; images know processes that have their own. */
static int refuse_shared(struct looking *l, struct cr_error *err)
{
	const struct holders *h = &l->holders;

	for (size_t i = 0; i < h->nr; i++)
		for (size_t k = 0; k < i && h->items[i].entries; k++) {
			const struct task *a = h->items[i].task, *b = h->items[k].task;

			if (!h->items[k].entries || !same_list(a->lead->host_tid, b->lead->host_tid))
				continue;
			if (obstacle_add(&l->ctx->obstacles, a->host_pid, a->comm, "", "",
					 "undo list of System V semaphores (CLONE_SYSVSEM) shared with pid %d",
					 (int)b->host_pid) < 0)
				return cr_fail(err, -ENOMEM, "note an obstacle");
			break;
		}
	return 0;
}

static img_sem_undo *entry_of(const struct holder *h, const img_sem_undo *like)
{
	const struct process_state *ps = process_state_of(h->task);

	for (size_t i = 0; i < ps->ext.undo.nr; i++)
		if (ps->ext.undo.items[i].semid == like->semid && ps->ext.undo.items[i].num == like->num)
			return &ps->ext.undo.items[i];
	return NULL;
}

static void each_takes_back(struct looking *l, const img_sem_undo *e)
{
	for (size_t i = 0; i < l->holders.nr; i++) {
		img_sem_undo *other = entry_of(&l->holders.items[i], e);

		if (other)
			other->has_each = other->each = true;
	}
}

/*
 * A value that the end of a process would take out of its range becomes the nearest one instead (exit_sem() in ipc/sem.c). Where
 * all of them add, or all take, each can take back its own, in any order.
 */
static int add_up(struct looking *l, size_t first, img_sem_undo *e, struct cr_error *err)
{
	const struct task *t = l->holders.items[first].task;
	long up = 0, down = 0;

	for (size_t i = 0; i < l->holders.nr; i++) {
		const img_sem_undo *other = entry_of(&l->holders.items[i], e);

		if (other && i < first)
			return 0;
		if (other)
			*(other->adjust > 0 ? &up : &down) += other->adjust;
	}
	if (up + down > SEMAPHORE_MAX || up + down < -SEMAPHORE_MAX) {
		int r = obstacle_add(&l->ctx->obstacles, t->host_pid, t->comm, "",
				     "it is to be given back by one of the processes that hold it",
				     "undo lists of System V semaphores add %ld to semaphore %" PRIu32
				     " of set %" PRIu32 ", whose end cannot be told from another value",
				     up + down, e->num, e->semid);

		return r < 0 ? cr_fail(err, -ENOMEM, "note an obstacle") : 0;
	}
	if (up && down) {
		e->has_total = true;
		e->total = (int32_t)(up + down);
	} else {
		each_takes_back(l, e);
	}
	if ((int)e->value + down < 0 || (int)e->value + up > SEMAPHORE_MAX)
		log_warn(&l->ctx->log,
			 "semaphore %" PRIu32 " of System V set %" PRIu32
			 " does not stay in its range when the processes end: "
			 "continuing, it may have another value after a restore",
			 e->num, e->semid);
	return 0;
}

static int add_all_up(struct looking *l, struct cr_error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < l->holders.nr; i++) {
		struct process_state *ps = process_state_of(l->holders.items[i].task);

		for (size_t k = 0; r == 0 && k < ps->ext.undo.nr; k++)
			r = add_up(l, i, &ps->ext.undo.items[k], err);
	}
	return r;
}

/* Most machines have none: then nothing more is to be done in an IPC namespace that we are in. */
static bool are_there_semaphores(struct cr_context *ctx)
{
	struct seminfo info = { 0 };

	if (semctl(0, 0, SEM_INFO, &info) >= 0)
		return info.semusz != 0;
	/* a kernel without CONFIG_SYSVIPC, or somebody who may not ask */
	if (errno != ENOSYS)
		log_warn(&ctx->log, "System V semaphores cannot be listed (%s): continuing without undo lists",
			 strerror(errno));
	return false;
}

int undo_collect(struct cr_context *ctx, struct tree *tree, bool own_ipc, const struct xstate_layout *layout,
		 struct infect_aid *aid, struct cr_error *err)
{
	struct looking l = { .ctx = ctx, .tree = tree, .ns_fd = IPC_THREAD_SAME, .layout = layout, .aid = aid };
	autofd int fd = own_ipc ? openat(tree->root->dir.fd, "ns/ipc", O_RDONLY | O_CLOEXEC) : -1;
	int r;

	if (own_ipc && fd < 0)
		return cr_fail(err, -errno, "open the IPC namespace");
	if (own_ipc)
		l.ns_fd = fd;
	else if (!are_there_semaphores(ctx))
		return 0;
	r = ipc_thread_run(l.ns_fd, look_around, &l, err);
	for (size_t i = 0; r == 0 && i < l.holders.nr; i++) {
		warn(&l, &l.holders.items[i], l.unreadable, "their sets cannot be read");
		if (l.all.nr)
			r = look_at(&l, &l.holders.items[i], err);
	}
	if (r == 0 && !own_ipc)
		r = add_all_up(&l, err);
	if (r == 0)
		r = refuse_shared(&l, err);
	semaphores_done(&l.all);
	holders_done(&l.holders);
	return r;
}

/* ---------------------------------------------------------------- restore */

static int undo_check(const img_core_entry *core, struct cr_error *err)
{
	const img_task_ext *ext = core->tc->ext;

	for (size_t i = 0; ext && i < ext->undo.nr; i++) {
		const img_sem_undo *e = &ext->undo.items[i];

		if (e->semid > INT_MAX || e->num > UINT16_MAX || e->value > SEMAPHORE_MAX || !e->adjust ||
		    e->adjust > SEMAPHORE_MAX || e->adjust < -SEMAPHORE_MAX - 1 ||
		    (e->has_each && e->each && (e->has_total || e->adjust < -SEMAPHORE_MAX)) ||
		    (e->has_total && (e->total > SEMAPHORE_MAX || e->total < -SEMAPHORE_MAX)))
			return cr_refuse(err, -EBADMSG, "undo list: semaphore %" PRIu32 " of set %" PRIu32, e->num,
					 e->semid);
	}
	return 0;
}

/* The entry grows by what the operation with SEM_UNDO takes, and the other one gives that back. */
static void plan_entry(struct planner *p, const img_sem_undo *e)
{
	int above = SEMAPHORE_MAX - (int)e->value, below = (int)e->value, left = abs(e->adjust);
	short undo_up = e->adjust < 0 ? SEM_UNDO : 0, undo_down = e->adjust > 0 ? SEM_UNDO : 0;

	for (int part; left; left -= part) {
		int room = above > below ? above : below;

		part = left < room ? left : room;

		struct sembuf up = { (unsigned short)e->num, (short)part, (short)(undo_up | IPC_NOWAIT) };
		struct sembuf down = { (unsigned short)e->num, (short)-part, (short)(undo_down | IPC_NOWAIT) };
		struct sembuf ops[2] = { above > below ? up : down, above > below ? down : up };

		plan_call(p, "have a semaphore undone at the end", __NR_semop, e->semid,
			  plan_data(p, ops, sizeof(ops), 8), 2);
	}
}

/*
 * The end of the dumped processes was not the end of the semaphore: what it did is taken back, as far as it is still there. With
 * SEM_UNDO that makes the entry as well, so that a restore which fails in between leaves nothing.
 */
static void plan_taking_back(struct planner *p, const img_sem_undo *e, int32_t what, short undo)
{
	struct sembuf op = { (unsigned short)e->num, (short)-what, (short)(undo | IPC_NOWAIT) };

	plan_call(p, "take back a semaphore that the end of the dumped processes gave back", __NR_semop, e->semid,
		  plan_data(p, &op, sizeof(op), 8), 1);
}

/* Of the leader: its threads have the same list (CLONE_SYSVSEM) */
static int undo_plan_thread(struct planner *p)
{
	const img_task_ext *ext = p->core->tc ? p->core->tc->ext : NULL;

	if (p->phase != TASK_PHASE_LATE)
		return 0;
	for (size_t i = 0; ext && i < ext->undo.nr; i++) {
		const img_sem_undo *e = &ext->undo.items[i];

		if (!p->t->own_ipc && e->has_each && e->each) {
			plan_taking_back(p, e, e->adjust, SEM_UNDO);
			continue;
		}
		if (!p->t->own_ipc && e->has_total && e->total)
			plan_taking_back(p, e, e->total, 0);
		plan_entry(p, e);
	}
	return 0;
}

const struct task_kind undo_kind = {
	.name = "undo list",
	.check_process = undo_check,
	.plan_thread = undo_plan_thread,
};

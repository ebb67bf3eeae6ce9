/*
 * Restore: from checked images and the tree plan to one program per process and thread. Nothing is created here but
 * the programs; the order of operations in a task is described in docs/ARCHITECTURE.md.
 */
#include "mm/lazy.h"
#include "restore/restore-internal.h"

#include "base/thread.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* Arena bytes of what is written here: besides memory, files and state of a process, whose folders know theirs. */
#define NODE_ROOM   (4u << 10)
#define THREAD_ROOM (1u << 10)
#define ARENA_FLOOR (64u << 10)

static size_t max_threads(const struct restore *rs)
{
	size_t max = 1;

	for (size_t i = 0; i < rs->nr_tasks; i++)
		if (rs->tasks[i].nr_threads > max)
			max = rs->tasks[i].nr_threads;
	return max;
}

static size_t arena_room(const struct restore *rs)
{
	size_t room = ARENA_FLOOR;

	for (size_t i = 0; i < rs->tree.nodes.nr; i++)
		room += NODE_ROOM + 2 * rs->tree.nodes.items[i].steps.nr * sizeof(struct abi_op);
	for (size_t i = 0; i < rs->nr_tasks; i++) {
		const struct rtask *t = &rs->tasks[i];

		if (t->zombie)
			continue;
		room += t->nr_threads * THREAD_ROOM + mm_plan_size(t->space) + mm_lazy_size() +
			files_plan_size(rs->files, (pid_t)t->entry->pid) +
			tasks_plan_size(&rs->restorer, (const img_core_entry *const *)t->cores, t->nr_threads);
	}
	return room;
}

/* No process is forked while this one reads its memory. */
static bool is_alone(const struct restore *rs)
{
	return rs->tree.nodes.nr == 1;
}

/* How many threads may help a process to read its memory: one for each processor, but for that of the process itself. */
static size_t nr_helpers(const struct restore *rs)
{
	unsigned int n = processors_usable() - 1;

	if (!is_alone(rs))
		return 0;
	return n < MM_HELPERS ? n : MM_HELPERS;
}

static size_t routine_count(const struct restore *rs)
{
	size_t n = rs->tree.nodes.nr;

	for (size_t i = 0; i < rs->nr_tasks; i++)
		n += rs->tasks[i].nr_threads +
		     (is_alone(rs) && rs->tasks[i].space ? mm_plan_routines(rs->tasks[i].space) : 0);
	return n;
}

static int make_region(struct restore *rs, struct cr_error *err)
{
	const struct mm_space **spaces = calloc(rs->nr_tasks, sizeof(*spaces));
	size_t nr = 0, threads = max_threads(rs), arena = arena_room(rs);
	uint64_t spare = mm_spare_size();
	struct mm_range hole;
	int r;

	if (!spaces)
		return cr_fail(err, -ENOMEM, "plan the restore region");
	for (size_t i = 0; i < rs->nr_tasks; i++)
		if (rs->tasks[i].space)
			spaces[nr++] = rs->tasks[i].space;
	r = mm_hole(spaces, nr, region_size(spare, threads, arena), &hole, err);
	if (r == 0)
		r = region_map(&rs->region, hole, spare, threads, arena, err);
	free(spaces);
	if (r < 0)
		return r;
	r = program_init(&rs->program, &rs->region.arena, (uint32_t)routine_count(rs), err);
	rs->program_made = r == 0;
	return r;
}

/* What is compiled right now. */
struct unit {
	struct restore *rs;
	size_t n; /* node */
	struct pstree_node *node;
	struct rnode *rn;
	struct rtask *task; /* NULL: helper */
	bool live;          /* a task, not a zombie */
	bool mm_planned;
};

static struct mm_plan memory_plan_of(struct unit *u, const struct file_opener *opener)
{
	struct restore *rs = u->rs;

	return (struct mm_plan){
		.ctx = rs->ctx,
		.program = &rs->program,
		.routine = &u->rn->routine,
		.space = u->task->space,
		.parent = u->rn->base,
		.region = rs->region.all,
		.spare = rs->region.spare,
		.scratch = rs->region.scratch,
		.nr_helpers = nr_helpers(rs),
		.helpers = rs->region.helpers,
		.opener = opener,
		.segments = rs->segments,
	};
}

static int plan_memory(struct unit *u, struct cr_error *err)
{
	struct file_opener opener = files_opener(u->rs->files);
	struct mm_plan plan = memory_plan_of(u, &opener);

	u->mm_planned = true;
	return mm_plan(&plan, err);
}

static int plan_memory_late(struct unit *u, struct cr_error *err)
{
	struct file_opener opener = files_opener(u->rs->files);
	struct mm_plan plan = memory_plan_of(u, &opener);

	return mm_plan_late(&plan, err);
}

static int begin_node(struct restore *rs, struct rnode *rn, struct cr_error *err)
{
	int r;

	if (rn->begun)
		return 0;
	r = routine_begin(&rs->program, &rn->routine, err);
	if (r < 0)
		return r;
	rn->begun = true;
	rn->index = rn->routine.index;
	return 0;
}

/* A child of the same descriptor table is born into it. */
static bool shares_files(const struct unit *u, const struct rtask *child)
{
	return u->live && child && !child->zombie && child->ids->files_id == u->task->ids->files_id &&
	       files_table_owner(u->rs->files, (pid_t)child->entry->pid) != (pid_t)child->entry->pid;
}

static int emit_fork(struct unit *u, size_t child, bool sibling, struct cr_error *err)
{
	struct restore *rs = u->rs;
	const struct pstree_node *node = &rs->tree.nodes.items[child];
	struct rtask *task = node->input >= 0 ? &rs->tasks[node->input] : NULL;
	struct rnode *rn = &rs->nodes[child];
	/* clone3 takes no signal with CLONE_PARENT: the child gets that of its maker (clone3_args_valid() in kernel/fork.c) */
	uint64_t flags = sibling ? CLONE_PARENT : 0, signal = task && !sibling ? restore_exit_signal(task) : 0;
	int r = begin_node(rs, rn, err);

	if (r < 0)
		return r;
	if (u->live && task && !task->zombie && !u->mm_planned && mm_inherits(task->space, u->task->space)) {
		r = plan_memory(u, err);
		if (r < 0)
			return r;
	}
	if (shares_files(u, task))
		flags |= CLONE_FILES;
	rn->base = u->mm_planned ? u->task->space : u->rn->base;
	rn->service_from = u->live ? files_service_fd(rs->files, (pid_t)u->task->entry->pid) : u->rn->service_from;
	emit(&rs->program, &u->rn->routine, ABI_OP_FORK, "fork", 0, rn->index, node->pid, flags, signal, 0, 0);
	return 0;
}

static int emit_end(struct unit *u, struct cr_error *err)
{
	struct restore *rs = u->rs;

	if (u->task && u->task->zombie)
		return zombie_plan(rs->ctx, &rs->program, (pid_t)u->task->entry->pid, u->task->cores[0]->tc->exit_code,
				   &u->rn->routine, err);
	emit_call(&rs->program, &u->rn->routine, "end a helper process", SYS_exit_group, 0);
	return 0;
}

/* A process that has ended is awaited, not reaped: its parent still has to see it. */
static void emit_await(struct unit *u, size_t node)
{
	emit_call(&u->rs->program, &u->rn->routine, "wait for the end of a zombie", SYS_waitid, P_PID,
		  u->rs->tree.nodes.items[node].pid, 0, WEXITED | WNOWAIT | __WALL, 0);
}

static int emit_step(struct unit *u, const struct pstree_step *step, struct cr_error *err)
{
	struct program *p = &u->rs->program;
	struct routine *r = &u->rn->routine;

	switch (step->kind) {
	case PSTREE_FORK:
		return emit_fork(u, step->arg, false, err);
	case PSTREE_FORK_SIBLING:
		return emit_fork(u, step->arg, true, err);
	case PSTREE_SETSID:
		emit_call(p, r, "lead a session", SYS_setsid, 0);
		if (!u->live)
			return 0;
		files_plan_session(u->rs->files, (pid_t)u->task->entry->pid, p, r);
		return task_plan_session(&u->task->plan, r, err);
	case PSTREE_SETPGID:
		emit_call(p, r, "join a process group", SYS_setpgid, 0, step->arg);
		return 0;
	case PSTREE_SUBREAPER:
		emit_call(p, r, "adopt orphans", SYS_prctl, PR_SET_CHILD_SUBREAPER, step->arg);
		return 0;
	case PSTREE_STAGE:
		if (u->live && !u->mm_planned) {
			int n = plan_memory(u, err);

			if (n < 0)
				return n;
		}
		emit(p, r, ABI_OP_BARRIER, "wait for the other processes", 0, step->arg, 0, 0, 0, 0, 0);
		return 0;
	case PSTREE_REAP:
		/* its pid is only known in advance if it plays a dead leader */
		emit_call(p, r, "reap a helper process", SYS_wait4,
			  u->rs->tree.nodes.items[step->arg].pid ? (int64_t)u->rs->tree.nodes.items[step->arg].pid : -1,
			  0, __WCLONE, 0);
		return 0;
	case PSTREE_AWAIT:
		emit_await(u, step->arg);
		return 0;
	case PSTREE_EXIT:
		return emit_end(u, err);
	}
	return cr_refuse(err, -EINVAL, "unknown step %d in the tree plan", (int)step->kind);
}

/* Once the thread is seized it needs no death signal to end with the coordinator. */
static void emit_wait_for_seizure(struct restore *rs, struct routine *r)
{
	struct program *p = &rs->program;

	emit(p, r, ABI_OP_BARRIER, "wait for the coordinator", 0, RESTORE_STAGE_SEIZE, 0, 0, 0, 0, 0);
	if (!rs->nr_exited_leaders)
		return;
	emit_call(p, r, "forget the parent death signal", SYS_prctl, PR_SET_PDEATHSIG, 0);
	emit(p, r, ABI_OP_ARRIVE, "forgot the parent death signal", 0, RESTORE_STAGE_FORGET, 0, 0, 0, 0, 0);
	emit(p, r, ABI_OP_BARRIER, "wait for the end of leaders", 0, RESTORE_STAGE_EXITED, 0, 0, 0, 0, 0);
}

/* The end of a thread's program: one of each process lets others look at it again. */
static int emit_park(struct unit *u, size_t index, struct routine *ro, struct cr_error *err)
{
	struct program *p = &u->rs->program;
	bool one = index == u->task->leader_exited;
	int r = 0;

	if (u->rs->guarded)
		emit(p, ro, one ? ABI_OP_BARRIER : ABI_OP_ARRIVE, "wait until others have no privileges either", 0,
		     RESTORE_STAGE_OPEN, 0, 0, 0, 0, 0);
	if (u->rs->guarded && one)
		r = thread_plan(&u->task->plan, index, TASK_PHASE_OPEN, ro, err);
	emit(p, ro, ABI_OP_PARK, "wait to be resumed", 0, 0, 0, 0, 0, 0, 0);
	return r;
}

static int compile_threads(struct unit *u, struct cr_error *err)
{
	struct restore *rs = u->rs;
	struct program *p = &rs->program;
	int r = 0;

	for (size_t i = 1; r == 0 && i < u->task->nr_threads; i++) {
		struct routine t = { 0 };

		r = routine_begin(p, &t, err);
		if (r < 0)
			return r;
		for (int phase = TASK_PHASE_EARLY; r == 0 && phase <= TASK_PHASE_LATE; phase++) {
			if (phase == TASK_PHASE_LATE)
				emit_wait_for_seizure(rs, &t);
			r = thread_plan(&u->task->plan, i, (enum task_phase)phase, &t, err);
		}
		if (r == 0)
			r = emit_park(u, i, &t, err);
		emit(p, &u->rn->routine, ABI_OP_THREAD, "create a thread", 0, t.index, u->task->tids[i],
		     region_thread_top(&rs->region, i), 0, 0, 0);
		r = r < 0 ? r : routine_finish(p, &t, err);
		if (r < 0)
			routine_drop(&t);
		r = cr_within(err, r, "thread %u", u->task->tids[i]);
	}
	return r;
}

/* exit(2) ends the thread only; its status becomes that of the process if the last one ends in the same way. */
static int emit_leader_end(struct unit *u, struct cr_error *err)
{
	struct program *p = &u->rs->program;
	struct routine *r = &u->rn->routine;

	if (!u->task->leader_exited)
		return emit_park(u, 0, r, err);
	emit(p, r, ABI_OP_BARRIER, "wait until death signals are forgotten", 0, RESTORE_STAGE_FORGET, 0, 0, 0, 0, 0);
	emit_call(p, r, "end the main thread", SYS_exit, u->task->cores[0]->tc->exit_code >> 8 & 0xff);
	return 0;
}

/* All wait, also those that miss nothing: who makes the pager looks away from orphans for a moment. */
static void plan_lazy(struct unit *u)
{
	struct file_opener opener = files_opener(u->rs->files);
	struct mm_plan plan = memory_plan_of(u, &opener);

	if (mm_space_is_lazy(u->task->space))
		u->task->uffd_at = mm_lazy_plan(&plan, RESTORE_STAGE_LAZY);
	else
		emit(&u->rs->program, &u->rn->routine, ABI_OP_BARRIER, "wait until memory is watched", 0,
		     RESTORE_STAGE_LAZY, 0, 0, 0, 0, 0);
}

/* After the tree is complete: files, threads, and all the rest of the state. */
static int compile_state(struct unit *u, struct cr_error *err)
{
	struct restore *rs = u->rs;
	struct program *p = &rs->program;
	struct routine *ro = &u->rn->routine;
	pid_t pid = (pid_t)u->task->entry->pid;
	int r = 0;

	if (!u->mm_planned)
		r = plan_memory(u, err);
	if (r < 0)
		return r;
	if (rs->lazy)
		plan_lazy(u);
	restore_drop_signals(rs, u->rn);
	files_plan(rs->files, pid, p, ro);
	r = compile_threads(u, err);
	if (r == 0)
		r = task_plan(&u->task->plan, TASK_PHASE_MAIN, ro, err);
	if (r == 0)
		r = thread_plan(&u->task->plan, 0, TASK_PHASE_MAIN, ro, err);
	if (r < 0)
		return r;
	files_plan_late(rs->files, pid, p, ro);
	r = plan_memory_late(u, err);
	if (u->task->leader_exited)
		emit(p, ro, ABI_OP_BARRIER, "wait for the coordinator", 0, RESTORE_STAGE_SEIZE, 0, 0, 0, 0, 0);
	else
		emit_wait_for_seizure(rs, ro);
	files_plan_leave(rs->files, pid, p, ro);
	if (r == 0)
		r = task_plan(&u->task->plan, TASK_PHASE_LATE, ro, err);
	if (r == 0)
		r = thread_plan(&u->task->plan, 0, TASK_PHASE_LATE, ro, err);
	return r < 0 ? r : emit_leader_end(u, err);
}

/* Orphans outlive their first parent, so they must not yet die with it. */
static bool is_orphan(const struct pstree_node *n)
{
	return !n->sibling && n->parent != n->forked_by;
}

static void emit_deathbond(struct unit *u)
{
	emit_call(&u->rs->program, &u->rn->routine, "die with the coordinator", SYS_prctl, PR_SET_PDEATHSIG, SIGKILL);
}

static int compile_node(struct restore *rs, size_t n, struct cr_error *err)
{
	struct pstree_node *node = &rs->tree.nodes.items[n];
	struct unit u = {
		.rs = rs,
		.n = n,
		.node = node,
		.rn = &rs->nodes[n],
		.task = node->input >= 0 ? &rs->tasks[node->input] : NULL,
	};
	struct routine *ro = &u.rn->routine;
	int r = begin_node(rs, u.rn, err);

	u.live = u.task && !u.task->zombie;
	if (r < 0)
		return r;
	if (!is_orphan(node))
		emit_deathbond(&u);
	/* the descriptor is one of the coordinator's, which are there before the program closes them; all others are born into it */
	if (n == 0 && rs->ipc)
		emit_call(&rs->program, ro, "enter the IPC namespace", SYS_setns, ipc_ns_fd(rs->ipc), CLONE_NEWIPC);
	if (n == 0 && rs->mnt)
		emit_call(&rs->program, ro, "enter the mount namespace", SYS_setns, mnt_ns_fd(rs->mnt), CLONE_NEWNS);
	if (u.task)
		r = task_plan(&u.task->plan, TASK_PHASE_EARLY, ro, err);
	if (u.task && u.task->zombie)
		emit_call(&rs->program, ro, "set its name", SYS_prctl, PR_SET_NAME,
			  emit_data(&rs->program, ro, u.task->cores[0]->tc->comm,
				    strlen(u.task->cores[0]->tc->comm) + 1, 1));
	if (u.live && r == 0) {
		r = thread_plan(&u.task->plan, 0, TASK_PHASE_EARLY, ro, err);
		if (r == 0 && u.task->entry->sid != u.task->entry->pid)
			r = task_plan_session(&u.task->plan, ro, err);
		files_plan_enter(rs->files, (pid_t)u.task->entry->pid, u.rn->service_from, &rs->program, ro);
	}
	for (size_t i = 0; r == 0 && i < node->steps.nr; i++)
		r = emit_step(&u, &node->steps.items[i], err);
	if (is_orphan(node) && u.live)
		emit_deathbond(&u);
	if (r == 0 && u.live)
		r = compile_state(&u, err);
	if (r == 0)
		r = routine_finish(&rs->program, ro, err);
	return cr_within(err, r, "plan pid %u", node->pid);
}

/* Whom a node forks gets its starting point from it, so it is compiled first: a walk along the forks, from the root. */
static int compile_all(struct restore *rs, struct cr_error *err)
{
	size_t nr = rs->tree.nodes.nr, head = 0, tail = 0;
	size_t *queue = calloc(nr, sizeof(*queue));
	int r = 0;

	if (!queue)
		return cr_fail(err, -ENOMEM, "plan the tree");
	rs->nodes[0].service_from = rs->pidfd;
	queue[tail++] = 0;
	while (r == 0 && head < tail) {
		const struct pstree_node *node = &rs->tree.nodes.items[queue[head]];

		r = compile_node(rs, queue[head++], err);
		for (size_t i = 0; r == 0 && i < node->steps.nr; i++)
			if ((node->steps.items[i].kind == PSTREE_FORK ||
			     node->steps.items[i].kind == PSTREE_FORK_SIBLING) &&
			    tail < nr)
				queue[tail++] = node->steps.items[i].arg;
	}
	if (r == 0 && head != nr)
		r = cr_refuse(err, -EINVAL, "the tree plan leaves out %zu processes", nr - head);
	free(queue);
	return r;
}

static int note_threads(struct restore *rs, struct cr_error *err)
{
	for (size_t i = 0; i < rs->nr_tasks; i++) {
		struct rtask *task = &rs->tasks[i];

		for (size_t k = 0; !task->zombie && k < task->nr_threads; k++) {
			struct rthread *t = rthread_vec_add(&rs->threads);

			if (!t)
				return cr_fail(err, -ENOMEM, "list threads");
			*t = (struct rthread){
				.tid = (pid_t)task->tids[k],
				.task = task,
				.index = k,
				.exits = task->leader_exited && k == 0,
				.first = k == task->leader_exited,
			};
		}
	}
	return 0;
}

static void expect_arrivals(struct restore *rs)
{
	struct abi_control *c = program_control(&rs->program);
	uint32_t all = (uint32_t)rs->threads.nr, live = all - (uint32_t)rs->nr_exited_leaders;

	for (uint32_t i = 0; i < rs->tree.nr_stages; i++)
		c->expected[i] = rs->tree.expected[i];
	/* who is seized ends with the coordinator anyway */
	c->watch_below = RESTORE_STAGE_SEIZE + 1;
	for (size_t i = 0; i < rs->nr_tasks; i++)
		c->expected[RESTORE_STAGE_LAZY] += rs->lazy && !rs->tasks[i].zombie;
	c->expected[RESTORE_STAGE_SEIZE] = all;
	c->expected[RESTORE_STAGE_FORGET] = all;
	c->expected[RESTORE_STAGE_EXITED] = live;
	c->expected[RESTORE_STAGE_OPEN] = live;
	c->expected[ABI_NR_STAGES - 1] = live;
}

/* Helpers change nothing that their children inherit. NULL: the restorer. */
static const img_core_entry *inherits_from(const struct restore *rs, size_t n)
{
	int by = rs->tree.nodes.items[n].forked_by;

	while (by >= 0 && rs->tree.nodes.items[by].input < 0)
		by = rs->tree.nodes.items[by].forked_by;
	return by >= 0 ? rs->tasks[rs->tree.nodes.items[by].input].cores[0] : NULL;
}

static void task_restore_init(struct restore *rs, struct rtask *t)
{
	t->plan = (struct task_restore){
		.ctx = rs->ctx,
		.program = &rs->program,
		.restorer = &rs->restorer,
		.pid = (pid_t)t->entry->pid,
		.leader = t->cores[0],
		.threads = (const img_core_entry *const *)t->cores,
		.tids = t->tids,
		.nr_threads = t->nr_threads,
		.mm = t->space ? mm_space_entry(t->space) : NULL,
		.notes = &rs->notes,
		.own_ipc = rs->ipc != NULL,
		.own_mounts = rs->mnt != NULL,
		.parent = inherits_from(rs, (size_t)(t - rs->tasks)),
	};
}

int restore_compile(struct restore *rs, struct cr_error *err)
{
	int r = rs->lazy ? restore_lazy_choose(rs, err) : 0;

	if (r == 0)
		r = make_region(rs, err);
	if (r < 0)
		return r;
	rs->nodes = calloc(rs->tree.nodes.nr, sizeof(*rs->nodes));
	if (!rs->nodes)
		return cr_fail(err, -ENOMEM, "plan the tree");
	for (size_t i = 0; i < rs->nr_tasks; i++) {
		task_restore_init(rs, &rs->tasks[i]);
		rs->nr_exited_leaders += rs->tasks[i].leader_exited;
		rs->guarded |= !rs->tasks[i].zombie && tasks_change_creds(&rs->tasks[i].plan);
	}
	for (size_t i = 0; i < rs->nr_tasks; i++)
		rs->tasks[i].plan.guarded = rs->guarded;
	r = compile_all(rs, err);
	if (r == 0)
		r = note_threads(rs, err);
	if (r < 0)
		return r;
	expect_arrivals(rs);
	log_debug(&rs->ctx->log, "plan: %zu processes, %zu threads, region %#llx, programs %zu KiB", rs->tree.nodes.nr,
		  rs->threads.nr, (unsigned long long)rs->region.all.start, rs->program.arena.used >> 10);
	return 0;
}

void restore_drop_programs(struct restore *rs)
{
	for (size_t i = 0; rs->nodes && i < rs->tree.nodes.nr; i++)
		routine_drop(&rs->nodes[i].routine);
	free(rs->nodes);
	rs->nodes = NULL;
	if (rs->program_made)
		program_done(&rs->program);
	rs->program_made = false;
	task_notes_done(&rs->notes);
	rthread_vec_done(&rs->threads);
	region_unmap(&rs->region);
}

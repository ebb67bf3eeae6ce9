/* Walks the kinds for a restore: checks of what images say, and plans. */
#include "tasks/task-ops.h"
#include "tasks/tasks.h"

#include "kernel/uapi.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>

static int check_zombie(const img_core_entry *core, struct cr_error *err)
{
	uint32_t code = core->tc->exit_code;
	uint32_t sig = code & 0x7f;

	/* the word of wait(2): an exit status in the second byte, or a signal and the core bit in the first */
	if (code > 0xffff || sig == 0x7f || (sig && code >> 8) || (!sig && code & 0x80))
		return cr_refuse(err, -EBADMSG, "zombie with exit code 0x%x, which is no wait status", code);
	if (core->tc->ext && core->tc->ext->has_exit_signal && core->tc->ext->exit_signal > NR_SIGNALS)
		return cr_refuse(err, -EBADMSG, "exit signal %u", core->tc->ext->exit_signal);
	return 0;
}

static int check_shape(const img_core_entry *core, bool leader, struct cr_error *err)
{
	if (!core)
		return cr_refuse(err, -EBADMSG, "no core entry");
	if (core->mtype != img_core_entry_march_X86_64)
		return cr_refuse(err, -EOPNOTSUPP, "core entry is of another architecture (number %d)",
				 (int)core->mtype);
	if (leader ? !core->tc : !!core->tc)
		return cr_refuse(err, -EBADMSG,
				 leader ? "core entry without process part"
					: "core entry of a thread has a process part");
	return 0;
}

bool tasks_leader_exited(const img_core_entry *leader)
{
	return leader->tc->task_state != TASK_DEAD && !leader->thread_info;
}

/* A thread ends on its own by exit(2) only: whatever else ends one ends all of them. */
static int check_exited_leader(const img_core_entry *leader, size_t nr, struct cr_error *err)
{
	if (nr < 2)
		return cr_refuse(err, -EBADMSG, "core entry without registers, and there is no other thread");
	if (leader->tc->exit_code & ~UINT32_C(0xff00))
		return cr_refuse(err, -EBADMSG, "exit code 0x%x of a main thread", leader->tc->exit_code);
	return 0;
}

int tasks_check(const img_core_entry *leader, const img_core_entry *const *threads, const uint32_t *tids, size_t nr,
		struct cr_error *err)
{
	int r = check_shape(leader, true, err);

	if (r < 0)
		return r;
	if (leader->tc->task_state == TASK_DEAD)
		return check_zombie(leader, err);
	if (leader->tc->task_state != TASK_ALIVE && leader->tc->task_state != TASK_STOPPED)
		return cr_refuse(err, -EBADMSG, "task state %u is not known", leader->tc->task_state);
	if (!nr || threads[0] != leader)
		return cr_refuse(err, -EBADMSG, "a live process without threads");
	for (size_t i = 0; i < nr; i++) {
		r = check_shape(threads[i], i == 0, err);
		if (r >= 0 && !threads[i]->thread_core)
			r = cr_refuse(err, -EBADMSG, "core entry without thread part");
		if (r >= 0 && !threads[i]->thread_info)
			r = i ? cr_refuse(err, -EBADMSG, "core entry without registers")
			      : check_exited_leader(leader, nr, err);
		if (r >= 0 && !tids[i])
			r = cr_refuse(err, -EBADMSG, "thread number 0");
		if (r < 0)
			return cr_within(err, r, "thread %u", tids[i]);
	}
	for (size_t k = 0; k < nr_task_kinds; k++) {
		const struct task_kind *kind = task_kinds[k];

		if (kind->check_process && (r = kind->check_process(leader, err)) < 0)
			return cr_within(err, r, "%s", kind->name);
		for (size_t i = 0; kind->check_thread && i < nr; i++)
			if ((r = kind->check_thread(threads[i], err)) < 0)
				return cr_within(err, r, "thread %u: %s", tids[i], kind->name);
	}
	return 0;
}

/* What kinds take that depends on no list: counted generously, see task-ops.h for who emits. */
#define PLAN_PER_PROCESS ((size_t)24 << 10)
#define PLAN_PER_THREAD  ((size_t)16 << 10)
#define PLAN_PER_SIGNAL  ((size_t)256)
#define PLAN_PER_TIMER   ((size_t)384)
#define PLAN_PER_UNDO    ((size_t)384)

static size_t queue_size(const img_signal_queue_entry *q)
{
	return q ? q->signals.nr * PLAN_PER_SIGNAL : 0;
}

size_t tasks_plan_size(const struct restorer *restorer, const img_core_entry *const *threads, size_t nr)
{
	const img_task_timers_entry *timers = nr ? threads[0]->tc->timers : NULL;
	size_t size = PLAN_PER_PROCESS + (nr ? queue_size(threads[0]->tc->signals_s) : 0);

	if (nr && threads[0]->tc->ext)
		size += threads[0]->tc->ext->undo.nr * PLAN_PER_UNDO;
	if (timers) {
		size += timers->posix.nr * PLAN_PER_TIMER;
		/* ids that have to be counted up to: made and deleted, two operations each */
		for (size_t i = 0; i < timers->posix.nr && !restorer->timer_restore_ids; i++)
			if (timers->posix.items[i].it_id <= TIMER_IDS_COUNTED) {
				size += TIMER_IDS_COUNTED * 2 * sizeof(struct abi_op);
				break;
			}
	}
	for (size_t i = 0; i < nr; i++) {
		const img_creds_entry *c = threads[i]->thread_core->creds;

		size += PLAN_PER_THREAD + queue_size(threads[i]->thread_core->signals_p);
		size += c ? c->groups.nr * sizeof(uint32_t) + (c->lsm_profile ? strlen(c->lsm_profile) : 0) : 0;
	}
	return size;
}

static int plan_all(struct planner *p, bool thread)
{
	for (size_t k = 0; k < nr_task_kinds; k++) {
		int (*plan)(struct planner *) = thread ? task_kinds[k]->plan_thread : task_kinds[k]->plan_process;
		int r = plan ? plan(p) : 0;

		if (r < 0)
			return cr_within(p->err, r, "pid %d: %s", (int)p->t->pid, task_kinds[k]->name);
	}
	return p->r->error ? cr_fail(p->err, p->r->error, "plan of pid %d", (int)p->t->pid) : 0;
}

int task_plan(struct task_restore *t, enum task_phase phase, struct routine *r, struct cr_error *err)
{
	struct planner p = { .t = t, .phase = phase, .r = r, .core = t->leader, .tid = (uint32_t)t->pid, .err = err };

	return plan_all(&p, false);
}

int thread_plan(struct task_restore *t, size_t index, enum task_phase phase, struct routine *r, struct cr_error *err)
{
	struct planner p = {
		.t = t, .phase = phase, .r = r, .core = t->threads[index], .tid = t->tids[index], .err = err
	};

	return plan_all(&p, true);
}

uint64_t plan_data(struct planner *p, const void *data, size_t len, size_t align)
{
	return emit_data(p->t->program, p->r, data, len, align);
}

int plan_note(struct planner *p, struct abi_op *op, const char *text)
{
	op_result(op);
	if (p->r->error)
		return 0;

	struct task_note *n = task_notes_add(p->t->notes);

	if (!n)
		return cr_fail(p->err, -ENOMEM, "notes of a plan");
	*n = (struct task_note){
		.routine = p->r->index, .op = (uint32_t)p->r->ops.nr - 1, .pid = p->t->pid, .text = text
	};
	return 0;
}

int plan_write_file(struct planner *p, const char *path, const char *content, size_t len, const char *text)
{
	static const char proc[] = "/proc/";
	/* the coordinator's /proc, where the task's may be another */
	bool borrow = p->t->own_mounts && p->t->restorer->proc_fd >= 0 && strncmp(path, proc, sizeof(proc) - 1) == 0;
	const char *shown = borrow ? path + sizeof(proc) - 1 : path;
	uint64_t name = plan_data(p, shown, strlen(shown) + 1, 1);
	uint64_t data = plan_data(p, content, len, 1);
	struct abi_op *op;

	if (borrow)
		op_keep(op_from_slot(op_may_fail(plan_call(p, "take /proc", __NR_pidfd_getfd, SLOT_PIDFD,
							   p->t->restorer->proc_fd, 0)),
				     0),
			SLOT_TMP2);
	op = op_may_fail(plan_call(p, "open a file of /proc", __NR_openat, borrow ? SLOT_TMP2 : AT_FDCWD, name,
				   O_WRONLY | O_CLOEXEC));
	op_keep(borrow ? op_from_slot(op, 0) : op, SLOT_TMP);
	if (borrow)
		op_may_fail(op_from_slot(plan_call(p, "close /proc", __NR_close, SLOT_TMP2), 0));
	/* a failed open leaves a negative number in the slot: the write fails with EBADF and is the one that is noted */
	op = op_from_slot(plan_call(p, "write a file of /proc", __NR_write, SLOT_TMP, data, len), 0);
	if (text) {
		int r = plan_note(p, op, text);

		if (r < 0)
			return r;
	} else {
		op_may_fail(op);
	}
	op_may_fail(op_from_slot(plan_call(p, "close a file of /proc", __NR_close, SLOT_TMP), 0));
	return 0;
}

void task_notes_report(struct cr_context *ctx, const struct program *program, const struct task_notes *notes)
{
	for (size_t i = 0; i < notes->nr; i++) {
		const struct task_note *n = &notes->items[i];
		const struct abi_routine *r = program_routine(program, n->routine);
		const struct abi_op *op = NULL;

		if (r && n->op < r->nr_ops)
			op = arena_at(&program->arena, r->ops + (uint64_t)n->op * sizeof(*op), sizeof(*op));
		if (op && (int64_t)op->arg[0] < 0)
			log_warn(&ctx->log, "pid %d: %s (%s)", (int)n->pid, n->text,
				 strerror((int)-(int64_t)op->arg[0]));
	}
}

/*
 * A process that died of a signal died of it by default action. Of those that dump core only the signal comes back
 * surely: the core bit of the wait status is set by the kernel when it really wrote one.
 */
int zombie_plan(struct cr_context *ctx, struct program *program, pid_t pid, uint32_t exit_code, struct routine *r,
		struct cr_error *err)
{
	uint32_t sig = exit_code & 0x7f;
	uint64_t zero = 0;
	struct kernel_sigaction dfl = { 0 };
	struct rlimit no_core = { 0, 0 };

	uint64_t mask = emit_data(program, r, &zero, sizeof(zero), 8);

	if (sig) {
		if (exit_code & 0x80)
			log_warn(&ctx->log,
				 "pid %d: zombie that dumped core, continuing without that bit of its status",
				 (int)pid);

		uint64_t act = emit_data(program, r, &dfl, sizeof(dfl), 8);
		uint64_t limit = emit_data(program, r, &no_core, sizeof(no_core), 8);

		emit_call(program, r, "allow no core dump", __NR_prlimit64, 0, RLIMIT_CORE, limit, 0);
		if (sig != SIGKILL && sig != SIGSTOP)
			emit_call(program, r, "reset a signal", __NR_rt_sigaction, sig, act, 0, sizeof(zero));
		emit_call(program, r, "end by a signal", __NR_tgkill, (uint64_t)pid, (uint64_t)pid, sig);
	}
	emit_call(program, r, "unblock signals", __NR_rt_sigprocmask, SIG_SETMASK, mask, 0, sizeof(zero));
	emit_call(program, r, "exit", __NR_exit_group, sig ? 1 : exit_code >> 8 & 0xff);
	return r->error ? cr_fail(err, r->error, "plan of zombie %d", (int)pid) : 0;
}

uint64_t thread_sigmask(const img_core_entry *core, bool is_leader)
{
	if (is_leader)
		return core->tc ? core->tc->blk_sigset : 0;
	return core->thread_core && core->thread_core->has_blk_sigset ? core->thread_core->blk_sigset : 0;
}

int thread_release(struct cr_context *ctx, const img_core_entry *core, pid_t host_tid, struct cr_error *err)
{
	const img_sud_ext *sud = core->thread_core && core->thread_core->ext ? core->thread_core->ext->sud : NULL;

	if (!sud || sud->mode == PR_SYS_DISPATCH_OFF)
		return 0;

	struct uapi_ptrace_sud_config c = {
		.mode = sud->mode, .selector = sud->selector, .offset = sud->offset, .len = sud->len
	};

	(void)ctx;
	if (ptrace((enum __ptrace_request)UAPI_PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG, host_tid, sizeof(c), &c) < 0) {
		cr_fail(err, -errno, "thread %d: set syscall user dispatch", (int)host_tid);
		cr_advise(err, "the kernel must be 6.4 or later");
		return err ? err->code : -EOPNOTSUPP;
	}
	return 0;
}

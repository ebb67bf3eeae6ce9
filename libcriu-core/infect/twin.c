#include "infect/twin.h"

#include "base/clock.h"
#include "infect/leftovers.h"
#include "infect/remote-mem.h"
#include "infect/remote-reap.h"
#include "infect/task.h"
#include "infect/tracee.h"
#include "kernel/uapi.h"
#include "blob-layout.h"
#include "xstate.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TWIN_CLONE_FILES  0x400u
#define TWIN_CLONE_PARENT 0x8000u
#define TWIN_WALL         0x40000000u
#define UNSHARE_RANGE     2u /* CLOSE_RANGE_UNSHARE of linux/close_range.h (5.9) */

/* For how long a twin that nobody takes waits, and how soon it notices that we are gone */
#define LOOKS       20u
#define LOOK_NSEC   500000000
#define TAKE_MS     8000
#define DEATH_MS    10000
#define NR_OPS      (12 + 2 * LOOKS) /* without ranges */
#define ALIGN_SLACK 1024u

struct twin {
	pid_t pid, parent;
	struct xstate_layout layout; /* for the reaping */
	struct leftover_twin *note;
	struct tracee *tracee;
	int pidfd;
	struct proc_dir dir;
};

size_t twin_room(size_t nr_ranges)
{
	return (NR_OPS + nr_ranges) * sizeof(struct abi_op) + BLOB_STACK + ALIGN_SLACK;
}

int twin_plan_begin(struct twin_plan *plan, struct program *p, struct cr_error *err)
{
	int r;

	*plan = (struct twin_plan){ 0 };
	if (getrandom(&plan->token, sizeof(plan->token), 0) != sizeof(plan->token))
		return cr_fail(err, -errno, "make a token");
	r = routine_begin(p, &plan->routine, err);
	if (r < 0)
		return r;
	plan->own = plan->routine.index;
	plan->ready = emit_data(p, &plan->routine, NULL, sizeof(plan->token), 8);
	/* whatever fails ends it, and nobody is told: the memory is its own */
	emit(p, &plan->routine, ABI_OP_STORE, "make failures final", 0,
	     p->control + offsetof(struct abi_control, abort), 1, sizeof(uint32_t), 0, 0, 0);
	/*
	 * It shares the table of descriptors at first, and then has an empty one: so no file has a second holder even for a
	 * moment, and what the program closes meanwhile is closed.
	 */
	op_result(emit_call(p, &plan->routine, "let go of descriptors", SYS_close_range, 0, UINT32_MAX, UNSHARE_RANGE));
	/* signals to the program's group or from its terminal are not for it */
	op_result(emit_call(p, &plan->routine, "begin a session", SYS_setsid, 0));
	op_result(emit_call(p, &plan->routine, "set a name", SYS_prctl, PR_SET_NAME,
			    emit_data(p, &plan->routine, TWIN_NAME, sizeof(TWIN_NAME), 8)));
	return 0;
}

void twin_plan_drop(struct twin_plan *plan, struct program *p, uint64_t start, uint64_t end)
{
	op_result(emit_call(p, &plan->routine, "unmap what is shared", SYS_munmap, start, end - start));
}

static void emit_wait(struct twin_plan *plan, struct program *p)
{
	const int64_t a_while[2] = { 0, LOOK_NSEC };
	uint64_t pause = emit_data(p, &plan->routine, a_while, sizeof(a_while), 8);

	emit(p, &plan->routine, ABI_OP_STORE, "say that it is ready", 0, plan->ready, plan->token, sizeof(plan->token),
	     0, 0, 0);
	for (unsigned int i = 0; i < LOOKS; i++) {
		op_may_fail(emit_call(p, &plan->routine, "wait to be taken", SYS_nanosleep, pause, 0));
		/* tells of everybody whether he exists, whoever asks */
		emit_call(p, &plan->routine, "look for the dumper", SYS_getpgid, getpid());
	}
	emit_call(p, &plan->routine, "end", SYS_exit_group, 1);
}

static void emit_helper(struct twin_plan *plan, struct program *p, struct routine *helper)
{
	const int32_t lowest = 1;
	uint64_t param = emit_data(p, helper, &lowest, sizeof(lowest), 4);

	/* the tree is stopped for as long as the fork takes; not inherited */
	op_may_fail(emit_call(p, helper, "hurry", SYS_sched_setscheduler, 0, SCHED_FIFO | SCHED_RESET_ON_FORK, param));
	op_result(emit(p, helper, ABI_OP_FORK, "fork a twin", 0, plan->own, 0, TWIN_CLONE_FILES | TWIN_CLONE_PARENT, 0,
		       0, 0));
	emit_call(p, helper, "end", SYS_exit_group, 0);
}

#define FORK_OP 1u /* of these */

int twin_plan_end(struct twin_plan *plan, struct program *p, struct routine *of, struct cr_error *err)
{
	struct routine helper;
	uint64_t stack;
	int r;

	emit_wait(plan, p);
	r = routine_finish(p, &plan->routine, err);
	if (r == 0)
		r = routine_begin(p, &helper, err);
	if (r < 0)
		return r;
	plan->helper = helper.index;
	emit_helper(plan, p, &helper);
	r = routine_finish(p, &helper, err);
	if (r < 0)
		return r;
	stack = emit_data(p, of, NULL, BLOB_STACK, 64);
	op_keep(emit(p, of, ABI_OP_HELPER, "start a helper that forks", 0, plan->helper, 0, stack + BLOB_STACK, 0, 0,
		     0),
		SLOT_TMP);
	op_from_slot(emit_call(p, of, "wait for the helper", SYS_wait4, SLOT_TMP, 0, TWIN_WALL, 0), 0);
	return 0;
}

/* What the helper's fork returned */
static int64_t forked(const struct twin_plan *plan, const struct program *p)
{
	const struct abi_routine *r = program_routine(p, plan->helper);
	const struct abi_op *op = NULL;

	if (r && FORK_OP < r->nr_ops)
		op = arena_at(&p->arena, r->ops + FORK_OP * sizeof(*op), sizeof(*op));
	return op ? (int64_t)op->arg[0] : -EPROTO;
}

void twin_advise(int r, struct cr_error *err)
{
	if (r == -EAGAIN)
		cr_advise(err, "a snapshot takes one more process for each: RLIMIT_NPROC, pids.max; none under "
			       "SCHED_DEADLINE may fork");
	if (r == -ENOMEM)
		cr_advise(err, "a snapshot may take the memory of the tree once more (vm.overcommit_memory); dump "
			       "without --snapshot");
}

/* Which process a number means is not known for sure before the token is seen in its memory. */
static int await(const struct twin_plan *plan, pid_t pid, struct cr_error *err)
{
	uint64_t deadline = deadline_in(TAKE_MS), word = 0;

	for (unsigned int pause_us = 0; remote_read(pid, plan->ready, &word, sizeof(word)) < 0 || word != plan->token;
	     pause_us++) {
		if (monotonic_ns() > deadline)
			return cr_refuse(err, -ETIMEDOUT, "the copy %d does not become ready", pid);
		if (pause_us < 20)
			sched_yield();
		else
			usleep(pause_us < 1000 ? pause_us : 1000);
	}
	return 0;
}

/* Did everything work that it did in its own memory? */
static int check(const struct twin_plan *plan, const struct program *p, pid_t pid, struct cr_error *err)
{
	const struct abi_routine *r = program_routine(p, plan->own);
	autofree struct abi_op *ops = r ? calloc(r->nr_ops, sizeof(*ops)) : NULL;
	int e;

	if (!ops)
		return cr_fail(err, -ENOMEM, "look at the copy %d", pid);
	e = remote_read(pid, r->ops, ops, r->nr_ops * sizeof(*ops));
	if (e < 0)
		return cr_fail(err, e, "look at the copy %d", pid);
	for (uint32_t i = 0; i < r->nr_ops; i++) {
		int64_t result = (int64_t)ops[i].arg[0];

		if (ops[i].flags & ABI_F_RESULT && result < 0 && result >= -4095)
			return cr_fail(err, (int)result, "copy %d: %s", pid, tag_text(p->tags, ops[i].tag));
	}
	return 0;
}

/* The kernel looks for a victim in the cgroup that is full, so the twin stays in that of the process. */
static int let_it_die_first(const struct twin *t, struct cr_error *err)
{
	autofd int fd = proc_open(&t->dir, "oom_score_adj", O_WRONLY, err);

	if (fd < 0)
		return fd;
	return write(fd, "1000", 4) == 4 ? 0 : cr_fail(err, -errno, "set oom_score_adj of the copy %d", t->pid);
}

/*
 * One that is killed waits for us with its memory still there (PTRACE_EVENT_EXIT), so that this can be given back as a whole
 * before the kernel looks for more. While exit_mmap() in mm/mmap.c is at it, the process has none for the OOM killer to wait for
 * (exit_mm()), or MMF_OOM_SKIP is set although up to 40 MiB are only gathered to be freed (tlb_finish_mmu()): in either case one
 * of the tree is next. What takes it before is process_mrelease(2), or, if we do not come to it, the OOM reaper after two seconds.
 */
static int take(struct twin *t, struct cr_error *err)
{
	int r = tracee_seize(t->pid, t->pid, PTRACE_O_EXITKILL | PTRACE_O_TRACEEXIT, &t->tracee, err);

	if (r < 0)
		return cr_fail(err, r, "seize the copy %d", t->pid);
	t->pidfd = (int)syscall(SYS_pidfd_open, t->pid, 0);
	if (t->pidfd < 0)
		return cr_fail(err, -errno, "get hold of the copy %d", t->pid);
	r = tracee_interrupt(t->tracee);
	if (r == 0)
		r = tracee_wait(t->tracee, deadline_in(TAKE_MS), NULL);
	if (r < 0)
		return cr_fail(err, r, "stop the copy %d", t->pid);
	r = proc_dir_open(AT_FDCWD, t->pid, &t->dir, err);
	return r == 0 ? let_it_die_first(t, err) : r;
}

int twin_take(const struct twin_plan *plan, const struct program *p, const struct task *task,
	      const struct xstate_layout *layout, struct cr_leftovers *left, struct twin **ret, struct cr_error *err)
{
	autofree_by(twin_free) struct twin *t = NULL;
	int64_t pid = forked(plan, p);
	int r;

	if (pid <= 0 || pid > INT32_MAX)
		return cr_fail(err, pid < 0 && pid >= -4095 ? (int)pid : -EPROTO, "copy pid %d", task->host_pid);
	r = await(plan, (pid_t)pid, err);
	if (r < 0)
		return r;
	t = calloc(1, sizeof(*t));
	if (!t) {
		kill((pid_t)pid, SIGKILL);
		return cr_fail(err, -ENOMEM, "take the copy of pid %d", task->host_pid);
	}
	t->pid = (pid_t)pid;
	t->parent = task->host_pid;
	t->layout = *layout;
	t->note = leftover_twin(left, t->parent, t->pid);
	t->pidfd = -1;
	t->dir = (struct proc_dir)PROC_DIR_NONE;
	r = take(t, err);
	if (r == 0)
		r = check(plan, p, t->pid, err);
	if (r == 0)
		*ret = take_ptr(&t);
	return r;
}

pid_t twin_pid(const struct twin *t)
{
	return t->pid;
}

const struct proc_dir *twin_dir(const struct twin *t)
{
	return &t->dir;
}

/* Nothing but SIGKILL gets it out of its stop, and does so at once; the next one is that before its end. */
bool twin_is_lost(const struct twin *t)
{
	return !tracee_is_stopped(t->tracee) || tracee_is_ending(t->tracee);
}

/* Of one that nobody has killed the kernel says EINVAL; what this says of an ending one does not matter. */
bool twin_give_back(const struct twin *t)
{
	return syscall(__NR_process_mrelease, t->pidfd, 0) == 0 || (errno != EINVAL && errno != ENOSYS);
}

int twin_end(struct twin *t)
{
	int r;

	kill(t->pid, SIGKILL);
	twin_give_back(t);
	if (t->tracee) {
		tracee_reap(t->tracee, deadline_in(DEATH_MS));
		tracee_free(t->tracee);
	}
	r = remote_reap(t->parent, t->pid, &t->layout);
	leftover_twin_end(t->note);
	proc_dir_close(&t->dir);
	if (t->pidfd >= 0)
		close(t->pidfd);
	free(t);
	return r;
}

void twin_free(struct twin *t)
{
	if (t)
		twin_end(t);
}

/*
 * What confines a process and cannot be given back: seccomp, Landlock domains, core scheduling cookies. Named as
 * obstacles, so that nobody finds a restored process less confined than it was.
 *
 * Landlock has no way to ask for a domain. It shows in what a task may do: a task in a domain may not look at one outside, not
 * even with the same user and capabilities (hook_ptrace_access_check() in security/landlock, 5.13 and later). So
 * a thread that has at least our own rights is made to ask about us; a thread with fewer rights cannot be judged.
 */
#include "tasks/task-ops.h"

#include "kernel/uapi.h"

#include <errno.h>
#include <linux/landlock.h>
#include <linux/prctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CAP_SYS_PTRACE_BIT (UINT64_C(1) << 19)

static int guards_collect_thread(struct task_dump *d, struct thread *th, struct thread_state *ts, struct cr_error *err)
{
	uint64_t cookie = 0;
	int r = 0;

	(void)ts;
	if (th->status.lines & PROC_STATUS_SECCOMP && th->status.seccomp) {
		ts->tc.has_seccomp_mode = true;
		ts->tc.seccomp_mode = (img_seccomp_mode)th->status.seccomp;
		r = task_obstacle(d, th, "", th->status.seccomp == 1 ? "seccomp in strict mode" : "seccomp filters (%u)",
				  th->status.seccomp_filters);
	}
	/* ENODEV without simultaneous multithreading, EINVAL without CONFIG_SCHED_CORE */
	if (r >= 0 && prctl(PR_SCHED_CORE, PR_SCHED_CORE_GET, th->host_tid, 0, &cookie) == 0 && cookie)
		r = task_obstacle(d, th, "", "a core scheduling cookie");
	return r < 0 ? cr_fail(err, r, "note an obstacle") : 0;
}

static bool may_judge(const struct proc_status *s)
{
	uid_t own = geteuid();
	bool same_user = s->uid[0] == own && s->uid[1] == own && s->uid[2] == own && s->uid[3] == own && getuid() == own;

	/* ptrace(2), "Ptrace access mode checking" */
	return s->cap_eff & CAP_SYS_PTRACE_BIT || (same_user && own != 0 && prctl(PR_GET_DUMPABLE) == 1);
}

static void guards_ask_thread(struct asker *a)
{
	const struct task *task = a->task;

	if (task->host_pid != task->ns_pid || !a->ps->landlock_here || !may_judge(&a->thread->status))
		return;
	ask_call(a, Q_LANDLOCK, "look at the dumper", __NR_get_robust_list, getpid(), a->answers + offsetof(struct thread_answers, robust_head),
	    a->answers + offsetof(struct thread_answers, robust_len));
}

static int guards_collect_process(struct task_dump *d, struct cr_error *err)
{
	const struct process_state *parent = d->task->parent ? process_state_of(d->task->parent) : NULL;

	(void)err;
	d->ps->landlock_here = parent ? parent->landlock_here :
		syscall(__NR_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) > 0;
	return 0;
}

static int guards_dump_thread(struct task_dump *d, struct thread *th, struct thread_state *ts, struct cr_error *err)
{
	int64_t r = answer_of(d, ts, Q_LANDLOCK);

	/* with a profile of its own another security module may be the one that says no */
	if (r != -EPERM || ts->creds.lsm_profile)
		return 0;
	return task_obstacle(d, th, "", "a Landlock domain") < 0 ? cr_fail(err, -ENOMEM, "note an obstacle") : 0;
}

static int guards_check_thread(const img_core_entry *core, struct cr_error *err)
{
	const img_thread_core_entry *tc = core->thread_core;

	if ((tc->has_seccomp_mode && tc->seccomp_mode != img_seccomp_mode_disabled) ||
	    (core->tc && core->tc->has_old_seccomp_mode && core->tc->old_seccomp_mode != img_seccomp_mode_disabled))
		return cr_refuse(err, -EOPNOTSUPP, "seccomp cannot be restored");
	if (tc->ext && tc->ext->has_core_sched_cookie && tc->ext->core_sched_cookie)
		return cr_refuse(err, -EOPNOTSUPP, "a core scheduling cookie cannot be restored");
	return 0;
}

const struct task_kind guards_kind = {
	.name = "confinement",
	.collect_process = guards_collect_process,
	.collect_thread = guards_collect_thread,
	.ask_thread = guards_ask_thread,
	.dump_thread = guards_dump_thread,
	.check_thread = guards_check_thread,
};

/*
 * Landlock domains. The kernel has no way to ask for one, and none to give one back as it was, so it is an obstacle. It shows
 * in what a task may do: a task in a domain may not look at one that is outside of it, whatever its user and capabilities
 * are (hook_ptrace_access_check() in security/landlock/, Linux 5.13 and later). So each thread is made to look at somebody whom
 * it could look at otherwise: the dumper, if the thread may do anything; else a child of the dumper with the same
 * user and groups and no capabilities.
 */
#include "criu-who.h"
#include "tasks/task-ops.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define CAP_SYS_PTRACE_BIT (UINT64_C(1) << CAP_SYS_PTRACE)

bool cr_landlock_is_on(void)
{
	return syscall(__NR_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) > 0;
}

static bool same_ids(const struct proc_status *a, const struct proc_status *b)
{
	for (int i = 0; i < 4; i++)
		if (a->uid[i] != b->uid[i] || a->gid[i] != b->gid[i])
			return false;
	return true;
}

/* Raw calls only: the dumper may have threads, whose locks stay locked in the child of a fork. */
static _Noreturn void be_judge(const struct proc_status *like, int ready)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[2] = { 0 };
	uid_t uid = like->uid[CRED_REAL];
	gid_t gid = like->gid[CRED_REAL];
	char answer = 1;

	syscall(__NR_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	/* all three of its ids must be the real ones of who looks: PTRACE_MODE_REALCREDS of ptrace(2) */
	if (syscall(__NR_setresgid, gid, gid, gid) < 0 || syscall(__NR_setresuid, uid, uid, uid) < 0 ||
	    syscall(__NR_capset, &head, none) < 0 || syscall(__NR_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0) < 0)
		answer = 0;
	/* setresuid() has cleared it */
	syscall(__NR_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	syscall(__NR_write, ready, &answer, 1);
	for (;;)
		syscall(__NR_pause);
}

static void end_judge(pid_t pid)
{
	kill(pid, SIGKILL);
	/* forked without an exit signal: a waiting caller of the library does not see it */
	while (waitpid(pid, NULL, __WCLONE) < 0 && errno == EINTR)
		;
}

/* Return: pid, 0 if there can be none; it only makes the dump less sure. */
static pid_t make_judge(const struct proc_status *like)
{
	char answer = 0;
	int ends[2];
	long pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return 0;
	pid = syscall(__NR_clone, 0, NULL, NULL, NULL, 0);
	if (pid == 0)
		be_judge(like, ends[1]);
	close(ends[1]);
	while (pid > 0 && read(ends[0], &answer, 1) < 0 && errno == EINTR)
		;
	close(ends[0]);
	if (pid > 0 && !answer) {
		end_judge((pid_t)pid);
		pid = 0;
	}
	return pid > 0 ? (pid_t)pid : 0;
}

/* Its capabilities count for nothing outside of a user namespace of its own, which is an obstacle by itself. */
static bool in_other_user_ns(const struct task *t, const struct process_state *of_parent)
{
	char own[64] = "", theirs[64] = "";

	if (of_parent)
		return of_parent->other_user_ns || t->ids.user_ns_id != t->parent->ids.user_ns_id;
	return readlink("/proc/self/ns/user", own, sizeof(own) - 1) > 0 &&
	       readlinkat(t->dir.fd, "ns/user", theirs, sizeof(theirs) - 1) > 0 && strcmp(own, theirs) != 0;
}

static int landlock_collect_process(struct task_dump *d, struct cr_error *err)
{
	const struct task *parent = d->task->parent;
	const struct process_state *of_parent = parent ? process_state_of(parent) : NULL;
	const struct proc_status *s = &d->task->lead->status;

	(void)err;
	d->ps->landlock_here = of_parent ? of_parent->landlock_here : cr_landlock_is_on();
	/* in another pid namespace our numbers mean others; that is an obstacle by itself */
	d->ps->other_user_ns = d->ps->landlock_here && in_other_user_ns(d->task, of_parent);
	if (!d->ps->landlock_here || d->ps->other_user_ns || d->task->host_pid != d->task->ns_pid)
		return 0;
	if (s->cap_eff & CAP_SYS_PTRACE_BIT) {
		d->ps->judge = getpid();
	} else if (of_parent && of_parent->judge && same_ids(s, &parent->lead->status) &&
		   !(parent->lead->status.cap_eff & CAP_SYS_PTRACE_BIT)) {
		d->ps->judge = of_parent->judge;
	} else {
		d->ps->judge = make_judge(s);
		d->ps->own_judge = d->ps->judge != 0;
		if (!d->ps->judge)
			log_debug(&d->ctx->log, "pid %d: cannot see whether it is in a Landlock domain",
				  (int)d->task->host_pid);
	}
	return 0;
}

static void landlock_ask_thread(struct asker *a)
{
	const struct proc_status *s = &a->thread->status, *lead = &a->task->lead->status;

	if (!a->ps->judge || !same_ids(s, lead) || (s->cap_eff ^ lead->cap_eff) & CAP_SYS_PTRACE_BIT)
		return;
	ask_call(a, Q_LANDLOCK, "look at somebody", __NR_get_robust_list, a->ps->judge,
		 a->answers + offsetof(struct thread_answers, robust_head),
		 a->answers + offsetof(struct thread_answers, robust_len));
}

static int landlock_dump_thread(struct task_dump *d, struct thread *th, struct thread_state *ts, struct cr_error *err)
{
	int64_t r = answer_of(d, ts, Q_LANDLOCK);

	/* with a profile of its own another security module may be the one that says no */
	if (r != -EPERM || ts->creds.lsm_profile)
		return 0;
	return task_obstacle(d, th, "", "a Landlock domain") < 0 ? cr_fail(err, -ENOMEM, "note an obstacle") : 0;
}

static void landlock_drop_process(struct process_state *ps)
{
	if (ps->own_judge)
		end_judge(ps->judge);
	ps->own_judge = false;
	ps->judge = 0;
}

const struct task_kind landlock_kind = {
	.name = "Landlock",
	.collect_process = landlock_collect_process,
	.ask_thread = landlock_ask_thread,
	.dump_thread = landlock_dump_thread,
	.drop_process = landlock_drop_process,
};

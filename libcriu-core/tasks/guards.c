/*
 * What confines a process and cannot be given back yet: seccomp, core scheduling cookies. Named as obstacles, so that
 * nobody finds a restored process less confined than it was. Landlock is in landlock.c.
 */
#include "tasks/task-ops.h"

#include "kernel/uapi.h"

#include <errno.h>
#include <linux/prctl.h>
#include <sys/prctl.h>

static int guards_collect_thread(struct task_dump *d, struct thread *th, struct thread_state *ts, struct cr_error *err)
{
	uint64_t cookie = 0;
	int r = 0;

	(void)ts;
	if (th->status.lines & PROC_STATUS_SECCOMP && th->status.seccomp) {
		ts->tc.has_seccomp_mode = true;
		ts->tc.seccomp_mode = (img_seccomp_mode)th->status.seccomp;
		r = task_obstacle(d, th, "",
				  th->status.seccomp == 1 ? "seccomp in strict mode" : "seccomp filters (%u)",
				  th->status.seccomp_filters);
	}
	if (r < 0 || d->ps->no_core_sched)
		return r < 0 ? cr_fail(err, r, "note an obstacle") : 0;
	if (prctl(PR_SCHED_CORE, PR_SCHED_CORE_GET, th->host_tid, 0, &cookie) == 0) {
		if (cookie)
			r = task_obstacle(d, th, "", "a core scheduling cookie");
	} else {
		/* without simultaneous multithreading, and without CONFIG_SCHED_CORE */
		d->ps->no_core_sched = errno == ENODEV || errno == EINVAL;
	}
	return r < 0 ? cr_fail(err, r, "note an obstacle") : 0;
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
	.collect_thread = guards_collect_thread,
	.check_thread = guards_check_thread,
};

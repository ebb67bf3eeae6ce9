/*
 * The weight of a session among others, /proc/PID/autogroup (sched(7)): setsid(2) makes a group of tasks, whose nice any
 * of them may set. All of a session are in one group, so the first process of each session has it in its image, and gives
 * it back once the session is there. That of a session outside of the tree is somebody else's.
 */
#include "tasks/task-ops.h"

#include "procfs/attrs.h"

#include <errno.h>
#include <stdio.h>

static bool first_of_session(const struct task *t)
{
	return t->parent ? t->parent->ns_sid != t->ns_sid : t->ns_sid == t->ns_pid;
}

static int autogroup_collect_process(struct task_dump *d, struct cr_error *err)
{
	int nice, r;

	if (!first_of_session(d->task))
		return 0;
	r = proc_autogroup_read(&d->task->dir, &nice, err);
	if (r == -ENOENT) {
		/* CONFIG_SCHED_AUTOGROUP is off */
		cr_error_clear(err);
		return 0;
	}
	if (r < 0 || !nice)
		return r;
	d->ps->ext.has_autogroup_nice = true;
	d->ps->ext.autogroup_nice = nice;
	d->ps->tc.ext = &d->ps->ext;
	return 0;
}

static int autogroup_check_process(const img_core_entry *core, struct cr_error *err)
{
	const img_task_ext *x = core->tc->ext;

	if (x && x->has_autogroup_nice && (x->autogroup_nice < -20 || x->autogroup_nice > 19))
		return cr_refuse(err, -EBADMSG, "nice %d of a session", (int)x->autogroup_nice);
	return 0;
}

int task_plan_session(struct task_restore *t, struct routine *r, struct cr_error *err)
{
	const img_task_ext *x = t->leader->tc ? t->leader->tc->ext : NULL;
	struct planner p = { .t = t, .r = r, .core = t->leader, .tid = (uint32_t)t->pid, .err = err };
	char text[16];

	if (!x || !x->has_autogroup_nice)
		return 0;
	if (!t->restorer->has_proc) {
		log_warn(&t->ctx->log, "pid %d: /proc is not mounted, continuing without the nice of its session",
			 (int)t->pid);
		return 0;
	}

	int len = snprintf(text, sizeof(text), "%d", (int)x->autogroup_nice);

	return plan_write_file(&p, "/proc/self/autogroup", text, (size_t)len,
			       "the nice of its session cannot be set, continuing without");
}

const struct task_kind autogroup_kind = {
	.name = "session's weight",
	.collect_process = autogroup_collect_process,
	.check_process = autogroup_check_process,
};

/* The table of kinds. Its order is the order of dump, check and plan; where a plan needs that, the line says why. */
#include "tasks/task-ops.h"

/* clang-format off */
const struct task_kind *const task_kinds[] = {
	&identity_kind,
	&autogroup_kind,
	&guards_kind,
	&landlock_kind,
	&memory_flags_kind,  /* mlockall() before limits are lowered */
	&signals_kind,       /* queues signals before RLIMIT_SIGPENDING is lowered */
	&sigaltstack_kind,
	&itimers_kind,
	&posix_timers_kind,
	&user_areas_kind,
	&rseq_kind,
	&ring_slots_kind,
	&cpu_flags_kind,
	&ports_kind,
	&prctl_kind,         /* timer slack before a real-time policy is set: the kernel ignores it afterwards */
	&sched_kind,
	&rlimits_kind,       /* the last thing that wants privileges */
	&creds_kind,         /* takes them away, and sets again what that resets */
	&undo_kind,          /* with no more rights to semaphores than the process has */
};
/* clang-format on */

const size_t nr_task_kinds = ARRAY_LEN(task_kinds);

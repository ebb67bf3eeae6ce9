#include "infect/childless.h"

#include "infect/safe-call.h"
#include "infect/tracee.h"
#include "procfs/status.h"
#include "xstate.h"

#include <errno.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#ifndef __WALL
#define __WALL 0x40000000
#endif

/* Filters would see the call, a shadow stack would refuse the way back, and who is in a group stop is not woken for this. */
static bool may_be_asked(const struct task *task, struct proc_status *status)
{
	const struct thread *first = &task->threads.items[0];

	return !first->dead && first->tracee->state == TRACEE_STOPPED && !first->tracee->stop_signo &&
	       proc_status_read(&task->dir, status, NULL) == 0 && !status->seccomp && !status->shadow_stack;
}

/*
 * Nothing is waited for and nothing is taken away. ECHILD: none of the threads has a child of any kind, nor one that has
 * ended (do_wait() in kernel/exit.c).
 */
bool process_is_childless(const struct task *task)
{
	static const uint64_t arg[6] = { P_ALL, 0, 0, WEXITED | WSTOPPED | WNOHANG | WNOWAIT | __WALL };
	autostatus struct proc_status status = { 0 };
	struct xstate_layout layout;
	int64_t result = 0;

	if (!may_be_asked(task, &status))
		return false;
	xstate_layout_init(&layout);
	return safe_call(task, &task->threads.items[0], &layout, true, SYS_waitid, arg, &result) == 0 && result == -ECHILD;
}

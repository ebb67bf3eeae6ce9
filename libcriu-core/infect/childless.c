#include "infect/childless.h"

#include "infect/remote-call.h"
#include "infect/tracee.h"
#include "infect/way-back.h"
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
static bool answer_is_none(struct tracee *t, const struct way_back *way)
{
	const uint64_t arg[6] = { P_ALL, 0, 0, WEXITED | WSTOPPED | WNOHANG | WNOWAIT | __WALL };
	int64_t result = 0;
	int r = remote_start(t, way->call, way->sp, SYS_waitid, arg, NULL);

	if (r == 0)
		r = remote_finish(t, &result, NULL);
	tracee_recall(t, NULL);
	return r == 0 && result == -ECHILD;
}

bool process_is_childless(const struct task *task)
{
	autostatus struct proc_status status = { 0 };
	struct xstate_layout layout;
	struct way_cache cache = { 0 };
	struct way_back way = { 0 };
	struct thread first;
	bool none = false;

	if (!may_be_asked(task, &status) || tracee_read_xstate(task->threads.items[0].tracee, NULL) < 0)
		return false;
	first = task->threads.items[0];
	xstate_layout_init(&layout);
	if (way_back_lay(&way, &cache, task, &first, &layout, NULL) == 0 && way.call)
		none = answer_is_none(first.tracee, &way);
	way_back_clear(&way, &first);
	return none;
}

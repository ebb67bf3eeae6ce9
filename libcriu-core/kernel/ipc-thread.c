/*
 * Which IPC namespace a system call means, and /proc/sys, is a matter of the thread that asks (struct nsproxy), so a
 * thread goes there, and nothing has to be put back.
 */
#include "kernel/ipc-thread.h"

#include "base/thread.h"

#include <errno.h>
#include <sched.h>

struct visit {
	int ns_fd;
	int (*fn)(void *arg, struct cr_error *err);
	void *arg;
};

static int visit(void *arg, struct cr_error *err)
{
	const struct visit *v = arg;
	int flags = v->ns_fd == IPC_THREAD_NEW ? CLONE_NEWIPC : CLONE_SYSVSEM;

	/* threads are born with the undo list of their process; who may not part from it looks at more of others' than need be */
	if ((unshare(flags) < 0 && v->ns_fd == IPC_THREAD_NEW) ||
	    (v->ns_fd >= 0 && setns(v->ns_fd, CLONE_NEWIPC) < 0)) {
		int r = cr_fail(err, -errno, "%s an IPC namespace", v->ns_fd >= 0 ? "enter" : "make");

		cr_advise(err, "this needs CAP_SYS_ADMIN");
		return r;
	}
	return v->fn(v->arg, err);
}

int ipc_thread_run(int ns_fd, int (*fn)(void *arg, struct cr_error *err), void *arg, struct cr_error *err)
{
	struct visit v = { .ns_fd = ns_fd, .fn = fn, .arg = arg };

	return thread_run(visit, &v, err);
}

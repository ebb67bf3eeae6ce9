/*
 * Which IPC namespace a system call means, and /proc/sys, is a matter of the thread that asks (struct nsproxy), so a
 * thread goes there, and nothing has to be put back.
 */
#include "kernel/ipc-thread.h"

#include "base/thread.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>

struct visit {
	int ns_fd;
	int (*fn)(void *arg, struct cr_error *err);
	void *arg;
	int result;
	struct cr_error err;
};

static void *visit_main(void *arg)
{
	struct visit *v = arg;

	int flags = v->ns_fd == IPC_THREAD_NEW ? CLONE_NEWIPC : CLONE_SYSVSEM;

	/* threads are born with the undo list of their process; who may not part from it looks at more of others' than need be */
	if ((unshare(flags) < 0 && v->ns_fd == IPC_THREAD_NEW) ||
	    (v->ns_fd >= 0 && setns(v->ns_fd, CLONE_NEWIPC) < 0)) {
		v->result = cr_fail(&v->err, -errno, "%s an IPC namespace", v->ns_fd >= 0 ? "enter" : "make");
		cr_advise(&v->err, "this needs CAP_SYS_ADMIN");
		return NULL;
	}
	v->result = v->fn(v->arg, &v->err);
	return NULL;
}

int ipc_thread_run(int ns_fd, int (*fn)(void *arg, struct cr_error *err), void *arg, struct cr_error *err)
{
	struct visit v = { .ns_fd = ns_fd, .fn = fn, .arg = arg };
	pthread_t thread;
	int r = thread_begin(&thread, visit_main, &v);

	if (r < 0)
		return cr_fail(err, r, "start a thread");
	pthread_join(thread, NULL);
	if (v.result < 0 && err)
		*err = v.err;
	return v.result;
}

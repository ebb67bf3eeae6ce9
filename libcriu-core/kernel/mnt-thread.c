/*
 * A mount namespace, root and working directory are a matter of the thread, once it shares them with nobody (unshare(2),
 * CLONE_FS), so a thread goes there, and nothing has to be put back.
 */
#include "kernel/mnt-thread.h"

#include "base/thread.h"
#include "kernel/mount-calls.h"

#include <errno.h>
#include <sched.h>

struct visit {
	int ns_fd, ipc_fd;
	int (*fn)(void *arg, struct cr_error *err);
	void *arg;
};

int mnt_thread_copy(struct cr_error *err)
{
	if (unshare(CLONE_NEWNS) < 0) {
		int r = cr_fail(err, -errno, "make a mount namespace");

		cr_advise(err, "this needs CAP_SYS_ADMIN");
		return r;
	}
	if (mount_make_private() < 0) {
		int r = cr_fail(err, -errno, "make mounts private (mount_setattr)");

		if (errno == ENOSYS)
			cr_advise(err, "mount namespaces need Linux 5.12 or later");
		return r;
	}
	return 0;
}

static int enter(const struct visit *v, struct cr_error *err)
{
	if (v->ipc_fd >= 0 && setns(v->ipc_fd, CLONE_NEWIPC) < 0)
		return cr_fail(err, -errno, "enter the IPC namespace");
	if (v->ns_fd == MNT_THREAD_NEW)
		return mnt_thread_copy(err);
	if (unshare(CLONE_FS) < 0 || setns(v->ns_fd, CLONE_NEWNS) < 0) {
		int r = cr_fail(err, -errno, "enter a mount namespace");

		cr_advise(err, "this needs CAP_SYS_ADMIN and CAP_SYS_CHROOT");
		return r;
	}
	return 0;
}

static int visit(void *arg, struct cr_error *err)
{
	const struct visit *v = arg;
	int r = enter(v, err);

	return r == 0 ? v->fn(v->arg, err) : r;
}

int mnt_thread_run(int ns_fd, int ipc_fd, int (*fn)(void *arg, struct cr_error *err), void *arg, struct cr_error *err)
{
	struct visit v = { .ns_fd = ns_fd, .ipc_fd = ipc_fd, .fn = fn, .arg = arg };

	return thread_run(visit, &v, err);
}

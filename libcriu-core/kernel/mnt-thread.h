/* Work inside of another mount namespace: by a thread, which alone goes there. */
#ifndef CR_KERNEL_MNT_THREAD_H
#define CR_KERNEL_MNT_THREAD_H

#include "base/error.h"

#define MNT_THREAD_NEW (-1)

/**
 * mnt_thread_run() - have @fn run by a short-lived thread in the mount namespace @ns_fd, or in a copy of ours in which nothing
 * reaches others (MNT_THREAD_NEW)
 * @ipc_fd: IPC namespace that it is in as well; -1: ours
 * Its root and working directory are those of the namespace; /proc may be another there, or none.
 * Return: what @fn returned; negative errno with a sentence if the thread could not get there.
 */
int mnt_thread_run(int ns_fd, int ipc_fd, int (*fn)(void *arg, struct cr_error *err), void *arg, struct cr_error *err);

/** mnt_thread_copy() - in such a thread: go on in a copy of the namespace, in which nothing reaches others. Return: 0; negative errno */
int mnt_thread_copy(struct cr_error *err);

#endif

/* Work inside of another IPC namespace: by a thread, which alone goes there. */
#ifndef CR_KERNEL_IPC_THREAD_H
#define CR_KERNEL_IPC_THREAD_H

#include "base/error.h"

#define IPC_THREAD_NEW  (-1)
#define IPC_THREAD_SAME (-2)

/**
 * ipc_thread_run() - have @fn run by a short-lived thread in the IPC namespace @ns_fd, in a new one (IPC_THREAD_NEW), or where we
 * are (IPC_THREAD_SAME)
 * It has no undo list of semaphores, where it is allowed to give that up.
 * Return: what @fn returned; negative errno with a sentence if the thread could not get there.
 */
int ipc_thread_run(int ns_fd, int (*fn)(void *arg, struct cr_error *err), void *arg, struct cr_error *err);

#endif

/* Work inside of another IPC namespace: by a thread, which alone goes there. */
#ifndef CR_NS_IPC_THREAD_H
#define CR_NS_IPC_THREAD_H

#include "base/error.h"

#define IPC_THREAD_NEW (-1)

/**
 * ipc_thread_run() - have @fn run by a short-lived thread in the IPC namespace @ns_fd, or in a new one (IPC_THREAD_NEW)
 * Return: what @fn returned; negative errno with a sentence if the thread could not get there.
 */
int ipc_thread_run(int ns_fd, int (*fn)(void *arg, struct cr_error *err), void *arg, struct cr_error *err);

#endif

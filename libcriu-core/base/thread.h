/* Threads that take no signals: those are the business of the threads that the process has anyhow. */
#ifndef CR_BASE_THREAD_H
#define CR_BASE_THREAD_H

#include "base/error.h"

#include <pthread.h>

/** thread_begin() - all signals are blocked in it, and in the caller what was. Return: 0; negative errno */
int thread_begin(pthread_t *ret, void *(*fn)(void *arg), void *arg);

/** thread_run() - @fn in a thread that ends with it. Return: what @fn says; negative errno: there was no thread */
int thread_run(int (*fn)(void *arg, struct cr_error *err), void *arg, struct cr_error *err);

/** processors_usable() - that the calling thread may run on; at least 1 */
unsigned int processors_usable(void);

#endif

/* What can be read of a task while its mappings are still being read: pages that are present, and memory policies. */
#ifndef CR_MM_LOOK_AHEAD_H
#define CR_MM_LOOK_AHEAD_H

#include "mm/page-scan.h"
#include "procfs/numa-maps.h"

#include <pthread.h>

/* All zero: nobody has begun. */
struct look_ahead {
	const struct task *task;
	bool want_policies;
	bool running;
	pthread_t thread;
	struct page_scan scan;
	bool has_policies; /* they were read, or there are none to read */
	struct proc_numa_vec policies;
};

/**
 * look_ahead_begin() - start a thread that reads @task's pages, and its policies if these are wanted
 * @large: it has much memory, in mappings that are worth to be told apart
 * For tasks with much memory or many mappings: small ones are read sooner than a thread is started. Begun once, whoever
 * calls how often. Failures are not reported: what was not read ahead is read when it is needed.
 */
void look_ahead_begin(struct look_ahead *a, struct mm_dump *d, struct task *task, bool large, bool want_policies);
/** look_ahead_wait() - until the thread has ended, if there was one */
void look_ahead_wait(struct look_ahead *a);
/** look_ahead_free() - wait, and give everything back; NULL is fine */
void look_ahead_free(struct look_ahead *a);

/** look_ahead_policies() - those of the task, read by now or read ahead. Return: as proc_numa_maps_read(). */
int look_ahead_policies(struct look_ahead *a, const struct task *task, struct cr_error *err);

#endif

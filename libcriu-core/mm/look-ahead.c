/* A second reader of a stopped task: the kernel lets many look at one address space. */
#include "mm/look-ahead.h"

#include "infect/task.h"

#include "base/thread.h"

#include <errno.h>
#include <stdlib.h>

static int read_policies(struct look_ahead *a, const struct task *task, struct cr_error *err)
{
	int r = proc_numa_maps_read(&task->dir, &a->policies, err);

	/* a kernel without NUMA */
	if (r == -ENOENT) {
		cr_error_clear(err);
		r = 0;
	}
	a->has_policies = r == 0;
	if (r < 0)
		proc_numa_vec_done(&a->policies);
	return r;
}

static void *read_ahead(void *arg)
{
	struct look_ahead *a = arg;
	struct cr_error err = { 0 };

	page_scan_run(&a->scan);
	if (a->want_policies)
		read_policies(a, a->task, &err);
	return NULL;
}

void look_ahead_begin(struct look_ahead *a, struct mm_dump *d, struct task *task, bool large, bool want_policies)
{
	if (a->task)
		return;
	a->task = task;
	a->want_policies = want_policies;
	page_scan_open(d, task, large, &a->scan);
	a->running = thread_begin(&a->thread, read_ahead, a) == 0;
}

void look_ahead_wait(struct look_ahead *a)
{
	if (a->running)
		pthread_join(a->thread, NULL);
	a->running = false;
}

int look_ahead_policies(struct look_ahead *a, const struct task *task, struct cr_error *err)
{
	look_ahead_wait(a);
	return a->has_policies ? 0 : read_policies(a, task, err);
}

void look_ahead_free(struct look_ahead *a)
{
	if (!a)
		return;
	look_ahead_wait(a);
	page_scan_close(&a->scan);
	proc_numa_vec_done(&a->policies);
	free(a);
}

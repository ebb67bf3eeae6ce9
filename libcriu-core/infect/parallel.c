#include "infect/parallel.h"

#include "base/thread.h"

#include <pthread.h>
#include <stdbool.h>

#define WORTH_A_THREAD 128u   /* jobs of about 10 microseconds each */
#define BITE 16u              /* jobs taken at a time */

struct work {
	size_t nr, bite, next;
	bool   stop;
	int  (*job)(void *arg, size_t i, struct cr_error *err);
	void  *arg;
};

struct hand {
	struct work    *work;
	int             r;
	struct cr_error err;
};

static void do_work(struct hand *h)
{
	struct work *w = h->work;

	while (!__atomic_load_n(&w->stop, __ATOMIC_RELAXED)) {
		size_t i = __atomic_fetch_add(&w->next, w->bite, __ATOMIC_RELAXED);

		if (i >= w->nr)
			return;
		for (size_t end = i + w->bite < w->nr ? i + w->bite : w->nr; i < end; i++) {
			h->r = w->job(w->arg, i, &h->err);
			if (h->r < 0) {
				__atomic_store_n(&w->stop, true, __ATOMIC_RELAXED);
				return;
			}
		}
	}
}

static void *helper(void *arg)
{
	do_work(arg);
	return NULL;
}

static int work_run(struct work w, size_t worth, void (*meanwhile)(void *arg), struct cr_error *err)
{
	struct hand own = { .work = &w }, other = { .work = &w };
	bool helped = false;
	pthread_t thread;

	if (w.nr >= worth)
		helped = thread_begin(&thread, helper, &other) == 0;
	if (meanwhile)
		meanwhile(w.arg);
	do_work(&own);
	if (helped)
		pthread_join(thread, NULL);
	if (own.r >= 0 && other.r < 0)
		own = other;
	if (own.r < 0 && err)
		*err = own.err;
	return own.r < 0 ? own.r : 0;
}

int parallel_each(size_t nr, int (*job)(void *arg, size_t i, struct cr_error *err), void *arg, struct cr_error *err)
{
	return work_run((struct work){ .nr = nr, .bite = BITE, .job = job, .arg = arg }, WORTH_A_THREAD, NULL, err);
}

int parallel_beside(size_t nr, int (*job)(void *arg, size_t i, struct cr_error *err), void (*meanwhile)(void *arg), void *arg,
		    struct cr_error *err)
{
	return work_run((struct work){ .nr = nr, .bite = BITE, .job = job, .arg = arg }, WORTH_A_THREAD, meanwhile, err);
}

int parallel_pieces(size_t nr, int (*job)(void *arg, size_t i, struct cr_error *err), void *arg, struct cr_error *err)
{
	return work_run((struct work){ .nr = nr, .bite = 1, .job = job, .arg = arg }, 2, NULL, err);
}

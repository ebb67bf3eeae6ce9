#include "base/thread.h"

#include <sched.h>
#include <signal.h>

int thread_begin(pthread_t *ret, void *(*fn)(void *arg), void *arg)
{
	sigset_t all, old;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(ret, NULL, fn, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -r;
}

struct errand {
	int (*fn)(void *arg, struct cr_error *err);
	void *arg;
	int result;
	struct cr_error err;
};

static void *errand_main(void *arg)
{
	struct errand *e = arg;

	e->result = e->fn(e->arg, &e->err);
	return NULL;
}

int thread_run(int (*fn)(void *arg, struct cr_error *err), void *arg, struct cr_error *err)
{
	struct errand e = { .fn = fn, .arg = arg };
	pthread_t thread;
	int r = thread_begin(&thread, errand_main, &e);

	if (r < 0)
		return cr_fail(err, r, "start a thread");
	pthread_join(thread, NULL);
	if (e.result < 0 && err)
		*err = e.err;
	return e.result;
}

unsigned int processors_usable(void)
{
	cpu_set_t cpus;
	int n = sched_getaffinity(0, sizeof(cpus), &cpus) == 0 ? CPU_COUNT(&cpus) : 1;

	return n < 1 ? 1 : (unsigned int)n;
}

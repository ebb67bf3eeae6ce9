#include "infect/exec-guard.h"

#include "base/thread.h"
#include "infect/tracee.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>

#define LOOK_NS 10000000

struct exec_guard {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool ends;
	const struct task *seizing; /* NULL: nothing is being seized */
	uint64_t nr;                /* of seizures so far */
};

/* Those that have ended; how, nobody asks: tracee_wait() finds them gone. */
static void reap(const struct task *task)
{
	for (size_t i = 0; i < task->threads.nr; i++) {
		const struct tracee *t = task->threads.items[i].tracee;
		siginfo_t info;

		if (t && t->state != TRACEE_GONE)
			waitid(P_PID, (id_t)t->tid, &info, WEXITED | WNOHANG | __WALL);
	}
}

static void *watch(void *arg)
{
	struct exec_guard *g = arg;
	uint64_t seen = 0;

	pthread_mutex_lock(&g->lock);
	while (!g->ends) {
		struct timespec at;

		clock_gettime(CLOCK_REALTIME, &at);
		at.tv_nsec += LOOK_NS;
		if (at.tv_nsec >= 1000000000) {
			at.tv_nsec -= 1000000000;
			at.tv_sec++;
		}
		pthread_cond_timedwait(&g->wake, &g->lock, &at);
		/* the same as at the last look */
		if (g->seizing && g->nr == seen)
			reap(g->seizing);
		seen = g->nr;
	}
	pthread_mutex_unlock(&g->lock);
	return NULL;
}

struct exec_guard *exec_guard_new(void)
{
	struct exec_guard *g = calloc(1, sizeof(*g));

	if (!g)
		return NULL;
	pthread_mutex_init(&g->lock, NULL);
	pthread_cond_init(&g->wake, NULL);
	if (thread_begin(&g->thread, watch, g) == 0)
		return g;
	pthread_cond_destroy(&g->wake);
	pthread_mutex_destroy(&g->lock);
	free(g);
	return NULL;
}

void exec_guard_free(struct exec_guard *g)
{
	if (!g)
		return;
	pthread_mutex_lock(&g->lock);
	g->ends = true;
	pthread_cond_signal(&g->wake);
	pthread_mutex_unlock(&g->lock);
	pthread_join(g->thread, NULL);
	pthread_cond_destroy(&g->wake);
	pthread_mutex_destroy(&g->lock);
	free(g);
}

void exec_guard_begin(struct exec_guard *g, const struct task *task)
{
	if (!g)
		return;
	pthread_mutex_lock(&g->lock);
	g->seizing = task;
	g->nr++;
	pthread_mutex_unlock(&g->lock);
}

void exec_guard_end(struct exec_guard *g)
{
	if (!g)
		return;
	pthread_mutex_lock(&g->lock);
	g->seizing = NULL;
	pthread_mutex_unlock(&g->lock);
}

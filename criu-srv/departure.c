/* Closing without waiting; see departure.h. */
#include "departure.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

/* Of the thread, which frees it. */
struct leaver {
	sem_t copied, closed;
	bool *has_own; /* the waiting caller's: is the table one of its own? */
};

static void wait_for(sem_t *sem)
{
	while (sem_wait(sem) < 0 && errno == EINTR)
		;
}

static void *leave(void *arg)
{
	struct leaver *l = arg;

	*l->has_own = unshare(CLONE_FILES) == 0;
	sem_post(&l->copied);
	/* or the caller's would be the last ones */
	wait_for(&l->closed);
	free(l);
	return NULL;
}

static void close_all(struct departure *d)
{
	while (d->nr > 0)
		close(d->fds[--d->nr]);
}

void departure_go(struct departure *d)
{
	bool has_own = false;
	struct leaver *l;
	pthread_t thread;

	if (!d->nr)
		return;
	l = malloc(sizeof(*l));
	if (!l)
		return;
	l->has_own = &has_own;
	sem_init(&l->copied, 0, 0);
	sem_init(&l->closed, 0, 0);
	if (pthread_create(&thread, NULL, leave, l) != 0) {
		free(l);
		return;
	}
	pthread_detach(thread);
	wait_for(&l->copied);
	if (has_own)
		close_all(d);
	sem_post(&l->closed);
}

void departure_add(struct departure *d, int fd)
{
	if (d->nr == DEPARTURE_MAX)
		departure_go(d);
	if (d->nr == DEPARTURE_MAX)
		close_all(d);
	d->fds[d->nr++] = fd;
}

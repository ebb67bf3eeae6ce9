/* smaps walks page tables, 15 ms a GiB of small pages: as long as everything else that is learnt of a task. */
#include "mm/smaps-ahead.h"

#include "base/error.h"
#include "base/thread.h"

#include <stdlib.h>

#define MUCH_RSS_KB (16u << 10)
#define THREADS_MAX 3u
#define WINDOW      8u /* tasks that are read before their turn; of each up to two MiB of text */

struct item {
	const struct task *task;
	bool claimed, done, many;
	int result;
	struct cr_error err;
	struct smaps_stream *stream;
};

struct smaps_ahead {
	struct item *items; /* in the order of the tree */
	size_t nr, taken;   /* before items[taken] nobody asks any more */
	bool stop;
	pthread_t threads[THREADS_MAX];
	size_t nr_threads;
	pthread_mutex_t lock;
	pthread_cond_t changed;
};

/* With the lock held. */
static struct item *claim(struct smaps_ahead *a)
{
	for (size_t i = a->taken; i < a->nr && i < a->taken + WINDOW; i++) {
		if (!a->items[i].claimed) {
			a->items[i].claimed = true;
			return &a->items[i];
		}
	}
	return NULL;
}

/* With the lock held, which is not so meanwhile. */
static void read_item(struct smaps_ahead *a, struct item *item)
{
	pthread_mutex_unlock(&a->lock);
	item->result = smaps_begin(&item->task->dir, &item->stream, &item->many, &item->err);
	pthread_mutex_lock(&a->lock);
	item->done = true;
	pthread_cond_broadcast(&a->changed);
}

static void *read_ahead(void *arg)
{
	struct smaps_ahead *a = arg;

	pthread_mutex_lock(&a->lock);
	while (!a->stop && a->taken < a->nr) {
		struct item *item = claim(a);

		if (item)
			read_item(a, item);
		else
			pthread_cond_wait(&a->changed, &a->lock);
	}
	pthread_mutex_unlock(&a->lock);
	return NULL;
}

static bool is_large(const struct task *task)
{
	return task->state != TASK_DEAD && task->status.vm_rss_kb >= MUCH_RSS_KB;
}

struct smaps_ahead *smaps_ahead_new(const struct tree *tree)
{
	size_t nr = 0, want = processors_usable() - 1;
	struct smaps_ahead *a;

	for (size_t i = 0; i < tree->tasks.nr; i++)
		nr += is_large(tree->tasks.items[i]);
	a = nr > 1 && want ? calloc(1, sizeof(*a)) : NULL;
	if (!a)
		return NULL;
	*a = (struct smaps_ahead){ .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };
	a->items = calloc(nr, sizeof(*a->items));
	for (size_t i = 0; a->items && i < tree->tasks.nr; i++)
		if (is_large(tree->tasks.items[i]))
			a->items[a->nr++].task = tree->tasks.items[i];
	while (a->nr_threads < THREADS_MAX && a->nr_threads < want && a->nr_threads + 1 < a->nr &&
	       thread_begin(&a->threads[a->nr_threads], read_ahead, a) == 0)
		a->nr_threads++;
	return a;
}

int smaps_ahead_take(struct smaps_ahead *a, const struct task *task, struct smaps_stream **ret, bool *ret_many, struct cr_error *err)
{
	struct item *item = NULL, *other;
	size_t at = a ? a->taken : 0;

	for (; !item && a && at < a->nr; at++)
		if (a->items[at].task == task)
			item = &a->items[at];
	if (!item)
		return smaps_begin(&task->dir, ret, ret_many, err);
	pthread_mutex_lock(&a->lock);
	if (!item->claimed) {
		item->claimed = true;
		read_item(a, item);
	}
	while (!item->done) {
		other = claim(a);
		if (other)
			read_item(a, other);
		else
			pthread_cond_wait(&a->changed, &a->lock);
	}
	a->taken = at;
	pthread_cond_broadcast(&a->changed);
	pthread_mutex_unlock(&a->lock);
	if (item->result < 0 && err)
		*err = item->err;
	*ret_many = item->many;
	*ret = item->stream;
	item->stream = NULL;
	return item->result;
}

void smaps_ahead_free(struct smaps_ahead *a)
{
	if (!a)
		return;
	pthread_mutex_lock(&a->lock);
	a->stop = true;
	pthread_cond_broadcast(&a->changed);
	pthread_mutex_unlock(&a->lock);
	for (size_t i = 0; i < a->nr_threads; i++)
		pthread_join(a->threads[i], NULL);
	for (size_t i = 0; i < a->nr; i++)
		smaps_drop(a->items[i].stream);
	pthread_mutex_destroy(&a->lock);
	pthread_cond_destroy(&a->changed);
	free(a->items);
	free(a);
}

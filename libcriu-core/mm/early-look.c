/* Reading mappings before the tree is stopped; see early-look.h. */
#include "mm/early-look.h"

#include "infect/task.h"
#include "kernel/context.h"
#include "mm/quiet.h"
#include "procfs/lists.h"
#include "procfs/stat.h"
#include "procfs/status.h"

#include "base/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define WORTH_KB  ((uint64_t)128 << 10) /* less is read in a millisecond */
#define TREE_MAX  256                   /* processes that are looked at */
#define LOOKS_MAX 8

struct look {
	pid_t pid;
	uint64_t start_time;
	struct quiet_threads threads;
	struct proc_vma_list list;
};
DEFINE_VEC(looks, struct look)

struct mm_early {
	int event;
	struct looks looks;
	pthread_t closer;
	bool closing;
};

/* Return: the process is worth it, and was read while it made no call. */
static bool look(struct mm_early *e, pid_t pid, const struct proc_dir *dir)
{
	autostatus struct proc_status status = { 0 };
	struct look new = { .pid = pid }, *slot;
	struct proc_stat st;
	bool good;

	if (proc_status_read(dir, &status, NULL) < 0 || status.vm_rss_kb < WORTH_KB || proc_stat_read(dir, &st, NULL) < 0)
		return false;
	new.start_time = st.starttime;
	if (!quiet_begin(dir, e->event, &new.threads))
		return false;
	good = proc_smaps_read(dir, &new.list, NULL) == 0;
	slot = good ? looks_add(&e->looks) : NULL;
	if (slot) {
		*slot = new;
		return true;
	}
	quiet_done(&new.threads);
	proc_vma_list_done(&new.list);
	return false;
}

/* Processes that come and go meanwhile are not those that are looked for. */
static void look_at_tree(struct cr_context *ctx, struct mm_early *e, pid_t root)
{
	const struct cr_observer *obs = ctx->obs;
	autointvec struct int_vec pids = { 0 };
	int *slot = int_vec_add(&pids);

	if (!slot)
		return;
	*slot = root;
	for (size_t i = 0; i < pids.nr && i < TREE_MAX && e->looks.nr < LOOKS_MAX; i++) {
		autoprocdir struct proc_dir dir = PROC_DIR_NONE;
		struct cr_error err = { 0 };

		if (obs && obs->may_dump && obs->may_dump(obs->arg, pids.items[i], pids.items[i], &err) < 0)
			continue;
		if (proc_dir_open(AT_FDCWD, pids.items[i], &dir, NULL) < 0)
			continue;
		look(e, pids.items[i], &dir);
		proc_children_read(&dir, &pids, NULL);
	}
}

int mm_early_look(struct cr_context *ctx, pid_t root, struct mm_early **ret, struct cr_error *err)
{
	struct mm_early *e;
	int event = root > 0 && !ctx->opts->client_is_peer ? quiet_event() : -1;

	if (event < 0)
		return 0;
	e = calloc(1, sizeof(*e));
	if (!e)
		return cr_fail(err, -ENOMEM, "look at the tree");
	e->event = event;
	look_at_tree(ctx, e, root);
	log_debug(&ctx->log, "mappings of %zu processes are known before they are stopped", e->looks.nr);
	*ret = e;
	return 0;
}

static bool same_mapping(const struct proc_vma_list *la, const struct proc_vma *a, const struct proc_vma_list *lb,
			 const struct proc_vma *b)
{
	return a->start == b->start && a->end == b->end && a->pgoff == b->pgoff && a->ino == b->ino &&
	       a->dev_major == b->dev_major && a->dev_minor == b->dev_minor && a->prot == b->prot &&
	       a->shared == b->shared && strcmp(proc_vma_path(la, a), proc_vma_path(lb, b)) == 0;
}

/* A stack grows without a call. */
static bool same_mappings(const struct proc_vma_list *early, const struct task *task)
{
	autovmas struct proc_vma_list now = { 0 };

	if (proc_maps_read(&task->dir, &now, NULL) < 0 || now.nr != early->nr)
		return false;
	for (size_t i = 0; i < now.nr; i++)
		if (!same_mapping(early, &early->items[i], &now, &now.items[i]))
			return false;
	return true;
}

const struct proc_vma_list *mm_early_find(const struct mm_early *e, const struct task *task)
{
	for (size_t i = 0; e && i < e->looks.nr; i++) {
		const struct look *l = &e->looks.items[i];

		if (l->pid == task->host_pid)
			return l->start_time == task->stat.starttime && quiet_still(&l->threads, task) &&
					       same_mappings(&l->list, task) ?
				       &l->list :
				       NULL;
	}
	return NULL;
}

static void *close_all(void *arg)
{
	struct mm_early *e = arg;

	for (size_t i = 0; i < e->looks.nr; i++)
		quiet_done(&e->looks.items[i].threads);
	return NULL;
}

void mm_early_end(struct mm_early *e)
{
	if (!e || e->closing)
		return;
	e->closing = thread_begin(&e->closer, close_all, e) == 0;
}

void mm_early_free(struct mm_early *e)
{
	if (!e)
		return;
	if (e->closing)
		pthread_join(e->closer, NULL);
	close_all(e);
	for (size_t i = 0; i < e->looks.nr; i++)
		proc_vma_list_done(&e->looks.items[i].list);
	looks_done(&e->looks);
	free(e);
}

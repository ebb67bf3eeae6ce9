/* The frozen processes put in order: who is whose parent, what their numbers are inside the tree's pid namespace. */
#include "infect/freeze-internal.h"

#include "infect/tracee.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static size_t slot_of(const struct freezer *f, pid_t pid)
{
	size_t i = ((uint32_t)pid * 2654435761u) & (f->by_pid_size - 1);

	while (f->by_pid[i] && f->by_pid[i]->host_pid != pid)
		i = (i + 1) & (f->by_pid_size - 1);
	return i;
}

struct task *freezer_find(const struct freezer *f, pid_t pid)
{
	return f->by_pid_size ? f->by_pid[slot_of(f, pid)] : NULL;
}

/* Called after @task was added to the tree */
int freezer_index(struct freezer *f, struct task *task)
{
	if (2 * f->tree->tasks.nr > f->by_pid_size) {
		size_t size = f->by_pid_size ? f->by_pid_size * 2 : 64;
		struct task **old = f->by_pid;

		while (size < 2 * f->tree->tasks.nr)
			size *= 2;
		f->by_pid = calloc(size, sizeof(*f->by_pid));
		if (!f->by_pid) {
			f->by_pid = old;
			return -ENOMEM;
		}
		f->by_pid_size = size;
		free(old);
		for (size_t i = 0; i < f->tree->tasks.nr; i++) {
			struct task *t = f->tree->tasks.items[i];

			f->by_pid[slot_of(f, t->host_pid)] = t;
		}
	}
	f->by_pid[slot_of(f, task->host_pid)] = task;
	return 0;
}

static void thread_done(struct thread *t)
{
	tracee_free(t->tracee);
	proc_dir_close(&t->dir);
	proc_status_done(&t->status);
}

void task_free(struct task *task)
{
	if (!task)
		return;
	for (size_t i = 0; i < task->threads.nr; i++)
		thread_done(&task->threads.items[i]);
	thread_vec_done(&task->threads);
	proc_status_done(&task->status);
	proc_dir_close(&task->dir);
	if (task->pidfd >= 0)
		close(task->pidfd);
	free(task);
}

void tree_free(struct tree *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < t->tasks.nr; i++)
		task_free(t->tasks.items[i]);
	task_vec_done(&t->tasks);
	free(t);
}

const struct proc_dir *thread_dir(const struct task *task, struct thread *t, struct cr_error *err)
{
	if (t->dir.fd < 0 && proc_dir_open_task(AT_FDCWD, task->host_pid, t->host_tid, &t->dir, err) < 0) {
		t->dir = (struct proc_dir)PROC_DIR_NONE;
		return NULL;
	}
	return &t->dir;
}

/* The number that namespace level @level shows; 0: not visible there */
static pid_t id_at(const struct proc_ns_ids *ids, uint32_t level, pid_t host)
{
	if (!ids->nr)
		return host;
	return level < ids->nr ? ids->ids[level] : 0;
}

static int number(struct task *task, uint32_t level, struct cr_error *err)
{
	const struct proc_status *s = &task->status;

	task->ns_pid = id_at(&s->ns_tgid, level, task->host_pid);
	task->ns_pgid = id_at(&s->ns_pgid, level, task->stat.pgrp);
	task->ns_sid = id_at(&s->ns_sid, level, task->stat.session);
	task->ns_ppid = task->parent ? task->parent->ns_pid : 0;
	if (task->ns_pid <= 0)
		return cr_refuse(err, -EOPNOTSUPP, "pid %d is not in the pid namespace of the tree's root", task->host_pid);
	for (size_t i = 0; i < task->threads.nr; i++) {
		struct thread *t = &task->threads.items[i];

		t->ns_tid = id_at(&t->status.ns_pid, level, t->host_tid);
	}
	return 0;
}

struct link {
	struct task *task, *parent;
	size_t       first_child, next_sibling; /* 1 + index, 0 = none */
};

/* Children lists in the order of discovery; the list head of a parent is built from the back. */
static void link_all(const struct freezer *f, struct link *links)
{
	for (size_t i = f->tree->tasks.nr; i-- > 1;) {
		struct task *parent = freezer_find(f, f->tree->tasks.items[i]->status.ppid);

		if (!parent)
			continue;
		links[i].parent = parent;
		links[i].next_sibling = links[parent->index].first_child;
		links[parent->index].first_child = i + 1;
	}
}

/*
 * Breadth first from the root, into a new list. It is also the queue of the walk. @f->tree is changed only after memory
 * for all is there.
 */
int tree_order(struct freezer *f, struct cr_error *err)
{
	struct task_vec *old = &f->tree->tasks;
	autofree struct link *links = calloc(old->nr, sizeof(*links));
	struct task **sorted = calloc(old->nr, sizeof(*sorted));
	size_t nr = 0;
	int r = 0;

	if (!links || !sorted) {
		free(sorted);
		return cr_fail(err, -ENOMEM, "order %zu processes", old->nr);
	}
	for (size_t i = 0; i < old->nr; i++)
		old->items[i]->index = (uint32_t)i;
	link_all(f, links);
	sorted[nr++] = f->tree->root;
	f->tree->root->parent = NULL;
	for (size_t at = 0; at < nr; at++) {
		struct task *parent = sorted[at];

		for (size_t c = links[parent->index].first_child; c; c = links[c - 1].next_sibling) {
			struct task *child = old->items[c - 1];

			child->parent = parent;
			sorted[nr++] = child;
			old->items[c - 1] = NULL;
		}
	}
	old->items[f->tree->root->index] = NULL;
	for (size_t i = 0; i < old->nr; i++) {
		if (!old->items[i])
			continue;
		log_debug(&f->ctx->log, "pid %d left the tree, it runs on", old->items[i]->host_pid);
		task_free(old->items[i]);
	}
	free(old->items);
	old->items = sorted;
	old->cap = old->nr;
	old->nr = nr;

	uint32_t level = f->tree->root->status.ns_tgid.nr ? f->tree->root->status.ns_tgid.nr - 1 : 0;

	for (size_t i = 0; i < nr && r == 0; i++) {
		sorted[i]->index = (uint32_t)i;
		r = number(sorted[i], level, err);
	}
	return r;
}

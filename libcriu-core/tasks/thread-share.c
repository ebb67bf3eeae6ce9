/*
 * Threads can leave what their process shares: descriptors and working directory by unshare(2), namespaces by that or
 * by setns(2). An image has one of each per process, so what a thread has for itself would be lost. A mount or user
 * namespace of its own is not looked for: who enters one gets a working directory of its own first, or must be the
 * only thread (ksys_unshare() in kernel/fork.c, mntns_install() and userns_install()). An IPC namespace is looked for in who
 * has not the same undo list of semaphores: all threads of C libraries share one (CLONE_SYSVSEM), and who enters another
 * namespace leaves it (exit_sem(), called there and in commit_nsset()).
 */
#include "tasks/thread-share.h"

#include "base/own.h"
#include "base/thread.h"
#include "kernel/uapi.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* One bit per row in what is found out about a thread; those with a link are namespaces. */
static const struct share {
	int type;              /* of kcmp() */
	const char *link;      /* below /proc/PID/task/TID/ */
	unsigned long request; /* of a pidfd */
	const char *what;
} shares[] = {
	{ KCMP_FILES, NULL, 0, "descriptors (unshare(CLONE_FILES))" },
	{ KCMP_FS, NULL, 0, "working directory, root and umask (unshare(CLONE_FS))" },
	{ 0, "ns/net", PIDFD_GET_NET_NAMESPACE, "network namespace" },
	{ 0, "ns/uts", PIDFD_GET_UTS_NAMESPACE, "UTS namespace" },
	{ 0, "ns/ipc", PIDFD_GET_IPC_NAMESPACE, "IPC namespace" },
	{ 0, "ns/cgroup", PIDFD_GET_CGROUP_NAMESPACE, "cgroup namespace" },
	{ 0, "ns/pid_for_children", PIDFD_GET_PID_FOR_CHILDREN_NAMESPACE, "pid namespace for its children" },
	{ 0, "ns/time_for_children", PIDFD_GET_TIME_FOR_CHILDREN_NAMESPACE, "time namespace for its children" },
};

#define NR_SHARES (sizeof(shares) / sizeof(shares[0]))

#define IPC_SHARE 4 /* index of that row */

/* The threads of one process under comparison with its leading one. */
struct comparison {
	const struct task *task;
	bool has_undo_list;     /* the leading thread */
	uint64_t ns[NR_SHARES]; /* of the leading thread */
	uint8_t *differs;       /* per thread */
};

struct thread_share {
	struct cr_context *ctx;
	bool kcmp;
	bool without_list;     /* the comparing thread has no undo list of semaphores */
	bool by_pidfd;         /* threads have pidfds (Linux 6.9) that tell namespaces (6.11) */
	struct comparison *of; /* each process with several threads */
	size_t nr;
	bool running;
	pthread_t thread;
	int result;
	struct cr_error err;
};

/* A namespace that this kernel lacks, or that has no first process yet, has no link: 0, which compares as well. */
static int id_of_link(const struct task *t, pid_t tid, const char *link, uint64_t *ret, struct cr_error *err)
{
	char path[64], text[64]; /* "pid:[4026531836]" */
	const char *number;
	ssize_t n;

	snprintf(path, sizeof(path), "task/%d/%s", (int)tid, link);
	n = readlinkat(t->dir.fd, path, text, sizeof(text) - 1);
	if (n < 0 && errno != ENOENT)
		return cr_fail(err, -errno, "%s", path);
	text[n < 0 ? 0 : n] = 0;
	number = strchr(text, '[');
	*ret = number ? strtoull(number + 1, NULL, 10) : 0;
	return 0;
}

static int ids_by_links(const struct task *t, pid_t tid, uint64_t ret[static NR_SHARES], struct cr_error *err)
{
	int r = 0;

	for (size_t k = 0; k < NR_SHARES && r == 0; k++)
		if (shares[k].link)
			r = id_of_link(t, tid, shares[k].link, &ret[k], err);
	return r;
}

static void close_all(int fds[static NR_SHARES])
{
	for (size_t k = 0; k < NR_SHARES; k++)
		if (fds[k] >= 0)
			close(fds[k]);
}

/*
 * Cheaper than links, and it leaves no names in the kernel's cache, which cost as much again when the thread dies. @ret_fds:
 * descriptors of the namespaces, or NULL: as long as somebody has one open, opening it again costs a third less
 * (path_from_stashed() in fs/libfs.c). @same_ipc: that namespace is not asked for. Return: 0; negative errno: ask in the
 * other way.
 */
static int ids_by_pidfd(pid_t tid, bool same_ipc, uint64_t ret[static NR_SHARES], int *ret_fds)
{
	autofd int pidfd = (int)syscall(SYS_pidfd_open, tid, PIDFD_THREAD);
	struct stat st;

	if (pidfd < 0)
		return -errno;
	for (size_t k = 0; k < NR_SHARES; k++) {
		bool asked = shares[k].link && !(same_ipc && k == IPC_SHARE);
		autofd int ns = asked ? ioctl(pidfd, shares[k].request, 0) : -1;

		if (!asked)
			continue;
		if (ns < 0 || fstat(ns, &st) < 0)
			return -errno;
		ret[k] = st.st_ino;
		if (ret_fds)
			ret_fds[k] = take_fd(&ns);
	}
	return 0;
}

/* As kcmp(2): 0 they have the same, or both none; positive they differ; negative it cannot be told */
static long compare_undo_lists(pid_t a, pid_t b)
{
	return syscall(__NR_kcmp, a, b, KCMP_SYSVSEM, 0, 0);
}

static int ids_of(struct thread_share *ts, const struct comparison *c, pid_t tid, uint64_t ret[static NR_SHARES], struct cr_error *err)
{
	bool same_ipc = c->has_undo_list && compare_undo_lists(c->task->lead->host_tid, tid) == 0;

	ret[IPC_SHARE] = c->ns[IPC_SHARE];
	return ts->by_pidfd && ids_by_pidfd(tid, same_ipc, ret, NULL) == 0 ? 0 : ids_by_links(c->task, tid, ret, err);
}

static int compare_thread(struct thread_share *ts, const struct comparison *c, size_t i, struct cr_error *err)
{
	const struct thread *th = &c->task->threads.items[i], *lead = c->task->lead;
	uint64_t ids[NR_SHARES] = { 0 };
	int r;

	if (th == lead || th->dead)
		return 0;
	r = ids_of(ts, c, th->host_tid, ids, err);
	if (r < 0)
		return r;
	for (size_t k = 0; k < NR_SHARES; k++) {
		bool differs = ids[k] != c->ns[k];

		if (!shares[k].link && ts->kcmp) {
			long cmp = syscall(__NR_kcmp, lead->host_tid, th->host_tid, shares[k].type, 0, 0);

			if (cmp < 0)
				return cr_fail(err, -errno, "compare thread %d (kcmp)", (int)th->host_tid);
			differs = cmp > 0;
		}
		if (differs)
			c->differs[i] |= (uint8_t)(1u << k);
	}
	return 0;
}

static int note_thread(struct cr_context *ctx, const struct task *t, const struct thread *th, uint8_t differs)
{
	char where[32];
	int r = 0;

	snprintf(where, sizeof(where), "thread %d", (int)th->host_tid);
	for (size_t k = 0; k < NR_SHARES && r >= 0; k++)
		if (differs & 1u << k)
			r = obstacle_add(&ctx->obstacles, t->host_pid, t->comm, where, "", "own %s", shares[k].what);
	return r;
}

static int compare_process(struct thread_share *ts, struct comparison *c, struct cr_error *err)
{
	pid_t lead = c->task->lead->host_tid;
	int fds[NR_SHARES], r;

	for (size_t k = 0; k < NR_SHARES; k++)
		fds[k] = -1;
	ts->by_pidfd = ids_by_pidfd(lead, false, c->ns, fds) == 0;
	c->has_undo_list = ts->kcmp && ts->without_list && compare_undo_lists(gettid(), lead) > 0;
	r = ts->by_pidfd ? 0 : ids_by_links(c->task, lead, c->ns, err);
	for (size_t i = 0; i < c->task->threads.nr && r == 0; i++)
		r = compare_thread(ts, c, i, err);
	close_all(fds);
	return cr_within(err, r, "pid %d (%s)", (int)c->task->host_pid, c->task->comm);
}

static void *compare_all(void *arg)
{
	struct thread_share *ts = arg;

	for (size_t i = 0; i < ts->nr && ts->result == 0; i++)
		ts->result = compare_process(ts, &ts->of[i], &ts->err);
	return NULL;
}

/* A thread of its own leaves the undo list of this process, and so has another one than everybody who has any. */
static void *compare_beside(void *arg)
{
	struct thread_share *ts = arg;

	ts->without_list = unshare(CLONE_SYSVSEM) == 0;
	return compare_all(ts);
}

static int begin(struct thread_share *ts, const struct tree *tree, size_t *ret_threads)
{
	*ret_threads = 0;
	ts->of = calloc(tree->tasks.nr, sizeof(*ts->of));
	if (!ts->of)
		return -ENOMEM;
	for (size_t i = 0; i < tree->tasks.nr; i++) {
		const struct task *t = tree->tasks.items[i];
		struct comparison *c = &ts->of[ts->nr];

		if (t->state == TASK_DEAD || t->threads.nr < 2)
			continue;
		c->task = t;
		c->differs = calloc(t->threads.nr, 1);
		if (!c->differs)
			return -ENOMEM;
		ts->nr++;
		*ret_threads += t->threads.nr;
	}
	return 0;
}

#define WORTH_A_THREAD 32u

int thread_share_begin(struct cr_context *ctx, const struct tree *tree, struct thread_share **ret, struct cr_error *err)
{
	autofree_by(thread_share_drop) struct thread_share *ts = calloc(1, sizeof(*ts));
	size_t nr;

	if (!ts || begin(ts, tree, &nr) < 0)
		return cr_fail(err, -ENOMEM, "compare threads");
	ts->ctx = ctx;
	ts->kcmp = ts->nr && kernel_has(&ctx->probes, KERNEL_KCMP);
	if (nr >= WORTH_A_THREAD)
		ts->running = thread_begin(&ts->thread, compare_beside, ts) == 0;
	if (!ts->running)
		compare_all(ts);
	*ret = take_ptr(&ts);
	return 0;
}

int thread_share_end(struct thread_share *ts, struct cr_error *err)
{
	int r;

	if (ts->running)
		pthread_join(ts->thread, NULL);
	ts->running = false;
	r = ts->result;
	if (r < 0 && err)
		*err = ts->err;
	for (size_t i = 0; i < ts->nr && r == 0; i++) {
		const struct comparison *c = &ts->of[i];

		for (size_t k = 0; k < c->task->threads.nr && r == 0; k++)
			if (c->differs[k] && note_thread(ts->ctx, c->task, &c->task->threads.items[k], c->differs[k]) < 0)
				r = cr_fail(err, -ENOMEM, "note an obstacle");
	}
	return r;
}

void thread_share_drop(struct thread_share *ts)
{
	if (!ts)
		return;
	if (ts->running)
		pthread_join(ts->thread, NULL);
	for (size_t i = 0; i < ts->nr; i++)
		free(ts->of[i].differs);
	free(ts->of);
	free(ts);
}

/*
 * Threads can leave what their process shares: descriptors and working directory by unshare(2), namespaces by that or
 * by setns(2). An image has one of each per process, so what a thread has for itself would be lost. A mount or user
 * namespace of its own is not looked for: who enters one gets a working directory of its own first, or must be the
 * only thread (ksys_unshare() in kernel/fork.c, mntns_install() and userns_install()).
 */
#include "tasks/thread-share.h"

#include "base/own.h"
#include "infect/parallel.h"

#include <errno.h>
#include <linux/kcmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NS_TEXT 64 /* "pid:[4026531836]" */

/* One bit per row in what is found out about a thread; those with a link are namespaces. */
static const struct share {
	int type;         /* of kcmp() */
	const char *link; /* below /proc/PID/task/TID/ */
	const char *what;
} shares[] = {
	{ KCMP_FILES, NULL, "descriptors (unshare(CLONE_FILES))" },
	{ KCMP_FS, NULL, "working directory, root and umask (unshare(CLONE_FS))" },
	{ 0, "ns/net", "network namespace" },
	{ 0, "ns/uts", "UTS namespace" },
	{ 0, "ns/ipc", "IPC namespace" },
	{ 0, "ns/cgroup", "cgroup namespace" },
	{ 0, "ns/pid_for_children", "pid namespace for its children" },
};

#define NR_SHARES (sizeof(shares) / sizeof(shares[0]))

/* The threads of one process under comparison with its leading one. */
struct comparison {
	const struct task *task;
	bool kcmp;
	char ns[NR_SHARES][NS_TEXT]; /* of the leading thread */
	uint8_t *differs;            /* per thread */
};

/* A namespace that this kernel lacks, or that has no first process yet, has no link: an empty text, which compares as well. */
static int read_link(const struct task *t, pid_t tid, const char *link, char ret[static NS_TEXT], struct cr_error *err)
{
	char path[64];
	ssize_t n;

	snprintf(path, sizeof(path), "task/%d/%s", (int)tid, link);
	n = readlinkat(t->dir.fd, path, ret, NS_TEXT - 1);
	if (n < 0 && errno != ENOENT)
		return cr_fail(err, -errno, "%s", path);
	ret[n < 0 ? 0 : n] = 0;
	return 0;
}

static int compare_thread(void *arg, size_t i, struct cr_error *err)
{
	struct comparison *c = arg;
	const struct thread *th = &c->task->threads.items[i], *lead = c->task->lead;

	if (th == lead || th->dead)
		return 0;
	for (size_t k = 0; k < NR_SHARES; k++) {
		const struct share *s = &shares[k];
		char text[NS_TEXT];
		bool differs = false;

		if (s->link) {
			int r = read_link(c->task, th->host_tid, s->link, text, err);

			if (r < 0)
				return r;
			differs = strcmp(text, c->ns[k]) != 0;
		} else if (c->kcmp) {
			long r = syscall(__NR_kcmp, lead->host_tid, th->host_tid, s->type, 0, 0);

			if (r < 0)
				return cr_fail(err, -errno, "compare thread %d (kcmp)", (int)th->host_tid);
			differs = r > 0;
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

static int compare_process(struct cr_context *ctx, const struct task *t, bool kcmp, struct cr_error *err)
{
	autofree uint8_t *differs = calloc(t->threads.nr, 1);
	struct comparison c = { .task = t, .kcmp = kcmp, .differs = differs };
	int r = 0;

	if (!differs)
		return cr_fail(err, -ENOMEM, "compare threads");
	for (size_t k = 0; k < NR_SHARES && r == 0; k++)
		if (shares[k].link)
			r = read_link(t, t->lead->host_tid, shares[k].link, c.ns[k], err);
	if (r == 0)
		r = parallel_each(t->threads.nr, compare_thread, &c, err);
	for (size_t i = 0; i < t->threads.nr && r == 0; i++)
		if (differs[i] && note_thread(ctx, t, &t->threads.items[i], differs[i]) < 0)
			r = cr_fail(err, -ENOMEM, "note an obstacle");
	return r;
}

int thread_share_collect(struct cr_context *ctx, const struct tree *tree, struct cr_error *err)
{
	bool kcmp = false, asked = false;
	int r = 0;

	for (size_t i = 0; i < tree->tasks.nr && r == 0; i++) {
		const struct task *t = tree->tasks.items[i];

		if (t->state == TASK_DEAD || t->threads.nr < 2)
			continue;
		if (!asked)
			kcmp = kernel_has(&ctx->probes, KERNEL_KCMP);
		asked = true;
		r = cr_within(err, compare_process(ctx, t, kcmp, err), "pid %d (%s)", (int)t->host_pid, t->comm);
	}
	return r;
}

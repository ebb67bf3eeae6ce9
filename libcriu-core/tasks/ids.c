/*
 * Which objects processes share. kcmp(2) orders kernel objects by their addresses, obfuscated, so that sorting finds equal ones
 * with n log n comparisons; numbers are then given in the order of the tree.
 */
#include "tasks/ids.h"

#include "base/own.h"
#include "procfs/ns-links.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DUMPER_ID 1 /* of every kind; the tree's ids follow */
#define FIRST_ID  2

/* Kinds of objects that kcmp() compares, and where their numbers go. */
static const struct shared_kind {
	int type;
	size_t offset;
	const char *obstacle; /* NULL: may be shared */
} shared_kinds[] = {
	{ KCMP_VM, offsetof(img_task_kobj_ids_entry, vm_id), "memory" },
	{ KCMP_FILES, offsetof(img_task_kobj_ids_entry, files_id), NULL },
	{ KCMP_FS, offsetof(img_task_kobj_ids_entry, fs_id), "working directory and umask (CLONE_FS)" },
	{ KCMP_SIGHAND, offsetof(img_task_kobj_ids_entry, sighand_id), "signal handlers (CLONE_SIGHAND)" },
};

/* Namespaces in the order in which they are numbered. */
static const struct ns_kind {
	enum proc_ns ns;
	size_t has, id;
	const char *name;
} ns_kinds[] = {
#define NS_KIND(ns, field, name)                                                                                   \
	{                                                                                                          \
		ns, offsetof(img_task_kobj_ids_entry, has_##field), offsetof(img_task_kobj_ids_entry, field), name \
	}
	NS_KIND(PROC_NS_PID, pid_ns_id, "pid"),    NS_KIND(PROC_NS_NET, net_ns_id, "network"),
	NS_KIND(PROC_NS_IPC, ipc_ns_id, "IPC"),    NS_KIND(PROC_NS_UTS, uts_ns_id, "UTS"),
	NS_KIND(PROC_NS_TIME, time_ns_id, "time"), NS_KIND(PROC_NS_MNT, mnt_ns_id, "mount"),
	NS_KIND(PROC_NS_USER, user_ns_id, "user"), NS_KIND(PROC_NS_CGROUP, cgroup_ns_id, "cgroup"),
#undef NS_KIND
};

static uint32_t *id_at(img_task_kobj_ids_entry *e, size_t offset)
{
	return (uint32_t *)(void *)((char *)e + offset);
}

static bool *has_at(img_task_kobj_ids_entry *e, size_t offset)
{
	return (bool *)(void *)((char *)e + offset);
}

struct sorting {
	int type;
	int error; /* the first, negative errno */
};

static int compare_tasks(const void *x, const void *y, void *arg)
{
	struct task *const *a = x, *const *b = y;
	struct sorting *s = arg;
	long r = syscall(__NR_kcmp, (*a)->lead->host_tid, (*b)->lead->host_tid, s->type, 0, 0);

	if (r < 0 && !s->error)
		s->error = -errno;
	/* 0 equal, 1 less, 2 greater; kcmp(2) */
	return r <= 0 ? 0 : r == 1 ? -1 : 1;
}

static int note_sharing(struct cr_context *ctx, const struct shared_kind *k, const struct task *first,
			const struct task *t)
{
	if (!k->obstacle)
		return 0;
	if (k->type == KCMP_VM && t->parent == first)
		return obstacle_add(&ctx->obstacles, t->host_pid, t->comm, "", "wait until its vfork() is over",
				    "%s shared with its parent, pid %d (vfork() in progress, or CLONE_VM)", k->obstacle,
				    (int)first->host_pid);
	return obstacle_add(&ctx->obstacles, t->host_pid, t->comm, "", "", "%s shared with pid %d", k->obstacle,
			    (int)first->host_pid);
}

/* @tasks: live ones, sorted by @k: those that share are neighbours. The one that comes first in the tree stands for all. */
static int find_sharers(struct cr_context *ctx, const struct shared_kind *k, struct task **tasks, size_t nr,
			const struct task **first_of)
{
	struct sorting s = { .type = k->type };

	for (size_t start = 0, end; start < nr; start = end) {
		const struct task *first = tasks[start];

		for (end = start + 1; end < nr && !compare_tasks(&tasks[start], &tasks[end], &s); end++)
			if (tasks[end]->index < first->index)
				first = tasks[end];
		if (s.error)
			return s.error;
		for (size_t i = start; i < end; i++) {
			int r = first == tasks[i] ? 0 : note_sharing(ctx, k, first, tasks[i]);

			if (r < 0)
				return r;
			first_of[tasks[i]->index] = first;
		}
	}
	return 0;
}

static int collect_kind(struct cr_context *ctx, struct tree *tree, const struct shared_kind *k, struct task **live,
			size_t nr, bool compare, const struct task **first_of, struct cr_error *err)
{
	struct sorting s = { .type = k->type };
	uint32_t next = FIRST_ID;
	int r = 0;

	if (compare) {
		qsort_r(live, nr, sizeof(*live), compare_tasks, &s);
		r = s.error ? s.error : find_sharers(ctx, k, live, nr, first_of);
		if (r < 0)
			return cr_fail(err, r, "compare processes (kcmp)");
	} else {
		for (size_t i = 0; i < nr; i++)
			first_of[live[i]->index] = live[i];
	}
	for (size_t i = 0; i < tree->tasks.nr; i++) {
		struct task *t = tree->tasks.items[i];

		if (t->state == TASK_DEAD)
			continue;
		*id_at(&t->ids, k->offset) =
			first_of[i] == t ? next++ : *id_at((img_task_kobj_ids_entry *)&first_of[i]->ids, k->offset);
	}
	return 0;
}

/* Namespaces other than the dumper's get numbers, too, so that images are consistent for whoever looks at the obstacles. */
struct ns_number {
	uint32_t ino, id;
};
DEFINE_VEC(ns_numbers, struct ns_number)

static int number_of(struct ns_numbers *v, uint32_t *next, uint32_t ino, uint32_t *ret)
{
	for (size_t i = 0; i < v->nr; i++)
		if (v->items[i].ino == ino) {
			*ret = v->items[i].id;
			return 0;
		}

	struct ns_number *n = ns_numbers_add(v);

	if (!n)
		return -ENOMEM;
	*n = (struct ns_number){ ino, (*next)++ };
	*ret = n->id;
	return 0;
}

static int note_ns(struct cr_context *ctx, const struct task *t, const char *name, const char *whose,
		   const char *advice)
{
	return obstacle_add(&ctx->obstacles, t->host_pid, t->comm, "", advice, "own %s namespace%s", name, whose);
}

/* The dumper's, or of IPC and mount namespaces that of the root, which is saved and restored for all of the tree. */
static bool is_expected(const struct tree *tree, const struct task *t, enum proc_ns ns, const struct proc_ns_links *own,
			const struct proc_ns_links *its)
{
	if (ns == PROC_NS_IPC)
		return t->ids.ipc_ns_id == tree->root->ids.ipc_ns_id;
	return ns == PROC_NS_MNT ? t->ids.mnt_ns_id == tree->root->ids.mnt_ns_id : its->ino[ns] == own->ino[ns];
}

static int collect_ns(struct cr_context *ctx, const struct tree *tree, struct task *t, const struct proc_ns_links *own,
		      struct ns_numbers *numbers, uint32_t *next, struct cr_error *err)
{
	struct proc_ns_links l;
	int r = proc_ns_links_read(&t->dir, &l, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_LEN(ns_kinds); i++) {
		const struct ns_kind *k = &ns_kinds[i];
		uint32_t ino = l.ino[k->ns];

		if (!ino)
			continue;
		*has_at(&t->ids, k->has) = true;
		r = number_of(numbers, next, ino, id_at(&t->ids, k->id));
		if (r < 0)
			return cr_fail(err, r, "numbers of namespaces");
		if (is_expected(tree, t, k->ns, own, &l))
			continue;
		/* a whole container would say it once per process: only where the difference begins */
		if (!t->parent || *id_at(&t->parent->ids, k->id) != *id_at(&t->ids, k->id))
			r = note_ns(ctx, t, k->name, "", "run the dumper inside of it (nsenter --target PID --all)");
		if (r < 0)
			return cr_fail(err, r, "note an obstacle");
	}
	/* a new one has no link before its first process; that is told from a kernel without links by our own */
	if (r >= 0 && own->ino[PROC_NS_PID_FOR_CHILDREN] && l.ino[PROC_NS_PID_FOR_CHILDREN] != l.ino[PROC_NS_PID])
		r = note_ns(ctx, t, "pid", " for its children", "");
	if (r >= 0 && l.ino[PROC_NS_TIME_FOR_CHILDREN] != l.ino[PROC_NS_TIME])
		r = note_ns(ctx, t, "time", " for its children", "");
	return r < 0 ? cr_fail(err, r, "note an obstacle") : 0;
}

static int collect_all_ns(struct cr_context *ctx, struct tree *tree, img_task_kobj_ids_entry *root_ids,
			  struct cr_error *err)
{
	autoprocdir struct proc_dir self = PROC_DIR_NONE;
	struct ns_numbers numbers = { 0 };
	struct proc_ns_links own;
	uint32_t next = 1;
	int r = proc_dir_open(AT_FDCWD, getpid(), &self, err);

	if (r >= 0)
		r = proc_ns_links_read(&self, &own, err);
	for (size_t i = 0; i < ARRAY_LEN(ns_kinds) && r >= 0; i++) {
		const struct ns_kind *k = &ns_kinds[i];

		if (own.ino[k->ns]) {
			*has_at(root_ids, k->has) = true;
			r = number_of(&numbers, &next, own.ino[k->ns], id_at(root_ids, k->id));
			if (r < 0)
				cr_fail(err, r, "numbers of namespaces");
		} else {
			next++; /* a kind that this kernel lacks has its number, too */
		}
	}
	for (size_t i = 0; i < tree->tasks.nr && r >= 0; i++) {
		struct task *t = tree->tasks.items[i];

		if (t->state != TASK_DEAD)
			r = cr_within(err, collect_ns(ctx, tree, t, &own, &numbers, &next, err), "pid %d", (int)t->host_pid);
	}
	ns_numbers_done(&numbers);
	return r < 0 ? r : 0;
}

int ids_collect(struct cr_context *ctx, struct tree *tree, img_task_kobj_ids_entry *ret_root_ids, struct cr_error *err)
{
	autofree struct task **live = calloc(tree->tasks.nr + 1, sizeof(struct task *));
	autofree const struct task **first_of = calloc(tree->tasks.nr + 1, sizeof(const struct task *));
	img_task_kobj_ids_entry own = {
		.vm_id = DUMPER_ID, .files_id = DUMPER_ID, .fs_id = DUMPER_ID, .sighand_id = DUMPER_ID
	};
	bool compare, memory_shared = false;
	size_t nr = 0;
	int r;

	if (!live || !first_of)
		return cr_fail(err, -ENOMEM, "compare processes");
	for (size_t i = 0; i < tree->tasks.nr; i++) {
		tree->tasks.items[i]->index = (uint32_t)i;
		if (tree->tasks.items[i]->state != TASK_DEAD)
			live[nr++] = tree->tasks.items[i];
	}
	compare = kernel_has(&ctx->probes, KERNEL_KCMP);
	if (nr > 1 && !compare)
		log_warn(&ctx->log,
			 "this kernel cannot compare processes (kcmp), continuing as if they shared nothing");
	for (size_t i = 0; i < ARRAY_LEN(shared_kinds); i++) {
		const struct shared_kind *k = &shared_kinds[i];

		/* clone() allows shared handlers only with shared memory, and exec unshares both */
		r = collect_kind(ctx, tree, k, live, nr, compare && (k->type != KCMP_SIGHAND || memory_shared),
				 first_of, err);
		if (r < 0)
			return r;
		for (size_t t = 0; k->type == KCMP_VM && t < nr; t++)
			memory_shared |= first_of[live[t]->index] != live[t];
	}
	r = collect_all_ns(ctx, tree, &own, err);
	if (r >= 0)
		*ret_root_ids = own;
	return r;
}

struct ids_own ids_own_of(const img_task_kobj_ids_entry *ids, const img_task_kobj_ids_entry *root_ids)
{
	struct ids_own own = { 0 };

	if (root_ids && ids->has_ipc_ns_id && root_ids->has_ipc_ns_id && ids->ipc_ns_id != root_ids->ipc_ns_id)
		own.ipc = ids->ipc_ns_id;
	if (root_ids && ids->has_mnt_ns_id && root_ids->has_mnt_ns_id && ids->mnt_ns_id != root_ids->mnt_ns_id)
		own.mnt = ids->mnt_ns_id;
	return own;
}

int ids_check(const img_task_kobj_ids_entry *ids, const img_task_kobj_ids_entry *root_ids, struct ids_own own,
	      struct cr_error *err)
{
	img_task_kobj_ids_entry a = *ids, b = root_ids ? *root_ids : (img_task_kobj_ids_entry){ 0 };

	if (!ids->files_id)
		return cr_refuse(err, -EBADMSG, "no number of the descriptor table");
	if (own.ipc)
		b.ipc_ns_id = own.ipc;
	if (own.mnt)
		b.mnt_ns_id = own.mnt;
	for (size_t i = 0; root_ids && i < ARRAY_LEN(ns_kinds); i++) {
		const struct ns_kind *k = &ns_kinds[i];
		bool both = *has_at(&a, k->has) && *has_at(&b, k->has);

		if (both && *id_at(&a, k->id) && *id_at(&b, k->id) && *id_at(&a, k->id) != *id_at(&b, k->id)) {
			cr_refuse(err, -EOPNOTSUPP, "own %s namespace cannot be restored", k->name);
			return -EOPNOTSUPP;
		}
	}
	return 0;
}

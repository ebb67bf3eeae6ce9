/* Dump: everything that can be learnt of the stopped tree from outside, before anything runs in it or is written. */
#include "dump/dump-internal.h"
#include "infect/cgroup-room.h"
#include "tasks/ids.h"
#include "tasks/tasks.h"

#include <errno.h>

/* Reading mappings takes longest, and goes on by itself: it begins first and is waited for last. */
static int collect_task(struct dump *d, struct task *t, struct cr_error *err)
{
	bool alive = t->state != TASK_DEAD;
	int r = alive ? mm_begin(d->mm, t, err) : 0;

	if (r == 0)
		r = tasks_collect(d->ctx, t, err);
	if (r == 0 && alive)
		r = files_collect(d->files, t, err);
	if (r == 0 && alive)
		r = mm_collect(d->mm, t, err);
	return r;
}

static int collect_tasks(struct dump *d, struct cr_error *err)
{
	int r = 0;

	mm_read_ahead(d->mm, d->tree);
	for (size_t i = 0; r == 0 && i < d->tree->tasks.nr; i++) {
		struct task *t = d->tree->tasks.items[i];

		r = cr_within(err, collect_task(d, t, err), "pid %d (%s)", t->host_pid, t->comm);
	}
	mm_read_ahead_end(d->mm);
	return r;
}

/* A tree started from a shell is in the shell's session, which is not saved. */
static int check_session(struct dump *d, struct cr_error *err)
{
	const struct task *root = d->tree->root;
	const rpc_criu_opts *rpc = d->ctx->opts->rpc;

	if (root->ns_sid == root->ns_pid || (rpc->has_shell_job && rpc->shell_job))
		return 0;
	if (obstacle_add(&d->ctx->obstacles, root->host_pid, root->comm, "", "--shell-job: it will join the session of whoever restores it",
			 "session %d is led by a process outside of the tree", root->ns_sid) < 0)
		return cr_fail(err, -ENOMEM, "note an obstacle");
	return 0;
}

/* The IPC namespace of the tree, if it has its own. The memory of its segments is saved like that of files without a name. */
static int collect_ipc(struct dump *d, uint32_t id, struct cr_error *err)
{
	struct ipc_memory m;
	int r = ipc_ns_collect(d->ctx, d->tree, id, &d->ipc, err);

	for (size_t i = 0; r == 0 && ipc_ns_memory(d->ipc, i, &m); i++)
		r = mm_note_segment(d->mm, m.shmid, m.fd, m.size, err);
	if (r == 0)
		files_own_queues(d->files, ipc_ns_queues_dev(d->ipc));
	return r;
}

/* Its mount namespace, which its paths are looked up in. */
static int collect_mnt(struct dump *d, uint32_t id, struct cr_error *err)
{
	int r = mnt_ns_collect(d->ctx, d->tree, id, d->ipc ? ipc_ns_fd(d->ipc) : -1, &d->mnt, err);

	if (r == 0 && mnt_ns_root(d->mnt) >= 0)
		files_in_root(d->files, mnt_ns_root(d->mnt), mnt_ns_mounts(d->mnt));
	return r;
}

/*
 * A snapshot forks each process, which takes page tables and the like at once, and a page more for each that is written to
 * while the memory is being saved.
 */
#define FORK_ROOM (256u << 10)

static int check_room(struct dump *d, struct cr_error *err)
{
	struct cgroup_need need = { 0 };

	for (size_t i = 0; d->snapshot && i < d->tree->tasks.nr; i++) {
		uint64_t rss = d->tree->tasks.items[i]->status.vm_rss_kb << 10;

		need.at_once += FORK_ROOM + rss / 256;
		need.in_all += rss;
	}
	return cgroup_room_check(d->ctx, d->tree, &need, d->snapshot ? &d->limits : NULL, err);
}

/* A copy is what the kernel kills first; to end it before that is better for everybody. */
static int watch_room(void *arg, struct cr_error *err)
{
	const struct dump *d = arg;
	int r = mm_watch_copies(d->mm, err);

	return r == 0 ? cgroup_limits_check(&d->limits, err) : r;
}

int dump_collect(struct dump *d, struct cr_error *err)
{
	struct mm_dump_config config = {
		.sink = &d->sink, .parent = d->parent, .parent_pages = d->parent_pages, .early = d->early,
		.parent_round = d->parent_round, .run_id = d->run_id, .sums = dump_makes_sums(d),
		.snapshot = d->snapshot, .unsparing = d->unsparing, .before = d->before,
		.watch = d->snapshot ? watch_room : NULL, .watch_arg = d,
		.server = d->server, .leaves = d->source != NULL,
	};
	struct ids_own own;
	int r = check_session(d, err);

	if (r == 0)
		r = check_room(d, err);
	if (r == 0)
		r = ids_collect(d->ctx, d->tree, &d->root_ids, err);
	if (r == 0)
		r = file_table_new(d->ctx, d->tree, &d->files, err);
	if (r < 0)
		return r;
	d->sink = files_sink(d->files);
	own = ids_own_of(&d->tree->root->ids, &d->root_ids);
	config.own_ipc_ns = own.ipc != 0;
	r = mm_dump_new(d->ctx, &config, &d->mm, err);
	if (r == 0 && own.ipc)
		r = collect_ipc(d, own.ipc, err);
	if (r == 0 && own.mnt)
		r = collect_mnt(d, own.mnt, err);
	else if (r == 0)
		mnt_options_idle(d->ctx);
	if (r == 0)
		r = collect_tasks(d, err);
	if (r == 0)
		r = files_collect_end(d->files, err);
	for (size_t i = 0; r == 0 && i < files_nr_memfds(d->files); i++) {
		struct files_memfd m = files_memfd(d->files, i);

		r = mm_note_segment(d->mm, m.shmid, m.fd, m.size, err);
	}
	return r;
}

int dump_obstacles(struct dump *d, struct cr_error *err)
{
	const struct obstacles *list = &d->ctx->obstacles;
	const struct obstacle *o = list->items;

	if (!list->nr)
		return 0;
	if (list->nr == 1)
		cr_refuse(err, -EBUSY, "pid %d (%s)%s%s: %s", o->pid, o->comm, o->where[0] ? ": " : "", o->where, o->what);
	else
		cr_refuse(err, -EBUSY, "%zu things stand in the way, the first: pid %d (%s)%s%s: %s", list->nr, o->pid, o->comm,
			  o->where[0] ? ": " : "", o->where, o->what);
	if (o->advice[0])
		cr_advise(err, "%s", o->advice);
	return -EBUSY;
}

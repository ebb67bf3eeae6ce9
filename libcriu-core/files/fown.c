/*
 * Owners of asynchronous I/O, fcntl(2) F_SETOWN_EX. The kernel names the owner as our pid namespace counts; images
 * hold the number that the tree itself uses. And what entries of all kinds that have an owner begin and end with.
 */
#include "files/dump-internal.h"
#include "files/restore-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* What a host pid means inside the tree. */
struct owner_pids {
	pid_t ns_tid, ns_pid, ns_pgid; /* as thread, process, process group; 0 if it is none */
};

static struct owner_pids *owner_of(struct file_table *t, pid_t host)
{
	struct owner_pids *o = map_find(&t->owners, (uint64_t)host + 1);

	if (o)
		return o;
	o = pool_new(&t->pool, struct owner_pids);
	return o && map_put(&t->owners, (uint64_t)host + 1, o) == 0 ? o : NULL;
}

static int owners_learn(struct file_table *t, struct cr_error *err)
{
	if (t->owners_known)
		return 0;
	for (size_t i = 0; i < t->tree->tasks.nr; i++) {
		const struct task *task = t->tree->tasks.items[i];
		struct owner_pids *o = owner_of(t, task->host_pid);
		struct owner_pids *g = task->stat.pgrp > 0 ? owner_of(t, task->stat.pgrp) : o;

		if (!o || !g)
			return pool_failed(err);
		o->ns_pid = task->ns_pid;
		if (task->stat.pgrp > 0)
			g->ns_pgid = task->ns_pgid;
		for (size_t k = 0; k < task->threads.nr; k++) {
			struct owner_pids *th = owner_of(t, task->threads.items[k].host_tid);

			if (!th)
				return pool_failed(err);
			th->ns_tid = task->threads.items[k].ns_tid;
		}
	}
	t->owners_known = true;
	return 0;
}

int owner_pid(struct file_table *t, pid_t host, int type, pid_t *ret, struct cr_error *err)
{
	const struct owner_pids *o;
	int r = owners_learn(t, err);

	if (r < 0)
		return r;
	o = map_find(&t->owners, (uint64_t)host + 1);
	*ret = !o ? 0 : type == F_OWNER_TID ? o->ns_tid : type == F_OWNER_PID ? o->ns_pid : o->ns_pgid;
	return 0;
}

img_fown_entry *fown_dump(struct file_table *t, struct open_file *f, int *ret_r, struct cr_error *err)
{
	img_fown_entry *e = pool_new(&t->pool, img_fown_entry);
	pid_t pid;

	*ret_r = e ? 0 : pool_failed(err);
	if (!e)
		return NULL;
	*e = f->facts.fown;
	if (!e->pid)
		return e;
	*ret_r = owner_pid(t, (pid_t)e->pid, (int)e->pid_type, &pid, err);
	if (*ret_r < 0)
		return NULL;
	if (pid <= 0) {
		*ret_r = file_refuse(t, f, "", "its signals go to %s %u outside of the tree, %s",
				     e->pid_type == F_OWNER_PGRP ? "process group" : "process", e->pid, f->facts.link);
		return NULL;
	}
	e->pid = (uint32_t)pid;
	return e;
}

int owned_begin(struct file_table *t, struct open_file *f, img_fd_types type, struct owned_entry part,
		struct cr_error *err)
{
	int r;

	f->entry = file_entry_new(t, type, f->id, err);
	if (!f->entry)
		return -ENOMEM;
	*part.id = f->id;
	*part.flags = f->facts.flags;
	*part.fown = fown_dump(t, f, &r, err);
	return r;
}

int owned_begin_fdinfo(struct file_table *t, struct open_file *f, img_fd_types type, struct owned_entry part,
		       struct scan *ret_rest, struct cr_error *err)
{
	int r = owned_begin(t, f, type, part, err);

	return r != 0 ? r : file_read_fdinfo(t, f, ret_rest, err);
}

/* ----------------------------------------------------------------- restore */

int fown_finish(int fd, const img_fown_entry *o, struct cr_error *err)
{
	int r;

	if (!o->signum || fcntl(fd, F_SETSIG, o->signum) == 0)
		return fd;
	r = cr_fail(err, -errno, "signal of asynchronous I/O");
	close(fd);
	return r;
}

const img_fown_entry *file_fown(const struct files *fs, const struct restored_file *f)
{
	return f->ops->fown ? f->ops->fown(fs, f->entry) : entry_fown(f->entry);
}

/*
 * The ids of an owner are those in whose name the kernel sends the signals (sigio_perm() in fs/fcntl.c): with root's a file
 * would be a means to kill any process.
 */
int file_owners_check(const struct files *fs, struct cr_error *err)
{
	const struct cr_options *opts = fs->ctx->opts;

	for (size_t i = 0; opts->client_is_peer && i < fs->files.nr; i++) {
		const img_fown_entry *o = file_fown(fs, fs->files.items[i]);

		if (o && o->pid && (o->uid != opts->client_uid || o->euid != opts->client_uid))
			return cr_refuse(err, -EPERM, "file %u sends signals as user %u, who is not the client",
					 fs->files.items[i]->id, o->uid != opts->client_uid ? o->uid : o->euid);
	}
	return 0;
}

/*
 * An IPC namespace as a whole. A dump enters it, a restore makes a new one, each in a thread of its own; the root of the tree
 * then joins it before it forks. A restore that fails closes the only descriptor, and everything in it is gone.
 */
#include "ns/ipc.h"

#include "kernel/ipc-thread.h"
#include "ns/ipc-parts.h"
#include "ns/others.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct ipc_ns {
	struct cr_context *ctx;
	struct image_set *set; /* restore; borrowed */
	uint32_t id;
	int fd;                 /* of the namespace, -1: not made */
	img_ipc_var_entry vars; /* dump; what it points at is in the pool, but for one list */
	img_ipc_var_ext ext;
	struct pool pool;
	dev_t queues_dev;
	bool others;              /* dump: processes outside of the tree may be in it */
	img_ipc_var_entry *entry; /* restore: as read */
	struct ipc_queue_needs needs;
	struct ipc_segments segments;
};

static int ns_new(struct cr_context *ctx, uint32_t id, struct ipc_ns **ret, struct cr_error *err)
{
	struct ipc_ns *ns = calloc(1, sizeof(*ns));

	if (!ns)
		return cr_fail(err, -ENOMEM, "IPC namespace");
	ns->ctx = ctx;
	ns->id = id;
	ns->fd = -1;
	*ret = ns;
	return 0;
}

void ipc_ns_free(struct ipc_ns *ns)
{
	if (!ns)
		return;
	if (ns->fd >= 0)
		close(ns->fd);
	ipc_segments_close(&ns->segments);
	ipc_vars_done(&ns->vars);
	pool_done(&ns->pool);
	img_entry_free(ns->entry);
	free(ns);
}

bool ipc_ns_memory(const struct ipc_ns *ns, size_t i, struct ipc_memory *ret)
{
	const struct ipc_segment *s = i < ns->segments.nr ? &ns->segments.items[i] : NULL;

	if (!s)
		return false;
	*ret = (struct ipc_memory){ .shmid = s->desc.id, .fd = s->fd, .size = s->size, .stored = s->stored };
	return true;
}

dev_t ipc_ns_queues_dev(const struct ipc_ns *ns)
{
	return ns->queues_dev;
}

int ipc_ns_fd(const struct ipc_ns *ns)
{
	return ns->fd;
}

struct visit {
	struct ipc_ns *ns;
	const struct task *root;
	struct image_set *set;
};

/* ---------------------------------------------------------------- dump */

static int collect(void *arg, struct cr_error *err)
{
	struct visit *v = arg;
	struct ipc_ns *ns = v->ns;
	int r = ipc_vars_dump(&ns->vars, err);

	if (r == 0)
		r = ipc_segments_collect(ns->ctx, v->root, ns->vars.shm_rmid_forced != 0, &ns->segments, err);
	return r == 0 ? ipc_mqueues_collect(ns->ctx, v->root, ns->others, &ns->queues_dev, err) : r;
}

/* Entering a namespace takes a right that is ours, not that of a client; what is in it may be anybody's. */
static int refuse_client(struct cr_context *ctx, const struct task *root, struct cr_error *err)
{
	int r = obstacle_add(&ctx->obstacles, root->host_pid, root->comm, "", "ask as root", "own IPC namespace");

	return r < 0 ? cr_fail(err, r, "note an obstacle") : 0;
}

int ipc_ns_collect(struct cr_context *ctx, const struct tree *tree, uint32_t id, struct ipc_ns **ret,
		   struct cr_error *err)
{
	autofree_by(ipc_ns_free) struct ipc_ns *ns = NULL;
	struct visit v = { .root = tree->root };
	struct stat st;
	int r = ns_new(ctx, id, &ns, err);

	if (r < 0)
		return r;
	if (ctx->opts->client_is_peer) {
		*ret = take_ptr(&ns);
		return refuse_client(ctx, tree->root, err);
	}
	ns->fd = openat(tree->root->dir.fd, "ns/ipc", O_RDONLY | O_CLOEXEC);
	if (ns->fd < 0 || fstat(ns->fd, &st) < 0)
		return cr_fail(err, -errno, "open the IPC namespace");
	ns->others = ns_warn_of_others(ctx, tree, "ipc", "IPC", st.st_ino);
	v.ns = ns;
	r = ipc_thread_run(ns->fd, collect, &v, err);
	if (r < 0)
		return cr_within(err, r, "IPC namespace");
	*ret = take_ptr(&ns);
	return 0;
}

static int write_objects(void *arg, struct cr_error *err)
{
	struct visit *v = arg;
	int r = ipc_mqueues_dump(&v->ns->pool, v->ns->others, &v->ns->ext, err);

	if (r == 0)
		r = ipc_segments_write(&v->ns->segments, v->set, v->ns->id, err);
	if (r == 0)
		r = ipc_queues_write(v->set, v->ns->id, err);
	return r == 0 ? ipc_sets_write(v->set, v->ns->id, err) : r;
}

int ipc_ns_write(struct ipc_ns *ns, struct image_set *set, struct cr_error *err)
{
	struct visit v = { .ns = ns, .set = set };
	int r = ipc_thread_run(ns->fd, write_objects, &v, err);

	if (ns->ext.queues.nr)
		ns->vars.ext = &ns->ext;
	return cr_within(err, r < 0 ? r : image_write_single(set, IMG_IPCNS_VAR, ns->id, &ns->vars, err),
			 "IPC namespace");
}

/* ---------------------------------------------------------------- restore */

int ipc_ns_read(struct cr_context *ctx, struct image_set *set, uint32_t id, struct ipc_ns **ret, struct cr_error *err)
{
	autofree_by(ipc_ns_free) struct ipc_ns *ns = NULL;
	void *entry = NULL;
	int r = ns_new(ctx, id, &ns, err);

	if (r < 0)
		return r;
	if (ctx->opts->client_is_peer)
		return cr_refuse(err, -EPERM, "an IPC namespace of its own can only be restored for root");
	ns->set = set;
	r = image_read_single(set, IMG_IPCNS_VAR, id, &entry, err);
	if (r != 0)
		return r < 0 ? r : cr_refuse(err, -ENOENT, "no ipcns-var-%" PRIu32 ".img", id);
	ns->entry = entry;
	r = ipc_vars_check(ns->entry, err);
	if (r == 0)
		r = ipc_segments_read(set, id, false, &ns->segments, err);
	ipc_segments_close(&ns->segments);
	if (r == 0)
		r = ipc_queues_read(set, id, false, &ns->needs, err);
	if (r == 0)
		r = ipc_sets_read(set, id, false, err);
	if (r == 0 && ns->entry->ext)
		r = ipc_mqueues_check(ns->entry->ext, &ns->needs, err);
	if (r < 0)
		return cr_within(err, r, "IPC namespace");
	*ret = take_ptr(&ns);
	return 0;
}

static int make(void *arg, struct cr_error *err)
{
	struct ipc_ns *ns = arg;
	int r = ipc_vars_raise(ns->entry, &ns->needs, err);

	ns->fd = r < 0 ? -1 : open("/proc/thread-self/ns/ipc", O_RDONLY | O_CLOEXEC);
	if (r == 0 && ns->fd < 0)
		r = cr_fail(err, -errno, "open it");
	if (r == 0)
		r = ipc_segments_read(ns->set, ns->id, true, &ns->segments, err);
	if (r == 0)
		r = ipc_queues_read(ns->set, ns->id, true, &ns->needs, err);
	if (r == 0)
		r = ipc_sets_read(ns->set, ns->id, true, err);
	if (r == 0 && ns->entry->ext)
		r = ipc_mqueues_make(ns->entry->ext, err);
	return r == 0 ? ipc_vars_set(ns->entry, err) : r;
}

int ipc_ns_make(struct ipc_ns *ns, struct cr_error *err)
{
	return cr_within(err, ipc_thread_run(IPC_THREAD_NEW, make, ns, err), "IPC namespace");
}

struct opening {
	const char *name;
	int flags;
};

static int open_queue(void *arg, struct cr_error *err)
{
	const struct opening *o = arg;

	return ipc_mqueue_open(o->name, o->flags, err);
}

int ipc_ns_open_queue(const struct ipc_ns *ns, const char *name, int flags, struct cr_error *err)
{
	struct opening o = { name, flags };

	return ipc_thread_run(ns->fd, open_queue, &o, err);
}

static int settle(void *arg, struct cr_error *err)
{
	struct ipc_ns *ns = arg;
	int r = ipc_segments_settle(&ns->segments, err);

	return r == 0 ? ipc_forced_set(ns->entry, err) : r;
}

int ipc_ns_settle(const struct ipc_ns *ns, struct cr_error *err)
{
	return cr_within(err, ipc_thread_run(ns->fd, settle, (void *)ns, err), "IPC namespace");
}

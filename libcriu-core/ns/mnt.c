/* A mount namespace as a whole, and the restore's half of it: the list is read and checked, then built. */
#include "ns/mnt.h"

#include "ns/mnt-parts.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

int mnt_ns_new(struct cr_context *ctx, uint32_t id, struct mnt_ns **ret, struct cr_error *err)
{
	autofree_by(mnt_ns_free) struct mnt_ns *ns = calloc(1, sizeof(*ns));
	int r;

	if (!ns)
		return cr_fail(err, -ENOMEM, "mount namespace");
	ns->ctx = ctx;
	ns->id = id;
	ns->ns_fd = ns->root_fd = -1;
	r = mnt_options_read(ctx->opts->rpc, &ns->options, err);
	if (r == 0)
		*ret = take_ptr(&ns);
	return r;
}

void mnt_ns_free(struct mnt_ns *ns)
{
	if (!ns)
		return;
	mnt_sources_close(ns);
	if (ns->ns_fd >= 0)
		close(ns->ns_fd);
	if (ns->root_fd >= 0)
		close(ns->root_fd);
	/* those of a dump are in the pool */
	for (size_t i = 0; ns->set && i < ns->list.nr; i++)
		img_entry_free((void *)ns->list.items[i].e);
	mnt_mounts_done(&ns->list);
	pool_done(&ns->pool);
	proc_mount_list_done(&ns->kept);
	proc_mount_list_done(&ns->lines);
	free(ns);
}

int mnt_ns_fd(const struct mnt_ns *ns)
{
	return ns->ns_fd;
}

int mnt_ns_root(const struct mnt_ns *ns)
{
	return ns->root_fd;
}

const struct proc_mount_list *mnt_ns_mounts(const struct mnt_ns *ns)
{
	return &ns->kept;
}

int mnt_list_add(struct mnt_mounts *list, const img_mnt_entry *e, struct cr_error *err)
{
	struct mnt_mount *m = list->nr < MNT_MOUNTS_MAX ? mnt_mounts_add(list) : NULL;

	if (!m)
		return list->nr < MNT_MOUNTS_MAX ? cr_fail(err, -ENOMEM, "list mounts")
						 : cr_refuse(err, -E2BIG, "more than %u mounts", MNT_MOUNTS_MAX);
	*m = (struct mnt_mount){
		.e = e,
		.parent = -1,
		.child = -1,
		.sibling = -1,
		.alike = -1,
		.origin = -1,
		.fd = -1,
		.at = -1,
		.spare = -1,
		.peers = -1,
	};
	return 0;
}

static int read_list(struct mnt_ns *ns, struct cr_error *err)
{
	autofree_by(image_reader_close) struct image_reader *reader = NULL;
	void *entry;
	int r = image_reader_open(ns->set, IMG_MOUNTPOINTS, ns->id, &reader, err);

	if (r)
		return r < 0 ? r : cr_refuse(err, -ENOENT, "no mountpoints-%" PRIu32 ".img", ns->id);
	while ((r = image_read(reader, &entry, err)) > 0) {
		r = mnt_list_add(&ns->list, entry, err);
		if (r < 0) {
			img_entry_free(entry);
			return r;
		}
	}
	return r;
}

/* A root that was a memory file system of the tree's own comes back with its content, unless another one is given. */
static void choose_root(struct mnt_ns *ns)
{
	for (size_t i = 0; i < ns->list.nr; i++) {
		struct mnt_mount *m = &ns->list.items[i];

		if (m->e->mountpoint && m->e->mountpoint[0] == '/' && !m->e->mountpoint[1] &&
		    m->e->fstype == img_fstype_TMPFS && !m->e->ext_key && !ns->options.rpc->root)
			m->how = MNT_NEW;
	}
}

static int check_list(struct mnt_ns *ns, struct cr_error *err)
{
	size_t which = 0;
	int r;

	choose_root(ns);
	r = mnt_list_arrange(&ns->list, err);
	for (size_t i = 0; r == 0 && i < ns->list.nr; i++) {
		const struct mnt_mount *m = &ns->list.items[i];

		if (m->how == MNT_UNKNOWN)
			r = cr_refuse(err, -EOPNOTSUPP, "mount at %.200s: a file system of type %u that nothing brings",
				      m->e->mountpoint, m->e->fstype);
	}
	if (r < 0)
		return r;
	r = mnt_sharing_check(&ns->list, &which, err);
	return cr_within(err, r, "mount at %.200s", ns->list.items[which].e->mountpoint);
}

int mnt_ns_read(struct cr_context *ctx, struct image_set *set, uint32_t id, struct mnt_ns **ret, struct cr_error *err)
{
	autofree_by(mnt_ns_free) struct mnt_ns *ns = NULL;
	int r;

	if (ctx->opts->client_is_peer)
		return cr_refuse(err, -EPERM, "a mount namespace of its own can only be restored for root");
	if (!kernel_has(&ctx->probes, KERNEL_MOVE_MOUNT_SET_GROUP))
		return cr_refuse(err, -EOPNOTSUPP, "a mount namespace of its own takes Linux 5.15");
	r = mnt_ns_new(ctx, id, &ns, err);
	if (r < 0)
		return r;
	ns->set = set;
	r = read_list(ns, err);
	if (r == 0)
		r = check_list(ns, err);
	/* what is given is opened at once: what is missing is known before anything is made */
	if (r == 0)
		r = mnt_sources_open(ns, err);
	if (r < 0)
		return cr_within(err, r, "mount namespace");
	*ret = take_ptr(&ns);
	return 0;
}

int mnt_ns_make(struct mnt_ns *ns, int ipc_fd, struct cr_error *err)
{
	int r = mnt_build(ns, ipc_fd, err);

	mnt_sources_close(ns);
	return r; /* the stage is called so */
}

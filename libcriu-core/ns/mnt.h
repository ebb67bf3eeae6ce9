/*
 * The mount namespace of a tree that has one of its own: its mounts, what is in their memory file systems, and how they
 * propagate. All processes of the tree are in it.
 */
#ifndef CR_NS_MNT_H
#define CR_NS_MNT_H

#include "base/error.h"
#include "base/own.h"
#include "image/image-set.h"
#include "infect/task.h"
#include "kernel/context.h"

#include <stdint.h>

struct mnt_ns;
struct proc_mount_list;

/**
 * mnt_ns_collect() - look into the namespace of a stopped tree; what cannot be kept becomes an obstacle
 * @id:     its number in the images
 * @ipc_fd: IPC namespace of the tree, whose message queues may be mounted; -1: ours. Borrowed.
 * Return: 0; negative errno.
 */
int mnt_ns_collect(struct cr_context *ctx, const struct tree *tree, uint32_t id, int ipc_fd, struct mnt_ns **ret,
		   struct cr_error *err);
/** mnt_ns_write() - mountpoints-*.img, and tmpfs-dev-*.tar.gz.img: while the tree is stopped */
int mnt_ns_write(struct mnt_ns *ns, struct image_set *set, struct cr_error *err);

/** mnt_ns_read() - read and check the images of namespace @id. @set outlives *ret. */
int mnt_ns_read(struct cr_context *ctx, struct image_set *set, uint32_t id, struct mnt_ns **ret, struct cr_error *err);
/** mnt_ns_make() - a new namespace with all its mounts; it lasts as long as *@ns, or a process in it. @ipc_fd: as above */
int mnt_ns_make(struct mnt_ns *ns, int ipc_fd, struct cr_error *err);
/** mnt_ns_fd() - after mnt_ns_make(): for setns(2) */
int mnt_ns_fd(const struct mnt_ns *ns);

/** mnt_ns_root() - its root directory (O_PATH), after mnt_ns_collect() or mnt_ns_make(); -1: a dump that is refused */
int mnt_ns_root(const struct mnt_ns *ns);

/** mnt_options_idle() - of a tree that is in our mount namespace: options of which nothing comes are named in the log */
void mnt_options_idle(struct cr_context *ctx);

/** mnt_ns_mounts() - its mounts but for those that are left out, as procfs shows them from its root; after mnt_ns_collect() */
const struct proc_mount_list *mnt_ns_mounts(const struct mnt_ns *ns);

void mnt_ns_free(struct mnt_ns *ns);
DEFINE_SLOT(struct mnt_ns, mnt_ns_free)

#endif

/* ids-PID.img: which kernel objects the processes of a tree share with each other and with the dumper. */
#ifndef CR_TASKS_IDS_H
#define CR_TASKS_IDS_H

#include "base/error.h"
#include "infect/task.h"
#include "kernel/context.h"
#include "proto/images.h"

/**
 * ids_collect() - fill task->ids of every process of a frozen tree
 * Notes obstacles: memory, file system context or signal handlers shared between processes (a vfork in progress is named as
 * such), namespaces that are not the dumper's, but for an IPC or mount namespace that is that
 * of all processes. Only live processes get ids.
 * @ret_root_ids: those of the dumper itself, for inventory.img
 * Return: 0, negative errno.
 */
int ids_collect(struct cr_context *ctx, struct tree *tree, img_task_kobj_ids_entry *ret_root_ids, struct cr_error *err);

/* Namespaces that are the tree's own, by their numbers in images; 0: that of the dumper. */
struct ids_own {
	uint32_t ipc, mnt;
};

/** ids_own_of() - of the root of the tree. @root_ids: those of the dumper; NULL: nothing is known */
struct ids_own ids_own_of(const img_task_kobj_ids_entry *ids, const img_task_kobj_ids_entry *root_ids);

/**
 * ids_check() - can a process with these ids be restored? pure
 * @own:      ids_own_of() the root of the tree: the namespaces that are restored with it
 * @root_ids: of the inventory; NULL: an old set without them, nothing can be compared
 * Return: 0, -EBADMSG, -EOPNOTSUPP with a sentence (own namespaces).
 */
int ids_check(const img_task_kobj_ids_entry *ids, const img_task_kobj_ids_entry *root_ids, struct ids_own own,
	      struct cr_error *err);

#endif

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
 * such), namespaces that are not the dumper's, but for an IPC namespace that is that of
 * all processes. Only live processes get ids.
 * @ret_root_ids: those of the dumper itself, for inventory.img
 * Return: 0, negative errno.
 */
int ids_collect(struct cr_context *ctx, struct tree *tree, img_task_kobj_ids_entry *ret_root_ids, struct cr_error *err);

/** ids_own_ipc() - number of the IPC namespace if it is not the dumper's, else 0 */
uint32_t ids_own_ipc(const img_task_kobj_ids_entry *ids, const img_task_kobj_ids_entry *root_ids);

/**
 * ids_check() - can a process with these ids be restored? pure
 * @own_ipc:  ids_own_ipc() of the root of the tree: the one IPC namespace that is restored with it
 * @root_ids: of the inventory; NULL: an old set without them, nothing can be compared
 * Return: 0, -EBADMSG, -EOPNOTSUPP with a sentence (own namespaces).
 */
int ids_check(const img_task_kobj_ids_entry *ids, const img_task_kobj_ids_entry *root_ids, uint32_t own_ipc,
	      struct cr_error *err);

#endif

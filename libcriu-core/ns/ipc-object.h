/* What segments, queues and semaphore sets of System V have in common. */
#ifndef CR_NS_IPC_OBJECT_H
#define CR_NS_IPC_OBJECT_H

#include "base/error.h"
#include "proto/images.h"

#include <stdint.h>
#include <sys/ipc.h>

struct ipc_kind {
	const char *name;    /* for people */
	const char *next_id; /* sysctl with the id of the next one, below /proc/sys */
	/* shmget(2) and the like; @size is nothing to a queue */
	int (*get)(key_t key, uint64_t size, int flags);
};

extern const struct ipc_kind ipc_segment_kind, ipc_queue_kind, ipc_set_kind;

/** ipc_desc_of() - as the kernel tells it */
img_ipc_desc_entry ipc_desc_of(const struct ipc_perm *perm, int id);

/** ipc_desc_check() - Pure. Return: 0; -EBADMSG. */
int ipc_desc_check(const struct ipc_kind *kind, const img_ipc_desc_entry *d, struct cr_error *err);

/** ipc_perm_of() - what IPC_SET takes of it */
struct ipc_perm ipc_perm_of(const img_ipc_desc_entry *d);

/**
 * ipc_object_make() - in the calling thread's namespace, with the old id, key and creator; owner and mode follow by IPC_SET
 * To be called by a thread of its own: it becomes the creator for that moment.
 * Return: 0; negative errno.
 */
int ipc_object_make(const struct ipc_kind *kind, const img_ipc_desc_entry *d, uint64_t size, struct cr_error *err);

/** sysctl_write() - @path is below /proc/sys. Return: 0; negative errno. */
int sysctl_write(const char *path, const char *text);
/** sysctl_read() - first line, NUL terminated. Return: 0; negative errno. */
int sysctl_read(const char *path, char *ret, size_t size);

#endif

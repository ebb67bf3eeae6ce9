/*
 * The IPC namespace of a tree that has one of its own: System V segments, message queues and semaphore sets, POSIX message
 * queues, and the sysctls. All processes of the tree are in it.
 */
#ifndef CR_NS_IPC_H
#define CR_NS_IPC_H

#include "base/error.h"
#include "base/own.h"
#include "image/image-set.h"
#include "infect/task.h"
#include "kernel/context.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct ipc_ns;

/* A segment's content, which mm/ saves and fills as that of any memory object: id, descriptor (borrowed), bytes. */
struct ipc_memory {
	uint32_t shmid;
	int fd;
	uint64_t size;
	bool stored; /* in the way of memory objects; else it is filled already */
};

/**
 * ipc_ns_collect() - look into the namespace of a stopped tree; what cannot be kept becomes an obstacle
 * @id: its number in the images
 * Return: 0; negative errno.
 */
int ipc_ns_collect(struct cr_context *ctx, const struct tree *tree, uint32_t id, struct ipc_ns **ret,
		   struct cr_error *err);
/** ipc_ns_write() - ipcns-*.img */
int ipc_ns_write(struct ipc_ns *ns, struct image_set *set, struct cr_error *err);

/** ipc_ns_read() - read and check the images of namespace @id. @set outlives *ret. */
int ipc_ns_read(struct cr_context *ctx, struct image_set *set, uint32_t id, struct ipc_ns **ret, struct cr_error *err);
/** ipc_ns_make() - a new namespace with all that was in it but the content of segments; it lasts as long as *@ns, or a process in it */
int ipc_ns_make(struct ipc_ns *ns, struct cr_error *err);
/** ipc_ns_fd() - after ipc_ns_make(): for setns(2) */
int ipc_ns_fd(const struct ipc_ns *ns);
/** ipc_ns_settle() - all processes are in it and have attached their segments */
int ipc_ns_settle(const struct ipc_ns *ns, struct cr_error *err);

/** ipc_ns_memory() - the @i-th segment, after ipc_ns_collect(), or ipc_ns_make(). Return: false past the end. */
bool ipc_ns_memory(const struct ipc_ns *ns, size_t i, struct ipc_memory *ret);

/** ipc_ns_queues_dev() - after ipc_ns_collect(): file system of its POSIX message queues, 0 there is none */
dev_t ipc_ns_queues_dev(const struct ipc_ns *ns);
/** ipc_ns_open_queue() - after ipc_ns_make(): a POSIX message queue. @flags: of mq_open(3). Return: descriptor; negative errno. */
int ipc_ns_open_queue(const struct ipc_ns *ns, const char *name, int flags, struct cr_error *err);

void ipc_ns_free(struct ipc_ns *ns);
DEFINE_SLOT(struct ipc_ns, ipc_ns_free)

#endif

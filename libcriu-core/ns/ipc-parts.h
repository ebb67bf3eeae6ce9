/* Each kind of object in an IPC namespace: a file with both halves. All but the checks run in a thread inside of it. */
#ifndef CR_NS_IPC_PARTS_H
#define CR_NS_IPC_PARTS_H

#include "base/array.h"
#include "base/pool.h"
#include "image/image-set.h"
#include "kernel/context.h"
#include "proto/images.h"

#include <stdbool.h>
#include <sys/types.h>

struct task;

/* A segment of shared memory, whose content is not saved and restored here. */
struct ipc_segment {
	img_ipc_desc_entry desc;
	uint64_t size; /* bytes */
	int fd;        /* of the object behind it */
	bool stored;   /* restore: the content is in a pagemap of the set */
};
DEFINE_VEC(ipc_segments, struct ipc_segment)
void ipc_segments_close(struct ipc_segments *list);

/*
 * Dump. What cannot be kept becomes an obstacle of @root, before anything is written.
 */
int ipc_vars_dump(img_ipc_var_entry *ret, struct cr_error *err);
/** ipc_vars_done() - the list in it, after ipc_vars_dump() */
void ipc_vars_done(img_ipc_var_entry *e);
int ipc_segments_collect(struct cr_context *ctx, const struct task *root, bool forced, struct ipc_segments *ret,
			 struct cr_error *err);
int ipc_segments_write(const struct ipc_segments *list, struct image_set *set, uint64_t id, struct cr_error *err);
int ipc_queues_write(struct image_set *set, uint64_t id, struct cr_error *err);
int ipc_sets_write(struct image_set *set, uint64_t id, struct cr_error *err);
/** ipc_mqueues_collect() - @others: are processes outside of the tree in the namespace? @ret_dev: of their file system; 0 the kernel has none */
int ipc_mqueues_collect(struct cr_context *ctx, const struct task *root, bool others, dev_t *ret_dev,
			struct cr_error *err);
/** ipc_mqueues_dump() - queues with their messages, which are taken and put back; all of it in @pool */
int ipc_mqueues_dump(struct pool *pool, bool others, img_ipc_var_ext *ret, struct cr_error *err);

/*
 * Restore: each is first called to check its image, anywhere, then to make what is in it.
 */
/** ipc_vars_check() - Pure. Return: 0; -EBADMSG. */
int ipc_vars_check(const img_ipc_var_entry *e, struct cr_error *err);
/* What limits have to allow. */
struct ipc_queue_needs {
	uint64_t message, queue;                         /* bytes, of System V */
	uint64_t mqueues, mqueue_messages, mqueue_bytes; /* of POSIX: how many, and the largest */
};
/** ipc_vars_raise() - no limit, of a new namespace or lowered since, is to stand in the way of making what was there */
int ipc_vars_raise(const img_ipc_var_entry *e, const struct ipc_queue_needs *needs, struct cr_error *err);
int ipc_vars_set(const img_ipc_var_entry *e, struct cr_error *err);
/** ipc_forced_set() - kernel.shm_rmid_forced, once segments are attached: it removes others */
int ipc_forced_set(const img_ipc_var_entry *e, struct cr_error *err);

int ipc_segments_read(struct image_set *set, uint64_t id, bool make, struct ipc_segments *ret, struct cr_error *err);
/** ipc_segments_settle() - once they are attached: those that were removed already go with the last who has them */
int ipc_segments_settle(const struct ipc_segments *list, struct cr_error *err);

int ipc_queues_read(struct image_set *set, uint64_t id, bool make, struct ipc_queue_needs *ret, struct cr_error *err);
int ipc_sets_read(struct image_set *set, uint64_t id, bool make, struct cr_error *err);
/** ipc_mqueues_check() - Pure. Return: 0; -EBADMSG. */
int ipc_mqueues_check(const img_ipc_var_ext *e, struct ipc_queue_needs *ret, struct cr_error *err);
int ipc_mqueues_make(const img_ipc_var_ext *e, struct cr_error *err);
/** ipc_mqueue_open() - @flags: of mq_open(3). Return: descriptor, close-on-exec; negative errno. */
int ipc_mqueue_open(const char *name, int flags, struct cr_error *err);

#endif

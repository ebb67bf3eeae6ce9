/* Files that are mapped, and the ids they have in files.img: each is opened and registered once. */
#ifndef CR_MM_MAPPED_FILES_H
#define CR_MM_MAPPED_FILES_H

#include "mm/vma-class.h"

struct file_cache;

struct file_cache *file_cache_new(void);
void file_cache_free(struct file_cache *c);

/**
 * file_cache_map() - id of the file behind a mapping, for vma_entry.shmid
 * @kind: VMA_FILE, VMA_MEMFD or VMA_SYSV; the content of the latter two is noted as a segment
 * Return: 0; 1 an obstacle was noted; negative errno.
 */
int file_cache_map(struct mm_dump *d, struct task *task, const struct proc_vma *v, const char *path, enum vma_kind kind,
		   uint32_t fdflags, uint64_t *ret_id, struct cr_error *err);

/** file_cache_ring() - id of the socket whose ring is mapped. Return: as file_cache_map(). */
int file_cache_ring(struct mm_dump *d, const struct task *task, const struct proc_vma *v, const char *path,
		    uint64_t *ret_id, struct cr_error *err);

/** mm_obstacle() - note that a mapping stands in the way. Return: 1, -ENOMEM. */
int mm_obstacle(struct mm_dump *d, const struct task *task, const struct proc_vma *v, const char *path,
		const char *what, const char *advice, struct cr_error *err);

#endif

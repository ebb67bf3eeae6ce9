/*
 * How folders that must not know files/ get at files: the orchestrator hands them one of these. Dump: a mapped or
 * otherwise used file gets its id in files.img. Restore: an id becomes an open descriptor of the coordinator.
 */
#ifndef CR_IMAGE_FILE_SOURCE_H
#define CR_IMAGE_FILE_SOURCE_H

#include "base/error.h"

#include <stdint.h>
#include <sys/types.h>

struct task;

struct file_sink {
	/*
	 * Register an open file of @task for files.img as a regular-file style entry (mappings, exe).
	 * @fd: O_PATH or real descriptor of the object (borrowed); @path: text from maps, may carry " (deleted)"; @flags: open flags to record
	 * @ret_id: file id. Return: 0; > 0 an obstacle was noted instead; negative errno.
	 */
	int (*add)(void *arg, struct task *task, int fd, const char *path, uint32_t flags, uint32_t *ret_id,
		   struct cr_error *err);
	/* The same for shared anonymous memory and memfds: entry of type MEMFD; content is saved by mm/ under @ret_shmid. */
	int (*add_memfd)(void *arg, struct task *task, int fd, uint32_t flags, uint32_t *ret_id, uint32_t *ret_shmid,
			 struct cr_error *err);
	/* A mapped socket, which cannot be opened: inode @ino, of which a descriptor was met. Return: 0; 1 there is none, or a mapping
	 * of @len bytes is not all of it. */
	int (*find_socket)(void *arg, uint64_t ino, uint64_t len, uint32_t *ret_id);
	void *arg;
};

struct file_opener {
	/* Open file @id for a mapping or as exe with at least @flags (O_RDONLY, O_RDWR). The descriptor belongs to the opener and
	 * stays open until the restore ends. Return: descriptor number in the coordinator, or negative errno. */
	int (*open)(void *arg, uint32_t id, uint32_t flags, struct cr_error *err);
	void *arg;
};

#endif

/* Files that inotify and fanotify watch: the kernel names them by handles, images by the paths that lead there. */
#ifndef CR_FILES_FS_WATCH_H
#define CR_FILES_FS_WATCH_H

#include "files/dump-internal.h"
#include "procfs/scan.h"

#include <fcntl.h>

#define WATCH_HANDLE_MAX 128u /* MAX_HANDLE_SZ of the kernel */

struct watch_handle {
	struct file_handle h; /* no bytes: the file system has none */
	unsigned char bytes[WATCH_HANDLE_MAX];
};

struct proc_mount_list;

/** watch_field() - "name:" and a hexadecimal number, blanks in front. Return: 0; -EINVAL. */
int watch_field(struct scan *s, const char *name, uint64_t *ret);

/** watch_handle_parse() - "fhandle-bytes:8 fhandle-type:1 f_handle:d3a2a700...", which may be left out. Return: 0; -EINVAL. */
int watch_handle_parse(struct scan *s, struct watch_handle *ret);

/**
 * watch_handle_entry() - the handle as images have it, with a path where one is found
 * @dev: as the kernel packs it. Return: 0 (path may be NULL); negative errno.
 */
int watch_handle_entry(struct file_table *t, const struct proc_mount_list *mounts, struct watch_handle *h, uint32_t dev,
		       uint64_t ino, img_fh_entry **ret, struct cr_error *err);

#endif

/* /proc/PID/uid_map and gid_map, user_namespaces(7). */
#ifndef CR_PROCFS_ID_MAP_H
#define CR_PROCFS_ID_MAP_H

#include "procfs/proc-dir.h"

#include <stddef.h>
#include <stdint.h>

struct cr_error;

#define PROC_ID_EXTENTS_MAX 340 /* UID_GID_MAP_MAX_EXTENTS since 4.15; include/linux/user_namespace.h */

struct proc_id_extent {
	uint32_t inside;  /* first id in the namespace of the task */
	uint32_t outside; /* what it is for the reader's namespace; UINT32_MAX: not mapped there */
	uint32_t count;
};

struct proc_id_map {
	uint32_t nr; /* 0: not written yet */
	struct proc_id_extent extents[PROC_ID_EXTENTS_MAX];
};

/** proc_id_map_parse() - pure. Return: 0; -EINVAL or -ERANGE, also for an empty extent or one that wraps; -E2BIG. */
int proc_id_map_parse(const char *text, size_t len, struct proc_id_map *ret, struct cr_error *err);

int proc_uid_map_read(const struct proc_dir *d, struct proc_id_map *ret, struct cr_error *err);
int proc_gid_map_read(const struct proc_dir *d, struct proc_id_map *ret, struct cr_error *err);

#endif

/* /proc/PID/mountinfo, proc_pid_mountinfo(5). Lines have no upper length: options of an overlay can fill pages. */
#ifndef CR_PROCFS_MOUNTINFO_H
#define CR_PROCFS_MOUNTINFO_H

#include "procfs/proc-dir.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cr_error;

struct proc_mount {
	int id, parent_id; /* the parent may be outside of what is listed; rootfs is its own */
	uint32_t dev_major, dev_minor;
	/* Strings live in the list. Escapes (\040 and the like) are decoded in all of them. */
	const char *root;                   /* within the file system; may end in "//deleted" */
	const char *mountpoint;             /* below the root of the process; "(unreachable)" may come in front */
	const char *options;                /* of the mount */
	const char *fstype;                 /* with ".subtype" for fuse */
	const char *source;                 /* "none" or "" when there is none */
	const char *sb_options;             /* of the file system */
	int shared, master, propagate_from; /* peer groups, 0: none */
	bool unbindable;
};

#define PROC_MOUNTS_MAX    ((size_t)1 << 20)
#define PROC_MOUNTINFO_MAX ((size_t)256 << 20)

/* In the order of the kernel: parents need not come first. All zero is a valid empty list. */
struct proc_mount_list {
	struct proc_mount *items;
	size_t nr, cap;
	char *strings;
};

/**
 * proc_mountinfo_parse() - pure but for memory. Return: 0; -EINVAL or -ERANGE, @err names line and field; -E2BIG;
 * -ENOMEM.
 */
int proc_mountinfo_parse(const char *text, size_t len, struct proc_mount_list *ret, struct cr_error *err);

/** proc_mountinfo_read() - of a process or thread. Return: as proc_mountinfo_parse() and proc_open(). */
int proc_mountinfo_read(const struct proc_dir *d, struct proc_mount_list *ret, struct cr_error *err);

void proc_mount_list_done(struct proc_mount_list *l);

static inline void proc_mount_list_done_slot(struct proc_mount_list *l)
{
	proc_mount_list_done(l);
}

#define automounts __attribute__((cleanup(proc_mount_list_done_slot)))

#endif

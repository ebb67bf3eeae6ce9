/*
 * Mounts by descriptor: the system calls of Linux 5.2 and 5.12 that build a tree of mounts without names in anybody's
 * namespace. C libraries have them from glibc 2.36 on.
 */
#ifndef CR_KERNEL_MOUNT_CALLS_H
#define CR_KERNEL_MOUNT_CALLS_H

#include "kernel/uapi.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif

/* of sys/mount.h, which older C libraries cannot have beside the kernel's header */
#ifndef MNT_DETACH
#define MNT_DETACH 2
#endif

/* All of them: a descriptor or 0; -1 with errno. */

/** mount_clone() - a detached copy of the mount that @fd is in, with the directory or file of @fd as its root */
static inline int mount_clone(int fd)
{
	return (int)syscall(SYS_open_tree, fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (unsigned int)AT_EMPTY_PATH);
}

/** mount_attach() - put a mount on the directory or file @at */
static inline int mount_attach(int fd, int at)
{
	return (int)syscall(SYS_move_mount, fd, "", at, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
}

/** mount_join_group() - @to, which is private, gets the peers and the master of @from; Linux 5.15 */
static inline int mount_join_group(int from, int to)
{
	return (int)syscall(SYS_move_mount, from, "", to, "",
			    MOVE_MOUNT_SET_GROUP | MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
}

/** mount_change() - attributes of one mount. @propagation: MS_SHARED, ..., 0: as it is */
static inline int mount_change(int fd, uint64_t set, uint64_t clear, uint64_t propagation)
{
	struct mount_attr attr = { .attr_set = set, .attr_clr = clear, .propagation = propagation };

	return (int)syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH, &attr, sizeof(attr));
}

/** mount_make_private() - the mount at "/" of the calling thread, and all below it */
static inline int mount_make_private(void)
{
	struct mount_attr attr = { .propagation = MS_PRIVATE };

	return (int)syscall(SYS_mount_setattr, AT_FDCWD, "/", AT_RECURSIVE, &attr, sizeof(attr));
}

static inline int fs_begin(const char *type)
{
	return (int)syscall(SYS_fsopen, type, FSOPEN_CLOEXEC);
}

static inline int fs_set(int fs, const char *key, const char *value)
{
	return (int)syscall(SYS_fsconfig, fs, value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, key, value, 0);
}

static inline int fs_create(int fs)
{
	return (int)syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
}

/** fs_mount() - after fs_create(): detached */
static inline int fs_mount(int fs)
{
	return (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, 0);
}

/** fs_pick() - to change the file system that is mounted at @fd, then fs_set() and fs_reconfigure() */
static inline int fs_pick(int fd)
{
	return (int)syscall(SYS_fspick, fd, "", FSPICK_CLOEXEC | FSPICK_EMPTY_PATH);
}

static inline int fs_reconfigure(int fs)
{
	return (int)syscall(SYS_fsconfig, fs, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0);
}

/** open_in_mount() - @path below @fd, which may be "": names only, and nothing that is mounted there. @path: no leading slash */
static inline int open_in_mount(int fd, const char *path)
{
	struct open_how how = { .flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
				.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS };

	return *path ? (int)syscall(SYS_openat2, fd, path, &how, sizeof(how)) : fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

#endif

/*
 * Dump: where the paths of the tree begin. With a mount namespace of its own that is the root directory of that namespace, and
 * a file may be open through a mount of another one: then its name means nothing, unless it leads to the same file.
 */
#ifndef CR_FILES_TREE_ROOT_H
#define CR_FILES_TREE_ROOT_H

#include "files/dump-internal.h"
#include "procfs/mountinfo.h"

/** tree_look() - what a name of the tree leads to */
struct path_look tree_look(const struct file_table *t, const char *path);

/** tree_open() - a name of the tree. @flags: of open(2), O_CLOEXEC is added. Return: descriptor, owned by the caller; negative errno. */
int tree_open(const struct file_table *t, const char *path, int flags);

/** tree_mounts() - mounts below that root, read once; they live as long as @t. Return: 0; negative errno. */
int tree_mounts(struct file_table *t, const struct proc_mount_list **ret, struct cr_error *err);

/** tree_has_mount() - is it one of the namespace of the tree? True for all where the tree has none of its own. */
bool tree_has_mount(const struct file_table *t, uint32_t mnt_id);

/** tree_same_limits() - does the mount that the name of @f leads to allow what its own does: writing, devices, programs? */
bool tree_same_limits(const struct file_table *t, const struct open_file *f);

/** tree_same_file() - is what lies in the tree at the name of @f, which is open through a mount from outside, as good? */
bool tree_same_file(const struct file_table *t, const struct open_file *f, const struct path_look *at);

#endif

/* Finding the name of a file by its inode number, in directories that the request names. */
#ifndef CR_FILES_IRMAP_H
#define CR_FILES_IRMAP_H

#include "proto/rpc.h"

#include <sys/types.h>

/**
 * irmap_find() - walk the directories of irmap_scan_paths until a name leads to the file
 * @root_fd: where their names begin, -1: our own root
 * The walk stays on the file system of each directory, follows no links, and ends after IRMAP_MAX_NAMES names.
 * @ret: the name, NUL terminated, if it fits into @size
 * Return: its length; 0 none was found.
 */
size_t irmap_find(int root_fd, const rpc_criu_opts *opts, dev_t dev, ino_t ino, char *ret, size_t size);

#define IRMAP_MAX_NAMES 1000000u

#endif

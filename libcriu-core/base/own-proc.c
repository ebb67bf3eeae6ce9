/* Our own files in procfs; see own-proc.h. */
#include "base/own-proc.h"

#include "base/io.h"

#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

/*
 * Is the part of @path from @from to @end a thread of ours? Each instance knows our numbers in its pid namespace. The link
 * "self" is in the folder of those numbers only: elsewhere a number is a name like others.
 */
static bool is_own_number(const char *path, size_t from, size_t end)
{
	char own[2 * PATH_MAX];
	struct stat st;
	int len = snprintf(own, sizeof(own), "%.*sself/task/%.*s", (int)from, path, (int)(end - from), path + from);

	return len < 0 || (size_t)len >= sizeof(own) || lstat(own, &st) == 0;
}

bool proc_is_own(int fd)
{
	char path[PATH_MAX];
	struct statfs fs;

	if (fstatfs(fd, &fs) < 0)
		return true;
	if (fs.f_type != PROC_SUPER_MAGIC)
		return false;
	if (fd_path(fd, path, sizeof(path)) < 0 || path[0] != '/')
		return true;
	for (size_t from = 1; path[from];) {
		size_t len = strcspn(path + from, "/");

		if (len && strspn(path + from, "0123456789") == len && is_own_number(path, from, from + len))
			return true;
		from += len + (path[from + len] == '/');
	}
	return false;
}

/* Names by inode number; see irmap.h. */
#include "files/irmap.h"

#include "base/io.h"
#include "base/own.h"
#include "files/dump-internal.h"

#include <fcntl.h>
#include <fts.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* What the walk shows begins with the way to the descriptor: the name that the request gave takes its place. */
static size_t put_name(const char *top, const char *rest, char *ret, size_t size)
{
	size_t len = strlen(top);
	int n;

	while (len && top[len - 1] == '/')
		len--;
	n = snprintf(ret, size, "%.*s%s", (int)len, top, len || *rest ? rest : "/");
	return n > 0 && (size_t)n < size ? (size_t)n : 0;
}

static size_t walk_below(const char *top, int fd, dev_t dev, ino_t ino, unsigned int *left, char *ret, size_t size)
{
	char here[64];
	char *const tops[] = { here, NULL };
	size_t found = 0, skip;
	FTSENT *at;
	FTS *walk;

	skip = (size_t)snprintf(here, sizeof(here), "/proc/self/fd/%d/.", fd);
	walk = fts_open(tops, FTS_PHYSICAL | FTS_XDEV | FTS_NOCHDIR, NULL);
	while (walk && !found && *left && (at = fts_read(walk)) != NULL) {
		(*left)--;
		/* directories come twice, and what cannot be looked at comes without its numbers */
		if (at->fts_info == FTS_DP || at->fts_info == FTS_NS || at->fts_info == FTS_ERR ||
		    at->fts_info == FTS_DNR)
			continue;
		if (at->fts_statp->st_dev == dev && at->fts_statp->st_ino == ino && at->fts_pathlen >= skip)
			found = put_name(top, at->fts_path + skip, ret, size);
	}
	if (walk)
		fts_close(walk);
	return found;
}

/* Somebody who is not root may have named it: see open_by_name(). */
static size_t find_below(int root_fd, const char *top, dev_t dev, ino_t ino, unsigned int *left, char *ret, size_t size)
{
	autofd int fd = root_fd < 0 ? open_by_name(AT_FDCWD, top, O_PATH | O_NOFOLLOW)
				    : open_below(root_fd, top, O_PATH | O_NOFOLLOW);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return 0;
	if (st.st_dev == dev && st.st_ino == ino)
		return put_name(top, "", ret, size);
	return S_ISDIR(st.st_mode) ? walk_below(top, fd, dev, ino, left, ret, size) : 0;
}

size_t irmap_find(int root_fd, const rpc_criu_opts *opts, dev_t dev, ino_t ino, char *ret, size_t size)
{
	unsigned int left = IRMAP_MAX_NAMES;
	size_t found = 0;

	for (size_t i = 0; i < opts->irmap_scan_paths.nr && !found; i++)
		if (opts->irmap_scan_paths.items[i][0] == '/')
			found = find_below(root_fd, opts->irmap_scan_paths.items[i], dev, ino, &left, ret, size);
	return found;
}

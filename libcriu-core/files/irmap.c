/* Names by inode number; see irmap.h. */
#include "files/irmap.h"

#include <fts.h>
#include <string.h>
#include <sys/stat.h>

static size_t find_below(char *top, dev_t dev, ino_t ino, unsigned int *left, char *ret, size_t size)
{
	char *const tops[] = { top, NULL };
	FTS *walk = fts_open(tops, FTS_PHYSICAL | FTS_XDEV | FTS_NOCHDIR, NULL);
	size_t found = 0;
	FTSENT *at;

	while (walk && !found && *left && (at = fts_read(walk)) != NULL) {
		(*left)--;
		/* directories come twice, and what cannot be looked at comes without its numbers */
		if (at->fts_info == FTS_DP || at->fts_info == FTS_NS || at->fts_info == FTS_ERR ||
		    at->fts_info == FTS_DNR)
			continue;
		if (at->fts_statp->st_dev != dev || at->fts_statp->st_ino != ino || at->fts_pathlen >= size)
			continue;
		memcpy(ret, at->fts_path, at->fts_pathlen + 1);
		found = at->fts_pathlen;
	}
	if (walk)
		fts_close(walk);
	return found;
}

size_t irmap_find(const rpc_criu_opts *opts, dev_t dev, ino_t ino, char *ret, size_t size)
{
	unsigned int left = IRMAP_MAX_NAMES;
	size_t found = 0;

	for (size_t i = 0; i < opts->irmap_scan_paths.nr && !found; i++)
		if (opts->irmap_scan_paths.items[i][0] == '/')
			found = find_below(opts->irmap_scan_paths.items[i], dev, ino, &left, ret, size);
	return found;
}

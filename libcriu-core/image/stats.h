/* stats-dump and stats-restore: one entry each, in the work directory, read by container runtimes at fixed offsets. */
#ifndef CR_IMAGE_STATS_H
#define CR_IMAGE_STATS_H

#include "base/error.h"
#include "proto/images.h"

/** stats_write() - @type: IMG_STATS_DUMP or IMG_STATS_RESTORE. Replaces an older file. Return: 0 or negative errno. */
int stats_write(int work_dirfd, enum img_type type, const img_stats_entry *stats, struct cr_error *err);

#endif

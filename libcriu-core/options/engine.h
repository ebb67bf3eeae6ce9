/* From settings to what the engine is called with, and from its results to text. Used by all front ends. */
#ifndef CR_OPTIONS_ENGINE_H
#define CR_OPTIONS_ENGINE_H

#include "criu-core.h"
#include "options/settings.h"

struct buf;

/** engine_options() - @ret points into @s, which must outlive it; directories are borrowed */
void engine_options(const struct settings *s, int images_dirfd, int work_dirfd, struct cr_options *ret);

/**
 * engine_open_dir() - a directory by path
 * @by_name: links of procfs are not followed, see open_by_name(): for paths of who has not started this process, to whom
 *           its descriptors and directories do not belong
 * Return: descriptor, owned by the caller; negative errno with @err filled
 */
int engine_open_dir(const char *path, bool by_name, const char *what, struct cr_error *err);

/** engine_log_obstacles() - one error line each */
void engine_log_obstacles(const struct cr_log *log, const struct obstacles *list);

/**
 * engine_stats_text() - what --display-stats prints, from the statistics file that the verb left in the work directory
 * Return: 0; negative errno with @err filled.
 */
int engine_stats_text(int work_dirfd, bool restore, struct buf *ret, struct cr_error *err);

#endif

/*
 * Mappings that were read before the tree was stopped. smaps is the only place that shows the flags of mappings, and for each
 * page the kernel looks at it: 10 ms per GiB, too long for a snapshot to stop anybody. So it is read while the tasks run,
 * counts only for those whose maps, which cost nothing, say the same once they have stopped, and is compared afterwards
 * with what the copies and the tasks show: that flags have changed within these milliseconds and nothing else has.
 */
#ifndef CR_MM_SMAPS_BEFORE_H
#define CR_MM_SMAPS_BEFORE_H

#include "base/error.h"
#include "base/own.h"
#include "procfs/proc-dir.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct smaps_before;

/**
 * smaps_before_read() - of those of the tree of @root that have much memory
 * @may: is it allowed to look at this process? NULL: at all
 * What cannot be read, or is not there any more, is not part of it. Return: NULL if memory is short.
 */
struct smaps_before *smaps_before_read(pid_t root, int (*may)(void *arg, pid_t pid), void *arg);
void smaps_before_free(struct smaps_before *b);
DEFINE_SLOT(struct smaps_before, smaps_before_free)

/**
 * smaps_before_find() - the text of smaps of a task that is stopped now, if nothing speaks against it
 * @dir: of the task. Return: borrowed from @b, @ret_len bytes; NULL: it has to be read anew.
 */
const char *smaps_before_find(const struct smaps_before *b, pid_t pid, const struct proc_dir *dir, size_t *ret_len);

/**
 * smaps_same_headers() - do @smaps and @maps show the same mappings? Pure.
 */
bool smaps_same_headers(const char *smaps, size_t smaps_len, const char *maps, size_t maps_len);

enum smaps_of {
	SMAPS_OF_COPY,       /* of that is not asked which flags fork(2) takes away, and it must have all mappings that it copies */
	SMAPS_OF_TASK,       /* it may have gone on to have others */
	SMAPS_OF_TASK_ALONE, /* there is no copy: it must still have all of them */
};

/**
 * smaps_same_flags() - have the mappings that @text and @dir both show the same flags?
 * Whether they are watched for what is written to them is not asked: that may have begun or ended meanwhile.
 * Return: 1; 0 they differ; negative errno: it cannot be read.
 */
int smaps_same_flags(const char *text, size_t len, const struct proc_dir *dir, enum smaps_of of, struct cr_error *err);

#endif

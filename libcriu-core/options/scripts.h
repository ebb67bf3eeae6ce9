/* Action scripts: programs of the operator that are run at each stage. */
#ifndef CR_OPTIONS_SCRIPTS_H
#define CR_OPTIONS_SCRIPTS_H

#include "base/log.h"
#include "proto/vec.h"

#include <sys/types.h>

struct scripts {
	const struct proto_str_vec *list; /* in the order given; run in the reverse order */
	int images_dirfd;                 /* told to the scripts as /proc/PID/fd/N */
	pid_t init_pid;                   /* root task; 0: not known yet */
	int status;                       /* wait statuses of the stage's scripts, ORed */
};

/**
 * scripts_run() - run every script for one stage
 * @pid: root task if the stage tells it, else 0
 * Return: 0; -ECANCELED a script returned non-zero or could not be run. Failures are logged; s->status holds the statuses.
 */
int scripts_run(struct scripts *s, const char *action, pid_t pid, const struct cr_log *log);

#endif

/*
 * Room in memory cgroups. A page that is touched for us is charged to the cgroup of the process, and where there is no room
 * for it the kernel does not refuse: it kills, mostly that process. So this has to be known before.
 */
#ifndef CR_INFECT_CGROUP_ROOM_H
#define CR_INFECT_CGROUP_ROOM_H

#include "base/error.h"
#include "infect/task.h"
#include "kernel/context.h"

/* What has to be had beyond the little that any dump takes, in bytes */
struct cgroup_need {
	uint64_t at_once; /* at one go: where there is less the kernel kills one of the tree */
	uint64_t in_all;  /* by and by: where there is less it kills a process of ours, unless it kills all that it finds at once */
};

/* Memory cgroups with a limit, to be looked at again. All zero: none. */
struct cgroup_limits {
	char **paths;
	size_t nr;
};

/**
 * cgroup_room_check() - note an obstacle for each memory cgroup of the tree that is full
 * @need: NULL: nothing more. @ret_limits: filled with those that have a limit; NULL: of no interest; given back in any case
 * Return: 0, also if there are obstacles; -ENOMEM.
 */
int cgroup_room_check(struct cr_context *ctx, const struct tree *tree, const struct cgroup_need *need,
		      struct cgroup_limits *ret_limits, struct cr_error *err);

/** cgroup_limits_check() - Return: 0; -ENOMEM one of them is nearly full, named. In any thread. */
int cgroup_limits_check(const struct cgroup_limits *l, struct cr_error *err);
void cgroup_limits_done(struct cgroup_limits *l);

#endif

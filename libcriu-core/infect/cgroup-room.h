/*
 * Room in memory cgroups. A page that is touched for us is charged to the cgroup of the process, and where there is no room
 * for it the kernel does not refuse: it kills, mostly that process. So this has to be known before.
 */
#ifndef CR_INFECT_CGROUP_ROOM_H
#define CR_INFECT_CGROUP_ROOM_H

#include "base/error.h"
#include "infect/task.h"
#include "kernel/context.h"

/** cgroup_room_check() - note an obstacle for each memory cgroup of the tree that is full. Return: 0, also if so; -ENOMEM. */
int cgroup_room_check(struct cr_context *ctx, const struct tree *tree, struct cr_error *err);

#endif

/*
 * The memory policy column of /proc/PID/numa_maps, numa(7): what mbind() set, per mapping. The kernel prints the policy
 * in effect, so with a task policy other than default every mapping without its own shows that of the task. It formats
 * a policy into 64 bytes and drops what does not fit, which takes a mask of many separate nodes.
 */
#ifndef CR_PROCFS_NUMA_MAPS_H
#define CR_PROCFS_NUMA_MAPS_H

#include "base/array.h"
#include "procfs/proc-dir.h"

#include <stddef.h>
#include <stdint.h>

struct cr_error;

#define PROC_NUMA_NODES_MAX 1024 /* MAX_NUMNODES with NODES_SHIFT 10, the largest that can be configured */

struct proc_numa_policy {
	uint64_t addr;                            /* first byte of the mapping */
	uint16_t mode;                            /* MPOL_*, PROC_MPOL_UNKNOWN */
	uint16_t flags;                           /* MPOL_F_STATIC_NODES, _RELATIVE_NODES, _NUMA_BALANCING */
	uint64_t nodes[PROC_NUMA_NODES_MAX / 64]; /* bit n: node n */
};

#define PROC_MPOL_UNKNOWN UINT16_MAX /* a policy of a newer kernel: present, but not to be restored */

DEFINE_VEC(proc_numa_vec, struct proc_numa_policy)

/**
 * proc_numa_maps_parse() - append mappings whose policy is not "default". Return: 0; -EINVAL or -ERANGE; -E2BIG;
 * -ENOMEM.
 */
int proc_numa_maps_parse(const char *text, size_t len, struct proc_numa_vec *ret, struct cr_error *err);

/**
 * proc_numa_maps_read() - of a process. Return: as proc_numa_maps_parse() and proc_open() (-ENOENT: no NUMA in this
 * kernel).
 */
int proc_numa_maps_read(const struct proc_dir *d, struct proc_numa_vec *ret, struct cr_error *err);

#endif

/* /proc/PID/cgroup, proc_pid_cgroup(5), cgroups(7): where a task is in each hierarchy. */
#ifndef CR_PROCFS_CGROUP_H
#define CR_PROCFS_CGROUP_H

#include "procfs/proc-dir.h"

#include <stddef.h>
#include <stdint.h>

struct cr_error;

/* " (deleted)" follows the path of a removed cgroup. */
struct proc_cgroup {
	uint32_t hierarchy;      /* 0: the unified hierarchy */
	const char *controllers; /* "cpu,cpuacct", "name=systemd", "" for the unified hierarchy */
	const char *path;        /* from the root of the reader's cgroup namespace, "/../.." leads out of it */
};

#define PROC_CGROUPS_MAX 1024

struct proc_cgroup_list {
	struct proc_cgroup *items;
	size_t nr, cap;
	char *strings;
};

/** proc_cgroup_parse() - pure but for memory. Return: 0; -EINVAL or -ERANGE; -E2BIG; -ENOMEM. */
int proc_cgroup_parse(const char *text, size_t len, struct proc_cgroup_list *ret, struct cr_error *err);

/** proc_cgroup_read() - of a process or thread. Return: as proc_cgroup_parse() and proc_open(). */
int proc_cgroup_read(const struct proc_dir *d, struct proc_cgroup_list *ret, struct cr_error *err);

void proc_cgroup_list_done(struct proc_cgroup_list *l);

static inline void proc_cgroup_list_done_slot(struct proc_cgroup_list *l)
{
	proc_cgroup_list_done(l);
}

#define autocgroups __attribute__((cleanup(proc_cgroup_list_done_slot)))

#endif

/* /proc/PID/ns/: which namespaces a task is in; namespaces(7). */
#ifndef CR_PROCFS_NS_LINKS_H
#define CR_PROCFS_NS_LINKS_H

#include "procfs/proc-dir.h"

#include <stddef.h>
#include <stdint.h>

struct cr_error;

enum proc_ns {
	PROC_NS_CGROUP,
	PROC_NS_IPC,
	PROC_NS_MNT,
	PROC_NS_NET,
	PROC_NS_PID,
	PROC_NS_PID_FOR_CHILDREN,
	PROC_NS_TIME,
	PROC_NS_TIME_FOR_CHILDREN,
	PROC_NS_USER,
	PROC_NS_UTS,
	PROC_NR_NS,
};

/* Two tasks are in the same namespace if the inodes are the same. */
struct proc_ns_links {
	uint32_t ino[PROC_NR_NS]; /* 0: not in this kernel, given up by a zombie, or pid_for_children without init */
};

/** proc_ns_name() - "net": name of the link below ns/ */
const char *proc_ns_name(enum proc_ns kind);

/** proc_ns_link_parse() - text of a link, "net:[4026531840]". Return: 0; -EINVAL not a namespace of @kind; -ERANGE. */
int proc_ns_link_parse(const char *text, size_t len, enum proc_ns kind, uint32_t *ret, struct cr_error *err);

/**
 * proc_ns_links_read() - of a process or thread. Return: 0; as proc_ns_link_parse(); -EACCES or -EPERM for another's
 * task.
 */
int proc_ns_links_read(const struct proc_dir *d, struct proc_ns_links *ret, struct cr_error *err);

#endif

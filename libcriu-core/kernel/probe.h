/*
 * Feature probes: asked on first use, remembered in the context. Kernel versions are for people; code branches on
 * probes only. The table of probes is in probe.c.
 */
#ifndef CR_KERNEL_PROBE_H
#define CR_KERNEL_PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum kernel_feature {
	KERNEL_CLONE3_SET_TID,
	KERNEL_PIDFD_OPEN,
	KERNEL_PIDFD_GETFD,
	KERNEL_PAGEMAP_SCAN,
	KERNEL_PAGEMAP_GUARD,
	KERNEL_PROCMAP_QUERY,
	KERNEL_KCMP,
	KERNEL_MAP_FILES,          /* /proc/PID/map_files links can be opened */
	KERNEL_PAGEMAP_PFN,        /* page frame numbers are shown to us */
	KERNEL_MM_MAP,             /* PR_SET_MM_MAP without CAP_SYS_RESOURCE */
	KERNEL_TIMER_CR_IDS,
	KERNEL_GET_RSEQ,
	KERNEL_GET_SUD,            /* PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG */
	KERNEL_MEMBARRIER_GET,
	KERNEL_GUARD_INSTALL,
	KERNEL_STATX_MNT_ID,
	KERNEL_PROC_CHILDREN,
	KERNEL_SOFT_DIRTY,
	KERNEL_UFFD,
	KERNEL_UFFD_WP_ASYNC,
	KERNEL_NR_FEATURES
};

struct kernel_probes {
	int16_t answer[KERNEL_NR_FEATURES]; /* 0 not asked yet, 1 there, negative errno why not */
};

/** kernel_has() - probe on first use. Safe to call while tasks are frozen: probes touch only this process. */
bool kernel_has(struct kernel_probes *p, enum kernel_feature f);
/** kernel_why() - negative errno of a missing feature, 0 if it is there */
int kernel_why(struct kernel_probes *p, enum kernel_feature f);

struct kernel_feature_info {
	const char *name;    /* CRIU's name for `check --feature`, or our own */
	const char *since;
	bool        needed;
	const char *loss;    /* what cannot be done without it */
};
const struct kernel_feature_info *kernel_feature_info(enum kernel_feature f);

#endif

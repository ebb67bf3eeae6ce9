/*
 * Feature probes: asked on first use, remembered in the context. Kernel versions are for people; code branches on
 * probes only. The table of probes is in probe.c.
 */
#ifndef CR_KERNEL_PROBE_H
#define CR_KERNEL_PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* clang-format off */
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
	KERNEL_STOP_CODE,          /* /proc/PID/stat shows stops that the parent has not seen */
	KERNEL_GUARD_INSTALL,
	KERNEL_GUARD_FLAG, /* "gu" in smaps says which mappings may hold guard pages */
	KERNEL_STATX_MNT_ID,
	KERNEL_PROC_CHILDREN,
	KERNEL_SOFT_DIRTY,
	KERNEL_UFFD,
	KERNEL_UFFD_WP_ASYNC,
	/* asked by `check` only */
	KERNEL_MNT_ID, KERNEL_MEM_TRACK, KERNEL_AIO_REMAP, KERNEL_TIMERFD, KERNEL_TUN, KERNEL_TUN_NS, KERNEL_USERNS,
	KERNEL_FDINFO_LOCK, KERNEL_SECCOMP_SUSPEND, KERNEL_SECCOMP_FILTERS, KERNEL_LOGINUID, KERNEL_CGROUPNS, KERNEL_AUTOFS,
	KERNEL_TCP_HALF_CLOSED, KERNEL_COMPAT_CR, KERNEL_UFFD_NONCOOP, KERNEL_CAN_MAP_VDSO, KERNEL_SK_NS,
	KERNEL_SK_UNIX_FILE, KERNEL_NET_DIAG_RAW, KERNEL_NSID, KERNEL_LINK_NSID, KERNEL_KCMP_EPOLL, KERNEL_TIMENS,
	KERNEL_EXTERNAL_NET_NS, KERNEL_NEWIFINDEX, KERNEL_NFTABLES, KERNEL_IPT_LEGACY, KERNEL_PIDFD_STORE, KERNEL_NS_PID,
	KERNEL_APPARMOR_STACKING, KERNEL_NETWORK_LOCK_NFTABLES, KERNEL_SOCKOPT_BUF_LOCK, KERNEL_MEMFD_HUGETLB,
	KERNEL_MOVE_MOUNT_SET_GROUP, KERNEL_OPENAT2, KERNEL_IPV6_FREEBIND, KERNEL_OVERLAYFS_MAPS, KERNEL_BREAKPOINTS,
	KERNEL_PROCESS_VM,
	KERNEL_NR_FEATURES
};
/* clang-format on */

struct kernel_probes {
	int16_t answer[KERNEL_NR_FEATURES]; /* 0 not asked yet, 1 there, negative errno why not */
};

/** kernel_has() - probe on first use. Safe to call while tasks are frozen: probes touch only this process. */
bool kernel_has(struct kernel_probes *p, enum kernel_feature f);
/** kernel_why() - negative errno of a missing feature, 0 if it is there */
int kernel_why(struct kernel_probes *p, enum kernel_feature f);

struct kernel_feature_info {
	const char *name; /* CRIU's name for `check --feature`, or our own */
	const char *since;
	bool needed;
	const char *loss; /* what cannot be done without it */
};
const struct kernel_feature_info *kernel_feature_info(enum kernel_feature f);

#endif

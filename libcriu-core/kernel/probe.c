/* The table of probes, and the memory of their answers. */
#include "kernel/probe.h"

#include "kernel/probe-internal.h"

struct probe_row {
	struct kernel_feature_info info;
	int (*probe)(void);
};

/* clang-format off */
#define NEEDED(name, since, loss) { name, since, true, loss }
#define USEFUL(name, since, loss) { name, since, false, loss }

static const struct probe_row rows[KERNEL_NR_FEATURES] = {
	[KERNEL_CLONE3_SET_TID] = { NEEDED("clone3_set_tid", "5.5", "no process can be restored with its own number"), probe_clone3_set_tid },
	[KERNEL_PIDFD_OPEN] = { NEEDED("pidfd_open", "5.3", "processes cannot be held on to"), probe_pidfd_open },
	[KERNEL_PIDFD_GETFD] = { NEEDED("pidfd_getfd", "5.6", "open files cannot be taken from a process"), probe_pidfd_getfd },
	[KERNEL_PAGEMAP_SCAN] = { USEFUL("pagemap_scan", "6.7", "finding pages is slower"), probe_pagemap_scan },
	[KERNEL_PAGEMAP_GUARD] = { USEFUL("pagemap_scan_guard_pages", "6.15", "lightweight guard pages are lost"), probe_pagemap_guard },
	[KERNEL_PROCMAP_QUERY] = { USEFUL("procmap_query", "6.11", "reading mappings is slower"), probe_procmap_query },
	[KERNEL_KCMP] = { NEEDED("kcmp", "3.5", "what processes share cannot be found out"), probe_kcmp },
	[KERNEL_MAP_FILES] = { USEFUL("map_files", "3.3", "mapped files that were deleted cannot be opened"), probe_map_files },
	[KERNEL_PAGEMAP_PFN] = { USEFUL("pagemap_pfn", "4.2", "pages shared after a fork are stored more than once"), probe_pagemap_pfn },
	[KERNEL_MM_MAP] = { NEEDED("mm_map", "3.18", "the memory layout of a process cannot be restored"), probe_mm_map },
	[KERNEL_TIMER_CR_IDS] = { USEFUL("timer_cr_ids", "6.15", "POSIX timers with high numbers are slow to restore"), probe_timer_cr_ids },
	[KERNEL_GET_RSEQ] = { USEFUL("get_rseq_conf", "5.13", "restartable sequences are found for the C library only"), probe_get_rseq },
	[KERNEL_GET_SUD] = { USEFUL("get_sud", "6.4", "syscall user dispatch of threads is lost"), probe_get_sud },
	[KERNEL_MEMBARRIER_GET] = { USEFUL("membarrier_get", "6.3", "global membarrier registrations are lost"), probe_membarrier_get },
	[KERNEL_STOP_CODE] = { USEFUL("stop_code", "5.17", "parents are told again of stopped children"), probe_stop_code },
	[KERNEL_GUARD_INSTALL] = { USEFUL("guard_install", "6.13", "lightweight guard pages cannot be restored"), probe_guard_install },
	[KERNEL_GUARD_FLAG] = { USEFUL("guard_flag", "6.18", "finding guard pages in shared memory is slower"), probe_guard_flag },
	[KERNEL_STATX_MNT_ID] = { USEFUL("statx_mnt_id", "5.8", "the mount of a file is found by fdinfo"), probe_statx_mnt_id },
	[KERNEL_PROC_CHILDREN] = { USEFUL("proc_children", "3.5", "finding children is slower"), probe_proc_children },
	[KERNEL_SOFT_DIRTY] = { USEFUL("soft_dirty", "3.11", "memory changes are tracked by userfaultfd only"), probe_soft_dirty },
	[KERNEL_UFFD] = { USEFUL("uffd", "4.3", "no lazy restore, no tracking by userfaultfd"), probe_uffd },
	[KERNEL_UFFD_WP_ASYNC] = { USEFUL("uffd_wp_async", "6.7", "memory changes are tracked by soft-dirty bits only"), probe_uffd_wp_async },

	[KERNEL_MNT_ID] = { NEEDED("mnt_id", "3.15", "the mount of an open file cannot be told"), probe_mnt_id },
	[KERNEL_MEM_TRACK] = { USEFUL("mem_dirty_track", "3.11", "no incremental dumps"), probe_mem_track },
	[KERNEL_AIO_REMAP] = { USEFUL("aio_remap", "3.19", "processes with asynchronous I/O contexts cannot be restored"), probe_aio_remap },
	[KERNEL_TIMERFD] = { USEFUL("timerfd", "3.17", "timer descriptors cannot be dumped"), probe_timerfd },
	[KERNEL_TUN] = { USEFUL("tun", "2.6.27", "TUN and TAP devices cannot be dumped"), probe_tun },
	[KERNEL_TUN_NS] = { USEFUL("tun_ns", "5.2", "the network namespace of a TUN device cannot be told"), probe_tun_ns },
	[KERNEL_USERNS] = { USEFUL("userns", "3.8", "no user namespaces"), probe_userns },
	[KERNEL_FDINFO_LOCK] = { NEEDED("fdinfo_lock", "4.1", "file locks cannot be told apart"), probe_fdinfo_lock },
	[KERNEL_SECCOMP_SUSPEND] = { USEFUL("seccomp_suspend", "4.3", "processes under seccomp cannot be dumped"), probe_seccomp_suspend },
	[KERNEL_SECCOMP_FILTERS] = { USEFUL("seccomp_filters", "4.4", "seccomp filters are not there"), probe_seccomp_filters },
	[KERNEL_LOGINUID] = { USEFUL("loginuid", "2.6.28", "audit user ids are lost"), probe_loginuid },
	[KERNEL_CGROUPNS] = { USEFUL("cgroupns", "4.6", "no cgroup namespaces"), probe_cgroupns },
	[KERNEL_AUTOFS] = { USEFUL("autofs", "4.4", "autofs mounts are not there"), probe_autofs },
	[KERNEL_TCP_HALF_CLOSED] = { USEFUL("tcp_half_closed", "4.8", "TCP connections cannot be dumped in every state"), probe_tcp_repair },
	[KERNEL_COMPAT_CR] = { USEFUL("compat_cr", "4.12", "32-bit processes cannot be dumped or restored"), probe_compat_cr },
	[KERNEL_UFFD_NONCOOP] = { USEFUL("uffd-noncoop", "4.11", "no lazy restore of processes that fork or unmap"), probe_uffd_noncoop },
	[KERNEL_CAN_MAP_VDSO] = { USEFUL("can_map_vdso", "4.9", "the vDSO is moved instead of mapped anew"), probe_can_map_vdso },
	[KERNEL_SK_NS] = { USEFUL("sk_ns", "4.10", "sockets of other network namespaces cannot be told"), probe_sk_ns },
	[KERNEL_SK_UNIX_FILE] = { USEFUL("sk_unix_file", "5.4", "the file of a bound Unix socket is found by name only"), probe_sk_unix_file },
	[KERNEL_NET_DIAG_RAW] = { USEFUL("net_diag_raw", "4.10", "raw sockets cannot be dumped"), probe_net_diag_raw },
	[KERNEL_NSID] = { USEFUL("nsid", "4.0", "links between network namespaces are lost"), probe_nsid },
	[KERNEL_LINK_NSID] = { USEFUL("link_nsid", "4.0", "links between network namespaces are lost"), probe_nsid },
	[KERNEL_KCMP_EPOLL] = { USEFUL("kcmp_epoll", "4.13", "epoll targets that were duplicated are found by number only"), probe_kcmp_epoll },
	[KERNEL_TIMENS] = { USEFUL("timens", "5.6", "no time namespaces"), probe_timens },
	[KERNEL_EXTERNAL_NET_NS] = { USEFUL("external_net_ns", "4.0", "external network namespaces cannot be told"), probe_nsid },
	[KERNEL_NEWIFINDEX] = { USEFUL("newifindex", "3.7", "network devices get other numbers"), probe_newifindex },
	[KERNEL_NFTABLES] = { USEFUL("nftables", "3.13", "nftables rules are not there"), probe_nftables },
	[KERNEL_IPT_LEGACY] = { USEFUL("has_ipt_legacy", "2.4", "iptables legacy rules are not there"), probe_ipt_legacy },
	[KERNEL_PIDFD_STORE] = { USEFUL("pidfd_store", "5.6", "a process id that is used again is not noticed between dumps"), probe_pidfd_store },
	[KERNEL_NS_PID] = { NEEDED("ns_pid", "4.1", "process ids inside of pid namespaces cannot be told"), probe_ns_pid },
	[KERNEL_APPARMOR_STACKING] = { USEFUL("apparmor_stacking", "4.13", "no stacked AppArmor namespaces"), probe_apparmor_stacking },
	[KERNEL_NETWORK_LOCK_NFTABLES] = { USEFUL("network_lock_nftables", "3.13", "connections cannot be locked by nftables"), probe_nftables },
	[KERNEL_SOCKOPT_BUF_LOCK] = { USEFUL("sockopt_buf_lock", "5.14", "automatic socket buffer sizes become fixed"), probe_sockopt_buf_lock },
	[KERNEL_MEMFD_HUGETLB] = { USEFUL("memfd_hugetlb", "4.14", "huge page mappings without a file cannot be restored"), probe_memfd_hugetlb },
	[KERNEL_MOVE_MOUNT_SET_GROUP] = { USEFUL("move_mount_set_group", "5.15", "mount namespaces of trees can be neither dumped nor restored"), probe_move_mount_set_group },
	[KERNEL_OPENAT2] = { USEFUL("openat2", "5.6", "paths are resolved step by step"), probe_openat2 },
	[KERNEL_IPV6_FREEBIND] = { USEFUL("ipv6_freebind", "4.15", "IPv6 sockets cannot be bound to addresses that are not there yet"), probe_ipv6_freebind },
	[KERNEL_OVERLAYFS_MAPS] = { USEFUL("overlayfs_maps", "3.3", "files mapped from overlay file systems are found by name only"), probe_map_files },
	[KERNEL_BREAKPOINTS] = { USEFUL("breakpoints", "2.6.33", "hardware breakpoints cannot be set"), probe_breakpoints },
	[KERNEL_PROCESS_VM] = { NEEDED("process_vm", "3.2", "memory of processes cannot be read"), probe_process_vm },
};
/* clang-format on */

static int ask(struct kernel_probes *p, enum kernel_feature f)
{
	if (!p->answer[f]) {
		int r = rows[f].probe();

		p->answer[f] = (int16_t)(r < 0 ? r : 1);
	}
	return p->answer[f];
}

bool kernel_has(struct kernel_probes *p, enum kernel_feature f)
{
	return ask(p, f) > 0;
}

int kernel_why(struct kernel_probes *p, enum kernel_feature f)
{
	int r = ask(p, f);

	return r > 0 ? 0 : r;
}

const struct kernel_feature_info *kernel_feature_info(enum kernel_feature f)
{
	return &rows[f].info;
}

/* The probes, one function each; the table is in probe.c. All touch this process only and leave nothing behind. */
#ifndef CR_KERNEL_PROBE_INTERNAL_H
#define CR_KERNEL_PROBE_INTERNAL_H

#include "kernel/probe.h"

/* Each returns 0 if the feature is there, or a negative errno that says why not. */
/* probe-process.c */
int probe_clone3_set_tid(void);
int probe_pidfd_open(void);
int probe_pidfd_getfd(void);
int probe_pidfd_store(void);
int probe_kcmp(void);
int probe_kcmp_epoll(void);
int probe_timer_cr_ids(void);
int probe_get_rseq(void);
int probe_get_sud(void);
int probe_breakpoints(void);
int probe_membarrier_get(void);
int probe_stop_code(void);
int probe_seccomp_suspend(void);
int probe_seccomp_filters(void);
int probe_can_map_vdso(void);
int probe_compat_cr(void);
int probe_process_vm(void);
/* probe-memory.c */
int probe_pagemap_scan(void);
int probe_pagemap_guard(void);
int probe_procmap_query(void);
int probe_map_files(void);
int probe_pagemap_pfn(void);
int probe_mm_map(void);
int probe_guard_install(void);
int probe_guard_flag(void);
int probe_soft_dirty(void);
int probe_uffd(void);
int probe_uffd_noncoop(void);
int probe_uffd_wp_async(void);
int probe_mem_track(void);
int probe_aio_remap(void);
int probe_memfd_hugetlb(void);
/* probe-files.c */
int probe_statx_mnt_id(void);
int probe_proc_children(void);
int probe_mnt_id(void);
int probe_timerfd(void);
int probe_fdinfo_lock(void);
int probe_loginuid(void);
int probe_userns(void);
int probe_cgroupns(void);
int probe_timens(void);
int probe_ns_pid(void);
int probe_autofs(void);
int probe_apparmor_stacking(void);
int probe_move_mount_set_group(void);
int probe_openat2(void);
/* probe-net.c */
int probe_tun(void);
int probe_tun_ns(void);
int probe_tcp_repair(void);
int probe_sk_ns(void);
int probe_sk_unix_file(void);
int probe_net_diag_raw(void);
int probe_nsid(void);
int probe_newifindex(void);
int probe_nftables(void);
int probe_ipt_legacy(void);
int probe_sockopt_buf_lock(void);
int probe_ipv6_freebind(void);

#endif

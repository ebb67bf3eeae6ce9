/*
 * Kernel interfaces that are newer than the headers this must compile with (those of Linux 6.1 and glibc 2.36).
 * Numbers are the kernel's ABI and never change; whether the running kernel knows them is for the probes to find out.
 *
 * Two rules keep this header usable together with any kernel header, in any order and of any age:
 * - what the kernel defines as a macro has the kernel's name here, under #ifndef;
 * - structs, and constants that are enumerators in a newer kernel or C library header, carry uapi_ / UAPI_ in front,
 *   since the preprocessor cannot see whether they exist.
 * linux/fs.h and linux/mount.h are not included: they contradict sys/mount.h of glibc 2.36.
 */
#ifndef CR_KERNEL_UAPI_H
#define CR_KERNEL_UAPI_H

#include <assert.h>
#include <linux/nsfs.h>
#include <linux/userfaultfd.h>
#include <stdint.h>
#include <sys/ioctl.h>

/*
 * System calls. From 424 on the numbers are the same on all architectures but alpha.
 */
#ifndef __NR_pidfd_send_signal
#define __NR_pidfd_send_signal 424
#endif
#ifndef __NR_open_tree
#define __NR_open_tree 428
#endif
#ifndef __NR_move_mount
#define __NR_move_mount 429
#endif
#ifndef __NR_fsopen
#define __NR_fsopen 430
#endif
#ifndef __NR_fsconfig
#define __NR_fsconfig 431
#endif
#ifndef __NR_fsmount
#define __NR_fsmount 432
#endif
#ifndef __NR_pidfd_open
#define __NR_pidfd_open 434
#endif
#ifndef __NR_clone3
#define __NR_clone3 435
#endif
#ifndef __NR_close_range
#define __NR_close_range 436
#endif
#ifndef __NR_openat2
#define __NR_openat2 437
#endif
#ifndef __NR_pidfd_getfd
#define __NR_pidfd_getfd 438
#endif
#ifndef __NR_process_madvise
#define __NR_process_madvise 440
#endif
#ifndef __NR_mount_setattr
#define __NR_mount_setattr 442
#endif
#ifndef __NR_memfd_secret
#define __NR_memfd_secret 447
#endif
#ifndef __NR_process_mrelease
#define __NR_process_mrelease 448
#endif
#ifndef __NR_set_mempolicy_home_node
#define __NR_set_mempolicy_home_node 450
#endif
#ifndef __NR_cachestat
#define __NR_cachestat 451
#endif
#ifndef __NR_fchmodat2
#define __NR_fchmodat2 452
#endif
#ifndef __NR_map_shadow_stack
#define __NR_map_shadow_stack 453
#endif
#ifndef __NR_statmount
#define __NR_statmount 457
#endif
#ifndef __NR_listmount
#define __NR_listmount 458
#endif
#ifndef __NR_lsm_get_self_attr
#define __NR_lsm_get_self_attr 459
#endif
#ifndef __NR_mseal
#define __NR_mseal 462
#endif
#ifndef __NR_open_tree_attr
#define __NR_open_tree_attr 467
#endif

/*
 * /proc/PID/pagemap: one uint64_t per page. Documentation/admin-guide/mm/pagemap.rst.
 */
#define UAPI_PM_PFN_MASK       ((UINT64_C(1) << 55) - 1) /* zero without CAP_SYS_ADMIN */
#define UAPI_PM_SOFT_DIRTY     (UINT64_C(1) << 55)
#define UAPI_PM_MMAP_EXCLUSIVE (UINT64_C(1) << 56) /* 4.2 */
#define UAPI_PM_UFFD_WP        (UINT64_C(1) << 57) /* 5.13 */
#define UAPI_PM_GUARD_REGION   (UINT64_C(1) << 58) /* 6.15 */
#define UAPI_PM_FILE           (UINT64_C(1) << 61) /* file page, or shared anonymous */
#define UAPI_PM_SWAP           (UINT64_C(1) << 62)
#define UAPI_PM_PRESENT        (UINT64_C(1) << 63)

/* PAGEMAP_SCAN, ioctl of /proc/PID/pagemap since 6.7. Returns the number of filled uapi_page_region. */
struct uapi_page_region {
	uint64_t start;
	uint64_t end;        /* exclusive */
	uint64_t categories; /* PAGE_IS_* out of return_mask */
};

struct uapi_pm_scan_arg {
	uint64_t size;  /* of this struct */
	uint64_t flags; /* PM_SCAN_* */
	uint64_t start, end;
	uint64_t walk_end;            /* out: where the walk stopped */
	uint64_t vec, vec_len;        /* address and number of uapi_page_region */
	uint64_t max_pages;           /* 0: no limit */
	uint64_t category_inverted;   /* categories that match when 0 */
	uint64_t category_mask;       /* all of these must match */
	uint64_t category_anyof_mask; /* one of these must match */
	uint64_t return_mask;         /* categories to report */
};
static_assert(sizeof(struct uapi_pm_scan_arg) == 96, "kernel ABI");

/* The number encodes the size of the argument: ours has the kernel's. */
#define UAPI_PAGEMAP_SCAN _IOWR('f', 16, struct uapi_pm_scan_arg)

#ifndef PM_SCAN_WP_MATCHING
#define PM_SCAN_WP_MATCHING (1 << 0) /* write-protect what matched */
#endif
#ifndef PM_SCAN_CHECK_WPASYNC
#define PM_SCAN_CHECK_WPASYNC (1 << 1) /* EPERM at a vma without async write-protection */
#endif
#ifndef PAGE_IS_WPALLOWED
#define PAGE_IS_WPALLOWED (1 << 0)
#endif
#ifndef PAGE_IS_WRITTEN
#define PAGE_IS_WRITTEN (1 << 1)
#endif
#ifndef PAGE_IS_FILE
#define PAGE_IS_FILE (1 << 2)
#endif
#ifndef PAGE_IS_PRESENT
#define PAGE_IS_PRESENT (1 << 3)
#endif
#ifndef PAGE_IS_SWAPPED
#define PAGE_IS_SWAPPED (1 << 4)
#endif
#ifndef PAGE_IS_PFNZERO
#define PAGE_IS_PFNZERO (1 << 5)
#endif
#ifndef PAGE_IS_HUGE
#define PAGE_IS_HUGE (1 << 6)
#endif
#ifndef PAGE_IS_SOFT_DIRTY
#define PAGE_IS_SOFT_DIRTY (1 << 7) /* 6.7 */
#endif
#ifndef PAGE_IS_GUARD
#define PAGE_IS_GUARD (1 << 8) /* 6.15 */
#endif

/* PROCMAP_QUERY, ioctl of /proc/PID/maps since 6.11: the mapping at or after an address, in binary. */
struct uapi_procmap_query {
	uint64_t size;        /* of this struct */
	uint64_t query_flags; /* UAPI_PROCMAP_* */
	uint64_t query_addr;
	uint64_t vma_start, vma_end;
	uint64_t vma_flags; /* UAPI_PROCMAP_VMA_* */
	uint64_t vma_page_size;
	uint64_t vma_offset; /* bytes */
	uint64_t inode;
	uint32_t dev_major, dev_minor;
	uint32_t vma_name_size; /* in: room; out: length with the NUL, 0 if the mapping has no name */
	uint32_t build_id_size;
	uint64_t vma_name_addr, build_id_addr;
};
static_assert(sizeof(struct uapi_procmap_query) == 104, "kernel ABI");

#define UAPI_PROCMAP_QUERY            _IOWR('f', 17, struct uapi_procmap_query)
#define UAPI_PROCMAP_VMA_READABLE     0x01
#define UAPI_PROCMAP_VMA_WRITABLE     0x02
#define UAPI_PROCMAP_VMA_EXECUTABLE   0x04
#define UAPI_PROCMAP_VMA_SHARED       0x08
#define UAPI_PROCMAP_COVERING_OR_NEXT 0x10
#define UAPI_PROCMAP_FILE_BACKED      0x20

/*
 * Processes
 */
struct uapi_clone_args {
	uint64_t flags, pidfd, child_tid, parent_tid, exit_signal;
	uint64_t stack, stack_size, tls;
	uint64_t set_tid, set_tid_size; /* 5.5 */
	uint64_t cgroup;                /* 5.7 */
};
static_assert(sizeof(struct uapi_clone_args) == 88, "kernel ABI");

/* Auxiliary vector: size and alignment of the rseq area that the kernel knows, 6.3 */
#ifndef AT_RSEQ_FEATURE_SIZE
#define AT_RSEQ_FEATURE_SIZE 27
#define AT_RSEQ_ALIGN        28
#endif

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif
#ifndef CLONE_CLEAR_SIGHAND
#define CLONE_CLEAR_SIGHAND 0x100000000ULL
#endif
#ifndef CLONE_INTO_CGROUP
#define CLONE_INTO_CGROUP 0x200000000ULL
#endif

#ifndef PIDFD_THREAD
#define PIDFD_THREAD O_EXCL /* pidfd_open(), 6.9; users include fcntl.h */
#endif
#ifndef PIDFD_SIGNAL_THREAD
#define PIDFD_SIGNAL_THREAD        (1UL << 0) /* pidfd_send_signal(), 6.9 */
#define PIDFD_SIGNAL_THREAD_GROUP  (1UL << 1)
#define PIDFD_SIGNAL_PROCESS_GROUP (1UL << 2)
#endif

/* PIDFD_GET_INFO, 6.13: the mask comes back with what was filled in */
struct uapi_pidfd_info {
	uint64_t mask; /* PIDFD_INFO_* */
	uint64_t cgroupid;
	uint32_t pid, tgid, ppid;
	uint32_t ruid, rgid, euid, egid, suid, sgid, fsuid, fsgid;
	int32_t exit_code; /* 6.15, with PIDFD_INFO_EXIT */
};
static_assert(sizeof(struct uapi_pidfd_info) == 64, "kernel ABI, first published size");

#define UAPI_PIDFD_GET_INFO _IOWR(0xFF, 11, struct uapi_pidfd_info)

#ifndef PIDFD_INFO_PID
#define PIDFD_INFO_PID      (1UL << 0)
#define PIDFD_INFO_CREDS    (1UL << 1)
#define PIDFD_INFO_CGROUPID (1UL << 2)
#endif
#ifndef PIDFD_INFO_EXIT
#define PIDFD_INFO_EXIT (1UL << 3)
#endif

/* Namespaces of a pidfd, 6.11 */
#ifndef PIDFD_GET_CGROUP_NAMESPACE
#define PIDFD_GET_CGROUP_NAMESPACE            _IO(0xFF, 1)
#define PIDFD_GET_IPC_NAMESPACE               _IO(0xFF, 2)
#define PIDFD_GET_MNT_NAMESPACE               _IO(0xFF, 3)
#define PIDFD_GET_NET_NAMESPACE               _IO(0xFF, 4)
#define PIDFD_GET_PID_NAMESPACE               _IO(0xFF, 5)
#define PIDFD_GET_PID_FOR_CHILDREN_NAMESPACE  _IO(0xFF, 6)
#define PIDFD_GET_TIME_NAMESPACE              _IO(0xFF, 7)
#define PIDFD_GET_TIME_FOR_CHILDREN_NAMESPACE _IO(0xFF, 8)
#define PIDFD_GET_USER_NAMESPACE              _IO(0xFF, 9)
#define PIDFD_GET_UTS_NAMESPACE               _IO(0xFF, 10)
#endif

/* Questions to a namespace descriptor, 6.11 */
#ifndef NS_GET_MNTNS_ID
#define NS_GET_MNTNS_ID _IOR(NSIO, 0x5, uint64_t)
#endif
#ifndef NS_GET_PID_FROM_PIDNS
#define NS_GET_PID_FROM_PIDNS  _IOR(NSIO, 0x6, int)
#define NS_GET_TGID_FROM_PIDNS _IOR(NSIO, 0x7, int)
#define NS_GET_PID_IN_PIDNS    _IOR(NSIO, 0x8, int)
#define NS_GET_TGID_IN_PIDNS   _IOR(NSIO, 0x9, int)
#endif

/*
 * prctl()
 */
#ifndef PR_GET_TID_ADDRESS
#define PR_GET_TID_ADDRESS 40
#endif
#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#define PR_GET_IO_FLUSHER 58
#endif
#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#define PR_SYS_DISPATCH_OFF          0
#define PR_SYS_DISPATCH_ON           1
#endif
#define UAPI_PR_SYS_DISPATCH_INCLUSIVE_ON 2 /* 6.17 */
#ifndef PR_SCHED_CORE
#define PR_SCHED_CORE            62
#define PR_SCHED_CORE_GET        0
#define PR_SCHED_CORE_CREATE     1
#define PR_SCHED_CORE_SHARE_TO   2
#define PR_SCHED_CORE_SHARE_FROM 3
#endif
#ifndef PR_SET_MDWE
#define PR_SET_MDWE              65 /* memory deny write execute, 6.3 */
#define PR_MDWE_REFUSE_EXEC_GAIN (1UL << 0)
#define PR_GET_MDWE              66
#endif
#ifndef PR_MDWE_NO_INHERIT
#define PR_MDWE_NO_INHERIT (1UL << 1) /* 6.6 */
#endif
#ifndef PR_SET_MEMORY_MERGE
#define PR_SET_MEMORY_MERGE 67 /* KSM for the whole process, 6.4 */
#define PR_GET_MEMORY_MERGE 68
#endif
#ifndef PR_GET_SHADOW_STACK_STATUS
#define PR_GET_SHADOW_STACK_STATUS  74 /* arm64, riscv; x86 has ARCH_SHSTK_* */
#define PR_SET_SHADOW_STACK_STATUS  75
#define PR_LOCK_SHADOW_STACK_STATUS 76
#endif
#ifndef PR_TIMER_CREATE_RESTORE_IDS
#define PR_TIMER_CREATE_RESTORE_IDS     77 /* timer_create() takes the id it is given, 6.15 */
#define PR_TIMER_CREATE_RESTORE_IDS_OFF 0
#define PR_TIMER_CREATE_RESTORE_IDS_ON  1
#define PR_TIMER_CREATE_RESTORE_IDS_GET 2
#endif
#ifndef PR_FUTEX_HASH
#define PR_FUTEX_HASH           78 /* 6.16 */
#define PR_FUTEX_HASH_SET_SLOTS 1
#define PR_FUTEX_HASH_GET_SLOTS 2
#endif
#ifndef PR_THP_DISABLE_EXCEPT_ADVISED
#define PR_THP_DISABLE_EXCEPT_ADVISED (1 << 1) /* flag of PR_SET_THP_DISABLE, 6.18 */
#endif
#ifndef PR_SET_VMA
#define PR_SET_VMA           0x53564d41 /* 5.17 */
#define PR_SET_VMA_ANON_NAME 0
#endif
#ifndef PR_GET_AUXV
#define PR_GET_AUXV 0x41555856 /* 6.4 */
#endif

#if defined(__x86_64__)
/* arch_prctl() of shadow stacks, 6.6; asm/prctl.h */
#ifndef ARCH_SHSTK_ENABLE
#define ARCH_SHSTK_ENABLE  0x5001
#define ARCH_SHSTK_DISABLE 0x5002
#define ARCH_SHSTK_LOCK    0x5003
#define ARCH_SHSTK_UNLOCK  0x5004
#define ARCH_SHSTK_STATUS  0x5005
#define ARCH_SHSTK_SHSTK   (1ULL << 0)
#define ARCH_SHSTK_WRSS    (1ULL << 1)
#endif
#ifndef ARCH_GET_UNTAG_MASK
#define ARCH_GET_UNTAG_MASK     0x4001 /* linear address masking, 6.4 */
#define ARCH_ENABLE_TAGGED_ADDR 0x4002
#define ARCH_GET_MAX_TAG_BITS   0x4003
#endif
#ifndef NT_X86_SHSTK
#define NT_X86_SHSTK 0x204
#endif
#ifndef SHADOW_STACK_SET_TOKEN
#define SHADOW_STACK_SET_TOKEN (1ULL << 0)
#endif
#endif

/*
 * ptrace(). Enumerators in sys/ptrace.h of the C library.
 */
#define UAPI_PTRACE_GET_RSEQ_CONFIGURATION           0x420f /* 5.13 */
#define UAPI_PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG 0x4210 /* 6.4 */
#define UAPI_PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG 0x4211 /* 6.4 */
#define UAPI_PTRACE_SET_SYSCALL_INFO                 0x4212 /* 6.16 */

struct uapi_ptrace_rseq_configuration {
	uint64_t rseq_abi_pointer;
	uint32_t rseq_abi_size;
	uint32_t signature;
	uint32_t flags;
	uint32_t pad;
};
static_assert(sizeof(struct uapi_ptrace_rseq_configuration) == 24, "kernel ABI");

struct uapi_ptrace_sud_config {
	uint64_t mode;     /* PR_SYS_DISPATCH_* */
	uint64_t selector; /* address of the selector byte */
	uint64_t offset;   /* start and length of the code that may make system calls */
	uint64_t len;
};
static_assert(sizeof(struct uapi_ptrace_sud_config) == 32, "kernel ABI");

/*
 * Memory
 */
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ  22 /* 5.14 */
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24 /* 5.18 */
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* 6.1 */
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102 /* 6.13 */
#define MADV_GUARD_REMOVE  103
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4 /* 5.7 */
#endif
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000 /* 4.17 */
#endif
#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 0x08 /* 6.11 */
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U /* 6.3 */
#define MFD_EXEC        0x0010U
#endif

/* Memory policies; MPOL_* of linux/mempolicy.h are enumerators */
#define UAPI_MPOL_LOCAL               4
#define UAPI_MPOL_PREFERRED_MANY      5 /* 5.15 */
#define UAPI_MPOL_WEIGHTED_INTERLEAVE 6 /* 6.9 */

/* Commands of membarrier() */
#define UAPI_MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ          (1 << 7) /* 5.10 */
#define UAPI_MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ (1 << 8)
#define UAPI_MEMBARRIER_CMD_GET_REGISTRATIONS               (1 << 9) /* 6.3 */

/* userfaultfd */
#ifndef UFFD_FEATURE_WP_HUGETLBFS_SHMEM
#define UFFD_FEATURE_WP_HUGETLBFS_SHMEM (1 << 12) /* 5.19 */
#endif
#ifndef UFFD_FEATURE_WP_UNPOPULATED
#define UFFD_FEATURE_WP_UNPOPULATED (1 << 13) /* 6.4 */
#endif
#ifndef UFFD_FEATURE_POISON
#define UFFD_FEATURE_POISON (1 << 14) /* 6.6 */
#endif
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC (1 << 15) /* 6.7 */
#endif
#ifndef UFFD_FEATURE_MOVE
#define UFFD_FEATURE_MOVE (1 << 16) /* 6.8 */
#endif
#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00) /* of /dev/userfaultfd, 6.1 */
#endif

struct uapi_uffdio_move {
	uint64_t dst, src, len;
	uint64_t mode; /* UFFDIO_MOVE_MODE_* */
	int64_t move;  /* out: bytes moved or negative errno */
};
static_assert(sizeof(struct uapi_uffdio_move) == 40, "kernel ABI");

struct uapi_uffdio_poison {
	uint64_t start, len;
	uint64_t mode;
	int64_t updated; /* out: bytes poisoned or negative errno */
};
static_assert(sizeof(struct uapi_uffdio_poison) == 32, "kernel ABI");

#define UAPI_UFFDIO_MOVE   _IOWR(0xAA, 0x05, struct uapi_uffdio_move)
#define UAPI_UFFDIO_POISON _IOWR(0xAA, 0x08, struct uapi_uffdio_poison)
#ifndef UFFDIO_MOVE_MODE_DONTWAKE
#define UFFDIO_MOVE_MODE_DONTWAKE        ((uint64_t)1 << 0)
#define UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES ((uint64_t)1 << 1)
#endif

/*
 * Files and sockets
 */
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x0020 /* 6.3 */
#endif
#ifndef F_GETOWNER_UIDS
#define F_GETOWNER_UIDS 17 /* CONFIG_CHECKPOINT_RESTORE, 3.4 */
#endif
#ifndef F_DUPFD_QUERY
#define F_DUPFD_QUERY (1024 + 3) /* same open file description? 6.10 */
#endif
#ifndef STATX_MNT_ID
#define STATX_MNT_ID 0x00001000U /* 5.8 */
#endif
#ifndef STATX_MNT_ID_UNIQUE
#define STATX_MNT_ID_UNIQUE 0x00004000U /* 6.8 */
#endif
#ifndef STATX_ATTR_MOUNT_ROOT
#define STATX_ATTR_MOUNT_ROOT 0x00002000
#endif
#ifndef TFD_IOC_SET_TICKS
#define TFD_IOC_SET_TICKS _IOW('T', 0, uint64_t)
#endif
#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72 /* 5.14 */
#endif
#ifndef SO_RESERVE_MEM
#define SO_RESERVE_MEM 73 /* 5.16 */
#endif
#ifndef SO_TXREHASH
#define SO_TXREHASH 74 /* 5.18 */
#endif
#ifndef SO_RCVMARK
#define SO_RCVMARK 75 /* 6.0 */
#endif
#ifndef SO_PASSPIDFD
#define SO_PASSPIDFD 76 /* 6.5 */
#define SO_PEERPIDFD 77
#endif
#ifndef SO_RCVPRIORITY
#define SO_RCVPRIORITY 82 /* 6.14 */
#endif
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83 /* 6.16 */
#endif
#ifndef SO_INQ
#define SO_INQ 84 /* 6.18 */
#endif
#define UAPI_SCM_PIDFD 0x04 /* an enumerator in newer C libraries */

/*
 * Mounts
 */
#ifndef MOVE_MOUNT_SET_GROUP
#define MOVE_MOUNT_SET_GROUP 0x00000100 /* 5.15 */
#endif
#ifndef MOVE_MOUNT_BENEATH
#define MOVE_MOUNT_BENEATH 0x00000200 /* 6.5 */
#endif

struct uapi_mnt_id_req {
	uint32_t size;
	uint32_t spare;
	uint64_t mnt_id;    /* unique id, as STATX_MNT_ID_UNIQUE gives it */
	uint64_t param;     /* statmount: STATMOUNT_*; listmount: last id seen, 0 to begin */
	uint64_t mnt_ns_id; /* 6.11; 0 is one's own */
};
static_assert(sizeof(struct uapi_mnt_id_req) == 32, "kernel ABI, size since 6.11");

/* Fields named "str" are offsets into str[]. statmount() is of 6.8. */
struct uapi_statmount {
	uint32_t size;
	uint32_t mnt_opts; /* str; 6.11 */
	uint64_t mask;     /* out: STATMOUNT_* that were filled in */
	uint32_t sb_dev_major, sb_dev_minor;
	uint64_t sb_magic;
	uint32_t sb_flags;
	uint32_t fs_type;                       /* str */
	uint64_t mnt_id, mnt_parent_id;         /* unique ids */
	uint32_t mnt_id_old, mnt_parent_id_old; /* as in mountinfo */
	uint64_t mnt_attr;                      /* MOUNT_ATTR_* */
	uint64_t mnt_propagation;               /* MS_SHARED, MS_SLAVE, MS_PRIVATE, MS_UNBINDABLE */
	uint64_t mnt_peer_group, mnt_master, propagate_from;
	uint32_t mnt_root, mnt_point; /* str */
	uint64_t mnt_ns_id;
	uint32_t fs_subtype, sb_source; /* str */
	uint32_t opt_num, opt_array;
	uint32_t opt_sec_num, opt_sec_array;
	uint64_t supported_mask;
	uint32_t mnt_uidmap_num, mnt_uidmap;
	uint32_t mnt_gidmap_num, mnt_gidmap;
	uint64_t spare[43];
	char str[];
};
static_assert(sizeof(struct uapi_statmount) == 512, "kernel ABI");

#ifndef STATMOUNT_SB_BASIC
#define STATMOUNT_SB_BASIC       0x00000001U
#define STATMOUNT_MNT_BASIC      0x00000002U
#define STATMOUNT_PROPAGATE_FROM 0x00000004U
#define STATMOUNT_MNT_ROOT       0x00000008U
#define STATMOUNT_MNT_POINT      0x00000010U
#define STATMOUNT_FS_TYPE        0x00000020U
#define LSMT_ROOT                UINT64_MAX
#endif
#ifndef STATMOUNT_MNT_NS_ID
#define STATMOUNT_MNT_NS_ID 0x00000040U
#endif
#ifndef STATMOUNT_MNT_OPTS
#define STATMOUNT_MNT_OPTS 0x00000080U
#endif
#ifndef STATMOUNT_FS_SUBTYPE
#define STATMOUNT_FS_SUBTYPE 0x00000100U
#define STATMOUNT_SB_SOURCE  0x00000200U
#define STATMOUNT_OPT_ARRAY  0x00000400U
#endif

/* linux/magic.h, 6.9 */
#ifndef PID_FS_MAGIC
#define PID_FS_MAGIC 0x50494446
#endif

#endif

/*
 * /proc/PID/status, proc_pid_status(5): named lines. Which lines there are depends on the kernel's version and
 * configuration and on the state of the task (a zombie has no memory lines), so each optional one has a bit.
 */
#ifndef CR_PROCFS_STATUS_H
#define CR_PROCFS_STATUS_H

#include "procfs/proc-dir.h"
#include "procfs/stat.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct cr_error;

/* MAX_PID_NS_LEVEL is 32 below the initial namespace, since Linux 3.7; include/linux/pid_namespace.h */
#define PROC_NS_LEVELS 33

/* Ids of one task, from the namespace of the reader's procfs inwards; the last is the task's own view. */
struct proc_ns_ids {
	uint32_t nr;               /* 0: the line was not there (before 4.1, or no CONFIG_PID_NS) */
	pid_t ids[PROC_NS_LEVELS]; /* 0: not visible in that namespace */
};

enum proc_status_line {
	PROC_STATUS_UMASK = 1u << 0, /* 4.7; not for zombies */
	PROC_STATUS_NGID = 1u << 1,
	PROC_STATUS_FDSIZE = 1u << 2,
	PROC_STATUS_GROUPS = 1u << 3,
	PROC_STATUS_KTHREAD = 1u << 4, /* 6.8 */
	PROC_STATUS_VMRSS = 1u << 5,   /* tasks with memory only */
	PROC_STATUS_VMSWAP = 1u << 6,
	PROC_STATUS_CORE_DUMPING = 1u << 7, /* 4.15 */
	PROC_STATUS_THP_ENABLED = 1u << 8,  /* 5.0 */
	PROC_STATUS_SIGQ = 1u << 9,
	PROC_STATUS_CAP_AMB = 1u << 10,      /* 4.3 */
	PROC_STATUS_NO_NEW_PRIVS = 1u << 11, /* 4.10 */
	PROC_STATUS_SECCOMP = 1u << 12,
	PROC_STATUS_SECCOMP_FILTERS = 1u << 13, /* 5.9 */
	PROC_STATUS_SPEC_SSB = 1u << 14,        /* 4.17 */
	PROC_STATUS_SPEC_IB = 1u << 15,         /* 5.11 */
	PROC_STATUS_CPUS = 1u << 16,
	PROC_STATUS_MEMS = 1u << 17,
	PROC_STATUS_SHADOW_STACK = 1u << 18, /* x86_Thread_features, 6.6 */
	PROC_STATUS_VMLCK = 1u << 19,
};

/* A set of processors or memory nodes: bit n of the set is bit n % 32 of words[n / 32]. */
struct proc_bits {
	uint32_t nr_words;
	const uint32_t *words;
};

/* All zero is a valid empty status. proc_status_done() gives back what a filled one holds. */
struct proc_status {
	uint32_t lines;               /* PROC_STATUS_* that were there */
	char comm[PROC_COMM_MAX + 1]; /* empty: there was no line */
	char state;
	uint32_t umask;
	pid_t tgid, ngid, pid, ppid, tracer_pid;
	uint32_t uid[4], gid[4]; /* real, effective, saved, file system */
	uint32_t fd_size;
	uint32_t nr_groups;
	const uint32_t *groups; /* ascending, as the kernel keeps them */
	struct proc_ns_ids ns_tgid, ns_pid, ns_pgid, ns_sid;
	uint32_t kthread, threads;
	uint64_t vm_lck_kb, vm_rss_kb, vm_swap_kb;
	uint32_t core_dumping, thp_enabled;
	uint64_t sigq_used, sigq_limit;                       /* of the user, not of the task */
	uint64_t sig_pnd, shd_pnd, sig_blk, sig_ign, sig_cgt; /* signal n is bit n - 1 */
	uint64_t cap_inh, cap_prm, cap_eff, cap_bnd, cap_amb;
	uint32_t no_new_privs, seccomp, seccomp_filters;
	int spec_ssb, spec_ib; /* as PR_GET_SPECULATION_CTRL but no DISABLE_NOEXEC; -1: "unknown" */
	uint32_t shadow_stack; /* ARCH_SHSTK_* */
	struct proc_bits cpus_allowed, mems_allowed;
	uint32_t *heap; /* groups and words live here */
};

/**
 * proc_status_parse() - pure but for memory. Return: 0; -EINVAL or -ERANGE, @err names the line; -ENOMEM. @ret is
 * overwritten.
 */
int proc_status_parse(const char *text, size_t len, struct proc_status *ret, struct cr_error *err);

/** proc_status_read() - of a process or thread. Return: as proc_status_parse() and proc_open(). */
int proc_status_read(const struct proc_dir *d, struct proc_status *ret, struct cr_error *err);

/** proc_status_done() - give back memory; an empty status and a second call are fine */
void proc_status_done(struct proc_status *s);

static inline void proc_status_done_slot(struct proc_status *s)
{
	proc_status_done(s);
}

#define autostatus __attribute__((cleanup(proc_status_done_slot)))

#endif

/* /proc/PID/stat, proc_pid_stat(5): numbers without names, in an order that has only ever grown at the end. */
#ifndef CR_PROCFS_STAT_H
#define CR_PROCFS_STAT_H

#include "procfs/proc-dir.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct cr_error;

#define PROC_COMM_MAX 64 /* kernel threads may have more than the 15 bytes of TASK_COMM_LEN, since 5.17 */

/* Addresses and exit_code read as 0 for a reader who may not trace the task. */
struct proc_stat {
	pid_t pid, ppid, pgrp, session; /* as the reader's procfs counts; 0: outside of its pid namespace */
	pid_t tpgid;                    /* -1: no terminal */
	char state;                     /* one of RSDTtXZPI and what kernels will add */
	char comm[PROC_COMM_MAX + 1];   /* raw, NUL terminated; newlines and parentheses happen */
	int tty_nr;                     /* device number as the kernel packs it, 0: no terminal */
	uint32_t flags;                 /* PF_* of the kernel */
	int exit_signal;                /* -1: thread that is not a leader */
	int nice;
	int num_threads;
	uint64_t starttime; /* clock ticks since boot */
	uint32_t rt_priority, policy;
	uint64_t start_code, end_code, start_stack;
	uint64_t start_data, end_data, start_brk;
	uint64_t arg_start, arg_end, env_start, env_end;
	int exit_code; /* wait(2) word */
};

/** proc_stat_parse() - pure. Return: 0; -EINVAL or -ERANGE, @err names the field. */
int proc_stat_parse(const char *text, size_t len, struct proc_stat *ret, struct cr_error *err);

/** proc_stat_read() - of a process or thread. Return: as proc_stat_parse() and proc_open(). */
int proc_stat_read(const struct proc_dir *d, struct proc_stat *ret, struct cr_error *err);

#endif

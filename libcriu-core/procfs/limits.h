/* /proc/PID/limits, proc_pid_limits(5). Readable without CAP_SYS_RESOURCE, unlike prlimit(2) on another uid's task. */
#ifndef CR_PROCFS_LIMITS_H
#define CR_PROCFS_LIMITS_H

#include "procfs/proc-dir.h"

#include <stddef.h>
#include <stdint.h>

struct cr_error;

#define PROC_NR_LIMITS      16
#define PROC_LIMIT_INFINITY UINT64_MAX

struct proc_limit {
	uint64_t soft, hard; /* PROC_LIMIT_INFINITY: unlimited */
};

/* Indexed by RLIMIT_*; cpu time is in seconds as for setrlimit(2) */
struct proc_limits {
	struct proc_limit of[PROC_NR_LIMITS];
};

/** proc_limits_parse() - pure; all 16 must be there. Return: 0; -EINVAL or -ERANGE, @err names the limit. */
int proc_limits_parse(const char *text, size_t len, struct proc_limits *ret, struct cr_error *err);

/** proc_limits_read() - Return: as proc_limits_parse() and proc_open() */
int proc_limits_read(const struct proc_dir *d, struct proc_limits *ret, struct cr_error *err);

#endif

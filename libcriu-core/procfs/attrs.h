/* The small files of a task: one value each, or a few. */
#ifndef CR_PROCFS_ATTRS_H
#define CR_PROCFS_ATTRS_H

#include "base/array.h"
#include "procfs/proc-dir.h"
#include "procfs/stat.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cr_error;

/**
 * proc_comm_parse() - the name of a thread, raw. Return: 0; -EINVAL no newline at the end; -ERANGE longer than
 * PROC_COMM_MAX.
 */
int proc_comm_parse(const char *text, size_t len, char ret[static PROC_COMM_MAX + 1], struct cr_error *err);
int proc_comm_read(const struct proc_dir *d, char ret[static PROC_COMM_MAX + 1], struct cr_error *err);

/** proc_personality_parse() - PER_* and flags, printed in hexadecimal; personality(2) */
int proc_personality_parse(const char *text, size_t len, uint32_t *ret, struct cr_error *err);
int proc_personality_read(const struct proc_dir *d, uint32_t *ret, struct cr_error *err);

/** proc_loginuid_parse() - audit user, UINT32_MAX: never set. The file has no newline. -ENOENT without CONFIG_AUDIT. */
int proc_loginuid_parse(const char *text, size_t len, uint32_t *ret, struct cr_error *err);
int proc_loginuid_read(const struct proc_dir *d, uint32_t *ret, struct cr_error *err);

/** proc_oom_score_adj_parse() - from -1000 to 1000 */
int proc_oom_score_adj_parse(const char *text, size_t len, int *ret, struct cr_error *err);
int proc_oom_score_adj_read(const struct proc_dir *d, int *ret, struct cr_error *err);

/** proc_autogroup_parse() - nice of the session's group of tasks; an empty file (in none) is 0. -ENOENT without autogroups. */
int proc_autogroup_parse(const char *text, size_t len, int *ret, struct cr_error *err);
int proc_autogroup_read(const struct proc_dir *d, int *ret, struct cr_error *err);

/**
 * proc_coredump_filter_parse() - bits of core(5), printed in hexadecimal; an empty file (no memory: kernel thread,
 * zombie) is 0
 */
int proc_coredump_filter_parse(const char *text, size_t len, uint32_t *ret, struct cr_error *err);
int proc_coredump_filter_read(const struct proc_dir *d, uint32_t *ret, struct cr_error *err);

/** proc_timerslack_parse() - nanoseconds. Of a leader's directory or task/TID; 0 for real-time policies since 6.13 */
int proc_timerslack_parse(const char *text, size_t len, uint64_t *ret, struct cr_error *err);
int proc_timerslack_read(const struct proc_dir *d, uint64_t *ret, struct cr_error *err);

/* /proc/PID/syscall; proc_pid_syscall(5) */
struct proc_syscall {
	bool running; /* on a processor or about to be: the rest is 0 */
	int64_t nr;   /* -1: blocked, but not in a system call */
	uint64_t args[6];
	uint64_t sp, pc;
};

int proc_syscall_parse(const char *text, size_t len, struct proc_syscall *ret, struct cr_error *err);
int proc_syscall_read(const struct proc_dir *d, struct proc_syscall *ret, struct cr_error *err);

#define PROC_LABEL_MAX 4096

/**
 * proc_label_parse() - attr/current: security label, without the newline or NUL that some modules end it with
 * Return: length, @ret NUL terminated; -ERANGE it does not fit; -EINVAL it holds a NUL.
 */
int proc_label_parse(const char *text, size_t len, char ret[static PROC_LABEL_MAX + 1], struct cr_error *err);

/** proc_label_read() - "" when no security module answers. Return: as proc_label_parse() and proc_open(). */
int proc_label_read(const struct proc_dir *d, char ret[static PROC_LABEL_MAX + 1], struct cr_error *err);

/** proc_uptime_parse() - /proc/uptime: time since boot in hundredths of a second, in the reader's time namespace */
int proc_uptime_parse(const char *text, size_t len, uint64_t *ret, struct cr_error *err);
int proc_uptime_read(int procfd, uint64_t *ret, struct cr_error *err);

/* /proc/PID/timens_offsets: time_namespaces(7). What tasks created by this one will see. */
struct proc_timens {
	int64_t monotonic_sec, boottime_sec;
	uint32_t monotonic_nsec, boottime_nsec;
};

/** proc_timens_parse() - Return: 0; -EINVAL or -ERANGE. proc_timens_read(): -ENOENT without CONFIG_TIME_NS. */
int proc_timens_parse(const char *text, size_t len, struct proc_timens *ret, struct cr_error *err);
int proc_timens_read(const struct proc_dir *d, struct proc_timens *ret, struct cr_error *err);

DEFINE_VEC(proc_auxv_vec, uint64_t)

#define PROC_AUXV_MAX 512 /* words */

/**
 * proc_auxv_parse() - append the pairs of a 64-bit process, AT_NULL included. Return: 0; -EINVAL no AT_NULL; -E2BIG;
 * -ENOMEM.
 */
int proc_auxv_parse(const char *text, size_t len, struct proc_auxv_vec *ret, struct cr_error *err);
int proc_auxv_read(const struct proc_dir *d, struct proc_auxv_vec *ret, struct cr_error *err);

#endif

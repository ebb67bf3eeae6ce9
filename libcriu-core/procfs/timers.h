/*
 * /proc/PID/timers, proc_pid_timers(5): POSIX timers. What the text lacks (interval, time left) only the process can
 * tell.
 */
#ifndef CR_PROCFS_TIMERS_H
#define CR_PROCFS_TIMERS_H

#include "base/array.h"
#include "procfs/proc-dir.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct cr_error;

struct proc_timer {
	int id; /* of timer_create() */
	int signo;
	uint64_t sigev_value;
	int notify;     /* SIGEV_SIGNAL, SIGEV_NONE or SIGEV_THREAD, without SIGEV_THREAD_ID */
	bool to_thread; /* SIGEV_THREAD_ID */
	pid_t pid;      /* whom it notifies, as the reader's procfs counts; 0: gone */
	int clock_id;   /* -6 process and -2 thread cpu time; others below 0 are cpu clocks of other tasks */
};

DEFINE_VEC(proc_timer_vec, struct proc_timer)

#define PROC_TIMERS_MAX ((size_t)1 << 20)

/**
 * proc_timers_parse() - append all timers, newest first as the kernel lists them. Return: 0; -EINVAL or -ERANGE;
 * -E2BIG; -ENOMEM.
 */
int proc_timers_parse(const char *text, size_t len, struct proc_timer_vec *ret, struct cr_error *err);

/** proc_timers_read() - of a process. Return: as proc_timers_parse() and proc_open(). */
int proc_timers_read(const struct proc_dir *d, struct proc_timer_vec *ret, struct cr_error *err);

#endif

/*
 * Has a process made no system call since? The kernel counts those of each thread: a perf counter on the tracepoint
 * raw_syscalls:sys_enter, which stops nobody. Together with the call that a thread is waiting in when counting has begun, which
 * must be none that changes memory, this proves that nothing of its mappings has changed but for what maps shows.
 *
 * While a counter is open, system calls of all processes are some nanoseconds slower. Giving back the last one waits for all
 * processors, tens of milliseconds: not while anybody is frozen.
 */
#ifndef CR_MM_QUIET_H
#define CR_MM_QUIET_H

#include "base/array.h"
#include "procfs/proc-dir.h"

#include <stdbool.h>
#include <sys/types.h>

struct task;

struct quiet_thread {
	pid_t tid;
	int counter;
};
DEFINE_VEC(quiet_threads, struct quiet_thread)

/** quiet_event() - what perf calls the tracepoint here. Return: -1 it is not to be had */
int quiet_event(void);

/**
 * quiet_begin() - begin to count for all threads of a process, if all of them just wait
 * @event: from quiet_event()
 * Return: true: quiet_done() is due; false: it is busy, or it cannot be told, or memory is short.
 */
bool quiet_begin(const struct proc_dir *dir, int event, struct quiet_threads *ret);

/** quiet_still() - the process is stopped: are its threads the same, and has none of them made a call? */
bool quiet_still(const struct quiet_threads *threads, const struct task *task);

void quiet_done(struct quiet_threads *threads);

#endif

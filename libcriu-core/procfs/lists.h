/* What belongs to a process, as lists of numbers: descriptors, threads, children. */
#ifndef CR_PROCFS_LISTS_H
#define CR_PROCFS_LISTS_H

#include "base/array.h"
#include "procfs/proc-dir.h"

#include <stddef.h>

struct cr_error;

DEFINE_VEC(int_vec, int)

static inline void int_vec_done_slot(struct int_vec *v)
{
	int_vec_done(v);
}

#define autointvec __attribute__((cleanup(int_vec_done_slot)))

/** proc_fds_read() - append open descriptors, ascending. Return: 0; -ENOMEM; as proc_open(). */
int proc_fds_read(const struct proc_dir *d, struct int_vec *ret, struct cr_error *err);

/**
 * proc_tasks_read() - append threads, ascending; an exited leader that still has threads is one of them. Return: as
 * above.
 */
int proc_tasks_read(const struct proc_dir *d, struct int_vec *ret, struct cr_error *err);

/** proc_pids_read() - append all processes of a procfs, ascending; @procfd as in proc_dir_open() */
int proc_pids_read(int procfd, struct int_vec *ret, struct cr_error *err);

/** proc_children_parse() - append the text of a children file. Return: 0; -EINVAL or -ERANGE; -ENOMEM. */
int proc_children_parse(const char *text, size_t len, struct int_vec *ret, struct cr_error *err);

/**
 * proc_children_read() - append the children of all threads of a process
 * @d: of the process, not of a thread
 *
 * From /proc/PID/task/TID/children, or where that is not configured (CONFIG_PROC_CHILDREN) by asking every process for
 * its parent. Only complete if the process and its children are stopped: children that exit meanwhile make the kernel
 * skip others; proc_tid_children(5).
 *
 * Return: 0, ascending; -ENOMEM; -EINVAL or -ERANGE; as proc_open().
 */
int proc_children_read(const struct proc_dir *d, struct int_vec *ret, struct cr_error *err);

/** proc_children_scan() - append the processes of @procfd whose parent is @pid: the slow way of proc_children_read() */
int proc_children_scan(int procfd, pid_t pid, struct int_vec *ret, struct cr_error *err);

#endif

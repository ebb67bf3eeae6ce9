/*
 * /proc/PID/fdinfo/FD, proc_pid_fdinfo(5): lines that every descriptor has, then lines of its kind. The latter are
 * parsed in the file of each kind, from the iterator here.
 */
#ifndef CR_PROCFS_FDINFO_H
#define CR_PROCFS_FDINFO_H

#include "procfs/locks.h"
#include "procfs/proc-dir.h"
#include "procfs/scan.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;
struct cr_error;

#define PROC_FDINFO_MAX ((size_t)64 << 20) /* an epoll or inotify descriptor has one line per item */

/* All zero is a valid empty fdinfo. */
struct proc_fdinfo {
	int64_t pos;
	uint32_t flags; /* O_*, with O_CLOEXEC of the descriptor mixed in */
	int mnt_id;     /* as in mountinfo; -1: no such line, before 3.15 */
	uint64_t ino;   /* 5.14; 0 before */
	bool has_ino;
	struct proc_lock_vec locks; /* owned; give back with proc_fdinfo_done() */
	struct scan rest;           /* borrowed from the text: from the first line that is not common to the end */
};

/**
 * proc_fdinfo_parse() - the common lines; pure but for the list of locks
 * @text: must outlive @ret->rest
 *
 * Return: 0; -EINVAL or -ERANGE, @err names the line; -ENOMEM.
 */
int proc_fdinfo_parse(const char *text, size_t len, struct proc_fdinfo *ret, struct cr_error *err);

/**
 * proc_fdinfo_next() - the next line of the kind
 * @rest: a copy of proc_fdinfo.rest to begin with
 * @ret:  the line without its newline; scan_lit() tells which one it is
 *
 * Return: true; false at the end.
 */
bool proc_fdinfo_next(struct scan *rest, struct scan *ret);

/**
 * proc_fdinfo_read() - of descriptor @fd of a process
 * @text: takes the text, reset first; made once with BUF_INIT(PROC_FDINFO_MAX) for many descriptors
 *
 * Return: as proc_fdinfo_parse() and proc_open(); -EBADF no such descriptor.
 */
int proc_fdinfo_read(const struct proc_dir *d, int fd, struct buf *text, struct proc_fdinfo *ret, struct cr_error *err);

void proc_fdinfo_done(struct proc_fdinfo *f);

static inline void proc_fdinfo_done_slot(struct proc_fdinfo *f)
{
	proc_fdinfo_done(f);
}

#define autofdinfo __attribute__((cleanup(proc_fdinfo_done_slot)))

#endif

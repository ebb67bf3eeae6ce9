/*
 * File locks and leases: lines of /proc/locks, proc_locks(5), and of the "lock:" lines of fdinfo, which have the same
 * form.
 */
#ifndef CR_PROCFS_LOCKS_H
#define CR_PROCFS_LOCKS_H

#include "base/array.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct cr_error;
struct scan;

enum proc_lock_kind {
	PROC_LOCK_POSIX = 1,
	PROC_LOCK_OFD,
	PROC_LOCK_FLOCK,
	PROC_LOCK_LEASE,
	PROC_LOCK_DELEG, /* delegation, held by a file server */
	PROC_LOCK_OTHER, /* a word this program does not know */
};

enum proc_lock_access {
	PROC_LOCK_NONE, /* LOCK_MAND with neither, or UNLCK of a lease being broken */
	PROC_LOCK_READ,
	PROC_LOCK_WRITE,
	PROC_LOCK_RW, /* LOCK_MAND, before 5.18 */
};

enum proc_lock_mode {
	PROC_LOCK_ADVISORY,
	PROC_LOCK_MANDATORY, /* before 5.15; also MSNFS, of LOCK_MAND */
	PROC_LOCK_ACTIVE,    /* leases: nobody asked for it back */
	PROC_LOCK_BREAKING,  /* leases: being taken back */
	PROC_LOCK_BREAKER,   /* leases: the waiting side */
};

#define PROC_LOCK_EOF INT64_MAX

struct proc_lock {
	uint64_t id;  /* number of the line; a waiter has that of the lock it waits for */
	bool waiting; /* "->": blocked by the lock of the same id */
	enum proc_lock_kind kind;
	enum proc_lock_mode mode;
	enum proc_lock_access access;
	pid_t pid; /* who set it, as the reader's procfs counts; -1: OFD; 0: not visible in it */
	uint32_t dev_major, dev_minor;
	uint64_t ino;
	int64_t start, end; /* bytes, both inclusive; end PROC_LOCK_EOF: to the end of the file */
};

DEFINE_VEC(proc_lock_vec, struct proc_lock)

#define PROC_LOCKS_MAX ((size_t)1 << 20)

/** proc_lock_parse_line() - one line, from its number on. Return: 0; -EINVAL or -ERANGE, @err names the field. */
int proc_lock_parse_line(const struct scan *line, struct proc_lock *ret, struct cr_error *err);

/** proc_locks_parse() - append all lines of /proc/locks. Return: as proc_lock_parse_line(), -E2BIG, -ENOMEM. */
int proc_locks_parse(const char *text, size_t len, struct proc_lock_vec *ret, struct cr_error *err);

/**
 * proc_locks_read() - of the pid namespace of @procfd (AT_FDCWD: /proc). Return: as proc_locks_parse(), negative
 * errno.
 */
int proc_locks_read(int procfd, struct proc_lock_vec *ret, struct cr_error *err);

#endif

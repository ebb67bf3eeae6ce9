/*
 * A process or thread as procfs shows it: one directory descriptor that all readers start from. It keeps referring to
 * the same task when its number is used again, so that files read through it never mix two tasks.
 */
#ifndef CR_PROCFS_PROC_DIR_H
#define CR_PROCFS_PROC_DIR_H

#include <stddef.h>
#include <sys/types.h>

struct buf;
struct cr_error;

struct proc_dir {
	int fd;    /* O_PATH descriptor of /proc/PID or /proc/PID/task/TID; -1: nothing is open */
	pid_t pid; /* the PID or TID, for messages */
};

#define PROC_DIR_NONE    \
	{                \
		.fd = -1 \
	}

/**
 * proc_dir_open() - a process
 * @procfd: descriptor of a mounted procfs, or AT_FDCWD for /proc
 * @pid:    as that procfs counts
 *
 * Return: 0; -ESRCH there is no such process; negative errno. The caller owns @ret.
 */
int proc_dir_open(int procfd, pid_t pid, struct proc_dir *ret, struct cr_error *err);

/** proc_dir_open_task() - thread @tid of process @pid; as proc_dir_open() */
int proc_dir_open_task(int procfd, pid_t pid, pid_t tid, struct proc_dir *ret, struct cr_error *err);

/** proc_dir_close() - close, unless it is closed already */
void proc_dir_close(struct proc_dir *d);

static inline void proc_dir_close_slot(struct proc_dir *d)
{
	proc_dir_close(d);
}

#define autoprocdir __attribute__((cleanup(proc_dir_close_slot)))

/**
 * proc_open() - open a file of the task
 * @flags: of open(2); O_CLOEXEC is added
 *
 * Return: descriptor; -ESRCH the task is gone; -ENOENT this kernel has no such file; negative errno.
 */
int proc_open(const struct proc_dir *d, const char *name, int flags, struct cr_error *err);

/** proc_read_buf() - append a whole file of the task to @text. Return: 0; -EFBIG past the ceiling; as proc_open(). */
int proc_read_buf(const struct proc_dir *d, const char *name, struct buf *text, struct cr_error *err);

/**
 * proc_read_small() - a whole file of the task into a buffer of the caller
 * Return: bytes read; -EFBIG it does not fit (a file of exactly @size bytes does not either); as proc_open().
 */
ssize_t proc_read_small(const struct proc_dir *d, const char *name, char *ret, size_t size, struct cr_error *err);
/** proc_read_record() - the same for files of one record, which the kernel hands out in one piece (single_open()) */
ssize_t proc_read_record(const struct proc_dir *d, const char *name, char *ret, size_t size, struct cr_error *err);

/** proc_base_read_buf() - append a file of procfs itself, such as "locks"; @procfd as in proc_dir_open() */
int proc_base_read_buf(int procfd, const char *name, struct buf *text, struct cr_error *err);

#endif

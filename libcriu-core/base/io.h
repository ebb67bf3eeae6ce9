/* Whole reads and writes on descriptors: no short counts, no EINTR, for the callers. */
#ifndef CR_BASE_IO_H
#define CR_BASE_IO_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct buf;

/** fd_read_all() - read until end of file or until @size bytes. Return: bytes read, or negative errno. */
ssize_t fd_read_all(int fd, void *buf, size_t size);

/** fd_pread_all() - as fd_read_all(), from @off, leaving the position alone */
ssize_t fd_pread_all(int fd, void *buf, size_t size, off_t off);

/** fd_write_all() - write all of @buf. Return: 0 or negative errno (-EIO if the kernel takes nothing). */
int fd_write_all(int fd, const void *buf, size_t size);
int fd_pwrite_all(int fd, const void *buf, size_t size, off_t off);

/** fd_read_buf() - append everything up to end of file to @b. Return: 0, -EFBIG past the ceiling of @b, negative errno. */
int fd_read_buf(int fd, struct buf *b);

/** file_read_buf() - open @path below @dirfd (O_RDONLY|O_CLOEXEC) and append its content to @b. Return: as fd_read_buf(). */
int file_read_buf(int dirfd, const char *path, struct buf *b);

/**
 * open_by_name() - openat(2) by names alone
 * Links of procfs that lead to what a process has open are not followed (RESOLVE_NO_MAGICLINKS, Linux 5.6): whoever has
 * CAP_SYS_PTRACE would get by them where others, who gave the path, do not.
 * Return: descriptor, O_CLOEXEC; negative errno, -ELOOP for such a link.
 */
int open_by_name(int dirfd, const char *path, int flags);

/** fd_path() - text of /proc/self/fd/@fd into @ret (NUL terminated). Return: length, -ENAMETOOLONG, negative errno. */
ssize_t fd_path(int fd, char *ret, size_t size);

#endif

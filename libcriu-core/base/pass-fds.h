/* Descriptors that travel with a message over a UNIX socket (SCM_RIGHTS, unix(7)). */
#ifndef CR_BASE_PASS_FDS_H
#define CR_BASE_PASS_FDS_H

#include <stddef.h>
#include <sys/types.h>

#define PASS_FDS_MAX 2

/**
 * pass_fds_send() - one message of @len bytes with @nr descriptors (at most PASS_FDS_MAX, which may be none)
 * No SIGPIPE. Return: bytes sent; negative errno.
 */
ssize_t pass_fds_send(int sock, const void *bytes, size_t len, const int *fds, size_t nr);

/**
 * pass_fds_receive() - one message of at most @len bytes, and the descriptors that came with it, close-on-exec
 * @fds: @nr of them (at most PASS_FDS_MAX); -1 where none came. They are the caller's.
 * Return: bytes (0: the end); -EPROTO there were more descriptors, none of which stays open; negative errno.
 */
ssize_t pass_fds_receive(int sock, void *bytes, size_t len, int *fds, size_t nr);

#endif

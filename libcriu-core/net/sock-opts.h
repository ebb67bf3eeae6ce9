/* Options of SOL_SOCKET, which all families have: sk_opts_entry. */
#ifndef CR_NET_SOCK_OPTS_H
#define CR_NET_SOCK_OPTS_H

#include "base/error.h"
#include "files/file-ops.h"

struct cr_context;

/**
 * sock_opts_dump() - options of f->fd, in the pool of the table
 * Return: 0; 1 an obstacle was noted (a filter that cannot be read); negative errno.
 */
int sock_opts_dump(struct file_table *t, struct open_file *f, img_sk_opts_entry **ret, struct cr_error *err);

/* What is to be done about a socket whose device does not exist any more. */
#define SOCK_DEVICE_GONE "no device to come will have that number: close the socket, or restart the program that has it"

/** sock_opts_check() - of an image, file @id: every value in range? Pure. Return: 0; -EBADMSG. */
int sock_opts_check(const img_sk_opts_entry *o, uint32_t id, struct cr_error *err);

/* Sizes of buffers, as the kernel tells them. */
struct sock_sizes {
	uint32_t snd, rcv;
};

/**
 * sock_opts_restore() - all but what would be in the way of binding and refilling a fresh socket
 * @now: sizes that it has; NULL: they are not known
 * Sizes of buffers that the limits of this machine forbid are cut, with a warning.
 */
int sock_opts_restore(struct cr_context *ctx, int fd, const img_sk_opts_entry *o, const struct sock_sizes *now,
		      struct cr_error *err);

/** sock_opts_device() - bind it to its device, which comes before its port: sockets of several devices can have the same one */
int sock_opts_device(int fd, const img_sk_opts_entry *o, struct cr_error *err);

/** sock_opts_finish() - the rest, when it is bound and its queue is full: SO_REUSEADDR and SO_REUSEPORT, SO_PASSCRED and the
 * like, SO_RCVLOWAT, SO_PEEK_OFF, filters. Last of all comes SO_LOCK_FILTER. */
int sock_opts_finish(int fd, const img_sk_opts_entry *o, struct cr_error *err);

#endif

/* Descriptors that a request names by their number in the client. Directories are opened by peer.h. */
#ifndef CRIU_SRV_CLIENT_FDS_H
#define CRIU_SRV_CLIENT_FDS_H

#include "peer.h"

/**
 * client_open_status() - open the client's descriptor @fd for writing, as status_fd
 * Return: descriptor, owned by the caller; negative errno with @err filled.
 */
int client_open_status(const struct peer *p, int fd, struct cr_error *err);

/** client_check_store() - can the client's descriptor @fd keep pidfds (pidfd_store_sk)? Return: 0; negative errno with @err filled. */
int client_check_store(const struct peer *p, int fd, struct cr_error *err);

#endif

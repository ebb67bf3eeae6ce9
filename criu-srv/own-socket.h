/* What the kernel tells about the other end of our socket. */
#ifndef CRIU_SRV_OWN_SOCKET_H
#define CRIU_SRV_OWN_SOCKET_H

#include <stdint.h>

/**
 * own_socket_peer() - inode number of the socket that @sock is connected to
 * Return: 0 if the kernel does not tell: no UNIX_DIAG, or a client in another network namespace
 */
uint32_t own_socket_peer(int sock);

#endif

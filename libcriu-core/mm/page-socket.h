/* Sockets of page servers and of those that talk to them: made, found, or given by the caller. */
#ifndef CR_MM_PAGE_SOCKET_H
#define CR_MM_PAGE_SOCKET_H

#include "base/error.h"

#include <stdint.h>

/**
 * page_socket_listen() - a listening TCP socket
 * @address: of IPv4 or IPv6, in numbers; NULL: all of this machine
 * @port:    0: the kernel chooses. *@ret_port is what it came to.
 * Return: descriptor; negative errno.
 */
int page_socket_listen(const char *address, uint16_t port, uint16_t *ret_port, struct cr_error *err);

/** page_socket_connect() - a TCP connection. @address: in numbers. Return: descriptor; negative errno */
int page_socket_connect(const char *address, uint16_t port, struct cr_error *err);

/** page_socket_accept() - wait for the next connection of @listener. Return: descriptor; negative errno */
int page_socket_accept(int listener, struct cr_error *err);

/** page_socket_given() - a descriptor of our own for a connected stream socket of the caller's. Return: descriptor; negative errno */
int page_socket_given(int fd, struct cr_error *err);

#endif

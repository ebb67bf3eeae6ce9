/* What a socket is, in words, for obstacles: family, type, addresses. */
#ifndef CR_NET_DESCRIBE_H
#define CR_NET_DESCRIBE_H

#include <stddef.h>
#include <sys/socket.h>

/** socket_describe() - "TCP socket 127.0.0.1:80 to 127.0.0.1:4711" of our copy @fd */
void socket_describe(int fd, char *ret, size_t size);

/** socket_address_text() - "127.0.0.1:80", "[::1]:80", "/run/x.sock", "@name"; empty for an unnamed one. Pure. */
void socket_address_text(const struct sockaddr_storage *sa, socklen_t len, char *ret, size_t size);

#endif

/* What victims about sockets share: options that are one int, and addresses of the loopback device. */
#ifndef VICTIM_SOCKETS_H
#define VICTIM_SOCKETS_H

#include "victim.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static inline int get(int fd, int level, int option)
{
	int v = -1;
	socklen_t len = sizeof(v);

	expect(getsockopt(fd, level, option, &v, &len) == 0, "getsockopt %d %d", level, option);
	return v;
}

static inline void set(int fd, int level, int option, int value)
{
	if (setsockopt(fd, level, option, &value, sizeof(value)) < 0) {
		fprintf(stderr, "level %d option %d value %d: %s\n", level, option, value, strerror(errno));
		need(!"setsockopt");
	}
}

/* for bind(2) and the like */
static inline socklen_t loopback(int family, uint16_t port, struct sockaddr_storage *ret)
{
	struct sockaddr_in *in = (void *)ret;
	struct sockaddr_in6 *in6 = (void *)ret;

	memset(ret, 0, sizeof(*ret));
	ret->ss_family = family;
	if (family == AF_INET) {
		in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		in->sin_port = htons(port);
		return sizeof(*in);
	}
	in6->sin6_addr = in6addr_loopback;
	in6->sin6_port = htons(port);
	return sizeof(*in6);
}

static inline uint16_t port_of(int fd)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);

	expect(getsockname(fd, (struct sockaddr *)&sa, &len) == 0, "getsockname");
	return ntohs(sa.ss_family == AF_INET ? ((struct sockaddr_in *)&sa)->sin_port
					     : ((struct sockaddr_in6 *)&sa)->sin6_port);
}

#endif

/* Sockets in words, for obstacles; see describe.h. */
#include "net/describe.h"

#include "base/array.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

static int socket_option(int fd, int option)
{
	int v = -1;
	socklen_t len = sizeof(v);

	return getsockopt(fd, SOL_SOCKET, option, &v, &len) < 0 ? -1 : v;
}

static const char *family_name(int family, int type)
{
	static const struct {
		int family, type;
		const char *name;
	} names[] = {
		{ AF_INET, SOCK_STREAM, "TCP socket" },
		{ AF_INET6, SOCK_STREAM, "TCP socket" },
		{ AF_INET, SOCK_DGRAM, "UDP socket" },
		{ AF_INET6, SOCK_DGRAM, "UDP socket" },
		{ AF_INET, SOCK_RAW, "raw IP socket" },
		{ AF_INET6, SOCK_RAW, "raw IP socket" },
		{ AF_UNIX, SOCK_STREAM, "UNIX stream socket" },
		{ AF_UNIX, SOCK_DGRAM, "UNIX datagram socket" },
		{ AF_UNIX, SOCK_SEQPACKET, "UNIX packet socket" },
		{ AF_NETLINK, -1, "netlink socket" },
		{ AF_PACKET, -1, "packet socket" },
		{ AF_VSOCK, -1, "vsock socket" },
		{ AF_ALG, -1, "kernel crypto socket" },
	};

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (names[i].family == family && (names[i].type == type || names[i].type < 0))
			return names[i].name;
	return NULL;
}

void socket_address_text(const struct sockaddr_storage *sa, socklen_t len, char *ret, size_t size)
{
	const struct sockaddr_un *un = (const void *)sa;
	const struct sockaddr_in *in = (const void *)sa;
	const struct sockaddr_in6 *in6 = (const void *)sa;
	char text[INET6_ADDRSTRLEN];
	size_t path = offsetof(struct sockaddr_un, sun_path);

	ret[0] = '\0';
	if (len >= sizeof(*in) && sa->ss_family == AF_INET)
		snprintf(ret, size, "%s:%u", inet_ntop(AF_INET, &in->sin_addr, text, sizeof(text)),
			 ntohs(in->sin_port));
	else if (len >= sizeof(*in6) && sa->ss_family == AF_INET6)
		snprintf(ret, size, "[%s]:%u", inet_ntop(AF_INET6, &in6->sin6_addr, text, sizeof(text)),
			 ntohs(in6->sin6_port));
	else if (sa->ss_family == AF_UNIX && len > path && un->sun_path[0])
		snprintf(ret, size, "%.*s", (int)(len - path), un->sun_path);
	else if (sa->ss_family == AF_UNIX && len > path + 1)
		snprintf(ret, size, "@%.*s", (int)(len - path - 1), un->sun_path + 1);
}

void socket_describe(int fd, char *ret, size_t size)
{
	int family = socket_option(fd, SO_DOMAIN), type = socket_option(fd, SO_TYPE);
	const char *name = family_name(family, type);
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	char own[112] = "", peer[112] = "";

	if (getsockname(fd, (struct sockaddr *)&sa, &len) == 0)
		socket_address_text(&sa, len < sizeof(sa) ? len : sizeof(sa), own, sizeof(own));
	len = sizeof(sa);
	if (getpeername(fd, (struct sockaddr *)&sa, &len) == 0)
		socket_address_text(&sa, len < sizeof(sa) ? len : sizeof(sa), peer, sizeof(peer));
	if (!name)
		snprintf(ret, size, "socket of family %d, type %d", family, type);
	else
		snprintf(ret, size, "%s%s%s%s%s", name, own[0] ? " " : "", own, peer[0] ? " to " : "", peer);
}

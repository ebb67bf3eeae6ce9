#include "net/inet-address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static int end_of(const struct sockaddr_storage *sa, struct inet_end *ret)
{
	const struct sockaddr_in *in = (const void *)sa;
	const struct sockaddr_in6 *in6 = (const void *)sa;

	*ret = (struct inet_end){ .family = sa->ss_family };
	if (sa->ss_family == AF_INET) {
		memcpy(ret->addr, &in->sin_addr, sizeof(in->sin_addr));
		ret->port = ntohs(in->sin_port);
	} else if (sa->ss_family == AF_INET6) {
		memcpy(ret->addr, &in6->sin6_addr, sizeof(in6->sin6_addr));
		ret->port = ntohs(in6->sin6_port);
		ret->scope = in6->sin6_scope_id;
	} else {
		return -EAFNOSUPPORT;
	}
	return 0;
}

int inet_end_own(int fd, struct inet_end *ret)
{
	struct sockaddr_storage sa = { 0 };
	socklen_t len = sizeof(sa);

	return getsockname(fd, (struct sockaddr *)&sa, &len) < 0 ? -errno : end_of(&sa, ret);
}

int inet_end_peer(int fd, struct inet_end *ret)
{
	struct sockaddr_storage sa = { 0 };
	socklen_t len = sizeof(sa);

	return getpeername(fd, (struct sockaddr *)&sa, &len) < 0 ? -errno : end_of(&sa, ret);
}

bool inet_end_any(const struct inet_end *e)
{
	for (size_t i = 0; i < inet_words(e->family); i++)
		if (e->addr[i])
			return false;
	return true;
}

bool inet_end_mapped(const struct inet_end *e)
{
	return e->family == AF_INET6 && !e->addr[0] && !e->addr[1] && e->addr[2] == htonl(0xffff);
}

struct inet_end inet_end_unmap(const struct inet_end *e)
{
	if (!inet_end_mapped(e))
		return *e;
	return (struct inet_end){ .family = AF_INET, .addr = { e->addr[3] }, .port = e->port };
}

bool inet_end_same(const struct inet_end *a, const struct inet_end *b)
{
	struct inet_end x = inet_end_unmap(a), y = inet_end_unmap(b);

	return x.family == y.family && x.port == y.port && memcmp(x.addr, y.addr, sizeof(x.addr)) == 0;
}

socklen_t inet_sockaddr(const struct inet_end *e, struct sockaddr_storage *ret)
{
	struct sockaddr_in *in = (void *)ret;
	struct sockaddr_in6 *in6 = (void *)ret;

	memset(ret, 0, sizeof(*ret));
	ret->ss_family = (sa_family_t)e->family;
	if (e->family == AF_INET) {
		in->sin_port = htons(e->port);
		memcpy(&in->sin_addr, e->addr, sizeof(in->sin_addr));
		return sizeof(*in);
	}
	in6->sin6_port = htons(e->port);
	in6->sin6_scope_id = e->scope;
	memcpy(&in6->sin6_addr, e->addr, sizeof(in6->sin6_addr));
	return sizeof(*in6);
}

void inet_end_text(const struct inet_end *e, char ret[static INET_TEXT_MAX])
{
	char text[INET6_ADDRSTRLEN] = "?";

	inet_ntop(e->family, e->addr, text, sizeof(text));
	snprintf(ret, INET_TEXT_MAX, e->family == AF_INET ? "%s:%u" : "[%s]:%u", text, e->port);
}

#include "net/inet-kind.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

static uint32_t ask(int fd, int level, int option)
{
	int v;
	socklen_t len = sizeof(v);

	return getsockopt(fd, level, option, &v, &len) < 0 || v < 0 ? INET_UNKNOWN : (uint32_t)v;
}

const struct inet_kind *inet_kind_of(struct inet_kind_vec *known, int fd, const img_inet_sk_entry *e)
{
	struct inet_kind *k;

	for (size_t i = 0; i < known->nr; i++) {
		k = &known->items[i];
		if (k->family == e->family && k->type == e->type && k->proto == e->proto)
			return k;
	}
	k = inet_kind_vec_add(known);
	if (!k)
		return NULL;
	*k = (struct inet_kind){ .family = e->family, .type = e->type, .proto = e->proto };
	k->sizes.snd = ask(fd, SOL_SOCKET, SO_SNDBUF);
	k->sizes.rcv = ask(fd, SOL_SOCKET, SO_RCVBUF);
	k->ttl = ask(fd, IPPROTO_IP, IP_TTL);
	k->keepcnt = ask(fd, IPPROTO_TCP, TCP_KEEPCNT);
	k->keepidle = ask(fd, IPPROTO_TCP, TCP_KEEPIDLE);
	k->keepintvl = ask(fd, IPPROTO_TCP, TCP_KEEPINTVL);
	return k;
}

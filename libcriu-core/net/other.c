/* Sockets of families without a kind of their own. */
#include "files/dump-internal.h"
#include "net/describe.h"

#include <sys/socket.h>

static bool socket_claims(const struct file_facts *facts)
{
	return facts->sk_family != AF_UNSPEC && facts->sk_family != AF_UNIX && facts->sk_family != AF_INET &&
	       facts->sk_family != AF_INET6 && facts->sk_family != AF_NETLINK && facts->sk_family != AF_PACKET;
}

static int socket_dump(struct file_table *t, struct open_file *f, struct cr_error *err)
{
	char what[128];

	(void)err;
	socket_describe(f->fd, what, sizeof(what));
	return file_refuse(t, f, "", "%s", what);
}

const struct file_ops socket_ops = {
	.name = "socket",
	.claims = socket_claims,
	.dump = socket_dump,
};

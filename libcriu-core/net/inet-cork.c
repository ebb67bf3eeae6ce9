/*
 * Datagrams that a program has begun and not sent yet (UDP_CORK, MSG_MORE). They lie in the socket, and nothing reads them. What shows
 * is the memory that the socket has for sending, which packets on their way out take as well.
 */
#include "net/inet-internal.h"

#include "net/describe.h"

#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef SO_MEMINFO
#define SO_MEMINFO 55
#endif
#define MSG_PROBE_ 0x10 /* linux/socket.h of the kernel: "do not send, only probe path" */
#define NO_TYPE    0x7fff /* of a control message */
#define LEAVE_MS   5    /* for packets to get to their device */

static bool has_unsent(int fd)
{
	uint32_t info[SK_MEMINFO_VARS] = { 0 };
	socklen_t len = sizeof(info);

	return getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &len) == 0 && info[SK_MEMINFO_WMEM_ALLOC];
}

/*
 * A datagram that was begun is the first thing that udp_sendmsg() and udpv6_sendmsg() look for. Nothing, and to be continued, is added
 * to it without a look at the rest, which makes no sense: otherwise that is an error. Either way nothing is sent or changed.
 */
static bool is_begun(int fd)
{
	/* whoever of the three reads it: UDP since 4.18, IPv4, IPv6 */
	struct cmsghdr senseless[] = {
		{ sizeof(struct cmsghdr), IPPROTO_UDP, NO_TYPE },
		{ sizeof(struct cmsghdr), IPPROTO_IP, NO_TYPE },
		{ sizeof(struct cmsghdr), IPPROTO_IPV6, NO_TYPE },
	};
	struct msghdr m = { .msg_control = senseless, .msg_controllen = sizeof(senseless) };

	return sendmsg(fd, &m, MSG_PROBE_ | MSG_MORE | MSG_DONTWAIT | MSG_NOSIGNAL) == 0;
}

int inet_cork_dump(struct file_table *t, struct open_file *f, const img_inet_sk_entry *e)
{
	bool udp = e->type == SOCK_DGRAM && (e->proto == IPPROTO_UDP || e->proto == IPPROTO_UDPLITE);
	char what[128];

	/* who has no port has sent nothing; asking would give him one */
	if ((udp && !e->src_port) || !has_unsent(f->fd))
		return 0;
	socket_describe(f->fd, what, sizeof(what));
	if (udp)
		return is_begun(f->fd) ? file_refuse_passing(t, f, "let it be sent first",
							     "datagram that is begun and not sent (UDP_CORK or MSG_MORE), %s",
							     what)
				       : 0;
	for (int left = LEAVE_MS; left && has_unsent(f->fd); left--)
		usleep(1000);
	if (has_unsent(f->fd))
		log_warn(&t->ctx->log, "%s: a packet that is begun and not sent (MSG_MORE), if there is one, is lost, continuing", what);
	return 0;
}

/*
 * UNIX_DIAG about our own socket; see own-socket.h. It is found by its inode number and names the inode of its peer,
 * wherever that one is open. unix_diag_get_exact() in net/unix/diag.c, Linux 3.3.
 */
#include "own-socket.h"

#include "base/own.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static int ask(int nl, uint32_t ino)
{
	struct {
		struct nlmsghdr head;
		struct unix_diag_req req;
	} msg = {
		.head = { .nlmsg_len = sizeof(msg), .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST },
		.req = { .sdiag_family = AF_UNIX,
			 .udiag_states = ~0u,
			 .udiag_ino = ino,
			 .udiag_show = UDIAG_SHOW_PEER,
			 .udiag_cookie = { ~0u, ~0u } },
	};

	return send(nl, &msg, sizeof(msg), 0) == (ssize_t)sizeof(msg) ? 0 : -1;
}

static uint32_t peer_in(const struct nlmsghdr *head, size_t len)
{
	const struct unix_diag_msg *found = NLMSG_DATA(head);
	const struct rtattr *attr;
	uint32_t ino = 0;
	int left;

	if (!NLMSG_OK(head, len) || head->nlmsg_type != SOCK_DIAG_BY_FAMILY ||
	    head->nlmsg_len < NLMSG_LENGTH(sizeof(*found)))
		return 0;
	left = (int)(head->nlmsg_len - NLMSG_LENGTH(sizeof(*found)));
	for (attr = (const struct rtattr *)(found + 1); RTA_OK(attr, left); attr = RTA_NEXT(attr, left))
		if (attr->rta_type == UNIX_DIAG_PEER && RTA_PAYLOAD(attr) >= sizeof(ino))
			memcpy(&ino, RTA_DATA(attr), sizeof(ino));
	return ino;
}

uint32_t own_socket_peer(int sock)
{
	autofd int nl = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	union {
		struct nlmsghdr head;
		char room[1024];
	} answer;
	struct stat st;
	ssize_t len;

	/* sockets have inode numbers of 32 bits on the wire, and in struct unix_diag_msg too */
	if (nl < 0 || fstat(sock, &st) < 0 || st.st_ino > UINT32_MAX || ask(nl, (uint32_t)st.st_ino) < 0)
		return 0;
	len = recv(nl, &answer, sizeof(answer), 0);
	return len > 0 ? peer_in(&answer.head, (size_t)len) : 0;
}

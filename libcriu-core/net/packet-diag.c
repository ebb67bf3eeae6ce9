#include "net/packet-diag.h"

#include "base/own.h"
#include "net/netlink-answers.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

void packet_fact_done(struct packet_fact *f)
{
	packet_mclist_vec_done(&f->groups);
}

static int parse_groups(const struct rtattr *a, struct packet_fact *ret)
{
	size_t nr = RTA_PAYLOAD(a) / sizeof(struct packet_diag_mclist);

	for (size_t i = 0; i < nr; i++) {
		struct packet_diag_mclist *at = packet_mclist_vec_add(&ret->groups);

		if (!at)
			return -ENOMEM;
		memcpy(at, (const char *)RTA_DATA(a) + i * sizeof(*at), sizeof(*at));
		if (at->pdmc_alen > sizeof(at->pdmc_addr))
			return -EBADMSG;
	}
	return 0;
}

static int parse_ring(const struct rtattr *a, struct packet_diag_ring *ret, bool *ret_has)
{
	if (RTA_PAYLOAD(a) < sizeof(*ret))
		return -EBADMSG;
	memcpy(ret, RTA_DATA(a), sizeof(*ret));
	*ret_has = true;
	return 0;
}

struct sought {
	uint32_t ino;
	struct packet_fact *fact;
};

static int parse_socket(const struct nlmsghdr *h, void *arg)
{
	const struct sought *sought = arg;
	struct packet_fact *ret = sought->fact;
	const struct packet_diag_msg *m = NLMSG_DATA(h);
	struct rtattr *a = (struct rtattr *)((char *)NLMSG_DATA(h) + NLMSG_ALIGN(sizeof(*m)));
	int left = (int)h->nlmsg_len - (int)NLMSG_SPACE(sizeof(*m)), r = 0;

	if (left < 0)
		return -EBADMSG;
	if (m->pdiag_ino != sought->ino)
		return 0;
	ret->found = true;
	for (; r == 0 && RTA_OK(a, left); a = RTA_NEXT(a, left)) {
		if (a->rta_type == PACKET_DIAG_MCLIST)
			r = parse_groups(a, ret);
		else if (a->rta_type == PACKET_DIAG_RX_RING)
			r = parse_ring(a, &ret->rx, &ret->has_rx);
		else if (a->rta_type == PACKET_DIAG_TX_RING)
			r = parse_ring(a, &ret->tx, &ret->has_tx);
	}
	return r;
}

int packet_diag_parse(const void *packet, size_t len, uint32_t ino, struct packet_fact *ret)
{
	struct sought sought = { .ino = ino, .fact = ret };

	return netlink_walk(packet, len, SOCK_DIAG_BY_FAMILY, parse_socket, &sought);
}

int packet_fact_read(uint32_t ino, struct packet_fact *ret, struct cr_error *err)
{
	struct {
		struct nlmsghdr h;
		struct packet_diag_req q;
	} rq = { .h = { .nlmsg_len = sizeof(rq),
			.nlmsg_type = SOCK_DIAG_BY_FAMILY,
			.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		 .q = { .sdiag_family = AF_PACKET,
			.pdiag_show = PACKET_SHOW_INFO | PACKET_SHOW_MCLIST | PACKET_SHOW_RING_CFG } };
	autofd int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	struct timeval limit = { .tv_sec = 5 };
	char buf[32768] __attribute__((aligned(8)));
	int r = 0;

	*ret = (struct packet_fact){ 0 };
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0 ||
	    send(fd, &rq, sizeof(rq), 0) < 0)
		return cr_fail(err, -errno, "ask about packet sockets");
	while (r == 0) {
		ssize_t n = recv(fd, buf, sizeof(buf), 0);

		r = n < 0 ? -errno : packet_diag_parse(buf, (size_t)n, ino, ret);
	}
	if (r > 0 && !ret->found)
		r = -ENOENT;
	return r < 0 ? cr_fail(err, r, "what the kernel tells of a packet socket") : 0;
}

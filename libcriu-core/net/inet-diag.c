#include "net/inet-diag.h"

#include "base/own.h"
#include "net/netlink-answers.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define PACKET_MAX     ((size_t)64 << 10)
#define ANSWER_SECONDS 5

static int parse_socket(const struct nlmsghdr *h, struct tcp_fact_vec *ret, struct cr_error *err)
{
	struct inet_diag_msg m;
	struct tcp_fact *f;

	if (h->nlmsg_len < NLMSG_LENGTH(sizeof(m)))
		return cr_refuse(err, -EBADMSG, "INET_DIAG: a message of %u bytes", h->nlmsg_len);
	memcpy(&m, NLMSG_DATA(h), sizeof(m));
	if (m.idiag_family != AF_INET && m.idiag_family != AF_INET6)
		return 0;
	f = tcp_fact_vec_add(ret);
	if (!f)
		return cr_fail(err, -ENOMEM, "list TCP sockets");
	f->state = m.idiag_state;
	f->ino = m.idiag_inode;
	f->waiting = m.idiag_rqueue;
	f->own.family = m.idiag_family;
	f->own.port = ntohs(m.id.idiag_sport);
	memcpy(f->own.addr, m.id.idiag_src, inet_words(f->own.family) * sizeof(uint32_t));
	return 0;
}

int inet_diag_parse(const void *packet, size_t len, struct tcp_fact_vec *ret, struct cr_error *err)
{
	/* signed: the last message may be followed by less than it is rounded up to */
	ssize_t left = (ssize_t)len;

	for (const struct nlmsghdr *h = packet; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
		int r = 0;

		if (h->nlmsg_type == NLMSG_DONE)
			return 1;
		if (h->nlmsg_type == NLMSG_ERROR)
			return cr_fail(err, netlink_error(h), "INET_DIAG");
		if (h->nlmsg_type == SOCK_DIAG_BY_FAMILY)
			r = parse_socket(h, ret, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int read_family(int nl, int family, uint32_t states, struct tcp_fact_vec *ret, struct cr_error *err)
{
	char packet[PACKET_MAX] __attribute__((aligned(8)));
	struct {
		struct nlmsghdr h;
		struct inet_diag_req_v2 q;
	} rq = { .h = { .nlmsg_len = sizeof(rq),
			.nlmsg_type = SOCK_DIAG_BY_FAMILY,
			.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		 .q = { .sdiag_family = (uint8_t)family, .sdiag_protocol = IPPROTO_TCP, .idiag_states = states } };
	int r = send(nl, &rq, sizeof(rq), 0) < 0 ? cr_fail(err, -errno, "ask INET_DIAG") : 0;

	while (r == 0) {
		ssize_t len = recv(nl, packet, sizeof(packet), MSG_TRUNC);

		if (len < 0 && errno == EINTR)
			continue;
		if (len <= 0)
			return cr_fail(err, len < 0 ? -errno : -EIO, "answer of INET_DIAG");
		if ((size_t)len > sizeof(packet))
			return cr_refuse(err, -EMSGSIZE, "answer of INET_DIAG: a packet of %zd bytes", len);
		r = inet_diag_parse(packet, (size_t)len, ret, err);
	}
	return r < 0 ? r : 0;
}

int tcp_facts_read(uint32_t states, struct tcp_fact_vec *ret, struct cr_error *err)
{
	static const int families[] = { AF_INET, AF_INET6 };
	struct timeval limit = { .tv_sec = ANSWER_SECONDS };
	autofd int nl = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	int r = 0;

	*ret = (struct tcp_fact_vec){ 0 };
	if (nl < 0 || setsockopt(nl, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0)
		return cr_fail(err, -errno, "netlink socket for INET_DIAG");
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(families); i++)
		r = read_family(nl, families[i], states, ret, err);
	return r;
}

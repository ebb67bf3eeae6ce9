/*
 * Asking the kernel for all UNIX sockets at once: one dump is linear in their number, while each question for a single socket
 * walks all of them (unix_lookup_by_ino() in net/unix/diag.c). Linux 3.3.
 */
#include "net/unix-diag.h"

#include "base/own.h"
#include "net/netlink-answers.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PACKET_MAX ((size_t)64 << 10)
#define TRIES      5

static void attr_u32(const struct rtattr *attr, uint32_t *ret)
{
	if (RTA_PAYLOAD(attr) >= sizeof(*ret))
		memcpy(ret, RTA_DATA(attr), sizeof(*ret));
}

static int attr_icons(const struct rtattr *attr, struct unix_facts *f, struct unix_fact *fact)
{
	size_t nr = RTA_PAYLOAD(attr) / sizeof(uint32_t);
	const char *data = RTA_DATA(attr);

	fact->first_icon = f->icons.nr;
	fact->nr_icons = nr;
	for (size_t i = 0; i < nr; i++) {
		uint32_t *at = unix_icon_vec_add(&f->icons);

		if (!at)
			return -ENOMEM;
		memcpy(at, data + i * sizeof(*at), sizeof(*at));
	}
	return 0;
}

static int parse_attr(const struct rtattr *attr, struct unix_facts *f, struct unix_fact *fact)
{
	struct unix_diag_vfs vfs;
	struct unix_diag_rqlen rqlen;

	switch (attr->rta_type) {
	case UNIX_DIAG_PEER:
		attr_u32(attr, &fact->peer);
		break;
	case UNIX_DIAG_SHUTDOWN:
		if (RTA_PAYLOAD(attr) >= 1)
			fact->shutdown = *(const uint8_t *)RTA_DATA(attr);
		break;
	case UNIX_DIAG_RQLEN:
		if (RTA_PAYLOAD(attr) >= sizeof(rqlen)) {
			memcpy(&rqlen, RTA_DATA(attr), sizeof(rqlen));
			fact->rqueue = rqlen.udiag_rqueue;
			fact->wqueue = rqlen.udiag_wqueue;
		}
		break;
	case UNIX_DIAG_VFS:
		if (RTA_PAYLOAD(attr) >= sizeof(vfs)) {
			memcpy(&vfs, RTA_DATA(attr), sizeof(vfs));
			fact->vfs_ino = vfs.udiag_vfs_ino;
			fact->vfs_dev = vfs.udiag_vfs_dev;
		}
		break;
	case UNIX_DIAG_ICONS:
		return attr_icons(attr, f, fact);
	}
	return 0;
}

static int parse_socket(const struct nlmsghdr *head, struct unix_facts *f, struct cr_error *err)
{
	const struct unix_diag_msg *msg = NLMSG_DATA(head);
	struct unix_fact *fact;
	const struct rtattr *attr;
	int left;

	if (head->nlmsg_len < NLMSG_LENGTH(sizeof(*msg)))
		return cr_refuse(err, -EBADMSG, "UNIX_DIAG: a message of %u bytes", head->nlmsg_len);
	if (msg->udiag_family != AF_UNIX)
		return 0;
	fact = unix_fact_vec_add(&f->all);
	if (!fact)
		return cr_fail(err, -ENOMEM, "list UNIX sockets");
	fact->ino = msg->udiag_ino;
	fact->type = msg->udiag_type;
	fact->state = msg->udiag_state;
	left = (int)(head->nlmsg_len - NLMSG_LENGTH(sizeof(*msg)));
	for (attr = (const struct rtattr *)(msg + 1); RTA_OK(attr, left); attr = RTA_NEXT(attr, left))
		if (parse_attr(attr, f, fact) < 0)
			return cr_fail(err, -ENOMEM, "list UNIX sockets");
	return 0;
}

int unix_diag_parse(const void *packet, size_t len, struct unix_facts *f, struct cr_error *err)
{
	const struct nlmsghdr *head = packet;
	/* signed: the last message may be followed by less than it is rounded up to */
	ssize_t left = (ssize_t)len;

	while (NLMSG_OK(head, left)) {
		int r = 0;

		if (head->nlmsg_flags & NLM_F_DUMP_INTR)
			return -EAGAIN;
		if (head->nlmsg_type == NLMSG_DONE)
			return 1;
		if (head->nlmsg_type == NLMSG_ERROR)
			return cr_fail(err, netlink_error(head), "UNIX_DIAG");
		if (head->nlmsg_type == SOCK_DIAG_BY_FAMILY)
			r = parse_socket(head, f, err);
		if (r < 0)
			return r;
		head = NLMSG_NEXT(head, left);
	}
	return 0;
}

static int ask_all(int nl, struct cr_error *err)
{
	struct {
		struct nlmsghdr head;
		struct unix_diag_req req;
	} msg = {
		.head = { .nlmsg_len = sizeof(msg),
			  .nlmsg_type = SOCK_DIAG_BY_FAMILY,
			  .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		.req = { .sdiag_family = AF_UNIX,
			 .udiag_states = ~0u,
			 .udiag_show = UDIAG_SHOW_PEER | UDIAG_SHOW_ICONS | UDIAG_SHOW_RQLEN | UDIAG_SHOW_VFS },
	};

	return send(nl, &msg, sizeof(msg), 0) == (ssize_t)sizeof(msg) ? 0 : cr_fail(err, -errno, "ask UNIX_DIAG");
}

static int read_all(struct unix_facts *f, struct cr_error *err)
{
	autofd int nl = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	autofree char *packet = malloc(PACKET_MAX);
	int r;

	if (nl < 0)
		return cr_fail(err, -errno, "netlink socket for UNIX_DIAG");
	if (!packet)
		return cr_fail(err, -ENOMEM, "list UNIX sockets");
	r = ask_all(nl, err);
	while (r == 0) {
		ssize_t len = recv(nl, packet, PACKET_MAX, MSG_TRUNC);

		if (len < 0 && errno == EINTR)
			continue;
		if (len <= 0)
			return cr_fail(err, len < 0 ? -errno : -EIO, "answer of UNIX_DIAG");
		if ((size_t)len > PACKET_MAX)
			return cr_refuse(err, -EMSGSIZE, "answer of UNIX_DIAG: a packet of %zd bytes", len);
		r = unix_diag_parse(packet, (size_t)len, f, err);
	}
	return r == 1 ? 0 : r;
}

int unix_facts_read(struct unix_facts *ret, struct cr_error *err)
{
	struct unix_facts f;
	int r = -EAGAIN;

	for (int i = 0; i < TRIES && r == -EAGAIN; i++) {
		f = (struct unix_facts){ 0 };
		r = read_all(&f, err);
		if (r < 0)
			unix_facts_done(&f);
	}
	if (r == -EAGAIN)
		return cr_refuse(err, r, "the list of UNIX sockets changes faster than it can be read");
	if (r == -ENOENT)
		return cr_refuse(err, -EOPNOTSUPP, "this kernel does not tell about UNIX sockets (CONFIG_UNIX_DIAG)");
	for (size_t i = 0; i < f.all.nr && r == 0; i++)
		if (f.all.items[i].ino && !map_find(&f.by_ino, (uint64_t)f.all.items[i].ino + 1) &&
		    map_put(&f.by_ino, (uint64_t)f.all.items[i].ino + 1, &f.all.items[i]) < 0)
			r = cr_fail(err, -ENOMEM, "list UNIX sockets");
	if (r < 0)
		unix_facts_done(&f);
	else
		*ret = f;
	return r;
}

const struct unix_fact *unix_facts_find(const struct unix_facts *f, uint32_t ino)
{
	return map_find(&f->by_ino, (uint64_t)ino + 1);
}

void unix_facts_done(struct unix_facts *f)
{
	unix_fact_vec_done(&f->all);
	unix_icon_vec_done(&f->icons);
	map_done(&f->by_ino);
}

/*
 * Netlink sockets: protocol, port, groups, destination and options. What waits in one is an answer to a request, or news, of the moment
 * and the kernel's own: it is refused.
 */
#include "net/inet-internal.h"

#include "base/own.h"
#include "net/describe.h"
#include "net/netlink-port.h"
#include "net/sock-opts.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#ifndef SOL_NETLINK
#define SOL_NETLINK 270
#endif

#define GROUP_WORDS_MAX 64 /* more groups than any protocol has */

enum { NETLINK_UNCONNECTED_ = 0, NETLINK_CONNECTED_ = 1 }; /* states of net/netlink/af_netlink.c */

static const struct {
	int number;
	const char *name;
} flags[] = {
	{ NETLINK_PKTINFO, "NETLINK_PKTINFO" },
	{ NETLINK_BROADCAST_ERROR, "NETLINK_BROADCAST_ERROR" },
	{ NETLINK_NO_ENOBUFS, "NETLINK_NO_ENOBUFS" },
	{ NETLINK_LISTEN_ALL_NSID, "NETLINK_LISTEN_ALL_NSID" },
	{ NETLINK_CAP_ACK, "NETLINK_CAP_ACK" },
	{ NETLINK_EXT_ACK, "NETLINK_EXT_ACK" },
	{ NETLINK_GET_STRICT_CHK, "NETLINK_GET_STRICT_CHK" },
};

static bool netlink_claims(const struct file_facts *facts)
{
	return facts->sk_family == AF_NETLINK;
}

/* -------------------------------------------------------------------- dump */

static int add_word(struct file_table *t, struct proto_u32_vec *v, uint32_t word, struct cr_error *err)
{
	void *items = v->items;
	uint32_t *at = pool_vec_add(&t->pool, &items, &v->nr, sizeof(*at));

	if (!at)
		return pool_failed(err);
	v->items = items;
	*at = word;
	return 0;
}

/* The option gives the size that it needs; netlink_getsockopt(), Linux 4.2 and later */
static int dump_groups(struct file_table *t, int fd, img_netlink_sk_entry *e, struct cr_error *err)
{
	uint32_t words[GROUP_WORDS_MAX] = { 0 };
	socklen_t len = sizeof(words);
	size_t nr;
	int r = 0;

	if (getsockopt(fd, SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, words, &len) < 0)
		return cr_fail(err, -errno, "groups of a netlink socket");
	if (len > sizeof(words))
		return cr_refuse(err, -E2BIG, "netlink socket with %u bytes of groups", len);
	for (nr = len / sizeof(words[0]); nr && !words[nr - 1]; nr--)
		;
	for (size_t i = 0; i < nr && r == 0; i++)
		r = add_word(t, i ? &e->ext->more_groups : &e->groups, words[i], err);
	return r;
}

static int dump_flags(struct file_table *t, int fd, img_netlink_sk_entry *e, struct cr_error *err)
{
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(flags) && r == 0; i++)
		if (inet_int(fd, SOL_NETLINK, flags[i].number) > 0)
			r = add_word(t, &e->ext->options, (uint32_t)flags[i].number, err);
	return r;
}

static int find_obstacles(struct file_table *t, struct open_file *f, const img_netlink_sk_entry *e)
{
	struct pollfd p = { .fd = f->fd, .events = POLLIN };

	if (poll(&p, 1, 0) <= 0 || !(p.revents & (POLLIN | POLLERR)))
		return 0;
	return file_refuse(t, f, "try again when it has been read",
			   "netlink socket of protocol %u with unread messages", e->protocol);
}

static int dump_addresses(int fd, img_netlink_sk_entry *e, struct cr_error *err)
{
	struct sockaddr_nl own = { 0 }, peer = { 0 };
	socklen_t len = sizeof(own);

	if (getsockname(fd, (struct sockaddr *)&own, &len) < 0)
		return cr_fail(err, -errno, "address of a netlink socket");
	len = sizeof(peer);
	if (getpeername(fd, (struct sockaddr *)&peer, &len) < 0)
		return cr_fail(err, -errno, "destination of a netlink socket");
	e->portid = own.nl_pid;
	e->dst_portid = peer.nl_pid;
	/* what connect(2) was given is a mask with one group; the images have its number */
	e->dst_group = peer.nl_groups ? (uint32_t)__builtin_ffs((int)peer.nl_groups) : 0;
	e->state = peer.nl_pid || peer.nl_groups ? NETLINK_CONNECTED_ : NETLINK_UNCONNECTED_;
	return 0;
}

static int netlink_dump(struct file_table *t, struct open_file *f, struct cr_error *err)
{
	img_netlink_sk_entry *e = pool_new(&t->pool, img_netlink_sk_entry);
	int r;

	if (!e || !(e->ext = pool_new(&t->pool, img_netlink_sk_ext)))
		return pool_failed(err);
	r = owned_begin(t, f, img_fd_types_NETLINKSK, OWNED_ENTRY(e), err);
	if (r != 0)
		return r;
	f->entry->nlsk = e;
	e->ino = (uint32_t)f->facts.st.st_ino;
	e->protocol = (uint32_t)inet_int(f->fd, SOL_SOCKET, SO_PROTOCOL);
	e->ext->type = (uint32_t)inet_int(f->fd, SOL_SOCKET, SO_TYPE);
	e->ext->has_type = e->ext->type != SOCK_RAW;
	e->has_ns_id = f->task->ids.has_net_ns_id;
	e->ns_id = f->task->ids.net_ns_id;
	r = inet_network_check(t, f, err);
	if (r == 0)
		r = dump_addresses(f->fd, e, err);
	if (r == 0)
		r = dump_groups(t, f->fd, e, err);
	if (r == 0)
		r = dump_flags(t, f->fd, e, err);
	if (r == 0)
		r = sock_opts_dump(t, f, &e->opts, err);
	if (r == 0)
		r = netlink_port_dump(t, f, e, err);
	return r == 0 ? find_obstacles(t, f, e) : r;
}

/* ----------------------------------------------------------------- restore */

static const char *flag_name(uint32_t number)
{
	for (size_t i = 0; i < ARRAY_LEN(flags); i++)
		if ((uint32_t)flags[i].number == number)
			return flags[i].name;
	return NULL;
}

static int netlink_check(const img_file_entry *f, struct cr_error *err)
{
	const img_netlink_sk_entry *e = f->nlsk;
	int r;

	if (e->protocol > INT32_MAX || e->groups.nr > GROUP_WORDS_MAX || e->dst_group > 32 * GROUP_WORDS_MAX)
		return cr_refuse(err, -EBADMSG, "netlink socket %u: protocol %u, %zu words of groups", e->id,
				 e->protocol, e->groups.nr);
	if (e->ext && ((e->ext->has_type && e->ext->type != SOCK_DGRAM && e->ext->type != SOCK_RAW) ||
		       e->ext->more_groups.nr > GROUP_WORDS_MAX))
		return cr_refuse(err, -EBADMSG, "netlink socket %u: type or groups make no sense", e->id);
	for (size_t i = 0; e->ext && i < e->ext->options.nr; i++)
		if (!flag_name(e->ext->options.items[i]))
			return cr_refuse(err, -EBADMSG, "netlink socket %u: option %u is not known", e->id,
					 e->ext->options.items[i]);
	r = fown_check(e->fown, err);
	return r < 0 ? r : sock_opts_check(e->opts, e->id, err);
}

static int join(int fd, size_t first, const struct proto_u32_vec *words, struct cr_error *err)
{
	for (size_t i = 0; i < words->nr; i++)
		for (int bit = 0; bit < 32; bit++) {
			int group = (int)((first + i) * 32) + bit + 1;

			if (words->items[i] >> bit & 1 &&
			    setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0)
				return cr_fail(err, -errno, "join netlink group %d", group);
		}
	return 0;
}

static int bind_and_connect(int fd, const img_netlink_sk_entry *e, struct cr_error *err)
{
	struct sockaddr_nl own = { .nl_family = AF_NETLINK, .nl_pid = e->portid };
	struct sockaddr_nl peer = { .nl_family = AF_NETLINK,
				    .nl_pid = e->dst_portid,
				    .nl_groups = e->dst_group && e->dst_group <= 32 ? 1u << (e->dst_group - 1) : 0 };

	if (e->portid && bind(fd, (struct sockaddr *)&own, sizeof(own)) < 0)
		return cr_fail(err, -errno, "bind a netlink socket to port %u", e->portid);
	if ((e->dst_portid || e->dst_group) && connect(fd, (struct sockaddr *)&peer, sizeof(peer)) < 0)
		return cr_fail(err, -errno, "connect a netlink socket to port %u", e->dst_portid);
	return 0;
}

static int restore_flags(int fd, const img_netlink_sk_entry *e, struct cr_error *err)
{
	int on = 1;

	for (size_t i = 0; e->ext && i < e->ext->options.nr; i++)
		if (setsockopt(fd, SOL_NETLINK, (int)e->ext->options.items[i], &on, sizeof(on)) < 0)
			return cr_fail(err, -errno, "socket option %s", flag_name(e->ext->options.items[i]));
	return 0;
}

static int netlink_open(struct files *fs, struct restored_file *f, struct cr_error *err)
{
	const img_netlink_sk_entry *e = f->entry->nlsk;
	int type = e->ext && e->ext->has_type ? (int)e->ext->type : SOCK_RAW;
	autofd int fd =
		socket(AF_NETLINK, type | SOCK_CLOEXEC | (e->flags & O_NONBLOCK ? SOCK_NONBLOCK : 0), (int)e->protocol);
	int r;

	if (fd < 0)
		return cr_fail(err, -errno, "netlink socket of protocol %u", e->protocol);
	r = bind_and_connect(fd, e, err);
	if (r == 0)
		r = join(fd, 0, &e->groups, err);
	if (r == 0 && e->ext)
		r = join(fd, 1, &e->ext->more_groups, err);
	if (r == 0)
		r = restore_flags(fd, e, err);
	if (r == 0)
		r = sock_opts_restore(fs->ctx, fd, e->opts, NULL, err);
	if (r == 0)
		r = sock_opts_finish(fd, e->opts, err);
	return r < 0 ? r : fown_finish(take_fd(&fd), e->fown, err);
}

const struct file_ops netlink_ops = {
	.name = "netlink socket",
	.type = img_fd_types_NETLINKSK,
	.claims = netlink_claims,
	.dump = netlink_dump,
	.check = netlink_check,
	.open = netlink_open,
};

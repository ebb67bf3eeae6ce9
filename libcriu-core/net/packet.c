/* Packet sockets (AF_PACKET): protocol, interface, options, memberships, fanout. Their rings are in packet-ring.c and send-ring.c. */
#include "net/inet-internal.h"

#include "base/own.h"
#include "files/family.h"
#include "net/describe.h"
#include "net/packet-diag.h"
#include "net/packet-ring.h"
#include "net/sock-opts.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

/* Of a hardware address, in bytes: MAX_ADDR_LEN in linux/netdevice.h, which cannot be included beside net/if.h. */
#define LONGEST_ADDRESS 32

#ifndef SOL_PACKET
#define SOL_PACKET 263
#endif

#ifndef PACKET_VNET_HDR_SZ
#define PACKET_VNET_HDR_SZ 24
#endif
#ifndef PACKET_FANOUT_CBPF
#define PACKET_FANOUT_CBPF 6
#define PACKET_FANOUT_EBPF 7
#endif

#define NO_FANOUT UINT32_MAX /* the default of the member */

/* Options without a field upstream, 0 in a new socket. */
static const struct {
	int number;
	const char *name;
} more[] = {
	{ PACKET_TX_HAS_OFF, "PACKET_TX_HAS_OFF" },
	{ PACKET_QDISC_BYPASS, "PACKET_QDISC_BYPASS" },
	{ PACKET_IGNORE_OUTGOING, "PACKET_IGNORE_OUTGOING" },
	{ PACKET_VNET_HDR_SZ, "PACKET_VNET_HDR_SZ" }, /* PACKET_VNET_HDR gives it one of its two values */
};

static bool packet_claims(const struct file_facts *facts)
{
	return facts->sk_family == AF_PACKET;
}

static uint32_t option_of(int fd, int option)
{
	int v = inet_int(fd, SOL_PACKET, option);

	return v < 0 ? 0 : (uint32_t)v;
}

/* -------------------------------------------------------------------- dump */

static int dump_groups(struct file_table *t, const struct packet_fact *fact, img_packet_sock_entry *e,
		       struct cr_error *err)
{
	for (size_t i = 0; i < fact->groups.nr; i++) {
		const struct packet_diag_mclist *m = &fact->groups.items[i];

		/* joined so many times */
		for (uint32_t n = 0; n < m->pdmc_count && n < 1024; n++) {
			void *items = e->mclist.items;
			img_packet_mclist *at = pool_vec_add(&t->pool, &items, &e->mclist.nr, sizeof(*at));

			if (!at)
				return pool_failed(err);
			e->mclist.items = items;
			at->index = m->pdmc_index;
			at->type = m->pdmc_type;
			at->addr.data = (const uint8_t *)pool_text(&t->pool, (const char *)m->pdmc_addr, m->pdmc_alen);
			at->addr.len = m->pdmc_alen;
			if (!at->addr.data)
				return pool_failed(err);
		}
	}
	return 0;
}

static void warn_of_queue(struct file_table *t, const struct open_file *f)
{
	struct pollfd p = { .fd = f->fd, .events = POLLIN };

	if (poll(&p, 1, 0) > 0 && p.revents & POLLIN)
		log_warn(&t->ctx->log,
			 "pid %d: fd %d: packets that wait in a packet socket are lost, continuing without them",
			 f->task->host_pid, f->fd_there);
}

static int dump_hidden(struct file_table *t, struct open_file *f, img_packet_sock_entry *e, struct cr_error *err)
{
	struct packet_fact fact;
	int r = packet_fact_read((uint32_t)f->facts.st.st_ino, &fact, err);

	if (r == 0)
		r = dump_groups(t, &fact, e, err);
	if (r == 0 && (fact.has_rx || fact.has_tx))
		r = packet_ring_dump(t, f, &fact, e, err);
	if (r == 0 && !fact.has_rx)
		warn_of_queue(t, f);
	packet_fact_done(&fact);
	return r;
}

static int dump_options(struct open_file *f, img_packet_sock_entry *e, struct cr_error *err)
{
	struct sockaddr_ll own = { 0 };
	socklen_t len = sizeof(own);

	if (getsockname(f->fd, (struct sockaddr *)&own, &len) < 0)
		return cr_fail(err, -errno, "address of a packet socket");
	e->protocol = own.sll_protocol;
	e->ifindex = (uint32_t)own.sll_ifindex;
	e->type = (uint32_t)inet_int(f->fd, SOL_SOCKET, SO_TYPE);
	e->version = option_of(f->fd, PACKET_VERSION);
	e->reserve = option_of(f->fd, PACKET_RESERVE);
	e->aux_data = option_of(f->fd, PACKET_AUXDATA);
	e->orig_dev = option_of(f->fd, PACKET_ORIGDEV);
	e->vnet_hdr = option_of(f->fd, PACKET_VNET_HDR);
	e->loss = option_of(f->fd, PACKET_LOSS);
	e->timestamp = option_of(f->fd, PACKET_TIMESTAMP);
	e->copy_thresh = option_of(f->fd, PACKET_COPY_THRESH);
	/* with flags in the upper bits, the sign among them */
	len = sizeof(e->fanout);
	if (getsockopt(f->fd, SOL_PACKET, PACKET_FANOUT, &e->fanout, &len) < 0)
		return cr_fail(err, -errno, "fanout of a packet socket");
	e->has_fanout = e->fanout;
	e->has_ns_id = f->task->ids.has_net_ns_id;
	e->ns_id = f->task->ids.net_ns_id;
	return 0;
}

static int dump_more(struct file_table *t, int fd, img_packet_sock_entry *e, struct cr_error *err)
{
	for (size_t i = 0; i < ARRAY_LEN(more); i++) {
		uint32_t v = option_of(fd, more[i].number);
		uint64_t *at;
		void *items;

		if (!v)
			continue;
		if (!e->ext && !(e->ext = pool_new(&t->pool, img_packet_sk_ext)))
			return pool_failed(err);
		items = e->ext->more.items;
		at = pool_vec_add(&t->pool, &items, &e->ext->more.nr, sizeof(*at));
		if (!at)
			return pool_failed(err);
		e->ext->more.items = items;
		*at = (uint64_t)more[i].number << 32 | v;
	}
	return 0;
}

/* With a fanout program, the kernel does not show who gets a packet. */
static int find_obstacles(struct file_table *t, struct open_file *f, const img_packet_sock_entry *e)
{
	uint32_t how = e->fanout >> 16 & 0xff;

	if (e->ifindex == UINT32_MAX) /* packet_notifier() in net/packet/af_packet.c */
		return file_refuse(t, f, SOCK_DEVICE_GONE, "packet socket of a network device that has gone");
	if (!e->has_fanout || (how != PACKET_FANOUT_CBPF && how != PACKET_FANOUT_EBPF))
		return 0;
	return file_refuse(t, f, "", "packet socket with a fanout program");
}

static int packet_dump(struct file_table *t, struct open_file *f, struct cr_error *err)
{
	img_packet_sock_entry *e = pool_new(&t->pool, img_packet_sock_entry);
	int r;

	if (!e)
		return pool_failed(err);
	r = owned_begin(t, f, img_fd_types_PACKETSK, OWNED_ENTRY(e), err);
	if (r != 0)
		return r;
	f->entry->psk = e;
	r = inet_network_check(t, f, err);
	if (r == 0)
		r = dump_options(f, e, err);
	if (r == 0)
		r = dump_more(t, f->fd, e, err);
	if (r == 0)
		r = find_obstacles(t, f, e);
	if (r == 0)
		r = dump_hidden(t, f, e, err);
	return r == 0 ? sock_opts_dump(t, f, &e->opts, err) : r;
}

/* ----------------------------------------------------------------- restore */

static const char *more_name(uint64_t item)
{
	for (size_t i = 0; i < ARRAY_LEN(more); i++)
		if ((uint64_t)more[i].number == item >> 32)
			return more[i].name;
	return NULL;
}

static int packet_check(const img_file_entry *f, struct cr_error *err)
{
	const img_packet_sock_entry *e = f->psk;
	int r;

	if ((e->type != SOCK_RAW && e->type != SOCK_DGRAM) || e->protocol > UINT16_MAX || e->ifindex > INT32_MAX ||
	    e->version > TPACKET_V3)
		return cr_refuse(err, -EBADMSG, "packet socket %u: type %u, protocol 0x%x, interface %u, version %u",
				 e->id, e->type, e->protocol, e->ifindex, e->version);
	r = packet_ring_check(e, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < e->mclist.nr; i++)
		if (e->mclist.items[i].addr.len > LONGEST_ADDRESS || e->mclist.items[i].index > INT32_MAX ||
		    e->mclist.items[i].type > UINT16_MAX)
			return cr_refuse(err, -EBADMSG, "packet socket %u: membership %zu makes no sense", e->id, i);
	for (size_t i = 0; e->ext && i < e->ext->more.nr; i++)
		if (!more_name(e->ext->more.items[i]))
			return cr_refuse(err, -EBADMSG, "packet socket %u: option %" PRIu64 " is not known", e->id,
					 e->ext->more.items[i] >> 32);
	r = fown_check(e->fown, err);
	return r < 0 ? r : sock_opts_check(e->opts, e->id, err);
}

static int restore_options(int fd, const img_packet_sock_entry *e, struct cr_error *err)
{
	const struct {
		int option;
		uint32_t value;
		const char *name;
	} wanted[] = {
		{ PACKET_VERSION, e->version, "PACKET_VERSION" },
		{ PACKET_RESERVE, e->reserve, "PACKET_RESERVE" },
		{ PACKET_AUXDATA, e->aux_data, "PACKET_AUXDATA" },
		{ PACKET_ORIGDEV, e->orig_dev, "PACKET_ORIGDEV" },
		{ PACKET_VNET_HDR, e->vnet_hdr, "PACKET_VNET_HDR" },
		{ PACKET_LOSS, e->loss, "PACKET_LOSS" },
		{ PACKET_TIMESTAMP, e->timestamp, "PACKET_TIMESTAMP" },
	};

	for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
		int v = (int)wanted[i].value;

		if (v && setsockopt(fd, SOL_PACKET, wanted[i].option, &v, sizeof(v)) < 0)
			return cr_fail(err, -errno, "socket option %s %d", wanted[i].name, v);
	}
	for (size_t i = 0; e->ext && i < e->ext->more.nr; i++) {
		uint64_t item = e->ext->more.items[i];
		int v = (int)(uint32_t)item;

		if (setsockopt(fd, SOL_PACKET, (int)(item >> 32), &v, sizeof(v)) < 0)
			return cr_fail(err, -errno, "socket option %s %d", more_name(item), v);
	}
	return 0;
}

/* In front of it packets of ours have gone through the ring, of which no copies are to be queued. */
static int restore_copy_thresh(int fd, const img_packet_sock_entry *e, struct cr_error *err)
{
	int v = (int)e->copy_thresh;

	if (v && setsockopt(fd, SOL_PACKET, PACKET_COPY_THRESH, &v, sizeof(v)) < 0)
		return cr_fail(err, -errno, "socket option PACKET_COPY_THRESH %d", v);
	return 0;
}

/* struct packet_mreq for hardware addresses of any length, of which headers know eight bytes; packet_mreq_max in net/packet/internal.h */
struct long_mreq {
	int ifindex;
	unsigned short type, alen;
	unsigned char address[LONGEST_ADDRESS];
};

static int restore_groups(int fd, const img_packet_sock_entry *e, struct cr_error *err)
{
	for (size_t i = 0; i < e->mclist.nr; i++) {
		const img_packet_mclist *g = &e->mclist.items[i];
		struct long_mreq m = { .ifindex = (int)g->index,
				       .type = (unsigned short)g->type,
				       .alen = (unsigned short)g->addr.len };

		if (g->addr.len)
			memcpy(m.address, g->addr.data, g->addr.len);
		if (setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &m, sizeof(m)) < 0)
			return cr_fail(err, -errno, "membership of a packet socket on interface %u", g->index);
	}
	return 0;
}

/* The protocol comes with bind(2), so that nothing is received before: also no packet that another ring is advanced with. */
static int start_receiving(int fd, const img_packet_sock_entry *e, struct cr_error *err)
{
	struct sockaddr_ll own = { .sll_family = AF_PACKET,
				   .sll_protocol = (uint16_t)e->protocol,
				   .sll_ifindex = (int)e->ifindex };
	int fanout = (int)e->fanout;

	if ((e->protocol || e->ifindex) && bind(fd, (struct sockaddr *)&own, sizeof(own)) < 0)
		return cr_fail(err, -errno, "bind a packet socket to interface %u", e->ifindex);
	if (e->has_fanout && e->fanout && e->fanout != NO_FANOUT &&
	    setsockopt(fd, SOL_PACKET, PACKET_FANOUT, &fanout, sizeof(fanout)) < 0)
		return cr_fail(err, -errno, "socket option PACKET_FANOUT 0x%x", e->fanout);
	return 0;
}

static int packet_open(struct files *fs, struct restored_file *f, struct cr_error *err)
{
	const img_packet_sock_entry *e = f->entry->psk;
	autofd int fd = socket(AF_PACKET, (int)e->type | SOCK_CLOEXEC | (e->flags & O_NONBLOCK ? SOCK_NONBLOCK : 0), 0);
	int r;

	if (fd < 0)
		return cr_fail(err, -errno, "packet socket");
	r = restore_options(fd, e, err);
	if (r == 0)
		r = packet_ring_restore(fd, e, err);
	if (r == 0)
		r = restore_copy_thresh(fd, e, err);
	if (r == 0)
		r = restore_groups(fd, e, err);
	if (r == 0)
		r = sock_opts_restore(fs->ctx, fd, e->opts, NULL, err);
	if (r == 0)
		r = sock_opts_finish(fd, e->opts, err);
	return r < 0 ? r : fown_finish(take_fd(&fd), e->fown, err);
}

static int packets_settle(struct files *fs, struct cr_error *err)
{
	for (size_t i = 0; i < fs->files.nr; i++) {
		const struct restored_file *f = fs->files.items[i];
		int r = f->entry->type == img_fd_types_PACKETSK && f->fd >= 0
				? start_receiving(f->fd, f->entry->psk, err)
				: 0;

		if (r < 0)
			return cr_within(err, r, "file %u", f->id);
	}
	return 0;
}

const struct file_family packet_family = {
	.name = "packet sockets",
	.settle = packets_settle,
};

const struct file_ops packet_ops = {
	.name = "packet socket",
	.type = img_fd_types_PACKETSK,
	.claims = packet_claims,
	.dump = packet_dump,
	.check = packet_check,
	.open = packet_open,
};

/* What the kernel does for the port of a netlink socket, and would do for nobody after a restore. */
#ifndef CR_NET_NETLINK_PORT_H
#define CR_NET_NETLINK_PORT_H

#include "base/error.h"
#include "files/file-ops.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** netlink_port_dump() - Return: 0 nothing that is known of; 1 an obstacle was noted; negative errno. */
int netlink_port_dump(struct file_table *t, struct open_file *f, const img_netlink_sk_entry *e, struct cr_error *err);

/** netfilter_queue_find() - in /proc/net/netfilter/nfnetlink_queue, or _log: which number is bound to @port? Pure. */
bool netfilter_queue_find(const char *text, size_t len, uint32_t port, uint64_t *ret_number);

/* What a packet of an answer tells of a table of nf_tables that belongs to a port. */
struct owned_table {
	bool found;
	char name[64];
};

/** nft_owner_parse() - Return: 0 more is to come; 1 that was all; -EAGAIN it changed meanwhile; negative errno. Pure. */
int nft_owner_parse(const void *packet, size_t len, uint32_t port, struct owned_table *ret);

#endif

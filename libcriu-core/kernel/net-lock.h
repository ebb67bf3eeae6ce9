/*
 * Keeping the packets of connections away from everybody while these are saved or made again: a table of nf_tables that
 * drops what comes in or goes out for them. Or keeping new connections away from sockets that listen. Packets that carry our
 * mark pass.
 *
 * A table that is owned goes by itself when its owner ends in whatever way (NFT_TABLE_F_OWNER, Linux 5.12 and later).
 */
#ifndef CR_KERNEL_NET_LOCK_H
#define CR_KERNEL_NET_LOCK_H

#include "base/error.h"
#include "base/own.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NET_LOCK_MARK 0x43524955u /* of a packet (SO_MARK) that is ours */
#define NET_LOCK_NAME 64          /* of a table, with its NUL */

/* One direction of a connection. */
struct net_tuple {
	int family;               /* AF_INET, AF_INET6 */
	uint8_t src[16], dst[16]; /* 4 bytes of them for AF_INET */
	uint16_t sport, dport;    /* in network order */
};

/* A socket that listens. */
struct net_port {
	int family;       /* AF_INET, AF_INET6 */
	uint8_t addr[16]; /* 4 bytes of them for AF_INET; all zero: any */
	uint16_t port;    /* in network order */
	bool v6only;      /* AF_INET6 without an address: nothing of IPv4 comes to it */
	uint32_t device;  /* index of the only one that it hears; 0: all */
};

struct net_lock;

/**
 * net_lock_new() - drop TCP packets of these
 * @name:  of the table; must not exist
 * @owned: it lasts until net_lock_free(), or until we end in whatever way; else until it is removed by name
 * Return: 0; -EOPNOTSUPP and the like where there is no nf_tables; -EPERM without CAP_NET_ADMIN; -EEXIST.
 */
int net_lock_new(const char *name, bool owned, const struct net_tuple *tuples, size_t nr, struct net_lock **ret,
		 struct cr_error *err);

/** net_lock_new_ports() - drop what would begin new connections to @nr ports, at least one; owned. Return: as net_lock_new() */
int net_lock_new_ports(const char *name, const struct net_port *ports, size_t nr, struct net_lock **ret,
		       struct cr_error *err);

/** net_lock_lift() - an owned one is taken away at once, which is quick. NULL is fine, and doing so twice. */
void net_lock_lift(struct net_lock *l);
/** net_lock_free() - takes milliseconds: not while anybody waits for the tree. An owned one is lifted; NULL is fine */
void net_lock_free(struct net_lock *l);
DEFINE_SLOT(struct net_lock, net_lock_free)

/** net_lock_remove() - Return: 0 it is gone, or was never there; negative errno. */
int net_lock_remove(const char *name, struct cr_error *err);

#endif

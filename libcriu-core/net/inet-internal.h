/* Shared by the files about IP sockets. */
#ifndef CR_NET_INET_INTERNAL_H
#define CR_NET_INET_INTERNAL_H

#include "files/dump-internal.h"
#include "files/restore-internal.h"
#include "net/inet-address.h"
#include "net/inet-groups.h"
#include "net/inet-options.h"

#include <netinet/in.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

/* inet_sk_entry.state: TCP_* of include/net/tcp_states.h */
enum inet_state {
	INET_ESTABLISHED = 1,
	INET_SYN_SENT,
	INET_SYN_RECV,
	INET_FIN_WAIT1,
	INET_FIN_WAIT2,
	INET_TIME_WAIT,
	INET_CLOSED,
	INET_CLOSE_WAIT,
	INET_LAST_ACK,
	INET_LISTENING,
	INET_CLOSING,
};

/* -------------------------------------------------------------------- dump */

/* In struct file_table; made at the first IP socket. */
struct inet_table {
	struct inet_fresh_vec fresh;
	bool groups_known;
	struct inet_group_seen_vec groups;
	uint64_t netns; /* SO_NETNS_COOKIE of our own, 0: this kernel does not tell */
};

/** inet_address_words() - @end as images hold it, in the pool. Return: 0 or -ENOMEM. */
int inet_address_words(struct file_table *t, const struct inet_end *end, struct proto_u32_vec *ret,
		       struct cr_error *err);

/* inet-tcp.c */
/** inet_tcp_dump() - state of a TCP or MPTCP socket, and what stands in the way. Return as file_describe(). */
int inet_tcp_dump(struct file_table *t, struct open_file *f, img_inet_sk_entry *e, struct cr_error *err);

/* inet-queue.c */
/** inet_queue_dump() - peek at datagrams that wait. Return as file_describe(). */
int inet_queue_dump(struct file_table *t, struct open_file *f, img_inet_sk_entry *e, struct cr_error *err);
int inet_queue_check(const img_inet_sk_entry *e, struct cr_error *err);

/* ----------------------------------------------------------------- restore */

struct restored_inet {
	struct restored_file *file; /* file->fd is its descriptor */
	bool inherited;             /* given by the caller: it is left as it is */
};

DEFINE_VEC(restored_inet_vec, struct restored_inet)

/* In struct files; made at the first IP socket. */
struct inet_set {
	struct restored_inet_vec socks; /* that were made */
	int raw[2];                     /* raw sockets that packets are sent from: IPv4, IPv6; -1 not needed yet */
};

/** inet_entry_ends() - addresses of a checked entry. Return: 0; -ENODEV its interface is not there. */
int inet_entry_ends(const img_inet_sk_entry *e, struct inet_end *ret_own, struct inet_end *ret_peer,
		    struct cr_error *err);
/** inet_set_of() - made if need be; NULL: -ENOMEM in @err */
struct inet_set *inet_set_of(struct files *fs, struct cr_error *err);
/** inet_queue_refill() - of a socket that is bound but not connected. */
int inet_queue_refill(struct files *fs, int fd, const img_inet_sk_entry *e, const struct inet_end *own,
		      struct cr_error *err);
int inet_int(int fd, int level, int option);

/* inet-restore.c */
int inet_check(const img_file_entry *e, struct cr_error *err);
int inet_open(struct files *fs, struct restored_file *f, struct cr_error *err);
int inet_settle(struct files *fs, struct cr_error *err);
void inet_set_done(struct files *fs);

#endif

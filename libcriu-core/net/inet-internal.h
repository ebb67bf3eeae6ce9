/* Shared by the files about IP sockets. */
#ifndef CR_NET_INET_INTERNAL_H
#define CR_NET_INET_INTERNAL_H

#include "files/dump-internal.h"
#include "files/restore-internal.h"
#include "kernel/net-lock.h"
#include "net/inet-address.h"
#include "net/inet-groups.h"
#include "net/inet-kind.h"
#include "net/inet-options.h"
#include "net/tcp-repair.h"

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

/* A TCP connection that is kept; f keeps its descriptor. */
struct inet_connection {
	struct open_file *f;
	img_inet_sk_entry *e;
	struct inet_end own, peer;
	bool reuse; /* SO_REUSEADDR */
	struct tcp_saved saved;
};

DEFINE_VEC(inet_connection_vec, struct inet_connection)

/* One that listens; f keeps its descriptor. */
struct inet_listener {
	struct open_file *f;
	struct net_port port;
};

DEFINE_VEC(inet_listener_vec, struct inet_listener)

#define INET_RUN_ID 37 /* dump_criu_run_id of inventory.img: a UUID and its NUL */

/* In struct file_table; made at the first IP socket. */
struct inet_table {
	struct inet_fresh_vec fresh;
	bool groups_known, policies_known;
	struct inet_group_seen_vec groups;
	uint64_t netns; /* SO_NETNS_COOKIE of our own, 0: this kernel does not tell */
	struct inet_connection_vec connections;
	struct inet_listener_vec listeners;
	struct net_lock *lock; /* of them; NULL: none */
	bool locked_for_good;  /* by a table that outlives us */
	bool vanished;         /* they are to be closed in repair mode */
	char run_id[INET_RUN_ID];
};

/** inet_network_check() - is the socket f->fd, of any family, of our own network namespace? Return as file_describe(). */
int inet_network_check(struct file_table *t, struct open_file *f, struct cr_error *err);

/** inet_address_words() - @end as images hold it, in the pool. Return: 0 or -ENOMEM. */
int inet_address_words(struct file_table *t, const struct inet_end *end, struct proto_u32_vec *ret,
		       struct cr_error *err);

/* inet-tcp.c */
/** inet_tcp_dump() - state of a TCP or MPTCP socket, and what stands in the way. Return as file_describe(). */
int inet_tcp_dump(struct file_table *t, struct open_file *f, img_inet_sk_entry *e, struct cr_error *err);

/* inet-connection.c */
/** inet_connection_add() - a connection in @state, to be kept. Return as file_describe(). */
int inet_connection_add(struct file_table *t, struct open_file *f, img_inet_sk_entry *e, int state,
			struct cr_error *err);
/** inet_lock_wanted() - may the options keep packets away? */
bool inet_lock_wanted(const struct file_table *t);
int inet_connections_write(struct file_table *t, struct image_set *set, struct cr_error *err);
void inet_connections_done(struct file_table *t);
/** inet_tuples_of() - both directions of a connection */
void inet_tuples_of(const struct inet_end *own, const struct inet_end *peer, struct net_tuple ret[static 2]);
/** inet_lock_name() - of a table for this dump; @what: "hold" and "ports" while it lasts, "lock" afterwards, "restore" */
void inet_lock_name(const char *run_id, const char *what, char ret[static NET_LOCK_NAME]);
/** inet_lock() - net_lock_new(), with advice */
int inet_lock(const char *name, bool owned, const struct net_tuple *tuples, size_t nr, struct net_lock **ret,
	      struct cr_error *err);

/* listeners.c */
/** inet_listener_add() - note @f, which listens; @waiting: how many have not been accepted. Return as file_describe(). */
int inet_listener_add(struct file_table *t, struct open_file *f, uint32_t waiting, struct cr_error *err);

/* inet-roles.c */
/** inet_roles_dump() - refuse what the kernel does for f->fd alone, and nothing gives back. Return as file_describe(). */
int inet_roles_dump(struct file_table *t, struct open_file *f, const img_inet_sk_entry *e, struct cr_error *err);

/* inet-cork.c */
/** inet_cork_dump() - refuse what is begun and not sent. Return as file_describe(). */
int inet_cork_dump(struct file_table *t, struct open_file *f, const img_inet_sk_entry *e);

/* inet-queue.c */
/** inet_queue_dump() - peek at datagrams that wait. Return as file_describe(). */
int inet_queue_dump(struct file_table *t, struct open_file *f, img_inet_sk_entry *e, struct cr_error *err);
int inet_queue_check(const img_inet_sk_entry *e, struct cr_error *err);

/* ----------------------------------------------------------------- restore */

struct restored_inet {
	struct restored_file *file; /* file->fd is its descriptor */
	bool inherited;             /* given by the caller: it is left as it is */
	bool repaired;              /* a connection, in repair mode until connections_go_on() */
};

/* A connection of the images, as read. */
struct inet_stream {
	struct restored_file *file;
	img_tcp_stream_entry *entry;
	const char *in, *out; /* in the pool of the files */
};

DEFINE_VEC(inet_stream_vec, struct inet_stream)

DEFINE_VEC(restored_inet_vec, struct restored_inet)

/* In struct files; made at the first IP socket. */
struct inet_set {
	struct restored_inet_vec socks; /* that were made */
	struct inet_kind_vec kinds;
	struct inet_stream_vec streams;
	struct map stream_by_id; /* file id + 1 -> index in streams + 1 */
	bool lock_wanted;
	struct net_lock *lock;    /* while they are made */
	char run_id[INET_RUN_ID]; /* of the dump; "": not known */
	int raw[2];               /* raw sockets that packets are sent from: IPv4, IPv6; -1 not needed yet */
};

/** inet_entry_ends() - addresses of a checked entry. Return: 0; -ENODEV its interface is not there. */
int inet_entry_ends(const img_inet_sk_entry *e, struct inet_end *ret_own, struct inet_end *ret_peer,
		    struct cr_error *err);
/** inet_set_of() - made if need be; NULL: -ENOMEM in @err */
struct inet_set *inet_set_of(struct files *fs, struct cr_error *err);
/** inet_queue_refill() - of a socket that is bound but not connected. */
int inet_queue_refill(struct files *fs, int fd, const img_inet_sk_entry *e, const struct inet_end *own,
		      struct cr_error *err);
/** inet_raw() - the raw socket of a family. Return: descriptor, not the caller's; negative errno. */
int inet_raw(struct inet_set *s, int family, struct cr_error *err);
int inet_int(int fd, int level, int option);

/* inet-streams.c */
int inet_streams_read(struct files *fs, struct cr_error *err);
/** inet_streams_lock() - before any of them is made */
int inet_streams_lock(struct files *fs, struct cr_error *err);
/** inet_stream_find() - of a connection that is to be made again; NULL: it is not, or is made as a closed one */
const struct inet_stream *inet_stream_find(const struct files *fs, uint32_t id);
/** inet_stream_make() - @fd has its options and is not bound. It stays in repair mode. */
int inet_stream_make(struct files *fs, int fd, const struct inet_stream *s, struct cr_error *err);
void inet_streams_done(struct files *fs);
/** inet_is_connection() - of a checked entry: does it have an image of its own? */
bool inet_is_connection(const img_inet_sk_entry *e);
/** inet_bind_to(), inet_connect_to() - with addresses in errors, and advice */
int inet_bind_to(int fd, const struct inet_end *own, struct cr_error *err);
int inet_connect_to(int fd, const struct inet_end *peer, struct cr_error *err);

/* inet-restore.c */
int inet_check(const img_file_entry *e, struct cr_error *err);
int inet_open(struct files *fs, struct restored_file *f, struct cr_error *err);
int inet_settle(struct files *fs, struct cr_error *err);
void inet_set_done(struct files *fs);

#endif

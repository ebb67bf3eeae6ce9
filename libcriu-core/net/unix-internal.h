/* Shared by the files about UNIX sockets. */
#ifndef CR_NET_UNIX_INTERNAL_H
#define CR_NET_UNIX_INTERNAL_H

#include "base/array.h"
#include "files/dump-internal.h"
#include "files/restore-internal.h"
#include "net/unix-diag.h"

#include <sys/socket.h>
#include <sys/un.h>

/* Values of the images */
#define UNIX_STATE_CONNECTED 1u  /* TCP_ESTABLISHED of include/net/tcp_states.h */
#define UNIX_STATE_CLOSED    7u  /* TCP_CLOSE */
#define UNIX_STATE_LISTENING 10u /* TCP_LISTEN */
#define UFLAG_EXTERNAL       1u  /* unix_sk_entry.uflags: a peer outside of the tree */
#define UFLAG_SERVICE        2u  /* the connection on which a process has itself dumped */

#define UNIX_RIGHTS_MAX 253 /* SCM_MAX_FD of include/net/scm.h: descriptors in one message */
#define UNIX_NAME_MAX   (sizeof(((struct sockaddr_un *)0)->sun_path) + 1) /* a path of full length and its NUL */

/* -------------------------------------------------------------------- dump */

/* One message, or one piece of a stream. In the pool of the table's data. */
struct unix_packet {
	struct unix_packet *next;
	img_sk_packet_entry entry;
	const char *data;
};

/* One socket of the tree. */
struct unix_sock {
	struct open_file *f;
	img_unix_sk_entry *e;
	const struct unix_fact *fact;
	struct proto_bytes peer_name; /* of its peer, wherever that is; no data: it has none */
	bool gone;                    /* it is connected to a socket that nobody has open any more */
	bool error;                   /* one waits to be read */
	struct unix_packet *first, **last;
};

DEFINE_VEC(unix_sock_vec, struct unix_sock *)

struct unix_table {
	struct unix_facts facts;
	struct unix_sock_vec socks;
	struct map by_ino;    /* ino + 1 -> unix_sock */
	struct map waiting;   /* ino + 1 of a client that nobody accepted yet -> unix_fact of the listening socket */
	struct map externals; /* ino + 1 of a peer outside -> its open_file */
	struct pool data;     /* what is in queues */
};

struct unix_sock *unix_sock_find(const struct unix_table *u, uint32_t ino);
img_unix_sk_ext *unix_ext(struct file_table *t, img_unix_sk_entry *e, struct cr_error *err);

/* unix-name.c */
/** unix_name_dump() - e->name and what belongs to it. Return as file_describe(). */
int unix_name_dump(struct file_table *t, struct open_file *f, img_unix_sk_entry *e, struct cr_error *err);
/**
 * unix_name_read() - bytes of sun_path of a socket, or of its peer; in the pool. *ret without data: it has no name
 * Return: 0; 1 it is connected to nobody; negative errno.
 */
int unix_name_read(struct file_table *t, int fd, bool peer, struct proto_bytes *ret, struct cr_error *err);
/** unix_name_text() - "/run/x.sock", "@name", "" for people. Pure. */
void unix_name_text(struct proto_bytes name, char *ret, size_t size);

/* unix-peer.c */
/** unix_peers_resolve() - who is connected to whom; peers outside are allowed or noted as obstacles. Return: 0 or negative errno */
int unix_peers_resolve(struct file_table *t, struct cr_error *err);
/** unix_external_allowed() - do the options allow a connection to socket @ino outside of the tree? @named: or only if it is listed */
bool unix_external_allowed(const rpc_criu_opts *o, uint32_t ino, bool *ret_listed);

/* unix-queue.c */
/** unix_queue_dump() - peek at all that is unread in a socket. Return as file_describe(). */
int unix_queue_dump(struct file_table *t, struct unix_sock *s, struct cr_error *err);
int unix_queues_write(struct file_table *t, struct image_set *set, struct cr_error *err);

/* unix-service.c: the connection on which a process has itself dumped */
bool unix_is_service(const struct file_table *t, const struct open_file *f);
int unix_service_dump(struct file_table *t, struct open_file *f, struct cr_error *err);
int unix_service_check(const img_file_entry *e, struct cr_error *err);
int unix_service_open(struct files *fs, struct restored_file *f, struct cr_error *err);

/* ----------------------------------------------------------------- restore */

/* One entry of sk-queues.img. */
struct queued {
	struct queued *next;
	img_sk_packet_entry *entry;
	const char *data; /* in the pool of the files */
};

struct restored_sock {
	struct restored_file *file; /* file->fd is its descriptor once it was handed over */
	const img_unix_sk_entry *e;
	struct restored_sock *peer; /* in the images; a listening one for a connection that waits; NULL */
	struct queued *first, **last;
	/* for datagrams: who was made with it as a pair and is still connected to it, which it is not to that one; unix-turned.c */
	struct restored_sock *left;
	bool alone;     /* that one has gone, and has sent what is unread */
	bool inherited; /* given by the caller: it is left as it is */
	bool made;      /* fd is there */
	bool waits;     /* in the queue of its server */
	int fd;         /* not handed over yet; -1 */
	int path_fd;    /* O_PATH, of the file that it is bound to; -1 */
	int other;      /* the end of a connection whose owner has gone, until its queue was filled; -1 */
	/* the file that it is bound to, to be undone; made_file: we bound it there */
	bool made_file, was_there;
	mode_t old_mode;
	uid_t old_uid;
	gid_t old_gid;
};

DEFINE_VEC(restored_sock_vec, struct restored_sock *)

struct unix_set {
	struct restored_sock_vec socks;
	struct map by_ino, by_id;
	struct map by_name; /* hash of type and name -> one that listens or is for datagrams */
	struct map
		live; /* hash of device and inode of a file -> table (anything): a socket of this machine is bound to it */
	bool live_known;
	int nowhere; /* a file system without a place, for files without a name; 0: not made yet */
};

/* unix-read.c */
int unix_read(struct files *fs, struct cr_error *err);
int unix_check(const img_file_entry *e, struct cr_error *err);
void unix_set_done(struct files *fs);
/** restored_sock_fd() - wherever it is now */
int restored_sock_fd(const struct restored_sock *s);
/** unix_may_connect() - do the options allow the connection to its peer outside of the tree? Return: 0; -EPERM. */
int unix_may_connect(const struct files *fs, const struct restored_sock *s, struct cr_error *err);
bool unix_name_is_path(struct proto_bytes name);
/** unix_find_name() - the listening socket, or the one for datagrams, of that name; NULL: none is in the images */
struct restored_sock *unix_find_name(const struct unix_set *set, uint32_t type, struct proto_bytes name);

/* unix-make.c */
int unix_make(struct files *fs, struct cr_error *err);

/* unix-bind.c */
/** unix_bind() - bind(2) at its own place, or nowhere if the file had been unlinked; sets s->path_fd of a path */
int unix_bind(struct files *fs, struct restored_sock *s, struct cr_error *err);
/**
 * unix_bind_nowhere() - give @fd a name that leads to nothing on any disk; an abstract one must be free
 * @ret_path_fd: for a path, O_PATH of the file, owned by the caller; else -1
 */
int unix_bind_nowhere(struct files *fs, int fd, struct proto_bytes name, int *ret_path_fd, struct cr_error *err);
/** unix_address() - @name, or the file @path_fd if that is >= 0, for connect(2) and sendto(2). Return: its length. */
socklen_t unix_address(struct proto_bytes name, int path_fd, struct sockaddr_un *ret);
/** unix_unbind() - undo of unix_bind(): the file is as it was before, or gone */
void unix_unbind(struct files *fs, struct restored_sock *s);

/* unix-turned.c */
/** unix_turned_find() - sets .left and .alone, when all peers and queues are known */
int unix_turned_find(struct unix_set *set, struct cr_error *err);
/** unix_turn_away() - from whom it was made with; what is unread in it would be lost */
int unix_turn_away(const struct restored_sock *s, struct cr_error *err);
/** unix_turn_to_gone() - if it had turned to one that has gone since, it does so again; else nothing */
int unix_turn_to_gone(struct files *fs, const struct restored_sock *s, struct cr_error *err);
/** queued_from() - bytes of sun_path of who sent it; no data: none */
struct proto_bytes queued_from(const struct queued *q);

/* unix-settle.c */
int unix_settle(struct files *fs, struct cr_error *err);

/* unix-cred.c */
/**
 * as_owner() - run @fn in a process with the pid and ids @cred, as far as these can be had; NULL: in this one
 * Where this process has the file system identity of a client, the ids are the client's.
 * It shares our descriptors, not our memory. Return: what @fn returned.
 */
int as_owner(const img_unix_cred *cred, int (*fn)(void *arg), void *arg);
/** owner_memory() - zeroed, for what @fn of as_owner() has to tell. NULL when memory is short. */
void *owner_memory(size_t size);
void owner_memory_done(void *p, size_t size);
/** cred_compare() - an order; NULL comes first */
int cred_compare(const img_unix_cred *a, const img_unix_cred *b);

#endif

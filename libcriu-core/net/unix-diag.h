/* What UNIX_DIAG tells of all UNIX sockets of our network namespace; sock_diag(7). */
#ifndef CR_NET_UNIX_DIAG_H
#define CR_NET_UNIX_DIAG_H

#include "base/array.h"
#include "base/error.h"
#include "base/map.h"

#include <stdint.h>

struct unix_fact {
	uint32_t ino;  /* 0: a connection that nobody has accepted yet */
	uint32_t peer; /* inode; 0: none, or it is closed, or not accepted yet */
	uint8_t type, state, shutdown;
	uint32_t rqueue;             /* bytes unread; listening: connections that wait */
	uint32_t wqueue;             /* bytes that the peer has not read; listening: the backlog */
	uint32_t vfs_ino, vfs_dev;   /* file that it is bound to; 0 */
	size_t first_icon, nr_icons; /* listening: in unix_facts.icons, clients that wait, oldest first; 0 has gone */
};

DEFINE_VEC(unix_fact_vec, struct unix_fact)
DEFINE_VEC(unix_icon_vec, uint32_t)

struct unix_facts {
	struct unix_fact_vec all;
	struct unix_icon_vec icons;
	struct map by_ino; /* of all but those without an inode; filled when all are there */
};

/**
 * unix_diag_parse() - the messages of one packet; appends to @f. Pure.
 * Return: 0 more will come; 1 that was all; -EAGAIN the list changed meanwhile; negative errno.
 */
int unix_diag_parse(const void *packet, size_t len, struct unix_facts *f, struct cr_error *err);

/** unix_facts_read() - ask the kernel. Return: 0; -EOPNOTSUPP it has no UNIX_DIAG; negative errno. */
int unix_facts_read(struct unix_facts *ret, struct cr_error *err);
const struct unix_fact *unix_facts_find(const struct unix_facts *f, uint32_t ino);
void unix_facts_done(struct unix_facts *f);

#endif

/* What PACKET_DIAG tells of packet sockets, which no option does; sock_diag(7). */
#ifndef CR_NET_PACKET_DIAG_H
#define CR_NET_PACKET_DIAG_H

#include "base/array.h"
#include "base/error.h"

#include <linux/packet_diag.h>
#include <stdbool.h>
#include <stdint.h>

DEFINE_VEC(packet_mclist_vec, struct packet_diag_mclist)

struct packet_fact {
	bool found, has_rx, has_tx; /* rings */
	struct packet_diag_ring rx, tx;
	struct packet_mclist_vec groups;
};

/** packet_diag_parse() - the messages of one packet, for the socket with inode @ino. Pure. Return: 0 more will come; 1 that was all; negative errno. */
int packet_diag_parse(const void *packet, size_t len, uint32_t ino, struct packet_fact *ret);

/** packet_fact_read() - ask the kernel. Return: 0; -ENOENT it does not know it; negative errno. packet_fact_done() in any case. */
int packet_fact_read(uint32_t ino, struct packet_fact *ret, struct cr_error *err);
void packet_fact_done(struct packet_fact *f);

#endif

/* What INET_DIAG tells of the TCP sockets of our network namespace, also of those that nobody has a descriptor of; sock_diag(7). */
#ifndef CR_NET_INET_DIAG_H
#define CR_NET_INET_DIAG_H

#include "base/array.h"
#include "base/error.h"
#include "net/inet-address.h"

#include <stdint.h>

struct tcp_fact {
	uint8_t state; /* TCP_* of include/net/tcp_states.h */
	struct inet_end own;
	uint32_t ino;     /* 0: nobody has accepted it */
	uint32_t waiting; /* listening: connections that wait to be accepted; else bytes unread */
};

DEFINE_VEC(tcp_fact_vec, struct tcp_fact)

/** inet_diag_parse() - the messages of one packet; appends to @ret. Pure. Return: 0 more will come; 1 that was all; negative errno. */
int inet_diag_parse(const void *packet, size_t len, struct tcp_fact_vec *ret, struct cr_error *err);

/**
 * tcp_facts_read() - ask the kernel about both families
 * @states: a bit for each state, 1 << TCP_*; those that are listening are quick to list, for others it goes through all
 * Return: 0; -ENOENT and the like where there is no INET_DIAG; negative errno. tcp_fact_vec_done(@ret) in any case.
 */
int tcp_facts_read(uint32_t states, struct tcp_fact_vec *ret, struct cr_error *err);

#endif

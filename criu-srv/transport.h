/* Packets on a SOCK_SEQPACKET socket: one packet is one message. */
#ifndef CRIU_SRV_TRANSPORT_H
#define CRIU_SRV_TRANSPORT_H

#include "proto/rpc.h"

struct cr_error;

#define PACKET_MAX ((size_t)1 << 20)

/**
 * transport_receive() - the next request
 * @ret_req: to be freed with rpc_req_free()
 * Return: 0; 1 the client has closed; -EMSGSIZE, -EBADMSG what it sent is no request; negative errno.
 */
int transport_receive(int sock, rpc_criu_req **ret_req, enum rpc_generation *ret_generation, struct cr_error *err);

/** transport_send() - an answer, in the words of the client's generation. Return: 0; negative errno. */
int transport_send(int sock, const rpc_criu_resp *resp, enum rpc_generation generation, struct cr_error *err);

#endif

/* Packets on a SOCK_SEQPACKET socket: one packet is one message. */
#ifndef CRIU_SRV_TRANSPORT_H
#define CRIU_SRV_TRANSPORT_H

#include "proto/rpc.h"

struct cr_error;

#define PACKET_MAX ((size_t)1 << 20) /* of an answer, and of a request unless somebody wants more */

enum transport_outcome {
	TRANSPORT_REQUEST,
	TRANSPORT_CLOSED, /* by the client */
	TRANSPORT_FLAWED, /* a request that lacks a part or has too much of one: @err says which, and it can be answered */
};

/**
 * transport_receive() - the next request
 * @max: bytes that it may have
 * @generation: what the client speaks
 * @ret_req: to be freed with rpc_req_free(); written for TRANSPORT_REQUEST only
 * Return: enum transport_outcome; -EMSGSIZE, -EBADMSG what was sent is no request; negative errno.
 */
int transport_receive(int sock, enum rpc_generation generation, size_t max, rpc_criu_req **ret_req,
		      struct cr_error *err);

/**
 * transport_send() - an answer, in the words of the client's generation
 * @fd: goes along with it, -1: none
 * Return: 0; negative errno.
 */
int transport_send(int sock, const rpc_criu_resp *resp, enum rpc_generation generation, int fd, struct cr_error *err);

#endif

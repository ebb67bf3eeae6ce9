/*
 * Messages of the remote procedure protocol: requests that clients send and answers to them.
 *
 * The structs (rpc_criu_req, rpc_criu_opts, rpc_criu_resp, ...) are generated from proto/rpc.proto;
 * how a field becomes a member is in proto/nanopb.options. Start a struct of your own with
 * `= { 0 }`. A decoded message is one block of memory in truth: members may be changed, also
 * pointers, and the free function gives back exactly what the decoder took.
 *
 * Three generations of the protocol are spoken:
 *
 *	2013		criu_msg with a dump_req; proto/legacy.proto
 *	2013-2014	criu_req with a member `dump` in place of `opts`; the same numbers and types as
 *			today's criu_opts, so it is today's message with fewer fields
 *	today		criu_req with opts
 *
 * The first was spoken over an address of its own. Which one a packet belongs to is told by the
 * socket it came from, never by looking at it: some packets are well-formed in both.
 */
#ifndef PROTO_RPC_H
#define PROTO_RPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "legacy.pb.h"
#include "proto/buf.h"
#include "proto/error.h"
#include "proto/limits.h"
#include "rpc.pb.h"

enum rpc_generation {
	RPC_GENERATION_TODAY, /* and that of 2013-2014 */
	RPC_GENERATION_FIRST  /* criu_msg of 2013 */
};

/* Message 1 MiB, string 4096 bytes, 100000 elements: a client is not trusted yet. */
extern const struct proto_limits rpc_limits_default;

/**
 * rpc_req_decode() - bytes of one packet to a request
 * @generation: what the client speaks; of the first the request comes out in today's words
 * @limits:  NULL for rpc_limits_default
 * @ret_req: to be freed with rpc_req_free()
 *
 * Return: 0, -EBADMSG, -E2BIG, -ENOMEM.
 */
int rpc_req_decode(const void *bytes, size_t len, enum rpc_generation generation, const struct proto_limits *limits,
		   rpc_criu_req **ret_req, struct proto_error *err);

/**
 * rpc_req_is_whole() - is this a sequence of whole fields, one of them the type of a request?
 *
 * Tells a request that lacks a part, or that has too much of one, from bytes that are none.
 */
bool rpc_req_is_whole(const void *bytes, size_t len);

/* Appends a request of today. Return: 0, -EINVAL, -E2BIG, -ENOMEM; @buf is unchanged on failure. */
int rpc_req_encode(const rpc_criu_req *req, struct proto_buf *buf, struct proto_error *err);

void rpc_req_free(rpc_criu_req *req);

/* The answer as today's client sees it; for tests and for clients. Return: as rpc_req_decode(). */
int rpc_resp_decode(const void *bytes, size_t len, const struct proto_limits *limits, rpc_criu_resp **ret_resp,
		    struct proto_error *err);

/**
 * rpc_resp_encode() - append an answer
 * @generation: of the request; the first generation knows answers to dumps only, -EINVAL for others
 *
 * Return: 0, -EINVAL, -E2BIG, -ENOMEM; @buf is unchanged on failure.
 */
int rpc_resp_encode(const rpc_criu_resp *resp, enum rpc_generation generation, struct proto_buf *buf,
		    struct proto_error *err);

void rpc_resp_free(rpc_criu_resp *resp);

/* Messages of the first generation as they are; for tests and for clients. */
int rpc_legacy_decode(const void *bytes, size_t len, const struct proto_limits *limits, rpc_criu_msg **ret_msg,
		      struct proto_error *err);
int rpc_legacy_encode(const rpc_criu_msg *msg, struct proto_buf *buf, struct proto_error *err);
void rpc_legacy_free(rpc_criu_msg *msg);

#endif

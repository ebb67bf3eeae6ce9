/*
 * Tables that describe every message to the encoder and the decoder.
 *
 * nanopb is the schema compiler: it makes the structs and, as macros, the list of fields of each.
 * The tables are made from these lists, so they cannot differ from the structs. The wire format
 * itself is walked by encode.c and decode.c rather than by nanopb's run-time, for what images
 * need and that one, as Debian builds it (0.4.7), cannot do: arrays and bytes with more than 65535
 * elements; arrays of numbers that are not packed, as every other reader and writer of images has
 * them; an encoder whose time does not double with each level of nesting; names of members in
 * errors; a ceiling on the memory of one message; and a decoder that gives back what an entry has
 * taken when the entry turns out to be bad. It is also three to five times as fast (65530 mappings:
 * 3 ms to encode and 4 ms to decode, against 10 ms and 19 ms).
 */
#ifndef SCHEMA_H
#define SCHEMA_H

#include <stdint.h>
#include <stddef.h>

#include "proto/img-messages.h"
#include "proto/vec.h"
#include "legacy.pb.h"
#include "rpc.pb.h"

enum schema_kind {
	SCHEMA_BOOL,
	SCHEMA_INT32,
	SCHEMA_INT64,
	SCHEMA_UINT32,
	SCHEMA_UINT64,
	SCHEMA_SINT32,
	SCHEMA_SINT64,
	SCHEMA_FIXED64,
	SCHEMA_ENUM,
	SCHEMA_STRING,
	SCHEMA_BYTES,
	SCHEMA_MESSAGE
};
/* nanopb's name for an enum without negative values. */
#define SCHEMA_UENUM SCHEMA_ENUM

enum schema_label {
	SCHEMA_REQUIRED,
	SCHEMA_OPTIONAL,
	SCHEMA_REPEATED
};

#define SCHEMA_NO_HAS 0xffff

/**
 * struct schema_field - one field, and where it lives in the struct
 * @offset: of the number, the pointer (string, message), the struct proto_bytes or the vector
 * @has:    offset of the has_ flag of an optional number, else SCHEMA_NO_HAS
 * @size:   of the number, pointer or struct proto_bytes; of one element where it is repeated
 * @sub:    the message, for SCHEMA_MESSAGE
 */
struct schema_field {
	const char *name;
	const struct schema_msg *sub;
	uint16_t tag;
	uint16_t offset;
	uint16_t has;
	uint16_t size;
	uint8_t kind;
	uint8_t label;
};

/* The decoder keeps one bit per field. */
#define SCHEMA_FIELDS_MAX 128

/**
 * struct schema_msg - one message
 * @fields:   by ascending tag
 * @defaults: encoded message that holds the declared defaults, ends with a zero tag; or NULL
 */
struct schema_msg {
	const char *name;
	const struct schema_field *fields;
	const uint8_t *defaults;
	uint16_t nr;
	uint16_t size;
};

/* Messages of the rpc protos that something refers to by name. */
#define RPC_MESSAGES(X) \
	X(criu_page_server_info) \
	X(criu_veth_pair) \
	X(ext_mount_map) \
	X(join_namespace) \
	X(inherit_fd) \
	X(cgroup_root) \
	X(unix_sk) \
	X(criu_opts) \
	X(criu_dump_resp) \
	X(criu_restore_resp) \
	X(criu_notify) \
	X(criu_features) \
	X(criu_req) \
	X(criu_resp) \
	X(criu_version) \
	X(criu_dump_req) \
	X(criu_dump_resp_2013) \
	X(criu_msg)

#define SCHEMA_DECLARE_IMG(msg) extern const struct schema_msg schema_img_##msg;
#define SCHEMA_DECLARE_RPC(msg) extern const struct schema_msg schema_rpc_##msg;
IMG_MESSAGES(SCHEMA_DECLARE_IMG)
RPC_MESSAGES(SCHEMA_DECLARE_RPC)

#endif

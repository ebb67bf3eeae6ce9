/*
 * Bytes to structs.
 */
#ifndef DECODE_H
#define DECODE_H

#include "proto/error.h"
#include "proto/limits.h"
#include "schema.h"

/**
 * decode_message() - decode one whole message
 * @ret_msg: freed with arena_free()
 *
 * A field that stands twice: numbers, strings and bytes are replaced, messages merged, arrays
 * joined, as protobuf asks; but each part of a message must have all of its required fields.
 *
 * Return: 0, -EBADMSG, -E2BIG, -ENOMEM.
 */
int decode_message(const struct schema_msg *schema, const void *bytes, size_t len,
		   const struct proto_limits *limits, void **ret_msg, struct proto_error *err);

#endif

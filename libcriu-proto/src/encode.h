/*
 * Structs to bytes.
 */
#ifndef ENCODE_H
#define ENCODE_H

#include "proto/buf.h"
#include "proto/error.h"
#include "schema.h"

/**
 * encode_message() - append a message, fields by ascending number
 *
 * Return: 0, -EINVAL, -E2BIG, -ENOMEM; the buffer is unchanged on failure.
 */
int encode_message(const struct schema_msg *schema, const void *msg, struct proto_buf *buf,
		   struct proto_error *err);

#endif

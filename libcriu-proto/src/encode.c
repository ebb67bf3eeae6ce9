/*
 * Structs to bytes, by the tables of schema.h.
 *
 * One pass: the length of a member is not known before its bytes are there, so one byte is kept
 * for it, and a member of 128 bytes or more is moved up by the bytes that its length wants more.
 * Most members are shorter, and each byte is moved at most once per level of nesting.
 */
#include "encode.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "fail.h"
#include "proto/limits.h"
#include "wire.h"

/* What every protobuf reader agrees on as the longest message. */
#define MESSAGE_MAX INT32_MAX

struct encode {
	struct proto_buf *buf;
	struct proto_error *err;
};

/* The message that is being read. */
struct source {
	const struct schema_msg *schema;
	const uint8_t *msg;
	const struct fail_path *path;
	unsigned int depth;
};

struct any_vec {
	const uint8_t *items;
	size_t nr;
};

static int put_fields(struct encode *e, const struct source *from);

static int fail_member(struct encode *e, const struct source *from,
		       const struct schema_field *field, size_t index, int code, const char *what)
{
	struct fail_path path = {
		.up = from->path, .name = field->name,
		.index = index, .indexed = field->label == SCHEMA_REPEATED,
	};

	return fail_at(e->err, code, &path, "%s", what);
}

static int reserve(struct encode *e, const struct source *from, size_t more)
{
	/* Asked for every number: the usual case must stay here. */
	if (e->buf->cap - e->buf->len >= more)
		return 0;

	int r = proto_buf_reserve(e->buf, more);

	if (r == -E2BIG)
		return fail_at(e->err, r, from->path, "does not fit into %zu bytes", e->buf->max);
	if (r < 0)
		return fail_at(e->err, r, from->path, "out of memory");
	return 0;
}

static uint64_t load_number(const uint8_t *at, const struct schema_field *field)
{
	switch (field->kind) {
	case SCHEMA_BOOL:
		return *(const bool *)at;
	case SCHEMA_INT32:
	case SCHEMA_ENUM:
		/* Negative numbers take ten bytes on the wire, whatever their width. */
		return (uint64_t)(int64_t)*(const int32_t *)at;
	case SCHEMA_UINT32:
		return *(const uint32_t *)at;
	case SCHEMA_SINT32:
		return (uint32_t)wire_zigzag(*(const int32_t *)at);
	case SCHEMA_SINT64:
		return wire_zigzag(*(const int64_t *)at);
	default:
		return *(const uint64_t *)at;
	}
}

/* There is room for a tag and a number. */
static void put_number(struct encode *e, const struct schema_field *field, const uint8_t *at)
{
	uint8_t *p = e->buf->data + e->buf->len;
	uint64_t value = load_number(at, field);

	if (field->kind == SCHEMA_FIXED64) {
		p = wire_put_varint(p, (uint64_t)field->tag << 3 | WIRE_64BIT);
		p = wire_put_fixed64(p, value);
	} else {
		p = wire_put_varint(p, (uint64_t)field->tag << 3 | WIRE_VARINT);
		p = wire_put_varint(p, value);
	}
	e->buf->len = (size_t)(p - e->buf->data);
}

static int put_blob(struct encode *e, const struct source *from, const struct schema_field *field,
		    const void *bytes, size_t len)
{
	if (len > MESSAGE_MAX)
		return fail_member(e, from, field, 0, -E2BIG, "longer than protobuf can say");

	int r = reserve(e, from, 2 * WIRE_VARINT_MAX + len);

	if (r < 0)
		return r;
	uint8_t *p = e->buf->data + e->buf->len;

	p = wire_put_varint(p, (uint64_t)field->tag << 3 | WIRE_BYTES);
	p = wire_put_varint(p, len);
	if (len > 0)
		memcpy(p, bytes, len);
	e->buf->len = (size_t)(p - e->buf->data) + len;
	return 0;
}

static int put_submessage(struct encode *e, const struct source *from,
			  const struct schema_field *field, size_t index, const void *msg)
{
	struct fail_path path = {
		.up = from->path, .name = field->name,
		.index = index, .indexed = field->label == SCHEMA_REPEATED,
	};
	struct source sub = {
		.schema = field->sub, .msg = msg, .path = &path, .depth = from->depth + 1,
	};

	if (sub.depth > PROTO_DEPTH_MAX)
		return fail_at(e->err, -EINVAL, &path, "nested deeper than %d messages",
			       PROTO_DEPTH_MAX);

	int r = reserve(e, from, WIRE_VARINT_MAX + 1);

	if (r < 0)
		return r;
	uint8_t *p = wire_put_varint(e->buf->data + e->buf->len,
				     (uint64_t)field->tag << 3 | WIRE_BYTES);
	size_t at = (size_t)(p - e->buf->data);

	e->buf->len = at + 1;
	r = put_fields(e, &sub);
	if (r < 0)
		return r;

	size_t len = e->buf->len - (at + 1);
	size_t extra = wire_varint_len(len) - 1;

	if (len > MESSAGE_MAX)
		return fail_at(e->err, -E2BIG, &path, "longer than protobuf can say");
	if (extra > 0) {
		r = reserve(e, from, extra);
		if (r < 0)
			return r;
		memmove(e->buf->data + at + 1 + extra, e->buf->data + at + 1, len);
		e->buf->len += extra;
	}
	wire_put_varint(e->buf->data + at, len);
	return 0;
}

/* Not a number. @index is of the element, for errors. */
static int put_value(struct encode *e, const struct source *from, const struct schema_field *field,
		     size_t index, const uint8_t *at)
{
	switch (field->kind) {
	case SCHEMA_STRING: {
		const char *text = *(char *const *)at;

		if (text != NULL)
			return put_blob(e, from, field, text, strlen(text));
		break;
	}
	case SCHEMA_BYTES: {
		const struct proto_bytes *bytes = (const struct proto_bytes *)at;

		if (bytes->data == NULL && bytes->len > 0)
			return fail_member(e, from, field, index, -EINVAL, "length without data");
		if (bytes->data != NULL || field->label == SCHEMA_REQUIRED)
			return put_blob(e, from, field, bytes->data, bytes->len);
		break;
	}
	default: {
		const void *msg = field->label == SCHEMA_REPEATED ? at : *(void *const *)at;

		if (msg != NULL)
			return put_submessage(e, from, field, index, msg);
		break;
	}
	}
	if (field->label == SCHEMA_OPTIONAL)
		return 0;
	return fail_member(e, from, field, index, -EINVAL, "required member is not set");
}

static int put_repeated(struct encode *e, const struct source *from,
			const struct schema_field *field)
{
	const struct any_vec *vec = (const struct any_vec *)(from->msg + field->offset);

	if (vec->nr > 0 && vec->items == NULL)
		return fail_member(e, from, field, 0, -EINVAL, "count without elements");
	for (size_t i = 0; i < vec->nr; i++) {
		const uint8_t *at = vec->items + i * field->size;
		int r;

		if (field->kind >= SCHEMA_STRING) {
			r = put_value(e, from, field, i, at);
		} else {
			r = reserve(e, from, 2 * WIRE_VARINT_MAX);
			if (r == 0)
				put_number(e, field, at);
		}
		if (r < 0)
			return r;
	}
	return 0;
}

static int put_fields(struct encode *e, const struct source *from)
{
	const struct schema_msg *schema = from->schema;

	for (size_t i = 0; i < schema->nr; i++) {
		const struct schema_field *field = &schema->fields[i];
		int r = 0;

		if (field->label == SCHEMA_REPEATED) {
			r = put_repeated(e, from, field);
		} else if (field->kind >= SCHEMA_STRING) {
			r = put_value(e, from, field, 0, from->msg + field->offset);
		} else if (field->has == SCHEMA_NO_HAS || *(const bool *)(from->msg + field->has)) {
			r = reserve(e, from, 2 * WIRE_VARINT_MAX);
			if (r == 0)
				put_number(e, field, from->msg + field->offset);
		}
		if (r < 0)
			return r;
	}
	return 0;
}

int encode_message(const struct schema_msg *schema, const void *msg, struct proto_buf *buf,
		   struct proto_error *err)
{
	struct encode e = { .buf = buf, .err = err };
	struct fail_path path = { .name = schema->name };
	struct source from = { .schema = schema, .msg = msg, .path = &path };
	size_t start = buf->len;
	int r = put_fields(&e, &from);

	if (r == 0 && buf->len - start > MESSAGE_MAX)
		r = fail_at(err, -E2BIG, &path, "longer than protobuf can say");
	if (r < 0)
		buf->len = start;
	return r;
}

/*
 * Bytes to structs, by the tables of schema.h.
 */
#include "decode.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "arena.h"
#include "fail.h"
#include "wire.h"

/* State of one decode; the input of each message is on the stack of its walk. */
struct decode {
	const struct proto_limits *limits;
	struct arena arena;
	struct proto_error *err;
};

/* The message that is being filled. */
struct target {
	const struct schema_msg *schema;
	uint8_t *msg;
	const struct fail_path *path;
	unsigned int depth;
};

/* Arrays of any kind look alike; capacity sits in front of the first element while decoding. */
struct any_vec {
	void *items;
	size_t nr;
};
#define VEC_HEAD 16

static int walk_fields(struct decode *d, const struct target *to, struct wire_input in);

static struct fail_path path_to(const struct target *to, const struct schema_field *field)
{
	struct fail_path path = { .up = to->path, .name = field->name };

	if (field->label == SCHEMA_REPEATED) {
		const struct any_vec *vec = (const void *)(to->msg + field->offset);

		path.indexed = true;
		path.index = vec->nr;
	}
	return path;
}

static int bad(struct decode *d, const struct target *to, const struct schema_field *field,
	       const char *what)
{
	struct fail_path path = path_to(to, field);

	return fail_at(d->err, -EBADMSG, &path, "%s", what);
}

static int take(struct decode *d, const struct fail_path *path, size_t size, void **ret_mem)
{
	int r = arena_take(&d->arena, size, ret_mem);

	if (r == -E2BIG)
		return fail_at(d->err, r, path, "message needs more than %zu bytes of memory",
			       d->limits->memory);
	if (r < 0)
		return fail_at(d->err, r, path, "out of memory");
	return 0;
}

/*
 * Numbers wider than the field lose their upper bits, as protobuf has it. An enum keeps a value
 * that this program has no name for: whether it is usable is for the check of the entry to say.
 */
static void store_number(uint8_t *at, const struct schema_field *field, uint64_t value)
{
	switch (field->kind) {
	case SCHEMA_BOOL:
		*(bool *)at = value != 0;
		break;
	case SCHEMA_INT32:
	case SCHEMA_UINT32:
	case SCHEMA_ENUM:
		*(uint32_t *)at = (uint32_t)value;
		break;
	case SCHEMA_SINT32:
		*(int32_t *)at = (int32_t)wire_unzigzag((uint32_t)value);
		break;
	case SCHEMA_SINT64:
		*(int64_t *)at = wire_unzigzag(value);
		break;
	default:
		*(uint64_t *)at = value;
		break;
	}
}

static bool read_number(struct wire_input *in, const struct schema_field *field, uint64_t *ret)
{
	return field->kind == SCHEMA_FIXED64 ? wire_fixed64(in, ret) : wire_varint(in, ret);
}

static unsigned int wire_type_of(const struct schema_field *field)
{
	switch (field->kind) {
	case SCHEMA_STRING:
	case SCHEMA_BYTES:
	case SCHEMA_MESSAGE:
		return WIRE_BYTES;
	case SCHEMA_FIXED64:
		return WIRE_64BIT;
	default:
		return WIRE_VARINT;
	}
}

static size_t vec_cap(const struct any_vec *vec)
{
	return vec->items != NULL ? *(const size_t *)((const uint8_t *)vec->items - VEC_HEAD) : 0;
}

/* Room for at least one more element; for @more if that many are known to come. */
static int vec_grow(struct decode *d, const struct target *to, const struct schema_field *field,
		    size_t more)
{
	struct any_vec *vec = (struct any_vec *)(to->msg + field->offset);
	struct fail_path path = path_to(to, field);
	/* At least doubled: fields that take turns must not cost a copy each. */
	size_t want = vec->nr + (more > vec->nr ? more : vec->nr);
	void *mem = NULL;

	if (vec->nr >= d->limits->count)
		return fail_at(d->err, -E2BIG, &path, "more than %zu elements", d->limits->count);
	if (want > d->limits->count)
		want = d->limits->count;
	if (want > (SIZE_MAX - VEC_HEAD) / field->size)
		return fail_at(d->err, -E2BIG, &path, "too many elements");

	int r = take(d, &path, VEC_HEAD + want * field->size, &mem);

	if (r < 0)
		return r;
	*(size_t *)mem = want;
	if (vec->nr > 0)
		memcpy((uint8_t *)mem + VEC_HEAD, vec->items, vec->nr * field->size);
	vec->items = (uint8_t *)mem + VEC_HEAD;
	return 0;
}

/* Where the next element goes. It counts only once @nr was raised. */
static uint8_t *vec_next(const struct any_vec *vec, const struct schema_field *field)
{
	return (uint8_t *)vec->items + vec->nr * field->size;
}

/* How many fields with this tag stand one after the other; @in stands behind the first tag. */
static size_t count_run(struct wire_input in, uint64_t tag)
{
	size_t nr = 0;
	uint64_t next = tag;

	do {
		if (!wire_skip(&in, tag & 7))
			break;
		nr++;
	} while (wire_varint(&in, &next) && next == tag);
	return nr > 0 ? nr : 1;
}

/* A protobuf writer may pack numbers; those of images do not, readers must take both. */
static int read_packed(struct decode *d, const struct target *to, const struct schema_field *field,
		       struct wire_input in)
{
	struct any_vec *vec = (struct any_vec *)(to->msg + field->offset);
	size_t more = 0;

	if (field->kind == SCHEMA_FIXED64)
		more = (size_t)(in.end - in.at) / 8;
	else
		for (const uint8_t *p = in.at; p < in.end; p++)
			more += *p < 0x80;

	for (; in.at < in.end; more--) {
		uint64_t value;

		if (!read_number(&in, field, &value))
			return bad(d, to, field, "packed numbers are cut short");
		if (vec->nr == vec_cap(vec)) {
			int r = vec_grow(d, to, field, more);

			if (r < 0)
				return r;
		}
		store_number(vec_next(vec, field), field, value);
		vec->nr++;
	}
	return 0;
}

/* Numbers of one field that follow each other, each with its tag; @in stands behind the first. */
static int read_numbers(struct decode *d, const struct target *to,
			const struct schema_field *field, uint64_t tag, struct wire_input *in)
{
	struct any_vec *vec = (struct any_vec *)(to->msg + field->offset);
	struct wire_input next;
	uint64_t value;

	for (;;) {
		if (vec->nr == vec_cap(vec)) {
			int r = vec_grow(d, to, field, count_run(*in, tag));

			if (r < 0)
				return r;
		}
		if (!read_number(in, field, &value))
			return bad(d, to, field, "cut short");
		store_number(vec_next(vec, field), field, value);
		vec->nr++;

		next = *in;
		if (!wire_varint(&next, &value) || value != tag)
			return 0;
		*in = next;
	}
}

static int read_string(struct decode *d, const struct target *to, const struct schema_field *field,
		       struct wire_input in, uint8_t *at)
{
	size_t len = (size_t)(in.end - in.at);
	struct fail_path path = path_to(to, field);

	if (len > d->limits->string)
		return fail_at(d->err, -E2BIG, &path, "string longer than %zu bytes",
			       d->limits->string);
	if (len > 0 && memchr(in.at, '\0', len) != NULL)
		return bad(d, to, field, "string contains a NUL byte");

	void *text;
	int r = take(d, &path, len + 1, &text);

	if (r < 0)
		return r;
	if (len > 0)
		memcpy(text, in.at, len);
	((char *)text)[len] = '\0';
	*(char **)at = text;
	return 0;
}

static int read_bytes(struct decode *d, const struct target *to, const struct schema_field *field,
		      struct wire_input in, uint8_t *at)
{
	struct proto_bytes *bytes = (struct proto_bytes *)at;
	struct fail_path path = path_to(to, field);
	size_t len = (size_t)(in.end - in.at);
	void *data;
	int r = take(d, &path, len > 0 ? len : 1, &data);

	if (r < 0)
		return r;
	if (len > 0)
		memcpy(data, in.at, len);
	bytes->data = data;
	bytes->len = len;
	return 0;
}

/* Declared defaults of fields that are absent; the has_ flags stay false. */
static void set_defaults(const struct schema_msg *schema, uint8_t *msg)
{
	if (schema->defaults == NULL)
		return;

	/* Made by nanopb, ends with a zero tag: the end needs no other mark. */
	struct wire_input in = { schema->defaults, schema->defaults + 4096 };
	uint64_t tag, value;

	while (wire_varint(&in, &tag) && tag != 0) {
		for (size_t i = 0; i < schema->nr; i++) {
			const struct schema_field *field = &schema->fields[i];

			if (field->tag == tag >> 3 && read_number(&in, field, &value))
				store_number(msg + field->offset, field, value);
		}
	}
}

static int read_submessage(struct decode *d, const struct target *to,
			   const struct schema_field *field, struct wire_input in, uint8_t *at)
{
	struct fail_path path = path_to(to, field);
	struct target sub = {
		.schema = field->sub, .msg = at, .path = &path, .depth = to->depth + 1,
	};

	if (sub.depth > PROTO_DEPTH_MAX)
		return fail_at(d->err, -EBADMSG, &path, "nested deeper than %d messages",
			       PROTO_DEPTH_MAX);
	if (field->label != SCHEMA_REPEATED) {
		void **slot = (void **)at;

		if (*slot == NULL) {
			int r = take(d, &path, field->sub->size, slot);

			if (r < 0)
				return r;
			memset(*slot, 0, field->sub->size);
			set_defaults(field->sub, *slot);
		}
		sub.msg = *slot;
	} else {
		set_defaults(field->sub, at);
	}
	return walk_fields(d, &sub, in);
}

/* A string, bytes or a message; @at is the member or the element. */
static int read_value(struct decode *d, const struct target *to, const struct schema_field *field,
		      struct wire_input *in, uint8_t *at)
{
	struct wire_input inner;
	size_t len;

	if (!wire_length(in, &len))
		return bad(d, to, field, "cut short");
	inner = (struct wire_input){ in->at, in->at + len };
	in->at += len;

	switch (field->kind) {
	case SCHEMA_STRING:
		return read_string(d, to, field, inner, at);
	case SCHEMA_BYTES:
		return read_bytes(d, to, field, inner, at);
	default:
		return read_submessage(d, to, field, inner, at);
	}
}

static int read_repeated(struct decode *d, const struct target *to,
			 const struct schema_field *field, uint64_t tag, struct wire_input *in)
{
	struct any_vec *vec = (struct any_vec *)(to->msg + field->offset);
	unsigned int type = wire_type_of(field);
	size_t len;
	int r;

	if ((tag & 7) == WIRE_BYTES && type != WIRE_BYTES) {
		if (!wire_length(in, &len))
			return bad(d, to, field, "cut short");
		in->at += len;
		return read_packed(d, to, field, (struct wire_input){ in->at - len, in->at });
	}
	if ((tag & 7) != type)
		return bad(d, to, field, "wrong wire type");
	if (type != WIRE_BYTES)
		return read_numbers(d, to, field, tag, in);

	if (vec->nr == vec_cap(vec)) {
		r = vec_grow(d, to, field, count_run(*in, tag));
		if (r < 0)
			return r;
	}
	memset(vec_next(vec, field), 0, field->size);
	r = read_value(d, to, field, in, vec_next(vec, field));
	if (r < 0)
		return r;
	vec->nr++;
	return 0;
}

/* One field; @in stands behind its tag. */
static int read_field(struct decode *d, const struct target *to, const struct schema_field *field,
		      uint64_t tag, struct wire_input *in)
{
	unsigned int type = wire_type_of(field);
	uint64_t value;

	if (field->label == SCHEMA_REPEATED)
		return read_repeated(d, to, field, tag, in);
	if ((tag & 7) != type)
		return bad(d, to, field, "wrong wire type");
	if (type == WIRE_BYTES)
		return read_value(d, to, field, in, to->msg + field->offset);

	if (!read_number(in, field, &value))
		return bad(d, to, field, "cut short");
	store_number(to->msg + field->offset, field, value);
	if (field->has != SCHEMA_NO_HAS)
		*(bool *)(to->msg + field->has) = true;
	return 0;
}

/* Writers emit fields in order: the field sought is the one at *@hint or just behind it. */
static const struct schema_field *find_field(const struct schema_msg *schema, uint64_t number,
					     size_t *hint)
{
	for (size_t i = *hint; i < schema->nr && i < *hint + 4; i++) {
		if (schema->fields[i].tag == number) {
			*hint = i;
			return &schema->fields[i];
		}
	}

	size_t low = 0, high = schema->nr;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (schema->fields[mid].tag == number) {
			*hint = mid;
			return &schema->fields[mid];
		}
		if (schema->fields[mid].tag < number)
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}

static int walk_fields(struct decode *d, const struct target *to, struct wire_input in)
{
	const struct schema_msg *schema = to->schema;
	uint64_t seen[SCHEMA_FIELDS_MAX / 64] = { 0 };
	size_t hint = 0;

	while (in.at < in.end) {
		uint64_t tag;

		if (!wire_varint(&in, &tag))
			return fail_at(d->err, -EBADMSG, to->path, "tag is cut short");
		if (tag >> 3 == 0 || tag > UINT32_MAX)
			return fail_at(d->err, -EBADMSG, to->path, "impossible field number");

		const struct schema_field *field = find_field(schema, tag >> 3, &hint);

		if (field == NULL) {
			if (!wire_skip(&in, tag & 7))
				return fail_at(d->err, -EBADMSG, to->path,
					       "unknown field %u is cut short or of a bad type",
					       (unsigned int)(tag >> 3));
			continue;
		}
		int r = read_field(d, to, field, tag, &in);
		if (r < 0)
			return r;
		seen[hint / 64] |= (uint64_t)1 << hint % 64;
	}
	for (size_t i = 0; i < schema->nr; i++)
		if (schema->fields[i].label == SCHEMA_REQUIRED && !(seen[i / 64] >> i % 64 & 1))
			return bad(d, to, &schema->fields[i], "required field is missing");
	return 0;
}

int decode_message(const struct schema_msg *schema, const void *bytes, size_t len,
		   const struct proto_limits *limits, void **ret_msg, struct proto_error *err)
{
	struct decode d = { .limits = limits, .err = err };
	struct fail_path path = { .name = schema->name };

	if (len > limits->message)
		return fail_at(err, -E2BIG, &path, "message longer than %zu bytes", limits->message);

	/*
	 * A struct takes about three times the bytes of its message; strings and numbers that are
	 * alone in a chunk waste little, so one chunk serves most messages.
	 */
	void *msg = NULL;
	int r = arena_init(&d.arena, limits, len < SIZE_MAX / 4 ? 3 * len : len, schema->size, &msg);

	if (r < 0)
		return fail_at(err, r, &path, r == -E2BIG ? "memory limit is too low" : "out of memory");
	set_defaults(schema, msg);

	struct target to = { .schema = schema, .msg = msg, .path = &path };

	r = walk_fields(&d, &to, (struct wire_input){ bytes, (const uint8_t *)bytes + len });
	if (r < 0) {
		arena_free(msg);
		return r;
	}
	*ret_msg = msg;
	return 0;
}

/*
 * Image entries: framing, headers, and what follows an entry.
 */
#include "proto/images.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "arena.h"
#include "decode.h"
#include "encode.h"
#include "fail.h"

/*
 * The largest real entry is an address space of very many mappings, about 60 bytes each. Memory is
 * bounded by the length of the message instead, see entry_limits().
 */
const struct proto_limits img_limits_default = {
	.message = 1024 * 1024 * 1024,
	.string = 1024 * 1024,
	.count = 16 * 1024 * 1024,
	.memory = (size_t)8 * 1024 * 1024 * 1024,
};

/*
 * No message of an image takes more than this many bytes of memory per byte of the wire, if it has
 * its required fields. What asks for more was made to.
 */
#define MEMORY_PER_BYTE 64
#define MEMORY_ALWAYS   (64 * 1024)

static const struct schema_msg *const schemas[IMG_MSG_NR] = {
#define ROW(msg) [IMG_MSG_##msg] = &schema_img_##msg,
	IMG_MESSAGES(ROW)
#undef ROW
};

static const struct schema_msg *schema_of(enum img_msg msg)
{
	return (unsigned int)msg < IMG_MSG_NR ? schemas[msg] : NULL;
}

const char *img_msg_name(enum img_msg msg)
{
	const struct schema_msg *schema = schema_of(msg);

	return schema != NULL ? schema->name : "none";
}

/* Native byte order, which on every machine that runs this is little-endian. */
static uint32_t get_u32(const uint8_t *bytes)
{
	uint32_t value;

	memcpy(&value, bytes, sizeof(value));
	return value;
}

int img_entry_encode(enum img_msg msg, const void *entry, struct proto_buf *buf,
		     struct proto_error *err)
{
	const struct schema_msg *schema = schema_of(msg);
	uint32_t size = 0;
	size_t start = buf->len;

	if (schema == NULL)
		return fail_at(err, -EINVAL, NULL, "no such message: %d", (int)msg);

	int r = proto_buf_append(buf, &size, sizeof(size));

	if (r < 0)
		return fail_at(err, r, NULL, "%s: %s", schema->name,
			       r == -E2BIG ? "buffer is full" : "out of memory");
	r = encode_message(schema, entry, buf, err);
	if (r < 0) {
		buf->len = start;
		return r;
	}
	size = (uint32_t)(buf->len - start - sizeof(size));
	memcpy(buf->data + start, &size, sizeof(size));
	return 0;
}

static struct proto_limits entry_limits(const struct proto_limits *limits, size_t len)
{
	struct proto_limits own = limits != NULL ? *limits : img_limits_default;

	if (own.memory > MEMORY_ALWAYS && len < (own.memory - MEMORY_ALWAYS) / MEMORY_PER_BYTE)
		own.memory = len * MEMORY_PER_BYTE + MEMORY_ALWAYS;
	return own;
}

int img_entry_decode(enum img_msg msg, const void *bytes, size_t len,
		     const struct proto_limits *limits, void **ret_entry, struct proto_error *err)
{
	const struct schema_msg *schema = schema_of(msg);
	struct proto_limits own = entry_limits(limits, len);

	if (schema == NULL)
		return fail_at(err, -EINVAL, NULL, "no such message: %d", (int)msg);
	return decode_message(schema, bytes, len, &own, ret_entry, err);
}

void img_entry_free(void *entry)
{
	arena_free(entry);
}

int img_header_encode(enum img_type type, struct proto_buf *buf, struct proto_error *err)
{
	const struct img_kind *kind = img_kind_of(type);
	uint32_t magics[2];
	size_t nr = 0;

	if (kind == NULL)
		return fail_at(err, -EINVAL, NULL, "no such image: %d", (int)type);
	if (kind->header == IMG_HEADER_COMMON)
		magics[nr++] = IMG_MAGIC_COMMON;
	if (kind->header == IMG_HEADER_SERVICE)
		magics[nr++] = IMG_MAGIC_SERVICE;
	if (kind->header != IMG_HEADER_NONE)
		magics[nr++] = kind->magic;

	int r = proto_buf_append(buf, magics, nr * sizeof(magics[0]));

	if (r < 0)
		return fail_at(err, r, NULL, "%s: %s", kind->prefix,
			       r == -E2BIG ? "buffer is full" : "out of memory");
	return 0;
}

size_t img_header_len(enum img_type type)
{
	const struct img_kind *kind = img_kind_of(type);

	if (kind == NULL || kind->header == IMG_HEADER_NONE)
		return 0;
	return kind->header == IMG_HEADER_INVENTORY ? 4 : 8;
}

int img_header_check(enum img_type type, const void *bytes, size_t len, size_t *ret_len,
		     struct proto_error *err)
{
	const struct img_kind *kind = img_kind_of(type);
	uint32_t first;

	if (kind == NULL)
		return fail_at(err, -EINVAL, NULL, "no such image: %d", (int)type);
	if (kind->header == IMG_HEADER_NONE) {
		*ret_len = 0;
		return 0;
	}
	if (len < 4)
		return fail_at(err, -EBADMSG, NULL, "%s: too short for a magic", kind->prefix);

	first = get_u32(bytes);
	if (first == kind->magic) {
		*ret_len = 4;
		return 0;
	}
	if (kind->header == IMG_HEADER_INVENTORY ||
	    first != (kind->header == IMG_HEADER_COMMON ? IMG_MAGIC_COMMON : IMG_MAGIC_SERVICE))
		return fail_at(err, -EBADMSG, NULL, "%s: wrong first magic 0x%x", kind->prefix, first);
	if (len < 8)
		return fail_at(err, -EBADMSG, NULL, "%s: too short for a second magic", kind->prefix);

	uint32_t second = get_u32((const uint8_t *)bytes + 4);

	if (second != kind->magic)
		return fail_at(err, -EBADMSG, NULL, "%s: wrong magic 0x%x, not 0x%x", kind->prefix,
			       second, kind->magic);
	*ret_len = 8;
	return 0;
}

static uint8_t pad_to(uint64_t len, unsigned int align)
{
	return (uint8_t)((0 - len) & (align - 1));
}

static struct img_payload payload_one(uint64_t len, unsigned int align)
{
	return (struct img_payload){ .len = { len, 0 }, .pad = { pad_to(len, align), 0 } };
}

static struct img_payload payload_of_ghost(const img_ghost_file_entry *ghost)
{
	if (!S_ISREG(ghost->mode))
		return (struct img_payload){ 0 };
	if (ghost->has_chunks && ghost->chunks)
		return (struct img_payload){ .record = IMG_MSG_ghost_chunk_entry,
					     .nr = IMG_RECORDS_TO_END };
	return (struct img_payload){ .to_end = true };
}

struct img_payload img_payload_of(enum img_msg msg, const void *entry)
{
	switch (msg) {
	case IMG_MSG_pipe_data_entry:
		return payload_one(((const img_pipe_data_entry *)entry)->bytes, 1);
	case IMG_MSG_sk_packet_entry:
		return payload_one(((const img_sk_packet_entry *)entry)->length, 1);
	case IMG_MSG_tcp_stream_entry: {
		const img_tcp_stream_entry *tcp = entry;

		return (struct img_payload){ .len = { tcp->inq_len, tcp->outq_len } };
	}
	case IMG_MSG_bpfmap_data_entry: {
		const img_bpfmap_data_entry *map = entry;

		return (struct img_payload){ .len = { map->keys_bytes, map->values_bytes } };
	}
	case IMG_MSG_ghost_file_entry:
		return payload_of_ghost(entry);
	case IMG_MSG_ghost_chunk_entry:
		return payload_one(((const img_ghost_chunk_entry *)entry)->len, 1);
	case IMG_MSG_ipc_shm_entry: {
		const img_ipc_shm_entry *shm = entry;

		if (shm->has_in_pagemaps && shm->in_pagemaps)
			return (struct img_payload){ 0 };
		return payload_one(shm->size, 4);
	}
	case IMG_MSG_ipc_msg_entry:
		return (struct img_payload){ .record = IMG_MSG_ipc_msg,
					     .nr = ((const img_ipc_msg_entry *)entry)->qnum };
	case IMG_MSG_ipc_msg:
		return payload_one(((const img_ipc_msg *)entry)->msize, 8);
	case IMG_MSG_ipc_sem_entry:
		return payload_one(2 * (uint64_t)((const img_ipc_sem_entry *)entry)->nsems, 8);
	default:
		return (struct img_payload){ 0 };
	}
}

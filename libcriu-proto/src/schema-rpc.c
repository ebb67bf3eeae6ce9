/*
 * Tables of the messages that go over the socket, and what all tables share.
 */
#include "schema-define.h"

#define DEFINE(msg) SCHEMA_DEFINE(rpc_##msg, #msg)

RPC_MESSAGES(DEFINE)

size_t schema_element_size(const struct schema_field *field)
{
	switch (field->kind) {
	case SCHEMA_BOOL:
		return sizeof(bool);
	case SCHEMA_INT32:
	case SCHEMA_UINT32:
	case SCHEMA_SINT32:
	case SCHEMA_ENUM:
		return 4;
	case SCHEMA_INT64:
	case SCHEMA_UINT64:
	case SCHEMA_SINT64:
	case SCHEMA_FIXED64:
		return 8;
	case SCHEMA_STRING:
		return sizeof(char *);
	case SCHEMA_BYTES:
		return sizeof(struct proto_bytes);
	default:
		return field->sub->size;
	}
}

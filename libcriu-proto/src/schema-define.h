/*
 * SCHEMA_DEFINE(): the table of one message, from the field list that nanopb made.
 *
 * The list has one X(struct, allocation, label, kind, name, tag) per field.
 */
#ifndef SCHEMA_DEFINE_H
#define SCHEMA_DEFINE_H

#include <assert.h>

#include "schema.h"

#define HAS_STATIC_REQUIRED(s, field)   SCHEMA_NO_HAS
#define HAS_STATIC_OPTIONAL(s, field)   offsetof(s, has_##field)
#define HAS_POINTER_REQUIRED(s, field)  SCHEMA_NO_HAS
#define HAS_POINTER_OPTIONAL(s, field)  SCHEMA_NO_HAS
#define HAS_CALLBACK_REQUIRED(s, field) SCHEMA_NO_HAS
#define HAS_CALLBACK_OPTIONAL(s, field) SCHEMA_NO_HAS
#define HAS_CALLBACK_REPEATED(s, field) SCHEMA_NO_HAS

/*
 * How each kind has to be allocated: a line that is missing in nanopb.options gives a combination
 * that is not here, and the build stops.
 */
#define ALLOCATION_OK_STATIC_BOOL      1
#define ALLOCATION_OK_STATIC_INT32     1
#define ALLOCATION_OK_STATIC_INT64     1
#define ALLOCATION_OK_STATIC_UINT32    1
#define ALLOCATION_OK_STATIC_UINT64    1
#define ALLOCATION_OK_STATIC_SINT32    1
#define ALLOCATION_OK_STATIC_SINT64    1
#define ALLOCATION_OK_STATIC_FIXED64   1
#define ALLOCATION_OK_STATIC_ENUM      1
#define ALLOCATION_OK_STATIC_UENUM     1
#define ALLOCATION_OK_POINTER_STRING   1
#define ALLOCATION_OK_POINTER_MESSAGE  1
#define ALLOCATION_OK_CALLBACK_BYTES   1
#define ALLOCATION_OK_CALLBACK_STRING  1
#define ALLOCATION_OK_CALLBACK_MESSAGE 1
#define ALLOCATION_OK_CALLBACK_INT32   1
#define ALLOCATION_OK_CALLBACK_UINT32  1
#define ALLOCATION_OK_CALLBACK_UINT64  1
#define ALLOCATION_OK_CALLBACK_FIXED64 1

/* Bytes that a member takes: a wrong vector type in nanopb.options shows here. */
#define SIZE_REPEATED(kind, s, field)  sizeof(struct proto_u64_vec)
#define SIZE_REQUIRED(kind, s, field)  SIZE_OF_##kind
#define SIZE_OPTIONAL(kind, s, field)  SIZE_OF_##kind
#define SIZE_OF_BOOL    sizeof(bool)
#define SIZE_OF_INT32   4
#define SIZE_OF_INT64   8
#define SIZE_OF_UINT32  4
#define SIZE_OF_UINT64  8
#define SIZE_OF_SINT32  4
#define SIZE_OF_SINT64  8
#define SIZE_OF_FIXED64 8
#define SIZE_OF_ENUM    4
#define SIZE_OF_UENUM   4
#define SIZE_OF_STRING  sizeof(char *)
#define SIZE_OF_BYTES   sizeof(struct proto_bytes)
#define SIZE_OF_MESSAGE sizeof(void *)

/* And of one element of an array. */
#define ELEMENT_REQUIRED(kind, s, field)
#define ELEMENT_OPTIONAL(kind, s, field)
#define ELEMENT_REPEATED(kind, s, field)                                                 \
	static_assert(sizeof(*((s *)0)->field.items) == ELEMENT_SIZE_##kind(s, field),   \
		      "vector type of " #s "." #field);
#define ELEMENT_SIZE_INT32(s, field)   4
#define ELEMENT_SIZE_UINT32(s, field)  4
#define ELEMENT_SIZE_UINT64(s, field)  8
#define ELEMENT_SIZE_FIXED64(s, field) 8
#define ELEMENT_SIZE_STRING(s, field)  sizeof(char *)
#define ELEMENT_SIZE_MESSAGE(s, field) sizeof(s##_##field##_MSGTYPE)

#define ROW_SIZE_REQUIRED(s, field) sizeof(((s *)0)->field)
#define ROW_SIZE_OPTIONAL(s, field) sizeof(((s *)0)->field)
#define ROW_SIZE_REPEATED(s, field) sizeof(*((s *)0)->field.items)

#define SUB_BOOL(s, field)    NULL
#define SUB_INT32(s, field)   NULL
#define SUB_INT64(s, field)   NULL
#define SUB_UINT32(s, field)  NULL
#define SUB_UINT64(s, field)  NULL
#define SUB_SINT32(s, field)  NULL
#define SUB_SINT64(s, field)  NULL
#define SUB_FIXED64(s, field) NULL
#define SUB_ENUM(s, field)    NULL
#define SUB_UENUM(s, field)   NULL
#define SUB_STRING(s, field)  NULL
#define SUB_BYTES(s, field)   NULL
#define SUB_MESSAGE(s, field) SUB_OF(s##_##field##_MSGTYPE)
#define SUB_OF(type)          SUB_OF_(type)
#define SUB_OF_(type)         &schema_##type

#define SCHEMA_ROW(s, atype, htype, ltype, field, number)      \
	{                                                      \
		.name = #field,                                \
		.sub = SUB_##ltype(s, field),                  \
		.tag = number,                                 \
		.offset = offsetof(s, field),                  \
		.has = HAS_##atype##_##htype(s, field),        \
		.size = ROW_SIZE_##htype(s, field),            \
		.kind = SCHEMA_##ltype,                        \
		.label = SCHEMA_##htype,                       \
	},

#define SCHEMA_CHECK(s, atype, htype, ltype, field, number)                       \
	static_assert(ALLOCATION_OK_##atype##_##ltype, "nanopb.options");         \
	static_assert(sizeof(((s *)0)->field) == SIZE_##htype(ltype, s, field),   \
		      "type of " #s "." #field);                                  \
	ELEMENT_##htype(ltype, s, field)

/* @s: the struct, for instance img_vma_entry; @text: its name without the package */
#define SCHEMA_DEFINE(s, text)                                                              \
	s##_FIELDLIST(SCHEMA_CHECK, s)                                                      \
	static const struct schema_field fields_##s[] = { s##_FIELDLIST(SCHEMA_ROW, s) };   \
	static_assert(sizeof(fields_##s) / sizeof(fields_##s[0]) <= SCHEMA_FIELDS_MAX,      \
		      "too many fields in " text);                                          \
	static_assert(sizeof(s) < SCHEMA_NO_HAS, text " is too big");                       \
	const struct schema_msg schema_##s = {                                              \
		.name = text,                                                               \
		.fields = fields_##s,                                                       \
		.defaults = s##_DEFAULT,                                                    \
		.nr = sizeof(fields_##s) / sizeof(fields_##s[0]),                           \
		.size = sizeof(s),                                                          \
	};

#endif

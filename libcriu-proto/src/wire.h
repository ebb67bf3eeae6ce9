/*
 * The wire format of protobuf: varints, tags, how to step over a field.
 */
#ifndef WIRE_H
#define WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum wire_type {
	WIRE_VARINT = 0,
	WIRE_64BIT = 1,
	WIRE_BYTES = 2,
	WIRE_32BIT = 5
};

#define WIRE_VARINT_MAX 10

/* Bytes that are still to be read. */
struct wire_input {
	const uint8_t *at;
	const uint8_t *end;
};

/* False if the input ends first, or the number has more than 64 bits. */
static inline bool wire_varint(struct wire_input *in, uint64_t *ret_value)
{
	const uint8_t *p = in->at;
	uint64_t value = 0;

	if (p < in->end && *p < 0x80) {
		in->at = p + 1;
		*ret_value = *p;
		return true;
	}
	for (unsigned int shift = 0; p < in->end && shift < 64; shift += 7) {
		uint8_t byte = *p++;

		if (shift == 63 && byte > 1)
			return false;
		value |= (uint64_t)(byte & 0x7f) << shift;
		if (byte < 0x80) {
			in->at = p;
			*ret_value = value;
			return true;
		}
	}
	return false;
}

/* The length of a string, bytes or message; never more than there is. */
static inline bool wire_length(struct wire_input *in, size_t *ret_len)
{
	uint64_t len;

	if (!wire_varint(in, &len) || len > (uint64_t)(in->end - in->at))
		return false;
	*ret_len = (size_t)len;
	return true;
}

static inline bool wire_fixed64(struct wire_input *in, uint64_t *ret_value)
{
	uint64_t value = 0;

	if (in->end - in->at < 8)
		return false;
	for (int i = 7; i >= 0; i--)
		value = value << 8 | in->at[i];
	in->at += 8;
	*ret_value = value;
	return true;
}

/* False for the end of the input and for groups, which nothing has used since 2008. */
static inline bool wire_skip(struct wire_input *in, unsigned int type)
{
	uint64_t value;
	size_t len;

	switch (type) {
	case WIRE_VARINT:
		return wire_varint(in, &value);
	case WIRE_64BIT:
		return wire_fixed64(in, &value);
	case WIRE_32BIT:
		if (in->end - in->at < 4)
			return false;
		in->at += 4;
		return true;
	case WIRE_BYTES:
		if (!wire_length(in, &len))
			return false;
		in->at += len;
		return true;
	default:
		return false;
	}
}

static inline int64_t wire_unzigzag(uint64_t value)
{
	return (int64_t)(value >> 1 ^ (0 - (value & 1)));
}

static inline uint64_t wire_zigzag(int64_t value)
{
	return (uint64_t)value << 1 ^ (value < 0 ? UINT64_MAX : 0);
}

/* @p must have room for WIRE_VARINT_MAX bytes. Returns the byte behind the number. */
static inline uint8_t *wire_put_varint(uint8_t *p, uint64_t value)
{
	while (value >= 0x80) {
		*p++ = (uint8_t)value | 0x80;
		value >>= 7;
	}
	*p++ = (uint8_t)value;
	return p;
}

static inline uint8_t *wire_put_fixed64(uint8_t *p, uint64_t value)
{
	for (int i = 0; i < 8; i++, value >>= 8)
		*p++ = (uint8_t)value;
	return p;
}

static inline size_t wire_varint_len(uint64_t value)
{
	size_t len = 1;

	for (; value >= 0x80; value >>= 7)
		len++;
	return len;
}

#endif

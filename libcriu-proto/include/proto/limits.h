/*
 * How much a decoder believes before it refuses. Bytes come from outside, and a short message can
 * ask for much memory: every limit is checked before the memory is taken.
 */
#ifndef PROTO_LIMITS_H
#define PROTO_LIMITS_H

#include <stddef.h>

/**
 * struct proto_limits - ceilings of one decode
 * @message: bytes of the whole message
 * @string:  bytes of one string, without the final NUL
 * @count:   elements of one repeated field
 * @memory:  bytes of heap that the decoded message may take, all in all
 *
 * Nesting is bounded too, by PROTO_DEPTH_MAX, when decoding and when encoding.
 */
struct proto_limits {
	size_t message;
	size_t string;
	size_t count;
	size_t memory;
};

#define PROTO_DEPTH_MAX 100

#endif

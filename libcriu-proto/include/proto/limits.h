/*
 * How much a decoder believes before it refuses. Bytes come from outside, and a short message can
 * ask for much memory: every limit is checked before the memory is taken.
 */
#ifndef PROTO_LIMITS_H
#define PROTO_LIMITS_H

#include <stddef.h>

/**
 * struct proto_room - memory of the caller's that decoded messages are put into, all of it given back at once
 * @take: @size bytes, aligned for anything; NULL when there is no more
 *
 * To free a message that lies in a room does nothing.
 */
struct proto_room {
	void *(*take)(void *arg, size_t size);
	void *arg;
};

/**
 * struct proto_limits - ceilings of one decode
 * @message: bytes of the whole message
 * @string:  bytes of one string, without the final NUL
 * @count:   elements of one repeated field
 * @memory:  bytes of heap that the decoded message may take, all in all
 * @room:    to be used instead of the heap; .take is NULL: the heap
 *
 * Nesting is bounded too, by PROTO_DEPTH_MAX, when decoding and when encoding.
 */
struct proto_limits {
	size_t message;
	size_t string;
	size_t count;
	size_t memory;
	struct proto_room room;
};

#define PROTO_DEPTH_MAX 100

#endif

/*
 * The memory of one decoded message: a chain of chunks that is given back as a whole.
 *
 * So decoding costs a handful of allocations however many strings there are, and whatever goes
 * wrong half-way, one call gives everything back. The first object of the arena is its handle.
 */
#ifndef ARENA_H
#define ARENA_H

#include "proto/limits.h"

#include <stddef.h>
#include <stdint.h>

struct arena_chunk;

/**
 * struct arena - an arena that is being filled
 * @first:  chunk that begins with the root object, and leads to all others
 * @at:     next free byte of the newest chunk
 * @left:   bytes behind it
 * @chunk:  size of the newest chunk
 * @budget: bytes that may still be taken
 * @room:   who gives them; the heap if .take is NULL
 *
 * When filling is over this struct may be forgotten: arena_free() needs the root object only.
 */
struct arena {
	struct arena_chunk *first;
	uint8_t *at;
	size_t left;
	size_t chunk;
	size_t budget;
	struct proto_room room;
};

/**
 * arena_init() - take the first chunk
 * @limits: .memory is the budget, .room where it is taken from
 * @guess: bytes that will be wanted in all, more or less
 * @ret_root: zeroed, @size bytes
 *
 * Return: 0, -ENOMEM, -E2BIG.
 */
int arena_init(struct arena *arena, const struct proto_limits *limits, size_t guess, size_t size, void **ret_root);

/**
 * arena_take() - bytes that are not initialised, aligned for anything
 *
 * Return: 0; -ENOMEM; -E2BIG if @budget would be passed.
 */
int arena_take(struct arena *arena, size_t size, void **ret_mem);

/* NULL is fine; of memory in a room nothing is given back. */
void arena_free(void *root);

#endif

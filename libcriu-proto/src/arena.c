/*
 * The memory of one decoded message.
 */
#include "arena.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_ALIGN     16
#define ARENA_CHUNK_MIN 128
#define ARENA_CHUNK_MAX (256 * 1024)

/* @next: chunks taken later, in any order. As long as the alignment, so that what follows has it. */
struct arena_chunk {
	struct arena_chunk *next;
	uint64_t in_room; /* there is one chunk then, with nothing but the root in it */
};

static int chunk_add(struct arena *arena, size_t size)
{
	if (size > arena->budget || size < sizeof(struct arena_chunk))
		return -E2BIG;

	struct arena_chunk *chunk = arena->room.take != NULL ? arena->room.take(arena->room.arg, size) : malloc(size);

	if (chunk == NULL)
		return -ENOMEM;
	chunk->in_room = arena->room.take != NULL;
	if (arena->first == NULL) {
		chunk->next = NULL;
		arena->first = chunk;
	} else {
		chunk->next = arena->first->next;
		arena->first->next = chunk;
	}
	arena->at = (uint8_t *)(chunk + 1);
	arena->left = size - sizeof(*chunk);
	arena->chunk = size;
	arena->budget -= size;
	return 0;
}

int arena_init(struct arena *arena, const struct proto_limits *limits, size_t guess, size_t size, void **ret_root)
{
	size_t chunk = guess < ARENA_CHUNK_MIN ? ARENA_CHUNK_MIN : guess;

	if (chunk > ARENA_CHUNK_MAX)
		chunk = ARENA_CHUNK_MAX;
	if (limits->room.take != NULL)
		chunk = 0; /* what else is wanted comes from the room piece by piece */
	chunk += sizeof(struct arena_chunk) + size + ARENA_ALIGN;

	*arena = (struct arena){ .budget = limits->memory, .room = limits->room };
	int r = chunk_add(arena, chunk < limits->memory ? chunk : limits->memory);

	if (r < 0)
		return r;
	r = arena_take(arena, size, ret_root);
	if (r < 0) {
		arena_free(arena->first + 1);
		return r;
	}
	memset(*ret_root, 0, size);
	return 0;
}

static int take_from_room(struct arena *arena, size_t size, void **ret_mem)
{
	if (size > arena->budget)
		return -E2BIG;
	*ret_mem = arena->room.take(arena->room.arg, size);
	if (*ret_mem == NULL)
		return -ENOMEM;
	arena->budget -= size;
	return 0;
}

int arena_take(struct arena *arena, size_t size, void **ret_mem)
{
	if (size > arena->budget + arena->left)
		return -E2BIG;

	size_t rounded = (size + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);

	if (rounded > arena->left && arena->room.take != NULL)
		return take_from_room(arena, rounded, ret_mem);
	if (rounded > arena->left) {
		size_t chunk = arena->chunk < ARENA_CHUNK_MAX / 2 ? arena->chunk * 2 : ARENA_CHUNK_MAX;

		if (chunk > arena->budget)
			chunk = arena->budget;
		if (chunk < rounded + sizeof(struct arena_chunk))
			chunk = rounded + sizeof(struct arena_chunk);

		int r = chunk_add(arena, chunk);

		if (r < 0)
			return r;
	}
	*ret_mem = arena->at;
	arena->at += rounded;
	arena->left -= rounded;
	return 0;
}

void arena_free(void *root)
{
	if (root == NULL)
		return;

	struct arena_chunk *chunk = (struct arena_chunk *)root - 1;

	while (chunk != NULL && !chunk->in_room) {
		struct arena_chunk *next = chunk->next;

		free(chunk);
		chunk = next;
	}
}

/* Numbers to pointers: an open-addressing hash table. Keys are 64-bit; values are never NULL and not owned. */
#ifndef CR_BASE_MAP_H
#define CR_BASE_MAP_H

#include <stddef.h>
#include <stdint.h>

struct map_slot {
	uint64_t key;
	void *value; /* NULL: the slot is free */
};

struct map {
	struct map_slot *slots;
	size_t nr, size; /* size: a power of two, or 0 */
};

/** map_find() - Return: the value of @key, or NULL */
void *map_find(const struct map *m, uint64_t key);
/** map_put() - @key must not be there yet. Return: 0 or -ENOMEM. */
int map_put(struct map *m, uint64_t key, void *value);
void map_done(struct map *m);

/** map_mix() - fold @value into a hash */
static inline uint64_t map_mix(uint64_t hash, uint64_t value)
{
	hash = (hash ^ value) * UINT64_C(0x9e3779b97f4a7c15);
	return hash ^ hash >> 32;
}

/** map_mix_text() - the same for a text (FNV-1a, 8 bits at a time) */
uint64_t map_mix_text(uint64_t hash, const char *text);

#endif

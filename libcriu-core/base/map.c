/* Hash table with linear probing, at most half full; see map.h. */
#include "base/map.h"

#include <errno.h>
#include <stdlib.h>

#define MAP_MAX_SLOTS ((size_t)1 << 27)

static size_t map_home(const struct map *m, uint64_t key)
{
	return map_mix(0, key) & (m->size - 1);
}

void *map_find(const struct map *m, uint64_t key)
{
	if (!m->size)
		return NULL;
	for (size_t i = map_home(m, key); m->slots[i].value; i = (i + 1) & (m->size - 1))
		if (m->slots[i].key == key)
			return m->slots[i].value;
	return NULL;
}

static void map_place(struct map *m, uint64_t key, void *value)
{
	size_t i = map_home(m, key);

	while (m->slots[i].value)
		i = (i + 1) & (m->size - 1);
	m->slots[i] = (struct map_slot){ key, value };
	m->nr++;
}

static int map_grow(struct map *m)
{
	struct map bigger = { .size = m->size ? m->size * 2 : 64 };

	if (bigger.size > MAP_MAX_SLOTS)
		return -ENOMEM;
	bigger.slots = calloc(bigger.size, sizeof(*bigger.slots));
	if (!bigger.slots)
		return -ENOMEM;
	for (size_t i = 0; i < m->size; i++)
		if (m->slots[i].value)
			map_place(&bigger, m->slots[i].key, m->slots[i].value);
	free(m->slots);
	*m = bigger;
	return 0;
}

int map_put(struct map *m, uint64_t key, void *value)
{
	if (m->nr * 2 >= m->size) {
		int r = map_grow(m);

		if (r < 0)
			return r;
	}
	map_place(m, key, value);
	return 0;
}

void map_done(struct map *m)
{
	free(m->slots);
	*m = (struct map){ 0 };
}

uint64_t map_mix_text(uint64_t hash, const char *text)
{
	hash ^= UINT64_C(0xcbf29ce484222325);
	for (; *text; text++)
		hash = (hash ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
	return map_mix(hash, 0);
}

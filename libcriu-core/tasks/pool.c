/* Memory for parts of entries: chunks that pieces are cut from. */
#include "tasks/pool.h"

#include <stdlib.h>

#define CHUNK ((size_t)16 << 10)

struct pool_chunk {
	struct pool_chunk *next;
	size_t used, size;
	_Alignas(16) char data[];
};

void *pool_alloc(struct pool *p, size_t size)
{
	struct pool_chunk *c = p->chunks;

	if (size > POOL_MAX)
		return NULL;
	size = (size + 15) & ~(size_t)15;
	if (!c || c->size - c->used < size) {
		size_t room = size > CHUNK ? size : CHUNK;

		if (p->total + room > POOL_MAX)
			return NULL;
		c = calloc(1, sizeof(*c) + room);
		if (!c)
			return NULL;
		c->size = room;
		c->next = p->chunks;
		p->chunks = c;
		p->total += room;
	}
	c->used += size;
	return c->data + c->used - size;
}

void pool_done(struct pool *p)
{
	while (p->chunks) {
		struct pool_chunk *next = p->chunks->next;

		free(p->chunks);
		p->chunks = next;
	}
	p->total = 0;
}

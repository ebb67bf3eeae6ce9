/* Memory for parts of entries: taken piece by piece, given back all at once. */
#ifndef CR_TASKS_POOL_H
#define CR_TASKS_POOL_H

#include <stddef.h>

#define POOL_MAX ((size_t)64 << 20)

struct pool_chunk;

struct pool {
	struct pool_chunk *chunks;
	size_t total;
};

/** pool_alloc() - zeroed, aligned for any type; NULL: memory is short or POOL_MAX is reached. A size of 0 gives a valid pointer. */
void *pool_alloc(struct pool *p, size_t size);
void pool_done(struct pool *p);

#endif

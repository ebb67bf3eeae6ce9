/* Memory that is given back all at once; see pool.h. */
#include "base/pool.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define BLOCK_MIN ((size_t)2 << 10) /* there may be a pool for each of thousands of tasks */
#define MAPPED    ((size_t)128 << 10) /* blocks from here on are mappings of their own */
#define ALIGN     _Alignof(max_align_t)

struct pool_block {
	struct pool_block *next;
	size_t size; /* of data */
	max_align_t data[];
};

#define BLOCK_MAX (((size_t)256 << 10) - sizeof(struct pool_block))

/*
 * Large blocks come with all of their pages, in one go. A fork between makes every page that is written again a copy, so
 * they are taken away whole, by a call that looks at nothing in them.
 */
static struct pool_block *block_new(size_t size)
{
	struct pool_block *b;

	if (size < MAPPED)
		return calloc(1, size);
	b = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	return b == MAP_FAILED ? NULL : b;
}

static void block_free(struct pool_block *b)
{
	if (sizeof(*b) + b->size < MAPPED)
		free(b);
	else
		munmap(b, sizeof(*b) + b->size);
}

void *pool_alloc(struct pool *p, size_t size)
{
	size_t max = p->max ? p->max : POOL_MAX;
	char *at;

	if (size > max || p->used > max - size)
		return NULL;
	p->used += size;
	size = size ? (size + ALIGN - 1) & ~(ALIGN - 1) : ALIGN;
	if (size > p->left) {
		size_t step = p->used < BLOCK_MIN ? BLOCK_MIN : p->used > BLOCK_MAX ? BLOCK_MAX : p->used;
		size_t room = size > step ? size : step;
		struct pool_block *b = block_new(sizeof(*b) + room);

		if (!b)
			return NULL;
		b->size = room;
		b->next = p->blocks;
		p->blocks = b;
		p->left = room;
	}
	at = (char *)p->blocks->data + (p->blocks->size - p->left);
	p->left -= size;
	return at;
}

char *pool_text(struct pool *p, const char *text, size_t len)
{
	char *copy = len < POOL_MAX ? pool_alloc(p, len + 1) : NULL;

	if (copy)
		memcpy(copy, text, len);
	return copy;
}

char *pool_printf(struct pool *p, const char *fmt, ...)
{
	va_list ap;
	char *text;
	int len;

	va_start(ap, fmt);
	len = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	text = len < 0 ? NULL : pool_alloc(p, (size_t)len + 1);
	if (!text)
		return NULL;
	va_start(ap, fmt);
	vsnprintf(text, (size_t)len + 1, fmt, ap);
	va_end(ap);
	return text;
}

void pool_done(struct pool *p)
{
	while (p->blocks) {
		struct pool_block *b = p->blocks;

		p->blocks = b->next;
		block_free(b);
	}
	p->left = p->used = 0;
}

void *pool_vec_add(struct pool *p, void **items, size_t *nr, size_t size)
{
	if ((*nr & (*nr - 1)) == 0) {
		size_t cap = *nr ? *nr * 2 : 1;
		void *grown = cap > POOL_MAX / size ? NULL : pool_alloc(p, cap * size);

		if (!grown)
			return NULL;
		if (*nr)
			memcpy(grown, *items, *nr * size);
		*items = grown;
	}
	return memset((char *)*items + (*nr)++ * size, 0, size);
}

/* Memory that is given back all at once; see arena.h. */
#include "options/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct arena_block {
	struct arena_block *next;
	max_align_t         data[];
};

void *arena_take(struct arena *a, size_t size)
{
	struct arena_block *b;

	if (size > a->max || a->used > a->max - size)
		return NULL;
	b = calloc(1, sizeof(*b) + size);
	if (!b)
		return NULL;
	b->next = a->blocks;
	a->blocks = b;
	a->used += size;
	return b->data;
}

char *arena_text(struct arena *a, const char *text, size_t len)
{
	char *copy = arena_take(a, len + 1);

	if (copy)
		memcpy(copy, text, len);
	return copy;
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
	va_list ap;
	char *text;
	int len;

	va_start(ap, fmt);
	len = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	text = len < 0 ? NULL : arena_take(a, (size_t)len + 1);
	if (!text)
		return NULL;
	va_start(ap, fmt);
	vsnprintf(text, (size_t)len + 1, fmt, ap);
	va_end(ap);
	return text;
}

void arena_done(struct arena *a)
{
	while (a->blocks) {
		struct arena_block *b = a->blocks;

		a->blocks = b->next;
		free(b);
	}
	a->used = 0;
}

void *arena_vec_add(struct arena *a, void **items, size_t *nr, size_t size)
{
	if ((*nr & (*nr - 1)) == 0) {
		size_t cap = *nr ? *nr * 2 : 1;
		void *grown = cap > a->max / size ? NULL : arena_take(a, cap * size);

		if (!grown)
			return NULL;
		if (*nr)
			memcpy(grown, *items, *nr * size);
		*items = grown;
	}
	return memset((char *)*items + (*nr)++ * size, 0, size);
}

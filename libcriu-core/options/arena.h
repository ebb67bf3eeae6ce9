/* Memory that is given back all at once: texts and lists of one settings struct. */
#ifndef CR_OPTIONS_ARENA_H
#define CR_OPTIONS_ARENA_H

#include <stddef.h>

struct arena_block;

struct arena {
	struct arena_block *blocks;
	size_t used, max;        /* bytes handed out, and the ceiling of that */
};

/** arena_take() - zeroed memory. Return: NULL past the ceiling or when memory is short. */
void *arena_take(struct arena *a, size_t size);
/** arena_text() - a copy of @len bytes with a NUL behind. Return: as arena_take(). */
char *arena_text(struct arena *a, const char *text, size_t len);
/** arena_printf() - formatted text. Return: as arena_take(). */
char *arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/** arena_done() - give everything back; the arena is empty afterwards */
void arena_done(struct arena *a);

/**
 * arena_vec_add() - room for one more element behind @nr elements of @size bytes
 * @items: the list; moves to new memory whenever @nr is a power of two, so that the cost of growing stays linear
 * Return: the new element, zeroed; NULL as arena_take(). @items and @nr are updated.
 */
void *arena_vec_add(struct arena *a, void **items, size_t *nr, size_t size);

#endif

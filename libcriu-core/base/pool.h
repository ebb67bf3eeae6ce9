/*
 * Memory that is given back all at once: entries, texts and lists of one dump, one request, one image set, of which
 * there are many small ones that all live as long as their owner.
 */
#ifndef CR_BASE_POOL_H
#define CR_BASE_POOL_H

#include <stddef.h>

#define POOL_MAX ((size_t)256 << 20) /* ceiling where none is given */

struct pool_block;

/* Start with = { 0 }, or with .max set. */
struct pool {
	struct pool_block *blocks; /* newest first */
	size_t left;               /* bytes free at the end of the newest */
	size_t used;               /* bytes handed out */
	size_t max;                /* ceiling of used, 0: POOL_MAX */
};

/** pool_alloc() - zeroed, aligned for any type; a size of 0 gives a valid pointer. Return: NULL past the ceiling or when memory is short. */
void *pool_alloc(struct pool *p, size_t size);
/** pool_text() - a copy of @len bytes with a NUL behind. Return: as pool_alloc(). */
char *pool_text(struct pool *p, const char *text, size_t len);
/** pool_printf() - formatted text. Return: as pool_alloc(). */
char *pool_printf(struct pool *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/** pool_done() - give everything back; the pool is empty afterwards */
void pool_done(struct pool *p);

/**
 * pool_vec_add() - room for one more element behind @nr elements of @size bytes
 * @items: the list; moves to new memory whenever @nr is a power of two, so that the cost of growing stays linear
 * Return: the new element, zeroed; NULL as pool_alloc(). @items and @nr are updated.
 */
void *pool_vec_add(struct pool *p, void **items, size_t *nr, size_t size);

#define pool_new(p, type) ((type *)pool_alloc(p, sizeof(type)))

#endif

/*
 * Names of operations. A program has many operations and few names, and the same call site passes the same literal each
 * time: so the way to a number is a look-up by pointer; only a pointer never seen before is compared as text.
 */
#include "infect/program.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TAGS_MAX 65536

struct tag_slot {
	const char *text;
	uint32_t    tag;
};

struct tag_table {
	struct tag_slot *slot;      /* open addressing by pointer; size is a power of two, at most half full */
	size_t           size, used;
	const char     **text;      /* by tag */
	uint32_t         nr, cap;
};

static size_t pointer_hash(const char *p)
{
	return (size_t)(((uintptr_t)p * 0x9e3779b97f4a7c15u) >> 20);
}

static struct tag_slot *slot_of(const struct tag_table *t, const char *text)
{
	size_t i = pointer_hash(text) & (t->size - 1);

	while (t->slot[i].text && t->slot[i].text != text)
		i = (i + 1) & (t->size - 1);
	return &t->slot[i];
}

struct tag_table *tag_table_new(void)
{
	struct tag_table *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->size = 256;
	t->slot = calloc(t->size, sizeof(*t->slot));
	if (!t->slot) {
		free(t);
		return NULL;
	}
	return t;
}

void tag_table_free(struct tag_table *t)
{
	if (!t)
		return;
	free(t->slot);
	free(t->text);
	free(t);
}

const char *tag_text(const struct tag_table *t, uint32_t tag)
{
	return tag < t->nr ? t->text[tag] : "operation";
}

static int tags_grow(struct tag_table *t)
{
	struct tag_slot *old = t->slot;
	size_t old_size = t->size;
	struct tag_slot *bigger = calloc(old_size * 2, sizeof(*bigger));

	if (!bigger)
		return -ENOMEM;
	t->slot = bigger;
	t->size = old_size * 2;
	for (size_t i = 0; i < old_size; i++)
		if (old[i].text)
			*slot_of(t, old[i].text) = old[i];
	free(old);
	return 0;
}

/* The number of a text that may have come by another pointer before; a new one if not. */
static int tag_by_text(struct tag_table *t, const char *text, uint32_t *ret)
{
	for (uint32_t i = 0; i < t->nr; i++) {
		if (strcmp(t->text[i], text) == 0) {
			*ret = i;
			return 0;
		}
	}
	if (t->nr == TAGS_MAX)
		return -ENOSPC;
	if (t->nr == t->cap) {
		uint32_t cap = t->cap ? t->cap * 2 : 64;
		const char **bigger = realloc(t->text, cap * sizeof(*bigger));

		if (!bigger)
			return -ENOMEM;
		t->text = bigger;
		t->cap = cap;
	}
	t->text[t->nr] = text;
	*ret = t->nr++;
	return 0;
}

int tag_of(struct tag_table *t, const char *text, uint32_t *ret)
{
	struct tag_slot *s = slot_of(t, text);

	if (!s->text) {
		int r = tag_by_text(t, text, ret);

		if (r < 0)
			return r;
		if (2 * (t->used + 1) > t->size) {
			r = tags_grow(t);
			if (r < 0)
				return r;
			s = slot_of(t, text);
		}
		*s = (struct tag_slot){ text, *ret };
		t->used++;
	}
	*ret = s->tag;
	return 0;
}

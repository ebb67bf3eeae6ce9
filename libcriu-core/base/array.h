/*
 * Growing arrays of structs: DEFINE_VEC(name, type) makes struct name { type *items; size_t nr, cap; } and
 * name_add() (returns a zeroed new item, or NULL when memory is short or the ceiling is reached) and name_done().
 */
#ifndef CR_BASE_ARRAY_H
#define CR_BASE_ARRAY_H

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define VEC_MAX ((size_t)1 << 26)

#define DEFINE_VEC(name, type)                                                                         \
	struct name {                                                                                  \
		type *items;                                                                           \
		size_t nr, cap;                                                                        \
	};                                                                                             \
	static inline __attribute__((unused)) type *name##_add(struct name *v)                         \
	{                                                                                              \
		if (v->nr == v->cap) {                                                                 \
			size_t cap_ = v->cap ? v->cap * 2 : 16;                                        \
			type *items_ = cap_ > VEC_MAX ? NULL : realloc(v->items, cap_ * sizeof(type)); \
			if (!items_)                                                                   \
				return NULL;                                                           \
			v->items = items_;                                                             \
			v->cap = cap_;                                                                 \
		}                                                                                      \
		return memset(&v->items[v->nr++], 0, sizeof(type));                                    \
	}                                                                                              \
	static inline __attribute__((unused)) void name##_done(struct name *v)                         \
	{                                                                                              \
		free(v->items);                                                                        \
		v->items = NULL;                                                                       \
		v->nr = v->cap = 0;                                                                    \
	}

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#endif

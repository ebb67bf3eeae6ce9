/* Making and copying of settings; see settings.h. */
#include "options/settings.h"

#include "options/table.h"

#include <errno.h>
#include <string.h>

#define ARENA_MAX ((size_t)16 << 20)

void settings_init(struct settings *s)
{
	memset(s, 0, sizeof(*s));
	s->arena.max = ARENA_MAX;
	s->rpc.images_dir_fd = -1;
	s->rpc.has_log_level = true;
	s->rpc.log_level = 2;
}

/* Lists grow in place, so that a copy needs its own. */
static int own_list(struct settings *s, uint16_t at, size_t size)
{
	struct proto_str_vec *list = (struct proto_str_vec *)((char *)s + at);
	size_t nr = list->nr, cap = 1;
	void *items;

	if (nr == 0)
		return 0;
	while (cap < nr)
		cap *= 2;
	items = pool_alloc(&s->arena, cap * size);
	if (!items)
		return -ENOMEM;
	memcpy(items, list->items, nr * size);
	list->items = items;
	return 0;
}

int settings_init_from(struct settings *s, const struct settings *base)
{
	*s = *base;
	s->arena = (struct pool){ .max = base->arena.max };
	for (size_t i = 0; i < option_table_len; i++) {
		const struct option_row *row = &option_table[i];
		int r = 0;

		if (row->kind == OPTION_TEXTS)
			r = own_list(s, row->at, sizeof(char *));
		else if (row->kind == OPTION_ITEMS)
			r = own_list(s, row->at, row->size);
		if (r < 0)
			return r;
	}
	return 0;
}

void settings_done(struct settings *s)
{
	pool_done(&s->arena);
}

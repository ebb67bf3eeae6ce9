/* Looking rows up by name, and taking over one setting; see table.h. */
#include "options/table.h"

#include "base/error.h"

#include <errno.h>
#include <string.h>

const struct option_row *option_find(const char *name)
{
	for (size_t i = 0; i < option_table_len; i++)
		if (option_table[i].name && strcmp(option_table[i].name, name) == 0)
			return &option_table[i];
	return NULL;
}

const struct option_row *option_find_letter(char letter)
{
	for (size_t i = 0; letter && i < option_table_len; i++)
		if (option_table[i].letter == letter)
			return &option_table[i];
	return NULL;
}

/* 2: the whole name, 1: its beginning, 0: neither */
static int name_begins(const char *name, const char *typed, size_t len)
{
	if (strncmp(name, typed, len) != 0)
		return 0;
	return name[len] ? 1 : 2;
}

int option_match(const char *typed, size_t len, const struct option_row **ret_row, bool *ret_negated,
		 struct cr_error *err)
{
	const struct option_row *found = NULL, *first = NULL;
	bool negated = false;
	int nr = 0;

	for (size_t i = 0; len && i < option_table_len; i++) {
		const struct option_row *row = &option_table[i];
		bool no = len >= 3 && strncmp(typed, "no-", 3) == 0 && (row->flags & OPTION_NEGATABLE);
		int plain = row->name ? name_begins(row->name, typed, len) : 0;
		int minus = row->name && no ? name_begins(row->name, typed + 3, len - 3) : 0;

		if (plain == 2 || minus == 2) {
			*ret_row = row;
			*ret_negated = minus == 2;
			return 0;
		}
		if (plain || minus) {
			first = first ? first : row;
			found = row;
			negated = minus;
			nr++;
		}
	}
	if (nr == 0)
		return cr_refuse(err, -ENOENT, "unknown option --%.*s", (int)(len > 64 ? 64 : len), typed);
	if (nr > 1)
		return cr_refuse(err, -ENOTUNIQ, "option --%.*s may mean more than one thing: --%s, --%s%s",
				 (int)(len > 64 ? 64 : len), typed, first->name, found->name,
				 nr > 2 ? " and others" : "");
	*ret_row = found;
	*ret_negated = negated;
	return 0;
}

static char *member(struct settings *s, uint16_t offset)
{
	return (char *)s + offset;
}

static void mark_present(struct settings *s, const struct option_row *row)
{
	if (row->has != OPTION_NOWHERE)
		*(bool *)member(s, row->has) = true;
}

static int set_number(struct settings *s, const struct option_row *row, const char *value, struct cr_error *err)
{
	int64_t n;
	int r = number_parse(value, row->min, row->max, &n);

	if (r < 0)
		return cr_refuse(err, -EINVAL, "--%s: %s is not a number from %lld to %lld", row->name, value,
				 (long long)row->min, (long long)row->max);
	if (row->kind == OPTION_UINT)
		*(uint32_t *)member(s, row->at) = (uint32_t)n;
	else
		*(int32_t *)member(s, row->at) = (int32_t)n;
	return 0;
}

static int set_word(struct settings *s, const struct option_row *row, const char *value, struct cr_error *err)
{
	for (const struct option_word *w = row->words; w->text; w++) {
		if (strcmp(w->text, value) != 0)
			continue;
		*(int32_t *)member(s, row->at) = w->value;
		return 0;
	}
	return cr_refuse(err, -EINVAL, "--%s: unknown value %s", row->name, value);
}

static int set_text(struct settings *s, const struct option_row *row, const char *value, struct cr_error *err)
{
	char *copy = pool_text(&s->arena, value, strlen(value));

	if (!copy)
		return cr_fail(err, -ENOMEM, "--%s", row->name);
	if (row->kind == OPTION_TEXT) {
		*(char **)member(s, row->at) = copy;
		return 0;
	}
	struct proto_str_vec *list = (struct proto_str_vec *)member(s, row->at);
	char **slot = pool_vec_add(&s->arena, (void **)&list->items, &list->nr, sizeof(*slot));

	if (!slot)
		return cr_fail(err, -ENOMEM, "--%s", row->name);
	*slot = copy;
	return 0;
}

static int set_by_kind(struct settings *s, const struct option_row *row, const char *value, struct cr_error *err)
{
	if (row->kind == OPTION_FLAG)
		*(bool *)member(s, row->at) = true;
	if (!value)
		return 0; /* one of those that take none, or none was attached */
	switch (row->kind) {
	case OPTION_INT:
	case OPTION_UINT:
		return set_number(s, row, value, err);
	case OPTION_WORD:
		return set_word(s, row, value, err);
	case OPTION_TEXT:
	case OPTION_TEXTS:
		return value[0] ? set_text(s, row, value, err)
				: cr_refuse(err, -EINVAL, "--%s: empty value", row->name);
	default:
		return 0; /* special, and whoever scans the command line has done it */
	}
}

int option_set(struct settings *s, const struct option_row *row, bool negated, const char *value, enum origin from,
	       struct cr_error *err)
{
	int r;

	if (value && (!row->value || negated))
		return cr_refuse(err, -EINVAL, "--%s%s takes no value", negated ? "no-" : "", row->name);
	if (!value && row->value && !negated && !(row->flags & OPTION_OPTIONAL))
		return cr_refuse(err, -EINVAL, "--%s needs a value", row->name);
	if (value && strlen(value) > 4096)
		return cr_refuse(err, -EINVAL, "--%s: value longer than 4096 bytes", row->name);
	if (s->gate && from >= ORIGIN_REQUEST) {
		r = s->gate->allow(s->gate, row, negated, err);
		if (r == 0 && value)
			r = s->gate->allow_text(s->gate, row, value, err);
		if (r < 0)
			return r;
	}
	if (row->kind == OPTION_FLAG && negated) {
		*(bool *)member(s, row->at) = false;
		r = 0;
	} else if (row->set) {
		r = row->set(s, row, negated ? "ignore" : value, err);
	} else {
		r = set_by_kind(s, row, value, err);
	}
	if (r < 0)
		return r;
	if (row->kind == OPTION_SPECIAL && row->at != OPTION_NOWHERE)
		*(bool *)member(s, row->at) = true;
	mark_present(s, row);
	s->origin[row - option_table] = (uint8_t)from;
	return 0;
}

void option_copy(struct settings *s, const struct settings *from, const struct option_row *row)
{
	static const size_t sizes[] = {
		[OPTION_FLAG] = sizeof(bool),
		[OPTION_INT] = sizeof(int32_t),
		[OPTION_UINT] = sizeof(uint32_t),
		[OPTION_WORD] = sizeof(int32_t),
		[OPTION_TEXT] = sizeof(char *),
		[OPTION_TEXTS] = sizeof(struct proto_str_vec),
		[OPTION_ITEMS] = sizeof(struct proto_str_vec),
		[OPTION_MESSAGE] = sizeof(void *),
		[OPTION_SPECIAL] = 0,
	};

	if (row->at != OPTION_NOWHERE)
		memcpy(member(s, row->at), (const char *)from + row->at, sizes[row->kind]);
	if (row->has != OPTION_NOWHERE)
		*(bool *)member(s, row->has) = *(const bool *)((const char *)from + row->has);
	s->origin[row - option_table] = from->origin[row - option_table];
}

bool option_is_set(const struct settings *s, const struct option_row *row)
{
	const char *at = (const char *)s + row->at;

	if (row->has != OPTION_NOWHERE && !*((const bool *)s + row->has))
		return false;
	switch (row->kind) {
	case OPTION_FLAG:
		return *(const bool *)at;
	case OPTION_TEXT:
	case OPTION_MESSAGE:
		return *(void *const *)at != NULL;
	case OPTION_TEXTS:
	case OPTION_ITEMS:
		return ((const struct proto_str_vec *)at)->nr != 0;
	case OPTION_SPECIAL:
		return false;
	default:
		return true;
	}
}

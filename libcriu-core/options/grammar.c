/* Values that have a grammar of their own. */
#include "base/error.h"
#include "options/table.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NET_BIT 0x40000000u /* CLONE_NEWNET */

int number_parse(const char *text, int64_t min, int64_t max, int64_t *ret)
{
	char *end;
	long long n;

	if (!isdigit((unsigned char)text[0]) && !(text[0] == '-' && isdigit((unsigned char)text[1])))
		return -EINVAL;
	errno = 0;
	n = strtoll(text, &end, 10);
	if (*end)
		return -EINVAL;
	if (errno || n < min || n > max)
		return -ERANGE;
	*ret = n;
	return 0;
}

static int no_memory(const struct option_row *row, struct cr_error *err)
{
	return cr_fail(err, -ENOMEM, "--%s", row->name ? row->name : row->rpc);
}

/* Appends to external the text of the formatted kind. */
static int add_external(struct settings *s, const struct option_row *row, char *text, struct cr_error *err)
{
	struct proto_str_vec *list = &s->rpc.external;
	char **slot = text ? pool_vec_add(&s->arena, (void **)&list->items, &list->nr, sizeof(*slot)) : NULL;

	if (!slot)
		return no_memory(row, err);
	*slot = text;
	return 0;
}

/* -v and --verbosity add one, -vv (the value is then the rest of the letters) adds as many as there are, -vN sets. */
int option_set_verbosity(struct settings *s, const struct option_row *row, const char *value, struct cr_error *err)
{
	int64_t n;

	if (!value) {
		s->rpc.log_level++;
		return 0;
	}
	if (value[0] == 'v' && strspn(value, "v") == strlen(value) && strlen(value) < 16) {
		s->rpc.log_level += 1 + (int32_t)strlen(value);
		return 0;
	}
	if (number_parse(value, 0, 1000, &n) < 0)
		return cr_refuse(err, -EINVAL, "--%s: %s is not a level", row->name, value);
	s->rpc.log_level = (int32_t)n;
	return 0;
}

int option_set_ghost_limit(struct settings *s, const struct option_row *row, const char *value, struct cr_error *err)
{
	size_t len = strlen(value), digits = strspn(value, "0123456789");
	uint64_t n = 0, unit = 1;

	if (digits + 1 == len) {
		const char *const units = "KMG", *u = strchr(units, toupper((unsigned char)value[digits]));

		unit = u ? (uint64_t)1024 << 10 * (u - units) : 0;
	} else if (digits != len) {
		unit = 0;
	}
	for (size_t i = 0; i < digits && n <= UINT32_MAX; i++)
		n = n * 10 + (uint64_t)(value[i] - '0');
	if (!digits || !unit || n > UINT32_MAX / unit)
		return cr_refuse(err, -EINVAL, "--%s: %s is not a size below 4G", row->name, value);
	s->rpc.ghost_limit = (uint32_t)(n * unit);
	return 0;
}

static uint32_t cpu_cap_bits(const char *word, size_t len, bool *ret_none)
{
	static const struct {
		const char *text;
		uint32_t bits;
	} words[] = {
		{ "all", CPU_CAP_EVERY },
		{ "cpu", CPU_CAP_CPU },
		{ "fpu", CPU_CAP_FPU },
		{ "ins", CPU_CAP_INS },
	};

	*ret_none = len == 4 && memcmp(word, "none", 4) == 0;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strlen(words[i].text) == len && memcmp(words[i].text, word, len) == 0)
			return words[i].bits;
	return 0;
}

int option_set_cpu_cap(struct settings *s, const struct option_row *row, const char *value, struct cr_error *err)
{
	uint32_t caps = (s->rpc.has_cpu_cap ? s->rpc.cpu_cap : CPU_CAP_DEFAULT) & ~(uint32_t)CPU_CAP_IMAGE;
	const char *word = value ? value : "all";

	for (;;) {
		bool minus = *word == '^', none;
		size_t len;
		uint32_t bits;

		word += minus;
		len = strcspn(word, ",");
		bits = cpu_cap_bits(word, len, &none);
		if (!bits && !none)
			return cr_refuse(err, -EINVAL, "--%s: unknown word %.*s", row->name, len > 64 ? 64 : (int)len,
					 word);
		if (none)
			caps = minus ? CPU_CAP_EVERY : 0;
		else
			caps = minus ? caps & ~bits : caps | bits;
		if (!word[len])
			break;
		word += len + 1;
	}
	s->rpc.cpu_cap = caps ? caps | CPU_CAP_IMAGE : 0;
	return 0;
}

int option_set_unix_sk(struct settings *s, const struct option_row *row, const char *value, struct cr_error *err)
{
	s->rpc.ext_unix_sk = true;
	while (value && *value) {
		size_t digits = strspn(value, "0123456789");
		int r;

		if (!digits || digits > 20 || (value[digits] && value[digits] != ','))
			return cr_refuse(err, -EINVAL, "--%s: %s is not a list of inode numbers", row->name, value);
		r = add_external(s, row, pool_printf(&s->arena, "unix[%.*s]", (int)digits, value), err);
		if (r < 0)
			return r;
		value += digits + (value[digits] == ',');
	}
	return 0;
}

/* Kinds that nobody knows are kept: tools hand the same list to dump and restore. Only an empty one has no meaning. */
int option_set_external(struct settings *s, const struct option_row *row, const char *value, struct cr_error *err)
{
	const char *bracket = strchr(value, '[');

	if (!bracket || bracket == value || !strchr(bracket, ']'))
		return cr_refuse(err, -EINVAL, "--%s: %s is not of the form KIND[ID] or KIND[ID]:NAME", row->name,
				 value);
	return add_external(s, row, pool_text(&s->arena, value, strlen(value)), err);
}

/* Splits "fd[N]:KEY"; -EINVAL if it is not that. */
static int bracket_parse(const char *text, const char *kind, int32_t *ret_fd, const char **ret_key)
{
	size_t len = strlen(kind), digits;
	int64_t n = 0;

	if (strncmp(text, kind, len) != 0 || text[len] != '[')
		return -EINVAL;
	text += len + 1;
	digits = strspn(text, "0123456789");
	if (!digits || digits > 9 || text[digits] != ']' || text[digits + 1] != ':' || !text[digits + 2])
		return -EINVAL;
	for (size_t i = 0; i < digits; i++)
		n = n * 10 + (text[i] - '0');
	*ret_fd = (int32_t)n;
	*ret_key = text + digits + 2;
	return 0;
}

int option_set_inherit_fd(struct settings *s, const struct option_row *row, const char *value, struct cr_error *err)
{
	rpc_inherit_fd *item;
	const char *key;
	int32_t fd;

	if (bracket_parse(value, "debug", &fd, &key) == 0) {
		if (write(fd, key, strlen(key)) < 0)
			return cr_fail(err, -errno, "--%s: write to descriptor %d", row->name, fd);
		return 0;
	}
	if (bracket_parse(value, "fd", &fd, &key) < 0)
		return cr_refuse(err, -EINVAL, "--%s: %s is not of the form fd[N]:KEY", row->name, value);
	if (fcntl(fd, F_GETFD) < 0)
		return cr_fail(err, -errno, "--%s: descriptor %d", row->name, fd);
	item = pool_vec_add(&s->arena, (void **)&s->rpc.inherit_fd.items, &s->rpc.inherit_fd.nr, sizeof(*item));
	if (!item || !(item->key = pool_text(&s->arena, key, strlen(key))))
		return no_memory(row, err);
	item->fd = fd;
	return 0;
}

int option_set_ext_mount(struct settings *s, const struct option_row *row, const char *value, struct cr_error *err)
{
	const char *colon = strchr(value, ':');

	if (strcmp(value, "auto") == 0) {
		s->rpc.has_auto_ext_mnt = s->rpc.auto_ext_mnt = true;
		return 0;
	}
	if (!colon || colon == value || !colon[1])
		return cr_refuse(err, -EINVAL, "--%s: %s is not of the form KEY:VAL", row->name, value);
	return add_external(s, row, pool_printf(&s->arena, "mnt[%.*s]:%s", (int)(colon - value), value, colon + 1),
			    err);
}

int option_set_veth(struct settings *s, const struct option_row *row, const char *value, struct cr_error *err)
{
	const char *equals = strchr(value, '=');

	if (!equals || equals == value || !equals[1])
		return cr_refuse(err, -EINVAL, "--%s: %s is not of the form IN=OUT", row->name, value);
	return add_external(s, row, pool_printf(&s->arena, "veth[%.*s]:%s", (int)(equals - value), value, equals + 1),
			    err);
}

int option_set_join_ns(struct settings *s, const struct option_row *row, const char *value, struct cr_error *err)
{
	const char *colon = strchr(value, ':'), *comma;
	rpc_join_namespace *item;

	if (!colon || colon == value || !colon[1])
		return cr_refuse(err, -EINVAL, "--%s: %s is not of the form NS:PLACE", row->name, value);
	comma = strchr(colon, ',');
	item = pool_vec_add(&s->arena, (void **)&s->rpc.join_ns.items, &s->rpc.join_ns.nr, sizeof(*item));
	if (!item)
		return no_memory(row, err);
	item->ns = pool_text(&s->arena, value, (size_t)(colon - value));
	item->ns_file = pool_text(&s->arena, colon + 1, comma ? (size_t)(comma - colon - 1) : strlen(colon + 1));
	if (comma)
		item->extra_opt = pool_text(&s->arena, comma + 1, strlen(comma + 1));
	return item->ns && item->ns_file && (!comma || item->extra_opt) ? 0 : no_memory(row, err);
}

int option_set_empty_ns(struct settings *s, const struct option_row *row, const char *value, struct cr_error *err)
{
	if (strcmp(value, "net") != 0)
		return cr_refuse(err, -EINVAL, "--%s: only net can be left empty, not %s", row->name, value);
	s->rpc.empty_ns |= NET_BIT;
	return 0;
}

int option_set_cgroups(struct settings *s, const struct option_row *row, const char *value, struct cr_error *err)
{
	const char *mode = value ? value : "soft";

	for (const struct option_word *w = row->words; w->text; w++) {
		if (strcmp(w->text, mode) != 0)
			continue;
		s->rpc.manage_cgroups_mode = (rpc_criu_cg_mode)w->value;
		return 0;
	}
	return cr_refuse(err, -EINVAL, "--%s: unknown mode %s", row->name, mode);
}

int option_set_cgroup_root(struct settings *s, const struct option_row *row, const char *value, struct cr_error *err)
{
	const char *colon = strchr(value, ':'), *path = colon ? colon + 1 : value;
	rpc_cgroup_root *item;

	if (!*path)
		return cr_refuse(err, -EINVAL, "--%s: %s has no path", row->name, value);
	item = pool_vec_add(&s->arena, (void **)&s->rpc.cg_root.items, &s->rpc.cg_root.nr, sizeof(*item));
	if (!item)
		return no_memory(row, err);
	item->path = pool_text(&s->arena, path, strlen(path));
	if (colon && colon != value)
		item->ctrl = pool_text(&s->arena, value, (size_t)(colon - value));
	return item->path && (!colon || colon == value || item->ctrl) ? 0 : no_memory(row, err);
}

int option_set_enable_fs(struct settings *s, const struct option_row *row, const char *value, struct cr_error *err)
{
	while (*value) {
		size_t len = strcspn(value, ",");
		char *name = len ? pool_text(&s->arena, value, len) : NULL;
		char **slot;

		if (!len)
			return cr_refuse(err, -EINVAL, "--%s: empty name", row->name);
		slot = name ? pool_vec_add(&s->arena, (void **)&s->rpc.enable_fs.items, &s->rpc.enable_fs.nr,
					   sizeof(*slot))
			    : NULL;
		if (!slot)
			return no_memory(row, err);
		*slot = name;
		value += len + (value[len] == ',');
	}
	return 0;
}

int option_set_close(struct settings *s, const struct option_row *row, const char *value, struct cr_error *err)
{
	int64_t fd;

	(void)s;
	if (number_parse(value, 0, INT32_MAX, &fd) < 0)
		return cr_refuse(err, -EINVAL, "--%s: %s is not a descriptor", row->name, value);
	if (close((int)fd) < 0)
		return cr_fail(err, -errno, "--%s %s", row->name, value);
	return 0;
}

int option_set_removed(struct settings *s, const struct option_row *row, const char *value, struct cr_error *err)
{
	(void)s;
	(void)value;
	return cr_refuse(err, -EINVAL, "--%s was removed; without it check asks for the indispensable features only",
			 row->name);
}

int option_set_legacy_address(struct settings *s, const struct option_row *row, const char *value, struct cr_error *err)
{
	const char *path = value ? value : "/tmp/criu_service.socket";

	if (!*path)
		return cr_refuse(err, -EINVAL, "--%s: empty value", row->name);
	s->legacy_address = pool_text(&s->arena, path, strlen(path));
	return s->legacy_address ? 0 : no_memory(row, err);
}

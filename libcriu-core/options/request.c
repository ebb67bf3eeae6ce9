/* Options of a request; see request.h. */
#include "options/request.h"

#include "base/error.h"
#include "options/config.h"
#include "options/table.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

static char *in_settings(struct settings *s, uint16_t offset)
{
	return (char *)s + offset;
}

/* The same member of a message that is not part of settings. */
static const char *in_request(const rpc_criu_opts *opts, uint16_t offset)
{
	return (const char *)opts + offset - offsetof(struct settings, rpc);
}

static bool row_present(const struct option_row *row, const rpc_criu_opts *opts)
{
	const char *at = in_request(opts, row->at);

	if (row->has != OPTION_NOWHERE)
		return *(const bool *)in_request(opts, row->has);
	if (row->kind == OPTION_TEXTS || row->kind == OPTION_ITEMS)
		return ((const struct proto_str_vec *)at)->nr != 0;
	return *(void *const *)at != NULL;
}

/* Is it there to say that nothing is wanted? */
static bool row_off(const struct option_row *row, const rpc_criu_opts *opts)
{
	const char *at = in_request(opts, row->at);

	if (row->kind == OPTION_FLAG)
		return !*(const bool *)at;
	if (row->kind == OPTION_TEXT)
		return !**(char *const *)at;
	return (row->kind == OPTION_INT || row->kind == OPTION_UINT) && *(const uint32_t *)at == 0;
}

static int ask_gate(const struct option_gate *gate, const struct option_row *row, const rpc_criu_opts *opts,
		    struct cr_error *err)
{
	const char *at = in_request(opts, row->at);
	const struct proto_str_vec one = { (char **)at, 1 },
				   *texts = row->kind == OPTION_TEXT ? &one : (const void *)at;
	int r = gate->allow(gate, row, row_off(row, opts), err);

	if (row->kind != OPTION_TEXT && row->kind != OPTION_TEXTS)
		return r;
	for (size_t i = 0; i < texts->nr && r == 0; i++)
		r = gate->allow_text(gate, row, texts->items[i], err);
	return r;
}

/* All that is there, the older forms of others too, and before any of it has an effect. */
static int ask_gate_all(const struct settings *s, const rpc_criu_opts *opts, struct cr_error *err)
{
	for (size_t i = 0; s->gate && i < option_table_len; i++) {
		const struct option_row *row = &option_table[i];
		int r;

		if (!row->rpc || row->at == OPTION_NOWHERE || !row_present(row, opts))
			continue;
		r = ask_gate(s->gate, row, opts, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int no_memory(const struct option_row *row, struct cr_error *err)
{
	return cr_fail(err, -ENOMEM, "option %s", row->rpc);
}

static int merge_list(struct settings *s, const struct option_row *row, const rpc_criu_opts *opts, struct cr_error *err)
{
	const struct proto_str_vec *from = (const void *)in_request(opts, row->at);
	struct proto_str_vec *to = (void *)in_settings(s, row->at);
	size_t size = row->kind == OPTION_TEXTS ? sizeof(char *) : row->size;

	for (size_t i = 0; i < from->nr; i++) {
		void *slot;

		if (row->kind == OPTION_TEXTS && row->set) {
			int r = row->set(s, row, from->items[i], err);

			if (r < 0)
				return r;
			continue;
		}
		slot = pool_vec_add(&s->arena, (void **)&to->items, &to->nr, size);
		if (!slot)
			return no_memory(row, err);
		memcpy(slot, (const char *)from->items + i * size, size);
	}
	return 0;
}

static int merge_row(struct settings *s, const struct option_row *row, const rpc_criu_opts *opts, struct cr_error *err)
{
	const char *from = in_request(opts, row->at);
	char *to = in_settings(s, row->at);
	int r = 0;

	if (!row_present(row, opts))
		return 0;
	switch (row->kind) {
	case OPTION_FLAG:
		if (!*(const bool *)from && (row->flags & OPTION_ONLY_TRUE))
			return 0;
		*(bool *)to = *(const bool *)from;
		break;
	case OPTION_INT:
	case OPTION_UINT:
	case OPTION_WORD:
		memcpy(to, from, sizeof(int32_t));
		break;
	case OPTION_TEXT:
	case OPTION_MESSAGE:
		*(void **)to = *(void *const *)from;
		break;
	default:
		r = merge_list(s, row, opts, err);
	}
	if (row->has != OPTION_NOWHERE)
		*(bool *)in_settings(s, row->has) = true;
	s->origin[row - option_table] = ORIGIN_REQUEST;
	return r;
}

/* @again: the rows that beat the configuration file of the request; lists among them are merged then only. */
static int merge_rows(struct settings *s, const rpc_criu_opts *opts, bool again, struct cr_error *err)
{
	for (size_t i = 0; i < option_table_len; i++) {
		const struct option_row *row = &option_table[i];
		bool after = row->flags & OPTION_AFTER_CONFIG;
		int r;

		if (!row->rpc || row->kind == OPTION_SPECIAL || (row->flags & OPTION_REPLACED))
			continue;
		if (again ? !after : after && row->kind == OPTION_TEXTS)
			continue;
		r = merge_row(s, row, opts, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int add_external(struct settings *s, char *text, struct cr_error *err)
{
	struct proto_str_vec *list = &s->rpc.external;
	char **slot = text ? pool_vec_add(&s->arena, (void **)&list->items, &list->nr, sizeof(*slot)) : NULL;

	if (!slot)
		return cr_fail(err, -ENOMEM, "option external");
	*slot = text;
	return 0;
}

/* Fields that are older forms of others. */
static int merge_replaced(struct settings *s, const rpc_criu_opts *opts, struct cr_error *err)
{
	int r = 0;

	for (size_t i = 0; i < opts->veths.nr && r == 0; i++) {
		const rpc_criu_veth_pair *p = &opts->veths.items[i];

		r = add_external(s, pool_printf(&s->arena, "veth[%s]:%s", p->if_in, p->if_out), err);
	}
	for (size_t i = 0; i < opts->ext_mnt.nr && r == 0; i++) {
		const rpc_ext_mount_map *p = &opts->ext_mnt.items[i];

		r = add_external(s, pool_printf(&s->arena, "mnt[%s]:%s", p->key, p->val), err);
	}
	for (size_t i = 0; opts->has_ext_unix_sk && i < opts->unix_sk_ino.nr && r == 0; i++)
		r = add_external(s, pool_printf(&s->arena, "unix[%u]", opts->unix_sk_ino.items[i].inode), err);
	if (opts->has_manage_cgroups && !opts->has_manage_cgroups_mode) {
		s->rpc.has_manage_cgroups_mode = true;
		s->rpc.manage_cgroups_mode = opts->manage_cgroups ? rpc_criu_cg_mode_SOFT : rpc_criu_cg_mode_IGNORE;
	}
	if (opts->has_cpu_cap) {
		uint32_t known = opts->cpu_cap & CPU_CAP_EVERY;

		s->rpc.cpu_cap = known | CPU_CAP_IMAGE;
	}
	s->rpc.images_dir_fd = opts->images_dir_fd;
	s->rpc.has_work_dir_fd = opts->has_work_dir_fd;
	s->rpc.work_dir_fd = opts->work_dir_fd;
	return r;
}

int settings_merge_request(struct settings *s, const rpc_criu_opts *opts, struct cr_error *err)
{
	int r = ask_gate_all(s, opts, err);

	if (r < 0)
		return r;
	/* the images directory of default configuration files is never used for requests */
	s->rpc.images_dir = NULL;
	s->rpc.log_level = 2;
	s->detached = s->has_detached = true;
	r = merge_rows(s, opts, false, err);
	if (r == 0)
		r = merge_replaced(s, opts, err);
	if (r == 0 && opts->config_file)
		r = config_read(s, AT_FDCWD, opts->config_file, ORIGIN_REQUEST_CONFIG, err);
	if (r == 0)
		r = merge_rows(s, opts, true, err);
	if (r == 0) {
		/* always applied, whether it was sent or not */
		s->rpc.has_log_level = true;
		s->rpc.log_level = opts->has_log_level ? opts->log_level : 2;
	}
	if (r < 0)
		return r;
	if (s->rpc.has_manage_cgroups_mode && s->rpc.manage_cgroups_mode == rpc_criu_cg_mode_DEFAULT)
		s->rpc.manage_cgroups_mode = rpc_criu_cg_mode_SOFT;
	return 0;
}

static int check_range(const struct settings *s, const struct option_row *row, const char *name, struct cr_error *err)
{
	const char *at = (const char *)s + row->at;
	int64_t n;

	if (row->kind == OPTION_INT || row->kind == OPTION_UINT) {
		n = row->kind == OPTION_INT ? *(const int32_t *)at : (int64_t) * (const uint32_t *)at;
		if (n < row->min || n > row->max)
			return cr_refuse(err, -EINVAL, "%s: %lld is out of range", name, (long long)n);
	} else if (row->kind == OPTION_WORD) {
		const struct option_word *w = row->words;

		while (w->text && w->value != *(const int32_t *)at)
			w++;
		if (!w->text)
			return cr_refuse(err, -EINVAL, "%s: unknown value %d", name, *(const int32_t *)at);
	}
	return 0;
}

/* Files for all commands may hold what only some of them use. */
static bool is_from_defaults(const struct settings *s, const struct option_row *row)
{
	return s->origin[row - option_table] <= ORIGIN_CONFIG;
}

static int check_row(const struct settings *s, const struct option_row *row, enum command c, struct cr_error *err)
{
	bool asked = s->origin[row - option_table] == ORIGIN_REQUEST;
	const char *why = row->refuse ? row->refuse(s, c) : NULL;
	char name[80];
	int r;

	/* what several options of a command line make up together is of none of them */
	if (!asked && !row->name)
		snprintf(name, sizeof(name), "%s", strcmp(row->rpc, "ps") == 0 ? "the page server" : row->rpc);
	else
		snprintf(name, sizeof(name), asked ? "option %s of the request" : "option --%s",
			 asked ? row->rpc : row->name);
	if (why)
		return cr_refuse(err, -ENOTSUP, "%s %s", name, why);
	if (!option_is_set(s, row))
		return 0;
	r = check_range(s, row, name, err);
	if (r < 0)
		return r;
	if (row->flags & OPTION_TLS && row->valid & (unsigned)c && !s->rpc.tls && !is_from_defaults(s, row))
		return cr_refuse(err, -EINVAL, "%s has a meaning with %s only", name, asked ? "tls" : "--tls");
	if (row->later & (unsigned)c) {
		cr_refuse(err, -ENOTSUP, "%s is not supported yet by this version", name);
		cr_advise(err, "leave the option out");
		return -ENOTSUP;
	}
	return 0;
}

int settings_check(const struct settings *s, enum command c, struct cr_error *err)
{
	for (size_t i = 0; i < option_table_len; i++) {
		int r;

		if (option_table[i].flags & OPTION_REPLACED)
			continue;
		r = check_row(s, &option_table[i], c, err);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < s->rpc.inherit_fd.nr; i++) {
		const rpc_inherit_fd *item = &s->rpc.inherit_fd.items[i];

		if (fcntl(item->fd, F_GETFD) < 0)
			return cr_fail(err, -errno, "option inherit_fd: descriptor %d for %s", item->fd, item->key);
	}
	return 0;
}

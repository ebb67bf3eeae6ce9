/* Options of which nothing comes; see idle.h. */
#include "options/idle.h"

#include "base/array.h"
#include "base/log.h"
#include "options/args.h"

#include <stdio.h>
#include <string.h>

#define DORMANT "is about namespaces, and nothing comes of it here"

/* What the resources of the tree are compared with. Others are named for what is refused wherever it is met. */
static bool is_looked_for(const char *external)
{
	static const char *const kinds[] = { "dev[", "file[", "mnt[", "tty[", "unix[" };

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (strncmp(external, kinds[i], strlen(kinds[i])) == 0)
			return true;
	return false;
}

/* One line for all of them: a list may have a hundred thousand. */
static void tell_externals(const struct settings *s, enum command c, const struct cr_log *log)
{
	const struct proto_str_vec *v = &s->rpc.external;
	size_t first = v->nr, nr = 0;

	if (!(c & (COMMAND_DUMP | COMMAND_RESTORE)))
		return;
	for (size_t i = v->nr; i-- > 0;) {
		if (is_looked_for(v->items[i]))
			continue;
		first = i;
		nr++;
	}
	if (nr == 1)
		log_warn(log, "option external: %.64s " DORMANT ", continuing without it", v->items[first]);
	else if (nr)
		log_warn(log, "option external: %.64s and %zu more: " DORMANT ", continuing without them",
			 v->items[first], nr - 1);
}

/* In whatever way they are asked for: the default of older clients is not to ask. */
static void tell_cgroups(const struct settings *s, enum command c, const struct cr_log *log)
{
	rpc_criu_cg_mode mode = s->rpc.manage_cgroups_mode;

	if (!(c & (COMMAND_DUMP | COMMAND_RESTORE)) || !s->rpc.has_manage_cgroups_mode ||
	    mode == rpc_criu_cg_mode_IGNORE || mode == rpc_criu_cg_mode_CG_NONE)
		return;
	log_warn(log,
		 c == COMMAND_DUMP
			 ? "option manage_cgroups: groups are not stored by this version, continuing without them"
			 : "option manage_cgroups: groups are not restored by this version, tasks stay in those of "
			   "the restorer");
}

static void tell_option(const struct settings *s, size_t i, enum command c, bool asked, const struct cr_log *log)
{
	const struct option_row *row = &option_table[i];
	bool by_wire = s->origin[i] == ORIGIN_REQUEST, set = option_is_set(s, row);
	char name[80];

	snprintf(name, sizeof(name), by_wire ? "option %s of the request" : "option --%s",
		 by_wire ? row->rpc : row->name);
	if (!(row->valid & (unsigned)c) && (set || !asked))
		cr_log(log, asked ? CR_LOG_INFO : CR_LOG_WARN, "%s has no meaning for %s, continuing without it", name,
		       command_name(c));
	else if (row->valid & (unsigned)c && row->flags & OPTION_DORMANT && set)
		log_warn(log, "%s " DORMANT ", continuing without it", name);
}

void idle_options_tell(const struct settings *s, enum command c, bool asked, const struct cr_log *log)
{
	tell_externals(s, c, log);
	tell_cgroups(s, c, log);
	for (size_t i = 0; i < option_table_len; i++) {
		const struct option_row *row = &option_table[i];

		if (row->flags & OPTION_REPLACED)
			continue;
		if (asked ? s->origin[i] >= ORIGIN_REQUEST : s->origin[i] == ORIGIN_COMMAND_LINE && row->name)
			tell_option(s, i, c, asked, log);
	}
}

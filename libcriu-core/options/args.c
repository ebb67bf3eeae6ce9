/* Command lines; see args.h. */
#include "options/args.h"

#include "base/array.h"
#include "base/error.h"
#include "options/config.h"
#include "options/table.h"

#include <errno.h>
#include <string.h>

struct cursor {
	int argc, at;
	char **argv;
};

static const struct {
	const char *word;
	enum command bit;
} commands[] = {
	{ "dump", COMMAND_DUMP },       { "pre-dump", COMMAND_PRE_DUMP },
	{ "restore", COMMAND_RESTORE }, { "lazy-pages", COMMAND_LAZY_PAGES },
	{ "check", COMMAND_CHECK },     { "page-server", COMMAND_PAGE_SERVER },
	{ "service", COMMAND_SERVICE }, { "swrk", COMMAND_SWRK },
	{ "dedup", COMMAND_DEDUP },     { "cpuinfo", COMMAND_CPUINFO },
	{ "exec", COMMAND_EXEC },       { "show", COMMAND_SHOW },
};

enum command command_find(const char *word)
{
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (strcmp(commands[i].word, word) == 0)
			return commands[i].bit;
	return 0;
}

const char *command_name(enum command c)
{
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (commands[i].bit == c)
			return commands[i].word;
	return "";
}

/* What must be known before any configuration file is read; a plain scan, as documented. */
static void scan_early(int argc, char **argv, struct settings *s, const char **ret_file, bool *ret_defaults)
{
	*ret_file = NULL;
	*ret_defaults = true;
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
		const char *a = argv[i];

		if (strcmp(a, "--help") == 0 || strcmp(a, "-h") == 0)
			s->want_help = true;
		else if (strcmp(a, "--version") == 0 || strcmp(a, "-V") == 0)
			s->want_version = true;
		else if (strcmp(a, "--no-default-config") == 0)
			*ret_defaults = false;
		else if (strncmp(a, "--config=", 9) == 0)
			*ret_file = a + 9;
		else if (strcmp(a, "--config") == 0 && i + 1 < argc)
			*ret_file = argv[++i];
	}
}

/* The value of an option that must have one may be the next argument. */
static const char *value_of(struct cursor *c, const struct option_row *row, bool negated, const char *attached)
{
	if (attached || !row->value || negated || (row->flags & OPTION_OPTIONAL) || c->at + 1 >= c->argc)
		return attached;
	return c->argv[++c->at];
}

static int read_long(struct cursor *c, struct settings *s, struct cr_error *err)
{
	const char *text = c->argv[c->at] + 2, *equals = strchr(text, '=');
	const struct option_row *row;
	bool negated;
	int r = option_match(text, equals ? (size_t)(equals - text) : strlen(text), &row, &negated, err);

	if (r < 0)
		return -EINVAL;
	return option_set(s, row, negated, value_of(c, row, negated, equals ? equals + 1 : NULL), ORIGIN_COMMAND_LINE,
			  err);
}

/* A cluster of letters; the first one that takes a value takes the rest of the cluster. */
static int read_letters(struct cursor *c, struct settings *s, struct cr_error *err)
{
	const char *p = c->argv[c->at] + 1;

	for (; *p; p++) {
		const struct option_row *row = option_find_letter(*p);
		const char *attached = row && row->value && p[1] ? p + 1 : NULL;
		int r;

		if (!row)
			return cr_refuse(err, -EINVAL, "unknown option -%c", *p);
		r = option_set(s, row, false, value_of(c, row, false, attached), ORIGIN_COMMAND_LINE, err);
		if (r < 0 || attached)
			return r;
	}
	return 0;
}

static int read_words(int argc, char **argv, struct settings *s, struct args *ret, struct cr_error *err)
{
	struct cursor c = { argc, 1, argv };

	for (; c.at < argc; c.at++) {
		const char *a = argv[c.at];
		int r = 0;

		if (strcmp(a, "--") == 0) {
			ret->rest = argv + c.at + 1;
			ret->nr_rest = argc - c.at - 1;
			break;
		}
		if (a[0] == '-' && a[1] == '-')
			r = read_long(&c, s, err);
		else if (a[0] == '-' && a[1])
			r = read_letters(&c, s, err);
		else if (ret->nr_words < ARGS_WORDS_MAX)
			ret->words[ret->nr_words++] = a;
		else
			r = cr_refuse(err, -EINVAL, "excessive parameter %s", a);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Words behind "--" are a command if --exec-cmd is there, else words like others. */
static int sort_rest(struct settings *s, struct args *a, struct cr_error *err)
{
	if (s->exec) {
		s->rpc.exec_cmd.items = a->rest;
		s->rpc.exec_cmd.nr = (size_t)a->nr_rest;
		return 0;
	}
	for (int i = 0; i < a->nr_rest; i++) {
		if (a->nr_words == ARGS_WORDS_MAX)
			return cr_refuse(err, -EINVAL, "excessive parameter %s", a->rest[i]);
		a->words[a->nr_words++] = a->rest[i];
	}
	return 0;
}

int args_read(int argc, char **argv, struct settings *s, struct args *ret, struct cr_error *err)
{
	int r;

	memset(ret, 0, sizeof(*ret));
	scan_early(argc, argv, s, &ret->config_file, &ret->default_config);
	if (s->want_help || s->want_version)
		return 0;
	r = config_read_defaults(s, ret->config_file, ret->default_config, err);
	if (r == 0)
		r = read_words(argc, argv, s, ret, err);
	return r == 0 ? sort_rest(s, ret, err) : r;
}

/* Help texts, generated from the table of options. */
#include "cli.h"

#include "base/array.h"
#include "options/table.h"
#include "options/version.h"

#include <string.h>

static const struct {
	enum command bit;
	const char *form, *text;
} commands[] = {
	{ COMMAND_DUMP, "dump -t PID [-D DIR]", "checkpoint a process tree" },
	{ COMMAND_PRE_DUMP, "pre-dump -t PID -D DIR", "store memory before a dump, while the tree runs" },
	{ COMMAND_RESTORE, "restore [-D DIR]", "restore a process tree" },
	{ COMMAND_CHECK, "check [-t PID]", "check the kernel, or what stands in the way of a dump" },
	{ COMMAND_CPUINFO, "cpuinfo dump|check", "store this processor, or compare a stored one with it" },
	{ COMMAND_DEDUP, "dedup [-D DIR]", "free pages of earlier images that later ones have as well" },
	{ COMMAND_PAGE_SERVER, "page-server [-D DIR]", "receive the memory of a dump that is made elsewhere" },
	{ COMMAND_LAZY_PAGES, "lazy-pages [-D DIR]", "bring memory to tasks that were restored with --lazy-pages" },
	{ COMMAND_SERVICE, "service [-d]", "serve requests on a unix socket" },
	{ COMMAND_SWRK, "swrk FD", "serve one client on an open socket" },
};

void help_version(FILE *out)
{
	/* programs read line 1; a second line that begins with GitID would mean a build from a git tree */
	fprintf(out, "Version: %s\nImplementation: criu-core\n", CR_COMPAT_VERSION);
}

static void usage_of(FILE *out, unsigned int which)
{
	fputs("Usage:\n", out);
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (commands[i].bit & which)
			fprintf(out, "  criu %-22s %s\n", commands[i].form, commands[i].text);
}

void help_usage(FILE *out)
{
	usage_of(out, COMMAND_ALL | COMMAND_SWRK);
	fputs("  criu [COMMAND] --help | --version\n", out);
}

static void option_form(const struct option_row *row, char *ret, size_t size)
{
	char letter[8] = "    ";
	const char *bare = row->flags & OPTION_NEGATABLE ? "[no-]" : "";

	if (row->letter)
		snprintf(letter, sizeof(letter), "-%c, ", row->letter);
	if (!row->value)
		snprintf(ret, size, "%s--%s%s", letter, bare, row->name);
	else if (row->flags & OPTION_OPTIONAL)
		snprintf(ret, size, "%s--%s%s[=%s]", letter, bare, row->name, row->value);
	else
		snprintf(ret, size, "%s--%s%s %s", letter, bare, row->name, row->value);
}

/* What a row does not do yet: the help says so where it says what it is. */
static const char *later_note(const struct option_row *row, unsigned int which)
{
	if (!(row->later & which))
		return "";
	return (row->valid & ~row->later & which) ? " (not for every command yet)" : " (not supported yet)";
}

static void help_option(FILE *out, const struct option_row *row, unsigned int which)
{
	char form[96];

	option_form(row, form, sizeof(form));
	if (strlen(form) > 34)
		fprintf(out, "  %s\n  %34s  %s%s\n", form, "", row->help, later_note(row, which));
	else
		fprintf(out, "  %-34s  %s%s\n", form, row->help, later_note(row, which));
}

void help_full(FILE *out, enum command command)
{
	unsigned int which = command & COMMAND_ALL ? command : COMMAND_ALL;

	if (which == COMMAND_ALL)
		help_usage(out);
	else
		usage_of(out, which);
	for (int group = 0; group < OPTION_GROUPS; group++) {
		bool named = false;

		for (size_t i = 0; i < option_table_len; i++) {
			const struct option_row *row = &option_table[i];

			if (!row->name || row->group != group || (row->flags & OPTION_HIDDEN) || !(row->valid & which))
				continue;
			if (!named)
				fprintf(out, "\n%s:\n", option_group_names[group]);
			named = true;
			help_option(out, row, which);
		}
	}
	if (which & COMMAND_CHECK)
		fputs("\nNames of features for check --feature are those that check --all lists.\n", out);
	fputs(which == COMMAND_ALL ? "" : "\nThe options of all commands: criu --help.\n", out);
	fputs("Configuration files: /etc/criu/default.conf, ~/.criu/default.conf, $CRIU_CONFIG_FILE; see criu(8).\n",
	      out);
}

static void man_text(FILE *out, const char *text)
{
	for (; *text; text++) {
		if (*text == '-' || *text == '\\')
			fputc('\\', out);
		fputc(*text == '\\' ? 'e' : *text, out);
	}
}

void help_man(FILE *out)
{
	for (int group = 0; group < OPTION_GROUPS; group++) {
		fprintf(out, ".SS %s\n", option_group_names[group]);
		for (size_t i = 0; i < option_table_len; i++) {
			const struct option_row *row = &option_table[i];
			char form[96];

			if (!row->name || row->group != group || (row->flags & OPTION_HIDDEN))
				continue;
			option_form(row, form, sizeof(form));
			fputs(".TP\n.B \"", out);
			man_text(out, form + strspn(form, " "));
			fputs("\"\n", out);
			man_text(out, row->help);
			fprintf(out, "%s.\n", later_note(row, COMMAND_ALL));
		}
	}
}

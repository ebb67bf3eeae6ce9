/* Help texts, generated from the table of options. */
#include "cli.h"

#include "base/array.h"
#include "options/table.h"
#include "options/version.h"

#include <string.h>

static const struct {
	const char *form, *text;
} commands[] = {
	{ "dump -t PID [-D DIR]", "checkpoint a process tree" },
	{ "restore [-D DIR]", "restore a process tree" },
	{ "check [-t PID]", "check the kernel, or what stands in the way of a dump" },
	{ "cpuinfo dump|check", "store this processor, or compare a stored one with it" },
	{ "page-server [-D DIR]", "receive the memory of a dump that is made elsewhere" },
	{ "service [-d]", "serve requests on a unix socket" },
	{ "swrk FD", "serve one client on an open socket" },
};

void help_version(FILE *out)
{
	/* programs read line 1; a second line that begins with GitID would mean a build from a git tree */
	fprintf(out, "Version: %s\nImplementation: criu-core\n", CR_COMPAT_VERSION);
}

void help_usage(FILE *out)
{
	fputs("Usage:\n", out);
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		fprintf(out, "  criu %-22s %s\n", commands[i].form, commands[i].text);
	fputs("  criu --help | --version\n", out);
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
static const char *later_note(const struct option_row *row)
{
	if (!row->later)
		return "";
	return (row->valid & ~row->later & COMMAND_ALL) ? " (not for every command yet)" : " (not supported yet)";
}

void help_full(FILE *out)
{
	help_usage(out);
	for (int group = 0; group < OPTION_GROUPS; group++) {
		fprintf(out, "\n%s:\n", option_group_names[group]);
		for (size_t i = 0; i < option_table_len; i++) {
			const struct option_row *row = &option_table[i];
			char form[96];

			if (!row->name || row->group != group || (row->flags & OPTION_HIDDEN))
				continue;
			option_form(row, form, sizeof(form));
			if (strlen(form) > 34)
				fprintf(out, "  %s\n  %34s  %s%s\n", form, "", row->help, later_note(row));
			else
				fprintf(out, "  %-34s  %s%s\n", form, row->help, later_note(row));
		}
	}
	fputs("\nNames of features for check --feature are those that check --all lists.\n"
	      "Configuration files: /etc/criu/default.conf, ~/.criu/default.conf, $CRIU_CONFIG_FILE; see criu(8).\n",
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
			fprintf(out, "%s.\n", later_note(row));
		}
	}
}

/* The table of options holds together, and covers every field of the protocol. */
#include "options/table.h"

#include "front/front.h"
#include "options/request.h"

#include <stdio.h>

static const char *name_of(const struct option_row *row)
{
	return row->name ? row->name : row->rpc;
}

static void test_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < option_table_len; i++) {
		const struct option_row *row = &option_table[i];

		assert_true(row->name || row->rpc);
		expect_int(name_of(row), row->name == NULL || row->help != NULL, 1);
		expect_int(name_of(row), row->valid != 0, 1);
		expect_int(name_of(row), row->later & ~row->valid, 0);
		expect_int(name_of(row), row->group < OPTION_GROUPS, 1);
		expect_int(name_of(row), row->kind == OPTION_WORD, row->words != NULL);
		expect_int(name_of(row), row->kind == OPTION_ITEMS, row->size != 0);
		if (row->kind == OPTION_INT || row->kind == OPTION_UINT)
			expect_int(name_of(row), row->max > row->min || (row->flags & OPTION_REPLACED), 1);
		/* a value of one's own kind is a grammar, or there is none */
		if (row->kind == OPTION_FLAG && row->value)
			expect_int(name_of(row), row->set != NULL, 1);
		if ((row->flags & OPTION_NEGATABLE) && row->kind != OPTION_FLAG)
			expect_int(name_of(row), row->set == option_set_cgroups, 1);
	}
}

/* -d is the one letter that two names share, and they share the place too */
static void test_unique(void **state)
{
	(void)state;
	for (size_t i = 0; i < option_table_len; i++) {
		for (size_t k = 0; k < i; k++) {
			const struct option_row *a = &option_table[i], *b = &option_table[k];

			if (a->name && b->name)
				assert_string_not_equal(a->name, b->name);
			if (a->rpc && b->rpc)
				assert_string_not_equal(a->rpc, b->rpc);
			if (a->letter && a->letter == b->letter)
				expect_int(a->name, a->at, b->at);
		}
	}
}

/* The list of fields is the one that the generator wrote. */
#define FIELD_NAME(a, type, label, kind, field, tag) #field,
static const char *const fields[] = { rpc_criu_opts_FIELDLIST(FIELD_NAME, a) };

static void test_every_field(void **state)
{
	(void)state;
	assert_true(ARRAY_LEN(fields) > 60);
	for (size_t f = 0; f < ARRAY_LEN(fields); f++) {
		int found = 0;

		for (size_t i = 0; i < option_table_len; i++)
			found += option_table[i].rpc && strcmp(option_table[i].rpc, fields[f]) == 0;
		expect_int(fields[f], found, 1);
	}
}

static void test_match(void **state)
{
	static const struct {
		const char *typed, *name;
		int r;
		bool negated;
	} cases[] = {
		{ "tree", "tree", 0, false },
		{ "tre", "tree", 0, false },
		{ "no-shell-job", "shell-job", 0, true },
		{ "no-shell", "shell-job", 0, true },
		{ "no-default-config", "no-default-config", 0, false },
		{ "all", "all", 0, false },
		{ "external", "external", 0, false },
		{ "tls", "tls", 0, false },
		{ "leave", NULL, -ENOTUNIQ, false },
		{ "no-", NULL, -ENOTUNIQ, false },
		{ "nothing", NULL, -ENOENT, false },
		{ "no-tree", NULL, -ENOENT, false },
		{ "", NULL, -ENOENT, false },
		{ "no-lazy-pages", NULL, -ENOENT, false },
		{ "images_dir_fd", NULL, -ENOENT, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const struct option_row *row = NULL;
		struct cr_error err = { 0 };
		bool negated = false;
		int r = option_match(cases[i].typed, strlen(cases[i].typed), &row, &negated, &err);

		expect_int(cases[i].typed, r, cases[i].r);
		expect_int(cases[i].typed, negated, cases[i].negated);
		expect_text(cases[i].typed, row ? row->name : NULL, cases[i].name);
	}
}

static int set(struct settings *s, const char *name, const char *value, struct cr_error *err)
{
	const struct option_row *row;
	bool negated;

	assert_int_equal(option_match(name, strlen(name), &row, &negated, err), 0);
	return option_set(s, row, negated, value, ORIGIN_COMMAND_LINE, err);
}

static void test_numbers(void **state)
{
	static const struct {
		const char *name, *value;
		int r;
		long long want;
	} cases[] = {
		{ "ghost-limit", "0", 0, 0 },
		{ "ghost-limit", "4096", 0, 4096 },
		{ "ghost-limit", "2K", 0, 2048 },
		{ "ghost-limit", "3m", 0, 3 << 20 },
		{ "ghost-limit", "1G", 0, 1 << 30 },
		{ "ghost-limit", "3G", 0, 3LL << 30 },
		{ "ghost-limit", "4G", -EINVAL, 0 },
		{ "ghost-limit", "4294967295", 0, 4294967295LL },
		{ "ghost-limit", "4294967296", -EINVAL, 0 },
		{ "ghost-limit", "99999999999999999999999999", -EINVAL, 0 },
		{ "ghost-limit", "K", -EINVAL, 0 },
		{ "ghost-limit", "1KK", -EINVAL, 0 },
		{ "ghost-limit", "-1", -EINVAL, 0 },
		{ "ghost-limit", "1T", -EINVAL, 0 },
		{ "ghost-limit", "", -EINVAL, 0 },
		{ "ghost-limit", NULL, -EINVAL, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		autosettings struct settings s;
		struct cr_error err = { 0 };
		char name[64];

		snprintf(name, sizeof(name), "%s %s", cases[i].name, cases[i].value ? cases[i].value : "(none)");
		settings_init(&s);
		expect_int(name, set(&s, cases[i].name, cases[i].value, &err), cases[i].r);
		if (cases[i].r == 0)
			expect_int(name, s.rpc.ghost_limit, cases[i].want);
		else
			expect_part(name, err.text, "--ghost-limit");
	}
}

static void test_pid(void **state)
{
	static const char *const bad[] = { "0", "-1", "x", "1x", " 1", "", "2147483648", "1.5", "0x10" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		autosettings struct settings s;
		struct cr_error err = { 0 };

		settings_init(&s);
		expect_int(bad[i], set(&s, "tree", bad[i], &err), -EINVAL);
		expect_int(bad[i], s.rpc.has_pid, 0);
	}
}

static void test_verbosity(void **state)
{
	static const struct {
		const char *value;
		int r, level;
	} cases[] = {
		{ NULL, 0, 3 }, { "v", 0, 4 },        { "vv", 0, 5 },       { "4", 0, 4 },
		{ "0", 0, 0 },  { "4v", -EINVAL, 2 }, { "-1", -EINVAL, 2 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		autosettings struct settings s;
		struct cr_error err = { 0 };

		settings_init(&s);
		expect_int("verbosity", set(&s, "verbosity", cases[i].value, &err), cases[i].r);
		expect_int("verbosity", s.rpc.log_level, cases[i].level);
	}
}

static void test_cpu_cap(void **state)
{
	enum { F = CPU_CAP_FPU, C = CPU_CAP_CPU, I = CPU_CAP_INS, M = CPU_CAP_IMAGE };
	static const struct {
		const char *value;
		int r, caps;
	} cases[] = {
		{ NULL, 0, F | C | I | M }, { "cpu", 0, F | C | I | M }, { "^fpu", 0, I | M },
		{ "none", 0, 0 },           { "none,cpu", 0, C | M },    { "^none", 0, F | C | I | M },
		{ "^fpu,^ins", 0, 0 },      { "all", 0, F | C | I | M }, { "", -EINVAL, 0 },
		{ "cpu,", -EINVAL, 0 },     { "cpus", -EINVAL, 0 },      { "^", -EINVAL, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		autosettings struct settings s;
		struct cr_error err = { 0 };
		const char *name = cases[i].value ? cases[i].value : "(none)";

		settings_init(&s);
		expect_int(name, set(&s, "cpu-cap", cases[i].value, &err), cases[i].r);
		expect_int(name, s.rpc.cpu_cap, cases[i].caps);
		expect_int(name, s.rpc.has_cpu_cap, cases[i].r == 0);
	}
}

/* Options that end up as external resources. */
static void test_external(void **state)
{
	static const struct {
		const char *name, *value;
		int r;
		const char *want;
	} cases[] = {
		{ "external", "tty[8803:5]", 0, "tty[8803:5]" },
		{ "external", "mnt[]:ms", 0, "mnt[]:ms" },
		{ "external", "new[x]:y", 0, "new[x]:y" },
		{ "external", "none", -EINVAL, NULL },
		{ "external", "[x]", -EINVAL, NULL },
		{ "external", "x[", -EINVAL, NULL },
		{ "ext-mount-map", "/a:b:c", 0, "mnt[/a]:b:c" },
		{ "ext-mount-map", "/a", -EINVAL, NULL },
		{ "veth-pair", "eth0=v0@br", 0, "veth[eth0]:v0@br" },
		{ "veth-pair", "=x", -EINVAL, NULL },
		{ "ext-unix-sk", "123", 0, "unix[123]" },
		{ "ext-unix-sk", "1x", -EINVAL, NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		autosettings struct settings s;
		struct cr_error err = { 0 };

		settings_init(&s);
		expect_int(cases[i].value, set(&s, cases[i].name, cases[i].value, &err), cases[i].r);
		expect_int(cases[i].value, s.rpc.external.nr, cases[i].want != NULL);
		if (cases[i].want)
			expect_text(cases[i].value, s.rpc.external.items[0], cases[i].want);
	}
}

static void test_lists(void **state)
{
	autosettings struct settings s, copy;
	struct cr_error err = { 0 };

	(void)state;
	settings_init(&s);
	for (int i = 0; i < 100; i++) {
		char text[32];

		snprintf(text, sizeof(text), "x[%d]", i);
		assert_int_equal(set(&s, "external", text, &err), 0);
	}
	assert_int_equal(settings_init_from(&copy, &s), 0);
	assert_int_equal(set(&copy, "external", "only[copy]", &err), 0);
	assert_int_equal(set(&s, "external", "only[first]", &err), 0);
	assert_int_equal(copy.rpc.external.nr, 101);
	assert_string_equal(copy.rpc.external.items[100], "only[copy]");
	assert_string_equal(s.rpc.external.items[100], "only[first]");
	assert_string_equal(copy.rpc.external.items[99], "x[99]");
}

/* What cannot be done yet is refused by name, for the commands that would do it, and only when it is on. */
static void test_refused(void **state)
{
	static const struct {
		const char *name, *value;
		enum command c;
		int r;
	} cases[] = {
		{ "lazy-pages", NULL, COMMAND_DUMP, 0 },
		{ "lazy-pages", NULL, COMMAND_CHECK, 0 },
		{ "track-mem", NULL, COMMAND_DUMP, 0 },
		{ "no-track-mem", NULL, COMMAND_DUMP, 0 },
		{ "prev-images-dir", "../a", COMMAND_DUMP, 0 },
		{ "prev-images-dir", "../a", COMMAND_PAGE_SERVER, 0 },
		{ "root", "/x", COMMAND_DUMP, 0 },
		{ "root", "/x", COMMAND_RESTORE, 0 },
		{ "tls", NULL, COMMAND_DUMP, 0 },
		{ "tls", NULL, COMMAND_LAZY_PAGES, 0 },
		{ "tls-cert", "/x", COMMAND_DUMP, -EINVAL },
		{ "tls-cert", "/x", COMMAND_RESTORE, 0 },
		{ "tcp-established", NULL, COMMAND_DUMP, 0 },
		{ "manage-cgroups", "strict", COMMAND_RESTORE, -ENOTSUP },
		{ "manage-cgroups", "strict", COMMAND_DUMP, 0 },
		{ "manage-cgroups", NULL, COMMAND_RESTORE, 0 },
		{ "no-manage-cgroups", NULL, COMMAND_RESTORE, 0 },
		{ "empty-ns", "net", COMMAND_DUMP, -ENOTSUP },
		{ "stream", NULL, COMMAND_CHECK, -ENOTSUP },
		{ "restore-sibling", NULL, COMMAND_RESTORE, -ENOTSUP },
		{ "mntns-compat-mode", NULL, COMMAND_DUMP, -ENOTSUP },
		{ "mntns-compat-mode", NULL, COMMAND_RESTORE, 0 },
		{ "exec-cmd", NULL, COMMAND_RESTORE, -ENOTSUP },
		{ "log-pid", NULL, COMMAND_RESTORE, -ENOTSUP },
		{ "page-server", NULL, COMMAND_DUMP, 0 },
		{ "page-server", NULL, COMMAND_LAZY_PAGES, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		autosettings struct settings s;
		struct cr_error err = { 0 };
		const char *bare = strncmp(cases[i].name, "no-", 3) == 0 ? cases[i].name + 3 : cases[i].name;

		settings_init(&s);
		expect_int(cases[i].name, set(&s, cases[i].name, cases[i].value, &err), 0);
		expect_int(cases[i].name, settings_check(&s, cases[i].c, &err), cases[i].r);
		if (cases[i].r < 0)
			expect_part(cases[i].name, err.text, bare);
	}
}

/* Alone they are a mistake, unless they come from a file that serves all commands. */
static void test_parts_of_tls(void **state)
{
	static const char *const parts[] = { "tls-cacert", "tls-cacrl", "tls-cert", "tls-key" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		autosettings struct settings s;
		struct cr_error err = { 0 };

		settings_init(&s);
		assert_int_equal(option_set(&s, option_find(parts[i]), false, "/x", ORIGIN_CONFIG, &err), 0);
		expect_int(parts[i], settings_check(&s, COMMAND_DUMP, &err), 0);
		assert_int_equal(set(&s, parts[i], "/x", &err), 0);
		expect_int(parts[i], settings_check(&s, COMMAND_DUMP, &err), -EINVAL);
		expect_part(parts[i], err.text, "with --tls only");
		assert_int_equal(set(&s, "tls", NULL, &err), 0);
		expect_int(parts[i], settings_check(&s, COMMAND_DUMP, &err), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parts_of_tls), cmocka_unit_test(test_rows),      cmocka_unit_test(test_unique),
		cmocka_unit_test(test_every_field),  cmocka_unit_test(test_match),     cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_pid),          cmocka_unit_test(test_verbosity), cmocka_unit_test(test_cpu_cap),
		cmocka_unit_test(test_external),     cmocka_unit_test(test_lists),     cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Configuration files: the grammar, and what becomes of statements. */
#include "options/config.h"

#include "front/front.h"

static void test_lines(void **state)
{
	static const struct {
		const char *line;
		int r;
		const char *name, *value;
		bool attached;
	} cases[] = {
		{ "", 0, NULL, NULL, false },
		{ "   \t", 0, NULL, NULL, false },
		{ "# tree 5", 0, NULL, NULL, false },
		{ "  # tree 5", 0, NULL, NULL, false },
		{ "leave-running", 0, "leave-running", NULL, false },
		{ "\tleave-running  ", 0, "leave-running", NULL, false },
		{ "leave-running # why", 0, "leave-running", NULL, false },
		{ "leave-running# why", 0, "leave-running", NULL, false },
		{ "log-file a.log", 0, "log-file", "a.log", false },
		{ "log-file\t a.log \t", 0, "log-file", "a.log", false },
		{ "log-file=a.log", 0, "log-file", "a.log", true },
		{ "log-file=", 0, "log-file", "", true },
		{ "log-file a.log#b", 0, "log-file", "a.log", false },
		{ "log-file \"a b\"", 0, "log-file", "a b", false },
		{ "log-file=\"a b\"", 0, "log-file", "a b", true },
		{ "log-file \"a \\\"b\\\"\" # c", 0, "log-file", "a \"b\"", false },
		{ "log-file \"\"", 0, "log-file", "", false },
		{ "log-file \"a\\b\"", 0, "log-file", "a\\b", false },
		{ "log-file a b", -EINVAL, NULL, NULL, false },
		{ "log-file \"a\" b", -EINVAL, NULL, NULL, false },
		{ "log-file \"a\"b", -EINVAL, NULL, NULL, false },
		{ "log-file \"a", -EINVAL, NULL, NULL, false },
		{ "log-file \"", -EINVAL, NULL, NULL, false },
		{ "log-file \"a#b\"", -EINVAL, NULL, NULL, false },
		{ "log-file a\"b", -EINVAL, NULL, NULL, false },
		{ "log-file a.log\r", 0, "log-file", "a.log", false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct config_line line;
		struct cr_error err = { 0 };
		size_t len = strlen(cases[i].line);
		char *exact = malloc(len + 1);
		int r;

		assert_non_null(exact);
		memcpy(exact, cases[i].line, len);
		r = config_line_parse(exact, len, &line, &err);
		expect_int(cases[i].line, r, cases[i].r);
		if (r == 0) {
			expect_int(cases[i].line, line.name != NULL, cases[i].name != NULL);
			expect_int(cases[i].line, line.name_len, cases[i].name ? strlen(cases[i].name) : 0);
			expect_int(cases[i].line, line.attached, cases[i].attached);
			expect_text(cases[i].line, line.has_value ? line.value : NULL, cases[i].value);
		} else {
			expect_part(cases[i].line, err.text, "Unsupported configuration file format");
		}
		free(exact);
	}
}

static void test_nul_and_length(void **state)
{
	struct config_line line;
	struct cr_error err = { 0 };
	char text[6000];

	(void)state;
	memset(text, 'x', sizeof(text));
	memcpy(text, "log-file ", 9);
	assert_int_equal(config_line_parse(text, 9 + 4096, &line, &err), 0);
	assert_int_equal(strlen(line.value), 4096);
	assert_int_equal(config_line_parse(text, 9 + 4097, &line, &err), -EINVAL);
	text[20] = '\0';
	assert_int_equal(config_line_parse(text, 40, &line, &err), -EINVAL);
}

static int apply(struct settings *s, const char *text, struct cr_error *err)
{
	settings_init(s);
	return config_apply(s, text, strlen(text), "file", ORIGIN_CONFIG, err);
}

static void test_apply(void **state)
{
	autosettings struct settings s;
	struct cr_error err = { 0 };

	(void)state;
	assert_int_equal(
		apply(&s,
		      "# mine\nleave-running\nverbosity=4\ntcp-established\nno-tcp-established\n"
		      "action-script /a\naction-script \"/b c\"\nghost-limit 2M\nmanage-cgroups=full\nlog-file x",
		      &err),
		0);
	assert_true(s.rpc.leave_running && s.rpc.has_leave_running);
	assert_int_equal(s.rpc.log_level, 4);
	assert_true(s.rpc.has_tcp_established && !s.rpc.tcp_established);
	assert_int_equal(s.scripts.nr, 2);
	assert_string_equal(s.scripts.items[1], "/b c");
	assert_int_equal(s.rpc.ghost_limit, 2 << 20);
	assert_int_equal(s.rpc.manage_cgroups_mode, rpc_criu_cg_mode_FULL);
	assert_string_equal(s.rpc.log_file, "x");
}

/* An optional value counts only when it is attached. */
static void test_optional(void **state)
{
	autosettings struct settings s;
	struct cr_error err = { 0 };

	(void)state;
	assert_int_equal(apply(&s, "verbosity 4\n", &err), 0);
	assert_int_equal(s.rpc.log_level, 3);
}

static void test_refused(void **state)
{
	static const struct {
		const char *text, *message;
	} cases[] = {
		{ "leave-running\nnonsense\n", "file line 2: unknown option --nonsense" },
		{ "v\n", "more than one thing" },
		{ "t 5\n", "more than one thing" },
		{ "D x\n", "unknown option --D" },
		{ "dump\n", "unknown option" },
		{ "leave-running yes\n", "takes no value" },
		{ "tree\n", "needs a value" },
		{ "log-file \"\"\n", "empty value" },
		{ "tree x\n", "not a number" },
		{ "network-lock tables\n", "unknown value" },
		{ "ms\n", "was removed" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		autosettings struct settings s;
		struct cr_error err = { 0 };

		expect_int(cases[i].text, apply(&s, cases[i].text, &err), -EINVAL);
		expect_part(cases[i].text, err.text, cases[i].message);
	}
}

/* These have been looked at before any file is read. */
static void test_no_effect(void **state)
{
	autosettings struct settings s;
	struct cr_error err = { 0 };

	(void)state;
	assert_int_equal(apply(&s, "config /x\nno-default-config\nhelp\n", &err), 0);
	assert_true(s.want_help);
}

/* Whatever the bytes, an answer and no more. */
static void test_random(void **state)
{
	static const char pieces[][12] = { "tree", " ",        "=",  "\"",  "\\",       "#",   "\n",
					   "5",    "log-file", "\t", "no-", "external", "x[1]" };
	unsigned int seed = 1;

	(void)state;
	for (int round = 0; round < 20000; round++) {
		autosettings struct settings s;
		struct cr_error err = { 0 };
		char text[128] = "";

		for (int i = 0; i < 8; i++) {
			seed = seed * 1103515245 + 12345;
			strcat(text, pieces[(seed >> 16) % ARRAY_LEN(pieces)]);
		}
		if (apply(&s, text, &err) < 0)
			assert_true(err.text[0]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),   cmocka_unit_test(test_nul_and_length),
		cmocka_unit_test(test_apply),   cmocka_unit_test(test_optional),
		cmocka_unit_test(test_refused), cmocka_unit_test(test_no_effect),
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

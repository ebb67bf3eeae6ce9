/* Command lines, and the order in which sources win. */
#include "options/args.h"

#include "front/front.h"
#include "options/request.h"
#include "options/table.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define LINE(...) ((char *[]){ "criu", __VA_ARGS__, NULL })

static int read_line(char **argv, struct settings *s, struct args *a, struct cr_error *err)
{
	int argc = 0;

	while (argv[argc])
		argc++;
	settings_init(s);
	return args_read(argc, argv, s, a, err);
}

static void test_forms(void **state)
{
	static char *const lines[][10] = {
		{ "criu", "dump", "-t", "5", "-R", NULL },
		{ "criu", "-t5", "dump", "-R", NULL },
		{ "criu", "-Rt5", "dump", NULL },
		{ "criu", "-Rt", "5", "dump", NULL },
		{ "criu", "--tree=5", "dump", "--leave-running", NULL },
		{ "criu", "dump", "--tre", "5", "--leave-r", NULL },
		{ "criu", "-R", "--tree", "5", "--", "dump", NULL },
		{ "criu", "dump", "-t", "7", "-t", "5", "-R", NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		autosettings struct settings s;
		struct cr_error err = { 0 };
		struct args a;
		char name[16];

		snprintf(name, sizeof(name), "line %zu", i);
		expect_int(name, read_line((char **)lines[i], &s, &a, &err), 0);
		expect_int(name, a.nr_words, 1);
		expect_text(name, a.words[0], "dump");
		expect_int(name, s.rpc.pid, 5);
		expect_int(name, s.rpc.leave_running, 1);
	}
}

static void test_levels(void **state)
{
	static const struct {
		const char *a, *b;
		int level;
	} cases[] = {
		{ "-v", NULL, 3 },
		{ "-vv", NULL, 4 },
		{ "-v", "-v", 4 },
		{ "-v4", NULL, 4 },
		{ "-v0", "-v", 1 },
		{ "--verbosity", NULL, 3 },
		{ "--verbosity=1", NULL, 1 },
		{ "-vvvv", NULL, 6 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		autosettings struct settings s;
		struct cr_error err = { 0 };
		struct args a;

		expect_int(cases[i].a, read_line(LINE("dump", (char *)cases[i].a, (char *)cases[i].b), &s, &a, &err),
			   0);
		expect_int(cases[i].a, s.rpc.log_level, cases[i].level);
	}
}

static void test_refused(void **state)
{
	static const struct {
		char *line[6];
		const char *message;
	} cases[] = {
		{ { "criu", "dump", "-q" }, "unknown option -q" },
		{ { "criu", "dump", "--nope" }, "unknown option --nope" },
		{ { "criu", "dump", "-t" }, "--tree needs a value" },
		{ { "criu", "dump", "--tree" }, "--tree needs a value" },
		{ { "criu", "dump", "--leave-running=1" }, "takes no value" },
		{ { "criu", "dump", "--no-shell-job=1" }, "takes no value" },
		{ { "criu", "a", "b", "c", "d" }, "excessive parameter d" },
		{ { "criu", "dump", "--inherit-fd", "fd[987654]:x" }, "descriptor 987654" },
		{ { "criu", "dump", "--inherit-fd", "fd[]:x" }, "not of the form" },
		{ { "criu", "dump", "--close", "x" }, "not a descriptor" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		autosettings struct settings s;
		struct cr_error err = { 0 };
		struct args a;

		expect_int(cases[i].message, read_line((char **)cases[i].line, &s, &a, &err),
			   -EINVAL + (strstr(cases[i].message, "9876") ? EINVAL - EBADF : 0));
		expect_part(cases[i].message, err.text, cases[i].message);
	}
}

static void test_help_first(void **state)
{
	autosettings struct settings s;
	struct cr_error err = { 0 };
	struct args a;

	(void)state;
	assert_int_equal(read_line(LINE("dump", "--nonsense", "-h"), &s, &a, &err), 0);
	assert_true(s.want_help);
}

static void test_exec_cmd(void **state)
{
	autosettings struct settings s;
	struct cr_error err = { 0 };
	struct args a;

	(void)state;
	assert_int_equal(read_line(LINE("restore", "--exec-cmd", "--", "prog", "-x", "--tree"), &s, &a, &err), 0);
	assert_int_equal(s.rpc.exec_cmd.nr, 3);
	assert_string_equal(s.rpc.exec_cmd.items[2], "--tree");
	assert_int_equal(a.nr_words, 1);
	assert_int_equal(settings_check(&s, COMMAND_RESTORE, &err), 0);
}

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

/* CRIU_CONFIG_FILE, --config, the line itself: each beats the one before. */
static void test_sources(void **state)
{
	char dir[] = "/tmp/criu-args-XXXXXX", env[64], file[64];
	autosettings struct settings s;
	struct cr_error err = { 0 };
	struct args a;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(env, sizeof(env), "%s/env", dir);
	snprintf(file, sizeof(file), "%s/file", dir);
	write_file(env, "log-file env\ntimeout 1\nghost-limit 1\n");
	write_file(file, "log-file file\ntimeout 2\n");
	setenv("CRIU_CONFIG_FILE", env, 1);
	assert_int_equal(read_line(LINE("dump", "--config", file, "-o", "line"), &s, &a, &err), 0);
	unsetenv("CRIU_CONFIG_FILE");
	unlink(env);
	unlink(file);
	rmdir(dir);
	assert_string_equal(s.rpc.log_file, "line");
	assert_int_equal(s.rpc.timeout, 2);
	assert_int_equal(s.rpc.ghost_limit, 1);
	assert_int_equal(s.origin[option_find("log-file") - option_table], ORIGIN_COMMAND_LINE);
	assert_int_equal(s.origin[option_find("timeout") - option_table], ORIGIN_CONFIG);
}

/* A request on top of configuration files: presence decides, but for flags that only switch on. */
static void test_request(void **state)
{
	autosettings struct settings base, s;
	struct cr_error err = { 0 };
	char *external[] = { "tty[1:2]" };
	rpc_ext_mount_map mount = { "/a", "b" };
	rpc_unix_sk sock = { 77 };
	rpc_criu_opts o = {
		.images_dir_fd = 9,
		.has_tcp_established = true,
		.has_leave_running = true,
		.has_log_level = false,
		.external = { external, 1 },
		.ext_mnt = { &mount, 1 },
		.has_ext_unix_sk = true,
		.ext_unix_sk = true,
		.unix_sk_ino = { &sock, 1 },
		.has_manage_cgroups = true,
		.manage_cgroups = true,
		.has_cpu_cap = true,
		.cpu_cap = 0xffffffff,
		.has_work_dir_fd = true,
		.work_dir_fd = 4,
	};

	(void)state;
	settings_init(&base);
	assert_int_equal(option_set(&base, option_find("tcp-established"), false, NULL, ORIGIN_CONFIG, &err), 0);
	assert_int_equal(option_set(&base, option_find("leave-running"), false, NULL, ORIGIN_CONFIG, &err), 0);
	assert_int_equal(option_set(&base, option_find("verbosity"), false, "4", ORIGIN_CONFIG, &err), 0);
	assert_int_equal(option_set(&base, option_find("images-dir"), false, "/x", ORIGIN_CONFIG, &err), 0);
	assert_int_equal(option_set(&base, option_find("external"), false, "a[b]", ORIGIN_CONFIG, &err), 0);
	assert_int_equal(settings_init_from(&s, &base), 0);
	assert_int_equal(settings_merge_request(&s, &o, &err), 0);
	assert_false(s.rpc.tcp_established);
	assert_true(s.rpc.leave_running);
	assert_int_equal(s.rpc.log_level, 2);
	assert_null(s.rpc.images_dir);
	assert_int_equal(s.rpc.images_dir_fd, 9);
	assert_int_equal(s.rpc.external.nr, 4);
	assert_string_equal(s.rpc.external.items[0], "a[b]");
	assert_string_equal(s.rpc.external.items[2], "mnt[/a]:b");
	assert_string_equal(s.rpc.external.items[3], "unix[77]");
	assert_int_equal(s.rpc.manage_cgroups_mode, rpc_criu_cg_mode_SOFT);
	assert_int_equal(s.rpc.cpu_cap, CPU_CAP_EVERY | CPU_CAP_IMAGE);
	assert_true(s.detached);
	assert_int_equal(settings_check(&s, COMMAND_DUMP, &err), 0);
}

static void test_request_config(void **state)
{
	char path[] = "/tmp/criu-args-XXXXXX";
	autosettings struct settings s;
	struct cr_error err = { 0 };
	char *scan[] = { "/scan" };
	rpc_criu_opts o = { .images_dir_fd = 9,
			    .log_file = "rpc.log",
			    .config_file = path,
			    .has_log_level = true,
			    .log_level = 1,
			    .irmap_scan_paths = { scan, 1 },
			    .has_timeout = true,
			    .timeout = 3 };
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	write_file(path, "log-file conf.log\nverbosity=4\nimages-dir /conf\ntimeout 8\n");
	settings_init(&s);
	assert_int_equal(settings_merge_request(&s, &o, &err), 0);
	unlink(path);
	assert_string_equal(s.rpc.log_file, "conf.log");
	assert_string_equal(s.rpc.images_dir, "/conf");
	assert_int_equal(s.rpc.timeout, 8);
	assert_int_equal(s.rpc.log_level, 1);
	assert_int_equal(s.rpc.irmap_scan_paths.nr, 1);
	assert_int_equal(s.origin[option_find("images-dir") - option_table], ORIGIN_REQUEST_CONFIG);
}

static void test_bad_request(void **state)
{
	static const struct {
		rpc_criu_opts o;
		const char *message;
	} cases[] = {
		{ { .has_pid = true, .pid = -4 }, "option pid" },
		{ { .has_manage_cgroups_mode = true, .manage_cgroups_mode = (rpc_criu_cg_mode)77 },
		  "manage_cgroups_mode" },
		{ { .has_network_lock = true, .network_lock = (rpc_criu_network_lock_method)0 }, "network_lock" },
		{ { .has_empty_ns = true, .empty_ns = 4 }, "empty_ns" },
		{ { .has_mntns_compat_mode = true, .mntns_compat_mode = true }, "mntns_compat_mode" },
		{ { .freeze_cgroup = (char *)"/x" }, "freeze_cgroup" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		autosettings struct settings s;
		struct cr_error err = { 0 };
		int r;

		settings_init(&s);
		r = settings_merge_request(&s, &cases[i].o, &err);
		if (r == 0)
			r = settings_check(&s, COMMAND_DUMP, &err);
		expect_int(cases[i].message, r < 0, 1);
		expect_part(cases[i].message, err.text, cases[i].message);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forms),       cmocka_unit_test(test_levels),
		cmocka_unit_test(test_refused),     cmocka_unit_test(test_help_first),
		cmocka_unit_test(test_exec_cmd),    cmocka_unit_test(test_sources),
		cmocka_unit_test(test_request),     cmocka_unit_test(test_request_config),
		cmocka_unit_test(test_bad_request),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

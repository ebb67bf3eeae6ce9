/* Who may do what, line by line. */
#include "criu-srv/policy.h"

#include "front/front.h"
#include "options/config.h"
#include "options/request.h"
#include "options/table.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define IDS(a, b, c, d)    \
	{                  \
		a, b, c, d \
	}

static const struct policy_client user = { .uid = 10, .gid = 20, .cap_bnd = 0xff };
static const struct policy_client user_with_cap = { .uid = 10, .gid = 20, .cap_eff = 1 << 13, .cap_bnd = 0xff };
static const struct policy_client root = { .any = true };

static void test_dump(void **state)
{
	static const struct {
		const char *name;
		const struct policy_client *c;
		struct cr_who t;
		int r;
	} cases[] = {
		{ "own", &user, { IDS(10, 10, 10, 10), IDS(20, 20, 20, 20), 0, true, false }, 0 },
		{ "not dumpable", &user, { IDS(10, 10, 10, 10), IDS(20, 20, 20, 20), 0, false, false }, -EPERM },
		{ "real uid", &user, { IDS(11, 10, 10, 10), IDS(20, 20, 20, 20), 0, true, false }, -EPERM },
		{ "effective uid", &user, { IDS(10, 0, 10, 10), IDS(20, 20, 20, 20), 0, true, false }, -EPERM },
		{ "saved uid", &user, { IDS(10, 10, 0, 10), IDS(20, 20, 20, 20), 0, true, false }, -EPERM },
		{ "file system uid", &user, { IDS(10, 10, 10, 0), IDS(20, 20, 20, 20), 0, true, false }, -EPERM },
		{ "real gid", &user, { IDS(10, 10, 10, 10), IDS(0, 20, 20, 20), 0, true, false }, -EPERM },
		{ "effective gid", &user, { IDS(10, 10, 10, 10), IDS(20, 0, 20, 20), 0, true, false }, -EPERM },
		{ "saved gid", &user, { IDS(10, 10, 10, 10), IDS(20, 20, 0, 20), 0, true, false }, -EPERM },
		{ "capability", &user, { IDS(10, 10, 10, 10), IDS(20, 20, 20, 20), 1 << 13, true, false }, -EPERM },
		{ "shared capability",
		  &user_with_cap,
		  { IDS(10, 10, 10, 10), IDS(20, 20, 20, 20), 1 << 13, true, false },
		  0 },
		{ "more capabilities",
		  &user_with_cap,
		  { IDS(10, 10, 10, 10), IDS(20, 20, 20, 20), 3 << 13, true, false },
		  -EPERM },
		{ "user namespace", &user, { IDS(10, 10, 10, 10), IDS(20, 20, 20, 20), 0, true, true }, -EPERM },
		{ "root's, by user", &user, { IDS(0, 0, 0, 0), IDS(0, 0, 0, 0), 0, true, false }, -EPERM },
		{ "anything, by root", &root, { IDS(1, 2, 3, 4), IDS(0, 0, 0, 0), ~0ull, false, true }, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct cr_error err = { 0 };

		expect_int(cases[i].name, policy_dump(cases[i].c, &cases[i].t, &err), cases[i].r);
		expect_int(cases[i].name, err.text[0] != '\0', cases[i].r < 0);
	}
}

/* Whatever holds a client in and not the service: nothing is done for it but answering. */
static void test_serve(void **state)
{
	struct policy_client plain = user, seccomp = user, landlock = user, elsewhere = user, nnp = user, any = user,
			     ended = user, labelled = user;
	const struct {
		const char *name, *word;
		const struct policy_client *c;
		int r;
	} cases[] = {
		{ "a user", "", &plain, 0 },
		{ "no_new_privs where there is no Landlock", "", &nnp, 0 },
		{ "seccomp", "seccomp", &seccomp, -EPERM },
		{ "perhaps Landlock", "Landlock", &landlock, -EPERM },
		{ "other namespaces", "other namespaces", &elsewhere, -EPERM },
		{ "labelled", "another security label", &labelled, -EPERM },
		{ "ended", "first thread has ended", &ended, -EPERM },
		{ "root", "", &any, 0 },
	};

	(void)state;
	nnp.no_new_privs = true;
	seccomp.seccomp = true;
	landlock.no_new_privs = landlock.landlock = true;
	elsewhere.elsewhere = true;
	ended.ended = labelled.labelled = true;
	any.any = any.seccomp = any.landlock = any.elsewhere = true;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct cr_error err = { 0 };

		expect_int(cases[i].name, policy_serve(cases[i].c, &err), cases[i].r);
		assert_non_null(strstr(err.text, cases[i].word));
		expect_int(cases[i].name, err.hint[0] != '\0', cases[i].r < 0);
	}
}

static void test_page_server(void **state)
{
	const struct policy_client anything = { .any = true };
	struct cr_error err = { 0 };

	(void)state;
	assert_int_equal(policy_page_server(&anything, &err), 0);
	assert_int_equal(policy_page_server(&user, &err), -EPERM);
	assert_non_null(strstr(err.text, "for root only"));
	assert_int_equal(policy_page_server(&user_with_cap, &err), -EPERM);
}

static void test_dump_confined(void **state)
{
	struct cr_who t = { IDS(10, 10, 10, 10), IDS(20, 20, 20, 20), 0, true, false };
	struct policy_client c = user;
	struct cr_error err = { 0 };

	(void)state;
	c.seccomp = true;
	assert_int_equal(policy_dump(&c, &t, &err), -EPERM);
	c.seccomp = false;
	c.elsewhere = true;
	assert_int_equal(policy_dump(&c, &t, &err), -EPERM);
}

static void test_yama(void **state)
{
	static const struct {
		const char *name;
		int scope;
		bool below, cap;
		int r;
	} cases[] = {
		{ "no Yama", 0, false, false, 0 },
		{ "a stranger's", 1, false, false, -EPERM },
		{ "own child", 1, true, false, 0 },
		{ "with the capability", 1, false, true, 0 },
		{ "own child, administrators only", 2, true, false, -EPERM },
		{ "administrators only", 2, false, true, 0 },
		{ "nobody", 3, true, true, -EPERM },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct policy_client c = user;
		struct cr_error err = { 0 };

		c.yama = cases[i].scope;
		c.cap_eff = cases[i].cap ? 1 << 19 : 0;
		expect_int(cases[i].name, policy_trace(&c, cases[i].below, &err), cases[i].r);
		expect_int(cases[i].name, err.text[0] != '\0', cases[i].r < 0);
		c.any = true;
		expect_int(cases[i].name, policy_trace(&c, false, &err), 0);
	}
}

#define WHO(r, e, s, f, rg, eg, sg, fg) \
	.uid = r, .euid = e, .suid = s, .fsuid = f, .gid = rg, .egid = eg, .sgid = sg, .fsgid = fg
#define CREDS WHO(10, 10, 10, 10, 20, 20, 20, 20), .groups = { mine, 2 }

static uint32_t mine[] = { 30, 40 };

static void test_restore(void **state)
{
	static uint32_t none[] = { 0, 0 }, one[] = { 1 << 13, 0 }, high[] = { 0, 1 }, third[] = { 0, 0, 1 },
			bnd[] = { 0xff, 0 }, more[] = { 0x1ff, 0 }, all[] = { 20, 30, 40 },
			theirs[] = { 20, 30, 40, 0 };
	static gid_t groups[] = { 30, 40 };
	struct policy_client c = user;
	const struct {
		const char *name;
		img_creds_entry e;
		int r;
	} cases[] = {
		{ "own", { CREDS }, 0 },
		{ "own, all sets there",
		  { CREDS, .cap_prm = { none, 2 }, .cap_eff = { none, 2 }, .cap_bnd = { bnd, 2 } },
		  0 },
		{ "real uid", { WHO(0, 10, 10, 10, 20, 20, 20, 20) }, -EPERM },
		{ "effective uid", { WHO(10, 0, 10, 10, 20, 20, 20, 20) }, -EPERM },
		{ "saved uid", { WHO(10, 10, 0, 10, 20, 20, 20, 20) }, -EPERM },
		{ "file system uid", { WHO(10, 10, 10, 0, 20, 20, 20, 20) }, -EPERM },
		{ "real gid", { WHO(10, 10, 10, 10, 0, 20, 20, 20) }, -EPERM },
		{ "effective gid", { WHO(10, 10, 10, 10, 20, 0, 20, 20) }, -EPERM },
		{ "saved gid", { WHO(10, 10, 10, 10, 20, 20, 0, 20) }, -EPERM },
		{ "file system gid", { WHO(10, 10, 10, 10, 20, 20, 20, 0) }, -EPERM },
		{ "one of my groups as gid", { WHO(10, 10, 10, 10, 20, 30, 20, 20), .groups = { mine, 2 } }, 0 },
		{ "one of my groups for files", { WHO(10, 10, 10, 10, 20, 20, 20, 30), .groups = { all, 3 } }, 0 },
		{ "my groups", { WHO(10, 10, 10, 10, 20, 20, 20, 20), .groups = { all, 3 } }, 0 },
		{ "a group of root's", { WHO(10, 10, 10, 10, 20, 20, 20, 20), .groups = { theirs, 4 } }, -EPERM },
		{ "a group less", { WHO(10, 10, 10, 10, 20, 20, 20, 20), .groups = { mine, 1 } }, -EPERM },
		{ "no groups", { WHO(10, 10, 10, 10, 20, 20, 20, 20) }, -EPERM },
		{ "without my gid for files", { WHO(10, 10, 10, 10, 20, 20, 20, 30), .groups = { mine, 2 } }, -EPERM },
		{ "permitted", { CREDS, .cap_prm = { one, 2 } }, -EPERM },
		{ "effective", { CREDS, .cap_eff = { one, 2 } }, -EPERM },
		{ "inheritable", { CREDS, .cap_inh = { one, 2 } }, -EPERM },
		{ "ambient", { CREDS, .cap_amb = { one, 2 } }, -EPERM },
		{ "second word", { CREDS, .cap_prm = { high, 2 } }, -EPERM },
		{ "third word", { CREDS, .cap_prm = { third, 3 } }, -EPERM },
		{ "bounding set", { CREDS, .cap_bnd = { more, 2 } }, -EPERM },
		{ "securebits", { CREDS, .secbits = 1 }, -EPERM },
		{ "label", { CREDS, .lsm_profile = (char *)"p" }, -EPERM },
		{ "socket label", { CREDS, .lsm_sockcreate = (char *)"p" }, -EPERM },
	};

	(void)state;
	c.groups = groups;
	c.nr_groups = 2;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct cr_error err = { 0 };

		expect_int(cases[i].name, policy_restore(&c, &cases[i].e, &err), cases[i].r);
		expect_int(cases[i].name, err.text[0] != '\0', cases[i].r < 0);
		expect_int(cases[i].name, policy_restore(&root, &cases[i].e, &err), 0);
	}
}

static void test_restore_confined(void **state)
{
	img_creds_entry e = { WHO(10, 10, 10, 10, 20, 20, 20, 20) };
	struct policy_client c = user;
	struct cr_error err = { 0 };

	(void)state;
	c.labelled = true;
	assert_int_equal(policy_restore(&c, &e, &err), -EPERM);
	c.labelled = false;
	c.no_new_privs = true;
	assert_int_equal(policy_restore(&c, &e, &err), -EPERM);
	e.has_no_new_privs = true;
	e.no_new_privs = 1;
	assert_int_equal(policy_restore(&c, &e, &err), 0);
	c.seccomp = true;
	assert_int_equal(policy_restore(&c, &e, &err), -EPERM);
	c.seccomp = false;
	c.elsewhere = true;
	assert_int_equal(policy_restore(&c, &e, &err), -EPERM);
}

/* Facts about this process, and about a child that made itself not dumpable. */
static void test_facts(void **state)
{
	struct cr_who t;
	struct policy_client c = { 0 };
	struct cr_error err = { 0 };
	int go[2], ready[2];
	char byte;
	pid_t pid;

	(void)state;
	assert_int_equal(cr_who_read(getpid(), getpid(), &t, &err), 0);
	assert_int_equal(t.uid[0], getuid());
	assert_int_equal(t.gid[2], getegid());
	assert_true(t.dumpable && !t.other_user_ns);
	c.uid = geteuid();
	assert_int_equal(policy_read_client(getpid(), &c, &err), 0);
	assert_false(c.elsewhere);
	assert_int_equal(cr_who_read(4194300, 4194300, &t, &err) < 0, 1);
	if (getuid() != 0)
		skip();
	assert_int_equal(pipe(go), 0);
	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		close(go[1]);
		if (setresgid(4242, 4242, 4242) < 0 || setresuid(4242, 4242, 4242) < 0)
			_exit(1);
		/* changing the user has cleared the mark already; this is for kernels that are told otherwise */
		prctl(PR_SET_DUMPABLE, 0);
		if (write(ready[1], "", 1) == 1 && read(go[0], &byte, 1) >= 0)
			_exit(0);
		_exit(1);
	}
	close(go[0]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	assert_int_equal(cr_who_read(pid, pid, &t, &err), 0);
	assert_int_equal(t.uid[1], 4242);
	assert_false(t.dumpable);
	close(go[1]);
	waitpid(pid, NULL, 0);
	close(ready[0]);
	close(ready[1]);
}

/* Written down once more, so that a change of the table is seen to be one. All others are for anyone. */
static const char *const for_root[] = {
	"action-script",
	"exec-cmd",
	"exec_cmd",
	"libdir",
	"lazy",
	"log_to_stderr",
	"tcp-established",
	"page-server",
	"ps",
	"address",
	"port",
	"tls",
	"tls-cacert",
	"tls-cacrl",
	"tls-cert",
	"tls-key",
	"tls-no-cn-verify",
	"root",
	"ext-mount-map",
	"ext_mnt",
	"auto_ext_mnt",
	"enable-external-sharing",
	"enable-external-masters",
	"skip-mnt",
	"enable-fs",
	"mntns-compat-mode",
	"veth-pair",
	"veths",
	"join-ns",
	"empty-ns",
	"freeze-cgroup",
	"cgroup-root",
	"cgroup-props",
	"cgroup-props-file",
	"cgroup-dump-controller",
	"cgroup-yard",
	"lsm-profile",
	"lsm-mount-context",
};
static const char *const for_spawned[] = { "restore-sibling", "inherit-fd", "ps-socket", "status-fd", "close" };
static const char *const by_identity[] = {
	"images-dir", "images_dir_fd",   "work-dir",        "work_dir_fd",     "log-file",  "log-pid",
	"pidfile",    "config_file",     "prev-images-dir", "auto-dedup",      "stream",    "lazy-pages",
	"link-remap", "evasive-devices", "force-irmap",     "irmap-scan-path", "status_fd", "pidfd_store_sk",
};

static bool is_in(const char *const *list, size_t nr, const char *name)
{
	for (size_t i = 0; i < nr; i++)
		if (strcmp(list[i], name) == 0)
			return true;
	return false;
}

static const char *name_of(const struct option_row *row)
{
	return row->name ? row->name : row->rpc;
}

static int ask(bool daemon, bool trusted, const struct option_row *row, const char *value, bool off)
{
	struct policy_gate g;
	struct cr_error err = { 0 };
	int r;

	policy_gate_init(&g, daemon, trusted);
	r = g.gate.allow(&g.gate, row, off, &err);
	if (r == 0 && value)
		r = g.gate.allow_text(&g.gate, row, value, &err);
	expect_int(name_of(row), err.text[0] != '\0', r < 0);
	if (r < 0)
		expect_part("names the option", err.text, row->rpc ? row->rpc : row->name);
	return r;
}

static void test_every_option(void **state)
{
	size_t found = 0;

	(void)state;
	for (size_t i = 0; i < option_table_len; i++) {
		const struct option_row *row = &option_table[i];
		const char *name = name_of(row), *value = strcmp(name, "external") == 0 ? "tty[1:2]" : NULL;
		bool sys = is_in(for_root, ARRAY_LEN(for_root), name),
		     own = is_in(for_spawned, ARRAY_LEN(for_spawned), name),
		     files = is_in(by_identity, ARRAY_LEN(by_identity), name);

		found += sys + own + files;
		/* an option without a row is for nobody: give it one in criu-srv/policy.c */
		expect_int(name, policy_of(row),
			   sys     ? POLICY_ROOT
			   : own   ? POLICY_SPAWNED
			   : files ? POLICY_FILES
				   : POLICY_ANYONE);
		expect_int(name, ask(true, false, row, value, false), sys ? -EPERM : own ? -EINVAL : 0);
		expect_int(name, ask(true, true, row, value, false), own ? -EINVAL : 0);
		expect_int(name, ask(false, false, row, value, false), sys ? -EPERM : 0);
		expect_int(name, ask(false, true, row, value, false), 0);
		/* what is there to say no is refused only where it should not be there at all */
		expect_int(name, ask(true, false, row, value, true), own ? -EINVAL : 0);
	}
	assert_int_equal(found, ARRAY_LEN(for_root) + ARRAY_LEN(for_spawned) + ARRAY_LEN(by_identity));
}

static void test_unknown_option(void **state)
{
	const struct option_row row = { .name = "brand-new" };

	(void)state;
	assert_int_equal(policy_of(&row), POLICY_NONE);
	assert_int_equal(ask(true, false, &row, NULL, false), -EPERM);
}

static void test_external(void **state)
{
	static const struct {
		const char *value;
		int r;
	} cases[] = {
		{ "file[1:2]", 0 },     { "tty[1:2]", 0 },       { "unix[7]", 0 },         { "pipe[7]", 0 },
		{ "mnt[/]:x", -EPERM }, { "mnt[]", -EPERM },     { "dev[1/2]:x", -EPERM }, { "net[4]:x", -EPERM },
		{ "pid[4]:x", -EPERM }, { "veth[a]:b", -EPERM }, { "files[1]", -EPERM },   { "", -EPERM },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		expect_int(cases[i].value, ask(true, false, option_find("external"), cases[i].value, false),
			   cases[i].r);
		expect_int(cases[i].value, ask(true, true, option_find("external"), cases[i].value, false), 0);
	}
}

/* What a file says is asked for line by line, before a line has an effect. */
static void test_config_file(void **state)
{
	static const struct {
		const char *text;
		int r;
	} cases[] = {
		{ "shell-job\nlog-file x\n", 0 },
		{ "action-script /bin/true\n", -EINVAL },
		{ "lsm-profile=apparmor:x\n", -EINVAL },
		{ "no-tcp-established\n", 0 },
		{ "tcp-estab\n", -EINVAL },
		{ "external=mnt[a]:b\n", -EINVAL },
		{ "external=tty[1:2]\n", 0 },
	};
	int fds[2];
	char text[64];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct settings s;
		struct policy_gate g;
		struct cr_error err = { 0 };
		int r;

		settings_init(&s);
		policy_gate_init(&g, true, false);
		s.gate = &g.gate;
		r = config_apply(&s, cases[i].text, strlen(cases[i].text), "conf", ORIGIN_REQUEST_CONFIG, &err);
		expect_int(cases[i].text, r < 0, cases[i].r < 0);
		expect_int(cases[i].text, s.scripts.nr, 0);
		settings_done(&s);
	}
	/* these two act while they are read: on descriptors of the service, root or not */
	assert_int_equal(pipe(fds), 0);
	for (int i = 0; i < 2; i++) {
		struct settings s;
		struct policy_gate g;
		struct cr_error err = { 0 };

		settings_init(&s);
		policy_gate_init(&g, true, i);
		s.gate = &g.gate;
		snprintf(text, sizeof(text), "inherit-fd debug[%d]:forged\n", fds[1]);
		assert_true(config_apply(&s, text, strlen(text), "conf", ORIGIN_REQUEST_CONFIG, &err) < 0);
		snprintf(text, sizeof(text), "close %d\n", fds[1]);
		assert_true(config_apply(&s, text, strlen(text), "conf", ORIGIN_REQUEST_CONFIG, &err) < 0);
		settings_done(&s);
	}
	assert_int_equal(write(fds[1], "x", 1), 1);
	assert_int_equal(read(fds[0], text, sizeof(text)), 1);
	assert_int_equal(text[0], 'x');
	close(fds[0]);
	close(fds[1]);
}

static void test_request(void **state)
{
	char *items[] = { (char *)"mnt[x]:/etc" };
	rpc_ext_mount_map map = { (char *)"x", (char *)"/etc" };
	const struct {
		const char *name;
		rpc_criu_opts o;
		int r;
	} cases[] = {
		{ "plain", { .images_dir_fd = 3, .has_pid = true, .pid = 4 }, 0 },
		{ "exec_cmd", { .exec_cmd = { items, 1 } }, -EPERM },
		{ "older form of external", { .ext_mnt = { &map, 1 } }, -EPERM },
		{ "external", { .external = { items, 1 } }, -EPERM },
		{ "lsm_profile", { .lsm_profile = (char *)"apparmor:x" }, -EPERM },
		{ "empty lsm_profile", { .lsm_profile = (char *)"" }, 0 },
		{ "empty_ns", { .has_empty_ns = true, .empty_ns = 0x40000000 }, -EPERM },
		{ "empty_ns of none", { .has_empty_ns = true }, 0 },
		{ "rst_sibling", { .has_rst_sibling = true, .rst_sibling = true }, -EINVAL },
		{ "rst_sibling that is off", { .has_rst_sibling = true }, -EINVAL },
		{ "tls", { .has_tls = true, .tls = true }, -EPERM },
		{ "tls that is off", { .has_tls = true }, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct settings s;
		struct policy_gate g;
		struct cr_error err = { 0 };

		settings_init(&s);
		policy_gate_init(&g, true, false);
		s.gate = &g.gate;
		expect_int(cases[i].name, settings_merge_request(&s, &cases[i].o, &err), cases[i].r);
		settings_done(&s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_serve),
		cmocka_unit_test(test_dump),
		cmocka_unit_test(test_dump_confined),
		cmocka_unit_test(test_page_server),
		cmocka_unit_test(test_yama),
		cmocka_unit_test(test_restore),
		cmocka_unit_test(test_restore_confined),
		cmocka_unit_test(test_facts),
		cmocka_unit_test(test_every_option),
		cmocka_unit_test(test_unknown_option),
		cmocka_unit_test(test_external),
		cmocka_unit_test(test_config_file),
		cmocka_unit_test(test_request),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

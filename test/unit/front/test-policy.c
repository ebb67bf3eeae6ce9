/* Who may do what, line by line. */
#include "criu-srv/policy.h"

#include "front/front.h"

#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define IDS(a, b, c, d) { a, b, c, d }

static const struct policy_client user = { .uid = 10, .gid = 20, .cap_bnd = 0xff };
static const struct policy_client user_with_cap = { .uid = 10, .gid = 20, .cap_eff = 1 << 13, .cap_bnd = 0xff };
static const struct policy_client root = { .any = true };

static void test_dump(void **state)
{
	static const struct { const char *name; const struct policy_client *c; struct cr_who t; int r; } cases[] = {
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
		{ "shared capability", &user_with_cap, { IDS(10, 10, 10, 10), IDS(20, 20, 20, 20), 1 << 13, true, false }, 0 },
		{ "more capabilities", &user_with_cap, { IDS(10, 10, 10, 10), IDS(20, 20, 20, 20), 3 << 13, true, false }, -EPERM },
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

#define WHO(r, e, s, f, rg, eg, sg, fg)                                                                                \
	.uid = r, .euid = e, .suid = s, .fsuid = f, .gid = rg, .egid = eg, .sgid = sg, .fsgid = fg
#define CREDS WHO(10, 10, 10, 10, 20, 20, 20, 20)

static void test_restore(void **state)
{
	static uint32_t none[] = { 0, 0 }, one[] = { 1 << 13, 0 }, high[] = { 0, 1 }, third[] = { 0, 0, 1 }, bnd[] = { 0xff, 0 },
			more[] = { 0x1ff, 0 }, ours[] = { 20, 30 }, theirs[] = { 20, 0 };
	static gid_t groups[] = { 30, 40 };
	struct policy_client c = user;
	const struct { const char *name; img_creds_entry e; int r; } cases[] = {
		{ "own", { CREDS }, 0 },
		{ "own, all sets there", { CREDS, .cap_prm = { none, 2 }, .cap_eff = { none, 2 }, .cap_bnd = { bnd, 2 } }, 0 },
		{ "real uid", { WHO(0, 10, 10, 10, 20, 20, 20, 20) }, -EPERM },
		{ "effective uid", { WHO(10, 0, 10, 10, 20, 20, 20, 20) }, -EPERM },
		{ "saved uid", { WHO(10, 10, 0, 10, 20, 20, 20, 20) }, -EPERM },
		{ "file system uid", { WHO(10, 10, 10, 0, 20, 20, 20, 20) }, -EPERM },
		{ "real gid", { WHO(10, 10, 10, 10, 0, 20, 20, 20) }, -EPERM },
		{ "effective gid", { WHO(10, 10, 10, 10, 20, 0, 20, 20) }, -EPERM },
		{ "saved gid", { WHO(10, 10, 10, 10, 20, 20, 0, 20) }, -EPERM },
		{ "file system gid", { WHO(10, 10, 10, 10, 20, 20, 20, 0) }, -EPERM },
		{ "one of my groups as gid", { WHO(10, 10, 10, 10, 20, 30, 20, 20) }, 0 },
		{ "my groups", { CREDS, .groups = { ours, 2 } }, 0 },
		{ "a group of root's", { CREDS, .groups = { theirs, 2 } }, -EPERM },
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
	img_creds_entry e = { CREDS };
	struct policy_client c = user;
	struct cr_error err = { 0 };

	(void)state;
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dump),    cmocka_unit_test(test_dump_confined),    cmocka_unit_test(test_restore),
		cmocka_unit_test(test_restore_confined), cmocka_unit_test(test_facts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

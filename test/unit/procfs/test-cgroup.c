/* /proc/PID/cgroup */
#include "procfs/cgroup.h"

#include "base/buf.h"
#include "procfs/sample.h"

static int parse(const char *text, size_t len, struct cr_error *err)
{
	autocgroups struct proc_cgroup_list l = { 0 };
	int r = proc_cgroup_parse(text, len, &l, err);

	for (size_t i = 0; i < l.nr; i++)
		assert_true(l.items[i].path[0] == '/' && strlen(l.items[i].controllers) < len);
	return r;
}

static void load(const char *name, struct proc_cgroup_list *l)
{
	struct cr_error err = { 0 };
	size_t len;
	char *text = sample_read(name, &len);

	if (proc_cgroup_parse(text, len, l, &err) < 0)
		fail_msg("%s: %s", name, err.text);
	free(text);
}

static void recorded(void **state)
{
	autocgroups struct proc_cgroup_list l = { 0 };

	(void)state;
	load("linux-6.18-plain/cgroup", &l);
	assert_int_equal(l.nr, 10);
	assert_string_equal(l.items[0].controllers, "name=systemd");
	assert_string_equal(l.items[5].controllers, "memory");
	assert_string_equal(l.items[5].path, "/app/one");
	assert_int_equal(l.items[9].hierarchy, 0);
	assert_string_equal(l.items[9].controllers, "");
	assert_string_equal(l.items[9].path, "/");
}

static void odd_paths(void **state)
{
	autocgroups struct proc_cgroup_list l = { 0 };

	(void)state;
	load("hand/cgroup", &l);
	assert_int_equal(l.nr, 3);
	assert_int_equal(l.items[0].hierarchy, 12);
	assert_string_equal(l.items[0].path, "/a:b/c");
	assert_string_equal(l.items[1].path, "/init.scope (deleted)");
	assert_string_equal(l.items[2].path, "/../other");
}

static void refused(void **state)
{
	static const struct bad_text rows[] = {
		{ "no number", ":a:/\n", -EINVAL, "line 1" },
		{ "number too large", "4294967296:a:/\n", -ERANGE, "line 1" },
		{ "no path", "1:a:\n", -EINVAL, "line 1" },
		{ "relative path", "0::/\n1:a:b\n", -EINVAL, "line 2" },
		{ "no colon", "1:a\n", -EINVAL, "line 1" },
		{ "cut off", "1:a:/", -EINVAL, "cut off" },
	};

	(void)state;
	bad_texts_check(rows, sizeof(rows) / sizeof(rows[0]), parse);
}

static void too_many(void **state)
{
	autobuf struct buf text = BUF_INIT(1u << 20);
	struct cr_error err = { 0 };

	(void)state;
	for (int i = 0; i <= PROC_CGROUPS_MAX; i++)
		assert_int_equal(buf_printf(&text, "%d:a:/\n", i), 0);
	assert_int_equal(parse(text.data, text.len, &err), -E2BIG);
}

static void damage(void **state)
{
	(void)state;
	sample_hurt("linux-6.18-plain/cgroup", parse);
	sample_hurt("hand/cgroup", parse);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(recorded), cmocka_unit_test(odd_paths), cmocka_unit_test(refused),
		cmocka_unit_test(too_many), cmocka_unit_test(damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Links of /proc/PID/ns/ */
#include "procfs/ns-links.h"

#include "procfs/sample.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static int parse(const char *text, size_t len, struct cr_error *err)
{
	uint32_t ino;

	return proc_ns_link_parse(text, len, PROC_NS_PID_FOR_CHILDREN, &ino, err);
}

static void accepted(void **state)
{
	struct cr_error err = { 0 };
	uint32_t ino = 0;

	(void)state;
	assert_int_equal(proc_ns_link_parse("net:[4026531833]", 16, PROC_NS_NET, &ino, &err), 0);
	assert_int_equal(ino, 4026531833);
	assert_int_equal(proc_ns_link_parse("time:[7]", 8, PROC_NS_TIME_FOR_CHILDREN, &ino, &err), 0);
	assert_int_equal(ino, 7);
	assert_string_equal(proc_ns_name(PROC_NS_PID_FOR_CHILDREN), "pid_for_children");
}

static void refused(void **state)
{
	static const struct bad_text rows[] = {
		{ "empty", "", -EINVAL, "ns/pid_for_children" },
		{ "another kind", "net:[5]", -EINVAL, "ns/pid_for_children" },
		{ "no number", "pid:[]", -EINVAL, "ns/pid_for_children" },
		{ "zero", "pid:[0]", -EINVAL, "ns/pid_for_children" },
		{ "too large", "pid:[4294967296]", -ERANGE, "ns/pid_for_children" },
		{ "not closed", "pid:[5", -EINVAL, "ns/pid_for_children" },
		{ "tail", "pid:[5]x", -EINVAL, "ns/pid_for_children" },
	};

	(void)state;
	bad_texts_check(rows, sizeof(rows) / sizeof(rows[0]), parse);
	text_hurt("pid:[4026531836]", 16, parse);
}

static void own(void **state)
{
	autoprocdir struct proc_dir d = PROC_DIR_NONE;
	struct cr_error err = { 0 };
	struct proc_ns_links links;
	struct stat st;

	(void)state;
	assert_int_equal(proc_dir_open(AT_FDCWD, getpid(), &d, &err), 0);
	if (proc_ns_links_read(&d, &links, &err) < 0)
		fail_msg("%s", err.text);
	for (int i = 0; i < PROC_NR_NS; i++) {
		char path[64];

		snprintf(path, sizeof(path), "/proc/self/ns/%s", proc_ns_name((enum proc_ns)i));
		if (stat(path, &st) == 0)
			assert_int_equal(links.ino[i], st.st_ino);
		else
			assert_int_equal(links.ino[i], 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accepted),
		cmocka_unit_test(refused),
		cmocka_unit_test(own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The small files */
#include "procfs/attrs.h"

#include "procfs/sample.h"

#include <elf.h>
#include <fcntl.h>
#include <sys/auxv.h>
#include <unistd.h>

#define PARSE(name, type)                                                           \
	static int parse_##name(const char *text, size_t len, struct cr_error *err) \
	{                                                                           \
		type v;                                                             \
		return proc_##name##_parse(text, len, &v, err);                     \
	}

PARSE(personality, uint32_t)
PARSE(loginuid, uint32_t)
PARSE(oom_score_adj, int)
PARSE(autogroup, int)
PARSE(coredump_filter, uint32_t)
PARSE(timerslack, uint64_t)
PARSE(syscall, struct proc_syscall)
PARSE(uptime, uint64_t)
PARSE(timens, struct proc_timens)

static int parse_comm(const char *text, size_t len, struct cr_error *err)
{
	char comm[PROC_COMM_MAX + 1];
	int r = proc_comm_parse(text, len, comm, err);

	if (r == 0)
		assert_true(strlen(comm) <= PROC_COMM_MAX);
	return r;
}

static int parse_label(const char *text, size_t len, struct cr_error *err)
{
	char label[PROC_LABEL_MAX + 1];
	int r = proc_label_parse(text, len, label, err);

	if (r >= 0)
		assert_int_equal(strlen(label), r);
	return r < 0 ? r : 0;
}

static int parse_auxv(const char *text, size_t len, struct cr_error *err)
{
	struct proc_auxv_vec v = { 0 };
	int r = proc_auxv_parse(text, len, &v, err);

	if (r == 0)
		assert_int_equal(v.items[v.nr - 2], AT_NULL);
	proc_auxv_vec_done(&v);
	return r;
}

static void numbers(void **state)
{
	struct cr_error err = { 0 };
	uint32_t u;
	uint64_t q;
	int n;

	(void)state;
	assert_int_equal(proc_personality_parse("0040000c\n", 9, &u, &err), 0);
	assert_int_equal(u, 0x0040000c);
	assert_int_equal(proc_loginuid_parse("4294967295", 10, &u, &err), 0);
	assert_int_equal(u, UINT32_MAX);
	assert_int_equal(proc_oom_score_adj_parse("-1000\n", 6, &n, &err), 0);
	assert_int_equal(n, -1000);
	assert_int_equal(proc_autogroup_parse("/autogroup-726601 nice -7\n", 26, &n, &err), 0);
	assert_int_equal(n, -7);
	assert_int_equal(proc_autogroup_parse("", 0, &n, &err), 0);
	assert_int_equal(n, 0);
	assert_int_equal(proc_coredump_filter_parse("00000033\n", 9, &u, &err), 0);
	assert_int_equal(u, 0x33);
	assert_int_equal(proc_coredump_filter_parse("", 0, &u, &err), 0);
	assert_int_equal(u, 0);
	assert_int_equal(proc_timerslack_parse("50000\n", 6, &q, &err), 0);
	assert_int_equal(q, 50000);
	assert_int_equal(proc_uptime_parse("932.90 1825.63\n", 15, &q, &err), 0);
	assert_int_equal(q, 93290);
}

static void names(void **state)
{
	char comm[PROC_COMM_MAX + 1], label[PROC_LABEL_MAX + 1];
	struct cr_error err = { 0 };

	(void)state;
	assert_int_equal(proc_comm_parse("a) R (b\nc\n", 10, comm, &err), 0);
	assert_string_equal(comm, "a) R (b\nc");
	assert_int_equal(proc_comm_parse("\n", 1, comm, &err), 0);
	assert_string_equal(comm, "");
	assert_int_equal(proc_label_parse("unconfined\n", 11, label, &err), 10);
	assert_string_equal(label, "unconfined");
	assert_int_equal(proc_label_parse("system_u:system_r:kernel_t:s0\0", 30, label, &err), 29);
	assert_int_equal(proc_label_parse("_", 1, label, &err), 1);
	assert_int_equal(proc_label_parse("", 0, label, &err), 0);
}

static void syscalls(void **state)
{
	const char *in = "61 0x1126 0x7ffc6328b788 0x0 0x0 0x0 0x0 0x7ffc6328b750 0x7f1c04710c17\n";
	struct cr_error err = { 0 };
	struct proc_syscall c;

	(void)state;
	assert_int_equal(proc_syscall_parse(in, strlen(in), &c, &err), 0);
	assert_false(c.running);
	assert_int_equal(c.nr, 61);
	assert_int_equal(c.args[1], 0x7ffc6328b788);
	assert_int_equal(c.sp, 0x7ffc6328b750);
	assert_int_equal(c.pc, 0x7f1c04710c17);
	assert_int_equal(proc_syscall_parse("running\n", 8, &c, &err), 0);
	assert_true(c.running);
	assert_int_equal(proc_syscall_parse("-1 0x10 0x20\n", 13, &c, &err), 0);
	assert_int_equal(c.nr, -1);
	assert_int_equal(c.sp, 0x10);
	assert_int_equal(c.pc, 0x20);
}

static void time_namespaces(void **state)
{
	static const char *const names[] = { "hand/timens_offsets", "linux-5.10/timens_offsets",
					     "linux-6.18-plain/timens_offsets", "linux-6.1/timens_offsets" };
	static const int64_t monotonic[] = { -172800, -5, 0, 0 }, boottime[] = { 604800, 6, 0, 0 };

	(void)state;
	for (int i = 0; i < 4; i++) {
		struct cr_error err = { 0 };
		struct proc_timens t;
		size_t len;
		char *text = sample_read(names[i], &len);

		if (proc_timens_parse(text, len, &t, &err) < 0)
			fail_msg("%s: %s", names[i], err.text);
		assert_int_equal(t.monotonic_sec, monotonic[i]);
		assert_int_equal(t.boottime_sec, boottime[i]);
		assert_int_equal(t.monotonic_nsec, i == 0 ? 500000000 : 0);
		free(text);
	}
}

static void auxiliary_vector(void **state)
{
	struct proc_auxv_vec v = { 0 };
	struct cr_error err = { 0 };
	uint64_t entry = 0;
	size_t len;
	char *text = sample_read("linux-6.18-plain/auxv", &len);

	(void)state;
	assert_int_equal(proc_auxv_parse(text, len, &v, &err), 0);
	for (size_t i = 0; i < v.nr; i += 2)
		entry = v.items[i] == AT_PAGESZ ? v.items[i + 1] : entry;
	assert_int_equal(entry, 4096);
	free(text);
	proc_auxv_vec_done(&v);
	assert_int_equal(parse_auxv("12345678", 8, &err), -EINVAL);
	assert_int_equal(parse_auxv("1234567812345678", 16, &err), -EINVAL);
	assert_int_equal(parse_auxv("", 0, &err), -EINVAL);
	text = calloc(PROC_AUXV_MAX + 2, 8);
	assert_int_equal(parse_auxv(text, (PROC_AUXV_MAX + 2) * 8, &err), -E2BIG);
	assert_int_equal(parse_auxv(text, PROC_AUXV_MAX * 8, &err), 0);
	free(text);
}

static void refused(void **state)
{
	static const struct bad_text hex[] = { { "empty", "", -EINVAL, "personality" },
					       { "no end", "00", -EINVAL, "personality" },
					       { "wide", "100000000\n", -ERANGE, "personality" },
					       { "tail", "0 \n", -EINVAL, "personality" } };
	static const struct bad_text uid[] = { { "empty", "", -EINVAL, "loginuid" },
					       { "wide", "4294967296", -ERANGE, "loginuid" },
					       { "negative", "-1", -EINVAL, "loginuid" } };
	static const struct bad_text oom[] = { { "low", "-1001\n", -ERANGE, "oom_score_adj" },
					       { "high", "1001\n", -ERANGE, "oom_score_adj" } };
	static const struct bad_text group[] = { { "name", "/autogrou-1 nice 1\n", -EINVAL, "autogroup" },
						 { "high", "/autogroup-1 nice 20\n", -ERANGE, "autogroup" },
						 { "no end", "/autogroup-1 nice 2", -EINVAL, "autogroup" },
						 { "nothing", "/autogroup-1 nice \n", -EINVAL, "autogroup" } };
	static const struct bad_text slack[] = { { "wide", "18446744073709551616\n", -ERANGE, "timerslack_ns" } };
	static const struct bad_text call[] = { { "few", "1 0x0\n", -EINVAL, "syscall" },
						{ "prefix", "-1 0 0\n", -EINVAL, "syscall" },
						{ "wide", "-1 0x10000000000000000 0x0\n", -ERANGE, "syscall" },
						{ "tail", "-1 0x0 0x0 \n", -EINVAL, "syscall" },
						{ "number", "-2 0x0 0x0\n", -ERANGE, "syscall" },
						{ "cut", "runnin\n", -EINVAL, "syscall" } };
	static const struct bad_text up[] = { { "no point", "1 2\n", -EINVAL, "uptime" },
					      { "three", "1.123 2\n", -EINVAL, "uptime" },
					      { "wide", "18446744073709551615.00 1\n", -ERANGE, "uptime" } };
	static const struct bad_text tns[] = { { "one", "monotonic 0 0\n", -EINVAL, "timens_offsets" },
					       { "nanoseconds", "monotonic 0 1000000000\n", -ERANGE, "line monotonic" },
					       { "seconds", "boottime 9223372036854775808 0\n", -ERANGE,
						 "line boottime" } };

	(void)state;
	bad_texts_check(hex, sizeof(hex) / sizeof(hex[0]), parse_personality);
	bad_texts_check(uid, sizeof(uid) / sizeof(uid[0]), parse_loginuid);
	bad_texts_check(oom, sizeof(oom) / sizeof(oom[0]), parse_oom_score_adj);
	bad_texts_check(group, sizeof(group) / sizeof(group[0]), parse_autogroup);
	bad_texts_check(slack, sizeof(slack) / sizeof(slack[0]), parse_timerslack);
	bad_texts_check(call, sizeof(call) / sizeof(call[0]), parse_syscall);
	bad_texts_check(up, sizeof(up) / sizeof(up[0]), parse_uptime);
	bad_texts_check(tns, sizeof(tns) / sizeof(tns[0]), parse_timens);
}

static void damage(void **state)
{
	(void)state;
	sample_hurt("linux-6.18-plain/personality", parse_personality);
	sample_hurt("linux-6.18-plain/loginuid", parse_loginuid);
	sample_hurt("linux-6.18-plain/oom_score_adj", parse_oom_score_adj);
	sample_hurt("linux-6.18-plain/coredump_filter", parse_coredump_filter);
	sample_hurt("linux-6.18-plain/timerslack_ns", parse_timerslack);
	sample_hurt("linux-6.18-plain/syscall", parse_syscall);
	sample_hurt("linux-6.18-threads/uptime", parse_uptime);
	sample_hurt("hand/timens_offsets", parse_timens);
	sample_hurt("linux-6.18-threads/comm", parse_comm);
	sample_hurt("linux-6.18-plain/auxv", parse_auxv);
	text_hurt("system_u:object_r:a_t:s0\0", 25, parse_label);
}

static void own_files(void **state)
{
	autoprocdir struct proc_dir d = PROC_DIR_NONE;
	struct proc_auxv_vec v = { 0 };
	struct cr_error err = { 0 };
	char comm[PROC_COMM_MAX + 1], label[PROC_LABEL_MAX + 1];
	struct proc_syscall call;
	uint64_t up, slack;
	uint32_t u;
	int n;

	(void)state;
	assert_int_equal(proc_dir_open(AT_FDCWD, getpid(), &d, &err), 0);
	assert_int_equal(proc_comm_read(&d, comm, &err), 0);
	assert_int_equal(strncmp(comm, "test-attrs", 10), 0);
	assert_true(proc_label_read(&d, label, &err) >= 0);
	assert_int_equal(proc_syscall_read(&d, &call, &err), 0);
	assert_int_equal(proc_uptime_read(AT_FDCWD, &up, &err), 0);
	assert_int_equal(proc_timerslack_read(&d, &slack, &err), 0);
	assert_int_equal(proc_personality_read(&d, &u, &err), 0);
	assert_int_equal(proc_oom_score_adj_read(&d, &n, &err), 0);
	assert_int_equal(proc_coredump_filter_read(&d, &u, &err), 0);
	assert_int_equal(proc_auxv_read(&d, &v, &err), 0);
	for (size_t i = 0; i < v.nr; i += 2)
		if (v.items[i] == AT_ENTRY)
			assert_int_equal(v.items[i + 1], getauxval(AT_ENTRY));
	proc_auxv_vec_done(&v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers),          cmocka_unit_test(names),
		cmocka_unit_test(syscalls),         cmocka_unit_test(time_namespaces),
		cmocka_unit_test(auxiliary_vector), cmocka_unit_test(refused),
		cmocka_unit_test(damage),           cmocka_unit_test(own_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* /proc/PID/stat: recorded text, names that try to be fields, and damage. */
#include "procfs/stat.h"

#include "procfs/sample.h"

static int parse(const char *text, size_t len, struct cr_error *err)
{
	struct proc_stat st;
	int r = proc_stat_parse(text, len, &st, err);

	if (r == 0)
		assert_true(strlen(st.comm) <= PROC_COMM_MAX);
	return r;
}

static void load(const char *name, struct proc_stat *st)
{
	struct cr_error err = { 0 };
	size_t len;
	char *text = sample_read(name, &len);

	if (proc_stat_parse(text, len, st, &err) < 0)
		fail_msg("%s: %s", name, err.text);
	free(text);
}

static void hostile_comm(void **state)
{
	struct proc_stat st;

	(void)state;
	load("linux-6.18-threads/stat", &st);
	assert_string_equal(st.comm, "a) R (b\nc\\ \t");
	assert_int_equal(st.pid, 4386);
	assert_int_equal(st.state, 'S');
	assert_int_equal(st.ppid, 4385);
	assert_int_equal(st.pgrp, 4385);
	assert_int_equal(st.session, 3251);
	assert_int_equal(st.tty_nr, 0);
	assert_int_equal(st.tpgid, -1);
	assert_int_equal(st.flags, 4194304);
	assert_int_equal(st.nice, 0);
	assert_int_equal(st.num_threads, 3);
	assert_int_equal(st.starttime, 93265);
	assert_int_equal(st.start_code, 94877474623488);
	assert_int_equal(st.end_code, 94877474625249);
	assert_int_equal(st.start_stack, 140721972104400);
	assert_int_equal(st.exit_signal, 17);
	assert_int_equal(st.start_data, 94877474635216);
	assert_int_equal(st.end_data, 94877474635968);
	assert_int_equal(st.start_brk, 94877948801024);
	assert_int_equal(st.arg_start, 140721972107722);
	assert_int_equal(st.arg_end, 140721972107733);
	assert_int_equal(st.env_start, 140721972107733);
	assert_int_equal(st.env_end, 140721972109293);
	assert_int_equal(st.exit_code, 0);
}

static void kinds_of_task(void **state)
{
	struct proc_stat st;

	(void)state;
	load("linux-6.18-zombie/stat", &st);
	assert_int_equal(st.state, 'Z');
	assert_string_equal(st.comm, "sleep");
	load("linux-6.18-kthread/stat", &st);
	assert_string_equal(st.comm, "watchdogd");
	assert_int_equal(st.ppid, 2);
	assert_int_equal(st.rt_priority, 50);
	assert_int_equal(st.policy, 1);
	load("linux-6.18-pidns/stat", &st);
	assert_true(st.pid > 1);
	load("linux-6.1/zombie-stat", &st);
	assert_int_equal(st.state, 'Z');
	assert_int_equal(st.exit_code, 3 << 8);
	load("linux-6.12/stat", &st);
	assert_string_equal(st.comm, "a) R (b\nc\\ \t");
	assert_int_equal(st.ppid, 1);
	load("linux-6.18-userns/stat", &st);
	assert_int_equal(st.pid, 1);
	assert_int_equal(st.ppid, 0);
}

#define TAIL " 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0 0 1 2 3 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 4 5 6 7 8 9 10"

static void newer_fields(void **state)
{
	struct cr_error err = { 0 };
	const char *text = "7 (x) I 2 0 0 0 -1 1" TAIL " -1 77 new\n";
	struct proc_stat st;

	(void)state;
	assert_int_equal(proc_stat_parse(text, strlen(text), &st, &err), 0);
	assert_int_equal(st.exit_code, -1);
	assert_int_equal(st.env_end, 10);
}

static void refused(void **state)
{
	static const struct bad_text rows[] = {
		{ "empty", "", -EINVAL, "cut off" },
		{ "no pid", "x (a) S 1\n", -EINVAL, "field pid" },
		{ "pid too large", "4294967296 (a) S 1\n", -ERANGE, "field pid" },
		{ "no name", "1 a S 1\n", -EINVAL, "field comm" },
		{ "name without end", "1 (a S 1\n", -EINVAL, "field comm" },
		{ "name too long", "1 (0123456789012345678901234567890123456789012345678901234567890123456) S 1\n",
		  -ERANGE, "field comm" },
		{ "no state", "1 (a) \n", -EINVAL, "field state" },
		{ "state is a digit", "1 (a) 5 1\n", -EINVAL, "field state" },
		{ "few fields", "1 (a) S 1 2 3\n", -EINVAL, "field tty_nr" },
		{ "ppid is a word", "1 (a) S x 2 3\n", -EINVAL, "field ppid" },
		{ "flags too large", "1 (a) S 1 2 3 4 5 4294967296" TAIL " 0\n", -ERANGE, "field flags" },
		{ "negative flags", "1 (a) S 1 2 3 4 5 -1" TAIL " 0\n", -EINVAL, "field flags" },
		{ "no exit code", "1 (a) S 1 2 3 4 5 6" TAIL "\n", -EINVAL, "field exit_code" },
		{ "exit code with a tail", "1 (a) S 1 2 3 4 5 6" TAIL " 0x\n", -EINVAL, "field exit_code" },
		{ "not ended", "1 (a) S 1 2 3 4 5 6" TAIL " 0", -EINVAL, "cut off" },
	};

	(void)state;
	bad_texts_check(rows, sizeof(rows) / sizeof(rows[0]), parse);
}

static void damage(void **state)
{
	(void)state;
	sample_hurt("linux-6.18-threads/stat", parse);
	sample_hurt("linux-6.18-zombie/stat", parse);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hostile_comm), cmocka_unit_test(kinds_of_task), cmocka_unit_test(newer_fields),
		cmocka_unit_test(refused),      cmocka_unit_test(damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

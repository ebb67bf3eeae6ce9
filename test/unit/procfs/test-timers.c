/* /proc/PID/timers */
#include "procfs/timers.h"

#include "procfs/sample.h"

#include <signal.h>

static int parse(const char *text, size_t len, struct cr_error *err)
{
	struct proc_timer_vec v = { 0 };
	int r = proc_timers_parse(text, len, &v, err);

	proc_timer_vec_done(&v);
	return r;
}

static void load(const char *name, struct proc_timer_vec *v)
{
	struct cr_error err = { 0 };
	size_t len;
	char *text = sample_read(name, &len);

	if (proc_timers_parse(text, len, v, &err) < 0)
		fail_msg("%s: %s", name, err.text);
	free(text);
}

static void recorded(void **state)
{
	struct proc_timer_vec v = { 0 };

	(void)state;
	load("linux-6.18-threads/timers", &v);
	assert_int_equal(v.nr, 4);
	assert_int_equal(v.items[0].id, 3);
	assert_int_equal(v.items[0].signo, 34);
	assert_int_equal(v.items[0].sigev_value, 0xdeadbeefcafe);
	assert_int_equal(v.items[0].notify, SIGEV_SIGNAL);
	assert_true(v.items[0].to_thread);
	assert_int_equal(v.items[0].pid, 4386);
	assert_int_equal(v.items[0].clock_id, -2);
	assert_int_equal(v.items[2].notify, SIGEV_NONE);
	assert_int_equal(v.items[2].clock_id, -6);
	assert_false(v.items[3].to_thread);
	assert_int_equal(v.items[3].id, 0);
	proc_timer_vec_done(&v);
}

static void other_kernels(void **state)
{
	struct proc_timer_vec v = { 0 };

	(void)state;
	load("linux-6.1/timers", &v);
	load("linux-6.12/timers", &v);
	assert_int_equal(v.nr, 4);
	for (int i = 0; i < 4; i++)
		assert_int_equal(v.items[i].sigev_value, 0xdeadbeefcafe);
	proc_timer_vec_done(&v);
	load("hand/timers", &v);
	assert_int_equal(v.nr, 2);
	assert_int_equal(v.items[0].notify, SIGEV_THREAD);
	assert_int_equal(v.items[0].sigev_value, 0);
	assert_int_equal(v.items[1].sigev_value, 0x7fff86e452a8);
	proc_timer_vec_done(&v);
	assert_int_equal(proc_timers_parse(NULL, 0, &v, NULL), 0);
	assert_int_equal(v.nr, 0);
}

static void refused(void **state)
{
	static const struct bad_text rows[] = {
		{ "no ID", "signal: 1/0\n", -EINVAL, "no line ID" },
		{ "ID too large", "ID: 2147483648\n", -ERANGE, "line ID" },
		{ "last not whole", "ID: 1\nsignal: 1/0\nnotify: none/pid.1\n", -EINVAL, "timer 1: no line ClockID" },
		{ "first not whole", "ID: 1\nsignal: 1/0\nID: 2\n", -EINVAL, "timer 1: no line notify" },
		{ "value too wide", "ID: 1\nsignal: 1/10000000000000000\n", -ERANGE, "timer 1: line signal" },
		{ "notify word", "ID: 1\nnotify: mail/pid.1\n", -EINVAL, "timer 1: line notify" },
		{ "notify whom", "ID: 1\nnotify: none/uid.1\n", -EINVAL, "timer 1: line notify" },
		{ "clock with a tail", "ID: 1\nClockID: 1x\n", -EINVAL, "timer 1: line ClockID" },
		{ "cut off", "ID: 1\nsignal: 1/0", -EINVAL, "cut off" },
	};

	(void)state;
	bad_texts_check(rows, sizeof(rows) / sizeof(rows[0]), parse);
}

static void damage(void **state)
{
	(void)state;
	sample_hurt("linux-6.18-threads/timers", parse);
	sample_hurt("hand/timers", parse);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(recorded),
		cmocka_unit_test(other_kernels),
		cmocka_unit_test(refused),
		cmocka_unit_test(damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

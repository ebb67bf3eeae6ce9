/* /proc/PID/limits */
#include "procfs/limits.h"

#include "procfs/sample.h"

#include <sys/resource.h>

static int parse(const char *text, size_t len, struct cr_error *err)
{
	struct proc_limits l;

	return proc_limits_parse(text, len, &l, err);
}

static void plain(void **state)
{
	struct cr_error err = { 0 };
	struct proc_limits l;
	size_t len;
	char *text = sample_read("linux-6.18-plain/limits", &len);

	(void)state;
	if (proc_limits_parse(text, len, &l, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(l.of[RLIMIT_STACK].soft, 8388608);
	assert_int_equal(l.of[RLIMIT_STACK].hard, PROC_LIMIT_INFINITY);
	assert_int_equal(l.of[RLIMIT_CORE].soft, 0);
	assert_int_equal(l.of[RLIMIT_NOFILE].hard, 20000);
	assert_int_equal(l.of[RLIMIT_MSGQUEUE].soft, 819200);
	assert_int_equal(l.of[RLIMIT_NICE].hard, 0);
	assert_int_equal(l.of[RLIMIT_RTTIME].soft, PROC_LIMIT_INFINITY);
	free(text);
}

static void other_kernels(void **state)
{
	static const char *const names[] = { "linux-6.1/limits", "linux-6.12/limits" };

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct cr_error err = { 0 };
		struct proc_limits l;
		size_t len;
		char *text = sample_read(names[i], &len);

		if (proc_limits_parse(text, len, &l, &err) < 0)
			fail_msg("%s: %s", names[i], err.text);
		assert_int_equal(l.of[RLIMIT_NOFILE].soft, 1024);
		free(text);
	}
}

static void refused(void **state)
{
	static const struct bad_text rows[] = {
		{ "empty", "", -EINVAL, "no line Max cpu time" },
		{ "one only", "Max cpu time 1 2 seconds\n", -EINVAL, "no line Max file size" },
		{ "no hard limit", "Max open files            20000\n", -EINVAL, "Max open files" },
		{ "too large", "Max open files            20000 18446744073709551616 files\n", -ERANGE,
		  "Max open files" },
		{ "negative", "Max file size  -1 5 bytes\n", -EINVAL, "Max file size" },
		{ "word", "Max file size  unlimitedx 5 bytes\n", -EINVAL, "Max file size" },
		{ "not ended", "Max file size  1 5 bytes", -EINVAL, "cut off" },
	};

	(void)state;
	bad_texts_check(rows, sizeof(rows) / sizeof(rows[0]), parse);
}

static void damage(void **state)
{
	(void)state;
	sample_hurt("linux-6.18-plain/limits", parse);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain),
		cmocka_unit_test(other_kernels),
		cmocka_unit_test(refused),
		cmocka_unit_test(damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

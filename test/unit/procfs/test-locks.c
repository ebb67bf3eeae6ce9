/* Lines of /proc/locks */
#include "procfs/locks.h"

#include "procfs/sample.h"

static int parse(const char *text, size_t len, struct cr_error *err)
{
	struct proc_lock_vec v = { 0 };
	int r = proc_locks_parse(text, len, &v, err);

	for (size_t i = 0; i < v.nr; i++)
		assert_true(v.items[i].start >= 0 && v.items[i].end >= v.items[i].start);
	proc_lock_vec_done(&v);
	return r;
}

static void load(const char *name, struct proc_lock_vec *v)
{
	struct cr_error err = { 0 };
	size_t len;
	char *text = sample_read(name, &len);

	if (proc_locks_parse(text, len, v, &err) < 0)
		fail_msg("%s: %s", name, err.text);
	free(text);
}

static void recorded(void **state)
{
	struct proc_lock_vec v = { 0 };

	(void)state;
	load("linux-6.18-threads/locks", &v);
	assert_int_equal(v.nr, 5);
	assert_int_equal(v.items[0].kind, PROC_LOCK_LEASE);
	assert_int_equal(v.items[0].mode, PROC_LOCK_ACTIVE);
	assert_int_equal(v.items[1].kind, PROC_LOCK_OFD);
	assert_int_equal(v.items[1].pid, -1);
	assert_int_equal(v.items[1].access, PROC_LOCK_WRITE);
	assert_int_equal(v.items[2].kind, PROC_LOCK_POSIX);
	assert_int_equal(v.items[2].start, 10);
	assert_int_equal(v.items[2].end, 14);
	assert_int_equal(v.items[2].access, PROC_LOCK_READ);
	assert_int_equal(v.items[3].kind, PROC_LOCK_FLOCK);
	assert_false(v.items[3].waiting);
	assert_int_equal(v.items[3].dev_major, 0xfe);
	assert_int_equal(v.items[3].ino, 10953438);
	assert_int_equal(v.items[3].end, PROC_LOCK_EOF);
	assert_true(v.items[4].waiting);
	assert_int_equal(v.items[4].id, v.items[3].id);
	proc_lock_vec_done(&v);
}

static void other_kernels(void **state)
{
	static const char *const names[] = { "linux-6.1/locks", "linux-6.12/locks" };

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct proc_lock_vec v = { 0 };

		load(names[i], &v);
		assert_int_equal(v.nr, 5);
		assert_int_equal(v.items[0].kind, PROC_LOCK_LEASE);
		assert_true(v.items[4].waiting);
		proc_lock_vec_done(&v);
	}
}

static void all_kinds(void **state)
{
	struct proc_lock_vec v = { 0 };

	(void)state;
	load("hand/locks", &v);
	assert_int_equal(v.nr, 12);
	assert_true(v.items[3].waiting && v.items[4].waiting);
	assert_int_equal(v.items[4].start, 5);
	assert_int_equal(v.items[4].end, 5);
	assert_int_equal(v.items[5].mode, PROC_LOCK_BREAKING);
	assert_int_equal(v.items[6].mode, PROC_LOCK_BREAKER);
	assert_int_equal(v.items[6].access, PROC_LOCK_NONE);
	assert_int_equal(v.items[7].kind, PROC_LOCK_DELEG);
	assert_int_equal(v.items[8].access, PROC_LOCK_RW);
	assert_int_equal(v.items[8].mode, PROC_LOCK_MANDATORY);
	assert_int_equal(v.items[9].mode, PROC_LOCK_MANDATORY);
	assert_int_equal(v.items[10].ino, 0);
	assert_int_equal(v.items[11].kind, PROC_LOCK_OTHER);
	proc_lock_vec_done(&v);
}

static void refused(void **state)
{
	static const struct bad_text rows[] = {
		{ "no number", "FLOCK  ADVISORY  WRITE 1 fe:00:1 0 EOF\n", -EINVAL, "field number" },
		{ "number too large", "18446744073709551616: FLOCK\n", -ERANGE, "field number" },
		{ "no kind", "1: \n", -EINVAL, "field kind" },
		{ "unknown mode", "1: FLOCK  SOMETIMES  WRITE 1 fe:00:1 0 EOF\n", -EINVAL, "field mode" },
		{ "unknown access", "1: FLOCK  ADVISORY  APPEND 1 fe:00:1 0 EOF\n", -EINVAL, "field access" },
		{ "pid too large", "1: FLOCK  ADVISORY  WRITE 2147483648 fe:00:1 0 EOF\n", -ERANGE, "field pid" },
		{ "no inode", "1: FLOCK  ADVISORY  WRITE 1 fe:00 0 EOF\n", -EINVAL, "field inode" },
		{ "no end", "1: FLOCK  ADVISORY  WRITE 1 fe:00:1 0\n", -EINVAL, "field range" },
		{ "end before start", "1: FLOCK  ADVISORY  WRITE 1 fe:00:1 9 8\n", -EINVAL, "field range" },
		{ "negative start", "1: FLOCK  ADVISORY  WRITE 1 fe:00:1 -1 8\n", -EINVAL, "field range" },
		{ "end too large", "1: FLOCK  ADVISORY  WRITE 1 fe:00:1 1 9223372036854775808\n", -ERANGE,
		  "field range" },
		{ "tail", "1: FLOCK  ADVISORY  WRITE 1 fe:00:1 0 EOFx\n", -EINVAL, "field range" },
		{ "cut off", "1: FLOCK  ADVISORY  WRITE 1 fe:00:1 0 EOF", -EINVAL, "cut off" },
	};

	(void)state;
	bad_texts_check(rows, sizeof(rows) / sizeof(rows[0]), parse);
}

static void damage(void **state)
{
	(void)state;
	sample_hurt("linux-6.18-threads/locks", parse);
	sample_hurt("hand/locks", parse);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(recorded), cmocka_unit_test(other_kernels), cmocka_unit_test(all_kinds),
		cmocka_unit_test(refused),  cmocka_unit_test(damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* uid_map and gid_map */
#include "procfs/id-map.h"

#include "base/buf.h"
#include "procfs/sample.h"

static int parse(const char *text, size_t len, struct cr_error *err)
{
	struct proc_id_map m;
	int r = proc_id_map_parse(text, len, &m, err);

	assert_true(m.nr <= PROC_ID_EXTENTS_MAX);
	return r;
}

static void recorded(void **state)
{
	struct cr_error err = { 0 };
	struct proc_id_map m;
	size_t len;
	char *text = sample_read("linux-6.18-plain/uid_map", &len);

	(void)state;
	assert_int_equal(proc_id_map_parse(text, len, &m, &err), 0);
	assert_int_equal(m.nr, 1);
	assert_int_equal(m.extents[0].count, UINT32_MAX);
	free(text);
	text = sample_read("linux-6.18-userns/gid_map", &len);
	assert_int_equal(proc_id_map_parse(text, len, &m, &err), 0);
	assert_int_equal(m.nr, 1);
	assert_int_equal(m.extents[0].count, 1);
	free(text);
}

static void several(void **state)
{
	const char *text = "         0     100000      65536\n     65536 4294967295          1\n";
	struct cr_error err = { 0 };
	struct proc_id_map m;

	(void)state;
	assert_int_equal(proc_id_map_parse(text, strlen(text), &m, &err), 0);
	assert_int_equal(m.nr, 2);
	assert_int_equal(m.extents[0].outside, 100000);
	assert_int_equal(m.extents[0].count, 65536);
	assert_int_equal(m.extents[1].outside, UINT32_MAX);
	assert_int_equal(proc_id_map_parse(NULL, 0, &m, &err), 0);
	assert_int_equal(m.nr, 0);
}

static void refused(void **state)
{
	static const struct bad_text rows[] = {
		{ "two columns", "0 0\n", -EINVAL, "line 1" },
		{ "four columns", "0 0 1 2\n", -EINVAL, "line 1" },
		{ "empty extent", "0 0 0\n", -EINVAL, "line 1" },
		{ "wraps inside", "4294967295 0 2\n", -ERANGE, "line 1" },
		{ "wraps outside", "0 0 1\n0 4294967294 3\n", -ERANGE, "line 2" },
		{ "too large", "0 0 4294967296\n", -ERANGE, "line 1" },
		{ "negative", "0 -1 1\n", -EINVAL, "line 1" },
		{ "cut off", "0 0 1", -EINVAL, "cut off" },
	};

	(void)state;
	bad_texts_check(rows, sizeof(rows) / sizeof(rows[0]), parse);
}

static void too_many(void **state)
{
	autobuf struct buf text = BUF_INIT(1u << 20);
	struct cr_error err = { 0 };

	(void)state;
	for (int i = 0; i < PROC_ID_EXTENTS_MAX; i++)
		assert_int_equal(buf_printf(&text, "%10d %10d %10d\n", i, i, 1), 0);
	assert_int_equal(parse(text.data, text.len, &err), 0);
	assert_int_equal(buf_printf(&text, "340 340 1\n"), 0);
	assert_int_equal(parse(text.data, text.len, &err), -E2BIG);
}

static void damage(void **state)
{
	(void)state;
	sample_hurt("linux-6.18-plain/uid_map", parse);
	sample_hurt("linux-6.18-userns/uid_map", parse);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(recorded), cmocka_unit_test(several), cmocka_unit_test(refused),
		cmocka_unit_test(too_many), cmocka_unit_test(damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The scanner: ends, overflow, and nothing moved on failure. */
#include "procfs/sample.h"
#include "procfs/scan.h"

enum base { DEC, DEC32, HEX, HEX32, OCT, S64, S32 };

struct number_row {
	const char *text;
	enum base base;
	int code;
	uint64_t value;
	size_t taken;
};

static const struct number_row rows[] = {
	{ "0", DEC, 0, 0, 1 },
	{ "", DEC, -EINVAL, 0, 0 },
	{ " 1", DEC, -EINVAL, 0, 0 },
	{ "-1", DEC, -EINVAL, 0, 0 },
	{ "12x", DEC, 0, 12, 2 },
	{ "18446744073709551615", DEC, 0, UINT64_MAX, 20 },
	{ "18446744073709551616", DEC, -ERANGE, 0, 0 },
	{ "18446744073709551620", DEC, -ERANGE, 0, 0 },
	{ "99999999999999999999", DEC, -ERANGE, 0, 0 },
	{ "184467440737095516150", DEC, -ERANGE, 0, 0 },
	{ "00000000000000000000000007", DEC, 0, 7, 26 },
	{ "4294967295", DEC32, 0, UINT32_MAX, 10 },
	{ "4294967296", DEC32, -ERANGE, 0, 0 },
	{ "ffffffffffffffff", HEX, 0, UINT64_MAX, 16 },
	{ "10000000000000000", HEX, -ERANGE, 0, 0 },
	{ "00000000000000000FfZ", HEX, 0, 255, 19 },
	{ "g", HEX, -EINVAL, 0, 0 },
	{ "@", HEX, -EINVAL, 0, 0 },
	{ "`", HEX, -EINVAL, 0, 0 },
	{ "ffffffff", HEX32, 0, UINT32_MAX, 8 },
	{ "100000000", HEX32, -ERANGE, 0, 0 },
	{ "0100002", OCT, 0, 0100002, 7 },
	{ "1777777777777777777777", OCT, 0, UINT64_MAX, 22 },
	{ "2000000000000000000000", OCT, -ERANGE, 0, 0 },
	{ "8", OCT, -EINVAL, 0, 0 },
	{ "9223372036854775807", S64, 0, INT64_MAX, 19 },
	{ "9223372036854775808", S64, -ERANGE, 0, 0 },
	{ "-9223372036854775808", S64, 0, (uint64_t)INT64_MIN, 20 },
	{ "-9223372036854775809", S64, -ERANGE, 0, 0 },
	{ "-", S64, -EINVAL, 0, 0 },
	{ "-2147483648", S32, 0, (uint64_t)(int64_t)INT32_MIN, 11 },
	{ "2147483648", S32, -ERANGE, 0, 0 },
};

static int number_scan(struct scan *s, enum base base, uint64_t *v)
{
	uint32_t u = 0;
	int64_t i = 0;
	int n = 0, r;

	switch (base) {
	case DEC:
		return scan_dec(s, v);
	case HEX:
		return scan_hex(s, v);
	case OCT:
		return scan_oct(s, v);
	case DEC32:
		r = scan_dec32(s, &u);
		*v = u;
		return r;
	case HEX32:
		r = scan_hex32(s, &u);
		*v = u;
		return r;
	case S64:
		r = scan_int64(s, &i);
		*v = (uint64_t)i;
		return r;
	case S32:
		r = scan_int(s, &n);
		*v = (uint64_t)(int64_t)n;
		return r;
	}
	return -ENOSYS;
}

static void numbers(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t len = strlen(rows[i].text);
		char *exact = malloc(len ? len : 1);
		struct scan s;
		uint64_t v = 0;
		int r;

		memcpy(exact, rows[i].text, len);
		s = (struct scan)SCAN_INIT(exact, len);
		r = number_scan(&s, rows[i].base, &v);
		if (r != rows[i].code || v != rows[i].value || (size_t)(s.p - exact) != rows[i].taken)
			fail_msg("\"%s\": code %d value %llu taken %td", rows[i].text, r, (unsigned long long)v,
				 s.p - exact);
		free(exact);
	}
}

static void words_and_lines(void **state)
{
	const char *text = "one  two\tthree\n\nlast";
	struct scan s = SCAN_INIT(text, strlen(text)), line, word = { 0 };

	(void)state;
	assert_int_equal(scan_line(&s, &line), 1);
	assert_int_equal(scan_word(&line, &word), 0);
	assert_true(scan_is(&word, "one"));
	assert_int_equal(scan_word(&line, &word), -EINVAL);
	scan_blanks(&line);
	assert_int_equal(scan_lit(&line, "twofold"), -EINVAL);
	assert_int_equal(scan_lit(&line, "two"), 0);
	scan_blanks(&line);
	assert_true(scan_is(&line, "three"));
	assert_int_equal(scan_line(&s, &line), 1);
	assert_int_equal(scan_left(&line), 0);
	assert_int_equal(scan_char(&line, 'x'), -EINVAL);
	assert_int_equal(scan_line(&s, &line), -EINVAL);
	s.p = s.end;
	assert_int_equal(scan_line(&s, &line), 0);
	assert_int_equal(scan_until(&s, 'x', &line), -EINVAL);
}

static void empty_text(void **state)
{
	struct scan s = SCAN_INIT((const char *)NULL, 0), line;
	uint64_t v;

	(void)state;
	assert_int_equal(scan_line(&s, &line), 0);
	assert_int_equal(scan_dec(&s, &v), -EINVAL);
	scan_blanks(&s);
	assert_int_equal(scan_left(&s), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers),
		cmocka_unit_test(words_and_lines),
		cmocka_unit_test(empty_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

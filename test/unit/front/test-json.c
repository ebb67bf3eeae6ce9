/* Text as JSON: whatever the bytes, what comes out is valid. */
#include "criu-cli/json.h"

#include "front/front.h"

static void test_text(void **state)
{
	static const struct {
		const char *text, *want;
	} cases[] = {
		{ "", "\"\"" },
		{ "plain", "\"plain\"" },
		{ "a\"b\\c", "\"a\\\"b\\\\c\"" },
		{ "a\nb\x7f\x01", "\"a\\u000ab\\u007f\\u0001\"" },
		{ "\xc3\xa4", "\"\xc3\xa4\"" },
		{ "\xff"
		  "a",
		  "\"\\ufffda\"" },
		{ "\xc3", "\"\\ufffd\"" },
		{ "\xc0\xaf", "\"\\ufffd\\ufffd\"" },
		{ "\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\"" },
		{ "\xf0\x9f\x98\x80", "\"\xf0\x9f\x98\x80\"" },
		{ "\xf4\x90\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\"" },
		{ "\xe2\x82", "\"\\ufffd\\ufffd\"" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char *got = NULL;
		size_t len;
		FILE *f = open_memstream(&got, &len);

		assert_non_null(f);
		json_text(f, cases[i].text);
		fclose(f);
		expect_text(cases[i].want, got, cases[i].want);
		free(got);
	}
}

static void test_obstacles(void **state)
{
	struct obstacles list = { 0 };
	char *got = NULL;
	size_t len;
	FILE *f = open_memstream(&got, &len);

	(void)state;
	assert_non_null(f);
	obstacle_add(&list, 41, "sl\"eep", "fd 7", "", "TCP %d", 80);
	json_obstacles(f, &list);
	json_obstacles(f, NULL);
	fclose(f);
	assert_string_equal(
		got, "[{\"pid\":41,\"comm\":\"sl\\\"eep\",\"where\":\"fd 7\",\"what\":\"TCP 80\",\"advice\":\"\"}][]");
	free(got);
	obstacles_done(&list);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_text), cmocka_unit_test(test_obstacles) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}

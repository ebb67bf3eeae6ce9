/* Names of resources from outside. */
#include "files/inherit.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_pairs(void **state)
{
	static const struct {
		const char *text, *type;
		int r;
		uint64_t a, b;
	} cases[] = {
		{ "file[1f:1234ab]", "file", 0, 0x1f, 0x1234ab },
		{ "file[0x1f:0x1234ab]", "file", 0, 0x1f, 0x1234ab },
		{ "tty[8803:18]", "tty", 0, 0x8803, 0x18 },
		{ "tty[8803:18]", "file", -EINVAL, 0, 0 },
		{ "file[1f:1234ab", "file", -EINVAL, 0, 0 },
		{ "file[1f:1234ab]x", "file", -EINVAL, 0, 0 },
		{ "file[1f]", "file", -EINVAL, 0, 0 },
		{ "file[:1]", "file", -EINVAL, 0, 0 },
		{ "file[0x:1]", "file", -EINVAL, 0, 0 },
		{ "file[-1:1]", "file", -EINVAL, 0, 0 },
		{ "file[11111111111111111:1]", "file", -EINVAL, 0, 0 },
		{ "file", "file", -EINVAL, 0, 0 },
		{ "", "file", -EINVAL, 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t a = 0, b = 0;

		if (external_pair_parse(cases[i].text, cases[i].type, &a, &b) != cases[i].r || a != cases[i].a ||
		    b != cases[i].b)
			fail_msg("%s as %s", cases[i].text, cases[i].type);
	}
}

static void test_keys(void **state)
{
	static const struct {
		const char *given, *key;
		bool same;
	} cases[] = {
		{ "pipe:[4711]", "pipe:[4711]", true },
		{ "pipe:[4711]", "pipe:[47]", false },
		{ "tty[0x8803:0x18]", "tty[8803:18]", true },
		{ "file[1:2]", "tty[1:2]", false },
		{ "file[1:2]", "file[1:3]", false },
		{ "tmp/a file", "tmp/a file", true },
		{ "/memfd:x", "/memfd:x", true },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (inherit_key_matches(cases[i].given, cases[i].key) != cases[i].same)
			fail_msg("%s for %s", cases[i].given, cases[i].key);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_pairs), cmocka_unit_test(test_keys) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}

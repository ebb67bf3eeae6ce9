/* Recorded text and ways of spoiling it; see sample.h. */
#include "procfs/sample.h"

#include <stdio.h>

char *sample_read(const char *name, size_t *ret_len)
{
	char path[256], *text;
	FILE *f;
	long len;

	snprintf(path, sizeof(path), "test/data/procfs/%s", name);
	f = fopen(path, "rb");
	if (!f)
		fail_msg("%s: %s (tests run from the top of the tree)", path, strerror(errno));
	fseek(f, 0, SEEK_END);
	len = ftell(f);
	rewind(f);
	text = malloc(len ? (size_t)len : 1);
	assert_non_null(text);
	assert_int_equal(fread(text, 1, (size_t)len, f), len);
	fclose(f);
	*ret_len = (size_t)len;
	return text;
}

static void try(const char *text, size_t len, sample_parse_fn *parse)
{
	struct cr_error err = { 0 };
	char *exact = malloc(len ? len : 1);
	int r;

	assert_non_null(exact);
	memcpy(exact, text, len);
	r = parse(exact, len, &err);
	if (r < 0) {
		assert_int_equal(err.code, r);
		assert_true(err.text[0] != '\0');
	}
	free(exact);
}

void text_hurt(const char *text, size_t len, sample_parse_fn *parse)
{
	static const char bytes[] = { '\0', ' ', '\n', '9', ':', '\\', 'f', '-', '\xff' };
	/* long samples repeat themselves: a prime step meets every column of them */
	size_t step = len > 8192 ? 17 : 1;
	char *copy = malloc(len ? len : 1);

	assert_non_null(copy);
	memcpy(copy, text, len);
	for (size_t cut = 0; cut <= len; cut += step > 1 ? 3 : 1)
		try(text, cut, parse);
	for (size_t at = 0; at < len; at += step) {
		for (size_t i = 0; i < sizeof(bytes); i++) {
			copy[at] = bytes[i];
			try(copy, len, parse);
		}
		copy[at] = text[at];
	}
	free(copy);
}

void sample_hurt(const char *name, sample_parse_fn *parse)
{
	size_t len;
	char *text = sample_read(name, &len);

	text_hurt(text, len, parse);
	free(text);
}

void bad_texts_check(const struct bad_text *rows, size_t nr, sample_parse_fn *parse)
{
	for (size_t i = 0; i < nr; i++) {
		struct cr_error err = { 0 };
		size_t len = strlen(rows[i].text);
		char *exact = malloc(len ? len : 1);
		int r;

		assert_non_null(exact);
		memcpy(exact, rows[i].text, len);
		r = parse(exact, len, &err);
		free(exact);
		if (r != rows[i].code)
			fail_msg("%s: code %d, expected %d (%s)", rows[i].name, r, rows[i].code, err.text);
		if (!strstr(err.text, rows[i].message))
			fail_msg("%s: \"%s\" does not say \"%s\"", rows[i].name, err.text, rows[i].message);
	}
}

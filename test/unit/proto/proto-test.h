/*
 * What the tests of the codec share. Tests run from the top folder of the project.
 */
#ifndef PROTO_TEST_H
#define PROTO_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/buf.h"

/* The whole file, with a NUL behind it; fails the test if it cannot be read. */
static inline char *test_read_file(const char *path, size_t *ret_len)
{
	FILE *file = fopen(path, "rb");
	size_t len = 0, cap = 4096;
	char *text = malloc(cap);

	if (file == NULL)
		fail_msg("%s: cannot be opened (tests run from the top folder)", path);
	assert_non_null(text);
	for (size_t n; (n = fread(text + len, 1, cap - len - 1, file)) > 0;) {
		len += n;
		if (cap - len < 2) {
			text = realloc(text, cap *= 2);
			assert_non_null(text);
		}
	}
	fclose(file);
	text[len] = '\0';
	if (ret_len != NULL)
		*ret_len = len;
	return text;
}

/* A heap copy of exactly these bytes, so that a sanitizer sees a read past the end. */
static inline uint8_t *test_copy(const void *bytes, size_t len)
{
	uint8_t *copy = malloc(len > 0 ? len : 1);

	assert_non_null(copy);
	if (len > 0)
		memcpy(copy, bytes, len);
	return copy;
}

#define TEST_NR(array) (sizeof(array) / sizeof((array)[0]))

#endif

/* What the tests of procfs parsers share: recorded text, and ways of spoiling it. */
#ifndef TEST_PROCFS_SAMPLE_H
#define TEST_PROCFS_SAMPLE_H

/* cmocka.h needs these four first */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/** sample_read() - a file below test/data/procfs; exactly its size is allocated, so that reading past it shows */
char *sample_read(const char *name, size_t *ret_len);

/* Parses, checks what it got for sanity, gives it back. Returns what the parser did. */
typedef int sample_parse_fn(const char *text, size_t len, struct cr_error *err);

/**
 * sample_hurt() - the sample cut at every byte, then with every byte replaced: each time a failure that is named, or
 * sanity
 */
void sample_hurt(const char *name, sample_parse_fn *parse);

/** text_hurt() - the same for text that is not in a file */
void text_hurt(const char *text, size_t len, sample_parse_fn *parse);

/* One text that must be refused, and part of the message */
struct bad_text {
	const char *name;
	const char *text;
	int code;
	const char *message;
};

/** bad_texts_check() - run a table of them */
void bad_texts_check(const struct bad_text *rows, size_t nr, sample_parse_fn *parse);

#endif

/* What the tests of the front ends share. */
#ifndef TEST_FRONT_H
#define TEST_FRONT_H

/* cmocka.h needs these four first */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/array.h"
#include "base/error.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Names the case in the message of a failed comparison. */
#define expect_int(name, got, want)                                                    \
	do {                                                                           \
		long long got_ = (long long)(got), want_ = (long long)(want);          \
		if (got_ != want_)                                                     \
			fail_msg("%s: %s is %lld, not %lld", name, #got, got_, want_); \
	} while (0)

#define expect_text(name, got, want)                                                                 \
	do {                                                                                         \
		const char *got_ = (got), *want_ = (want);                                           \
		if ((got_ == NULL) != (want_ == NULL) || (got_ && strcmp(got_, want_) != 0))         \
			fail_msg("%s: %s is \"%s\", not \"%s\"", name, #got, got_ ? got_ : "(null)", \
				 want_ ? want_ : "(null)");                                          \
	} while (0)

#define expect_part(name, got, part)                                                      \
	do {                                                                              \
		if (!strstr((got), (part)))                                               \
			fail_msg("%s: \"%s\" does not hold \"%s\"", name, (got), (part)); \
	} while (0)

#endif

/*
 * A bounded scanner over text of the kernel: numbers, words, lines. Everything is inline: these functions run once
 * per field of every mapping, thread and descriptor while a tree is frozen. Nothing reads at or past end, nothing
 * moves on failure, and numbers that do not fit are errors, not wrapped values.
 *
 * All return 0, or -EINVAL where the expected thing is not there, or -ERANGE where it is but does not fit.
 */
#ifndef CR_PROCFS_SCAN_H
#define CR_PROCFS_SCAN_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct scan {
	const char *p;   /* next byte */
	const char *end; /* first byte that is not ours */
};

/* an empty text may be a null pointer, to which C lets nobody add even 0 */
#define SCAN_INIT(text, len)                            \
	{                                               \
		(text), (len) ? (text) + (len) : (text) \
	}

static inline size_t scan_left(const struct scan *s)
{
	return (size_t)(s->end - s->p);
}

static inline bool scan_blank(char c)
{
	return c == ' ' || c == '\t';
}

/** scan_blanks() - pass any number of blanks and tabs */
static inline void scan_blanks(struct scan *s)
{
	while (s->p < s->end && scan_blank(*s->p))
		s->p++;
}

/** scan_char() - pass exactly @c */
static inline int scan_char(struct scan *s, char c)
{
	if (s->p == s->end || *s->p != c)
		return -EINVAL;
	s->p++;
	return 0;
}

/** scan_lit() - pass exactly @lit */
static inline int scan_lit(struct scan *s, const char *lit)
{
	size_t len = strlen(lit);

	if (scan_left(s) < len || memcmp(s->p, lit, len) != 0)
		return -EINVAL;
	s->p += len;
	return 0;
}

/** scan_is() - is all that is left exactly @lit? */
static inline bool scan_is(const struct scan *s, const char *lit)
{
	size_t len = strlen(lit);

	return scan_left(s) == len && memcmp(s->p, lit, len) == 0;
}

/** scan_dec() - an unsigned decimal number */
static inline int scan_dec(struct scan *s, uint64_t *ret)
{
	const char *p = s->p;
	uint64_t v = 0;

	while (p < s->end && (unsigned char)(*p - '0') < 10) {
		/* 19 digits always fit: only beyond them is the check needed */
		if (p - s->p >= 19 && __builtin_mul_overflow(v, UINT64_C(10), &v))
			return -ERANGE;
		if (p - s->p < 19)
			v *= 10;
		if (__builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
			return -ERANGE;
		p++;
	}
	if (p == s->p)
		return -EINVAL;
	s->p = p;
	*ret = v;
	return 0;
}

/** scan_dec32() - an unsigned decimal number of 32 bits */
static inline int scan_dec32(struct scan *s, uint32_t *ret)
{
	struct scan at = *s;
	uint64_t v;
	int r = scan_dec(&at, &v);

	if (r < 0)
		return r;
	if (v > UINT32_MAX)
		return -ERANGE;
	*s = at;
	*ret = (uint32_t)v;
	return 0;
}

/** scan_int64() - a decimal number that may have a minus sign */
static inline int scan_int64(struct scan *s, int64_t *ret)
{
	struct scan at = *s;
	bool minus = scan_char(&at, '-') == 0;
	uint64_t v;
	int r = scan_dec(&at, &v);

	if (r < 0)
		return r;
	if (v > (uint64_t)INT64_MAX + minus)
		return -ERANGE;
	*s = at;
	*ret = minus ? (int64_t)(0 - v) : (int64_t)v;
	return 0;
}

/** scan_int() - a decimal number that fits int and may have a minus sign */
static inline int scan_int(struct scan *s, int *ret)
{
	struct scan at = *s;
	int64_t v;
	int r = scan_int64(&at, &v);

	if (r < 0)
		return r;
	if (v < INT32_MIN || v > INT32_MAX)
		return -ERANGE;
	*s = at;
	*ret = (int)v;
	return 0;
}

static inline unsigned int scan_hex_digit(char c)
{
	unsigned int d = (unsigned char)(c - '0');

	if (d < 10)
		return d;
	d = (unsigned char)((c | 0x20) - 'a');
	return d < 6 ? d + 10 : 16;
}

/** scan_hex() - a hexadecimal number without prefix */
static inline int scan_hex(struct scan *s, uint64_t *ret)
{
	const char *p = s->p;
	uint64_t v = 0;

	while (p < s->end) {
		unsigned int d = scan_hex_digit(*p);

		if (d == 16)
			break;
		if (v >> 60)
			return -ERANGE;
		v = v << 4 | d;
		p++;
	}
	if (p == s->p)
		return -EINVAL;
	s->p = p;
	*ret = v;
	return 0;
}

/** scan_hex32() - a hexadecimal number of 32 bits without prefix */
static inline int scan_hex32(struct scan *s, uint32_t *ret)
{
	struct scan at = *s;
	uint64_t v;
	int r = scan_hex(&at, &v);

	if (r < 0)
		return r;
	if (v > UINT32_MAX)
		return -ERANGE;
	*s = at;
	*ret = (uint32_t)v;
	return 0;
}

/** scan_oct() - an octal number; leading zeroes are digits like any other */
static inline int scan_oct(struct scan *s, uint64_t *ret)
{
	const char *p = s->p;
	uint64_t v = 0;

	while (p < s->end && (unsigned char)(*p - '0') < 8) {
		if (v >> 61)
			return -ERANGE;
		v = v << 3 | (uint64_t)(*p - '0');
		p++;
	}
	if (p == s->p)
		return -EINVAL;
	s->p = p;
	*ret = v;
	return 0;
}

/** scan_word() - everything up to a blank or the end, at least one byte; @ret points into the text */
static inline int scan_word(struct scan *s, struct scan *ret)
{
	const char *p = s->p;

	while (p < s->end && !scan_blank(*p))
		p++;
	if (p == s->p)
		return -EINVAL;
	*ret = (struct scan){ s->p, p };
	s->p = p;
	return 0;
}

/** scan_until() - everything up to @c, which is passed; may be empty */
static inline int scan_until(struct scan *s, char c, struct scan *ret)
{
	const char *at = s->p < s->end ? memchr(s->p, c, scan_left(s)) : NULL;

	if (!at)
		return -EINVAL;
	*ret = (struct scan){ s->p, at };
	s->p = at + 1;
	return 0;
}

/**
 * scan_line() - the next line, without its newline
 *
 * The kernel ends every line of these files, so a last line without a newline was cut off: its numbers may have lost
 * digits and must not be believed.
 *
 * Return: 1 a line; 0 no more text; -EINVAL the text ends inside a line.
 */
static inline int scan_line(struct scan *s, struct scan *ret)
{
	if (s->p == s->end)
		return 0;
	return scan_until(s, '\n', ret) < 0 ? -EINVAL : 1;
}

#endif

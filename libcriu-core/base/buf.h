/* A growing byte buffer with a ceiling. Always NUL terminated past its length, so text can be read in place. */
#ifndef CR_BASE_BUF_H
#define CR_BASE_BUF_H

#include <stddef.h>
#include <stdlib.h>

struct buf {
	char *data; /* NULL while empty */
	size_t len; /* bytes used */
	size_t cap; /* bytes allocated */
	size_t max; /* ceiling of len */
};

#define BUF_INIT(ceiling)        \
	{                        \
		.max = (ceiling) \
	}

/** buf_reserve() - room for @more bytes past len. Return: 0, -EFBIG past the ceiling, -ENOMEM. */
int buf_reserve(struct buf *b, size_t more);
/** buf_add() - append bytes. Return: as buf_reserve(). */
int buf_add(struct buf *b, const void *data, size_t len);
/** buf_printf() - append formatted text. Return: as buf_reserve(). */
int buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/** buf_reset() - length 0, memory kept */
void buf_reset(struct buf *b);
/** buf_done() - give the memory back */
void buf_done(struct buf *b);

static inline void buf_done_slot(struct buf *b)
{
	buf_done(b);
}

#define autobuf __attribute__((cleanup(buf_done_slot)))

#endif

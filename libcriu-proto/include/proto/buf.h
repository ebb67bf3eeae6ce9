/*
 * A growing buffer with a ceiling: where encoded messages go.
 */
#ifndef PROTO_BUF_H
#define PROTO_BUF_H

#include <stddef.h>
#include <stdint.h>

#define PROTO_BUF_SLACK 32

/**
 * struct proto_buf - bytes that are appended to
 * @data: the bytes, on the heap; NULL while nothing was appended
 * @len:  how many
 * @cap:  how many fit before the next reallocation
 * @max:  ceiling of @len; appending past it is -E2BIG
 *
 * A function that fails leaves @len as it was. The encoders ask for up to PROTO_BUF_SLACK bytes
 * more than they write in the end, and count these against @max.
 */
struct proto_buf {
	uint8_t *data;
	size_t len;
	size_t cap;
	size_t max;
};

/* An empty buffer that holds at most @max bytes; owns nothing until something is appended. */
static inline struct proto_buf proto_buf_of(size_t max)
{
	return (struct proto_buf){ .max = max };
}

/* Frees the bytes; the buffer is empty afterwards and may be used again. */
void proto_buf_done(struct proto_buf *buf);

/* Room for @more bytes behind @len. Return: 0, -ENOMEM, -E2BIG. */
int proto_buf_reserve(struct proto_buf *buf, size_t more);

/* Return: 0, -ENOMEM, -E2BIG. */
int proto_buf_append(struct proto_buf *buf, const void *bytes, size_t len);

#endif

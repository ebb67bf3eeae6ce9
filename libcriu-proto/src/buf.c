/*
 * A growing buffer with a ceiling.
 */
#include "proto/buf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BUF_FIRST 256

void proto_buf_done(struct proto_buf *buf)
{
	free(buf->data);
	buf->data = NULL;
	buf->len = 0;
	buf->cap = 0;
}

int proto_buf_reserve(struct proto_buf *buf, size_t more)
{
	if (buf->cap - buf->len >= more)
		return 0;
	if (buf->len > buf->max || more > buf->max - buf->len)
		return -E2BIG;

	size_t need = buf->len + more;
	size_t cap = buf->cap > buf->max / 2 ? buf->max : buf->cap * 2;

	if (cap < BUF_FIRST)
		cap = BUF_FIRST < buf->max ? BUF_FIRST : buf->max;
	if (cap < need)
		cap = need;

	uint8_t *data = realloc(buf->data, cap);

	if (data == NULL)
		return -ENOMEM;
	buf->data = data;
	buf->cap = cap;
	return 0;
}

int proto_buf_append(struct proto_buf *buf, const void *bytes, size_t len)
{
	int r = proto_buf_reserve(buf, len);

	if (r < 0)
		return r;
	if (len > 0)
		memcpy(buf->data + buf->len, bytes, len);
	buf->len += len;
	return 0;
}

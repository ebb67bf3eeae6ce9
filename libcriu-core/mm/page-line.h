/* One connection of a page server, from its handshake to its end. */
#ifndef CR_MM_PAGE_LINE_H
#define CR_MM_PAGE_LINE_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

struct cr_context;
struct page_store;

struct page_line {
	int fd;               /* connected; becomes the line's */
	uint64_t *received; /* bytes of pages, of all connections; others read it */
	bool *began;          /* set when an image was begun, so that its end matters to the whole */
	struct cr_context *ctx;
	struct page_store *store;
};

/**
 * page_line_serve() - receive until the other side says that it was all
 * Return: 0; -EPROTO; -ECONNRESET it has ended before; -EACCES (TLS) it is nobody we know; negative errno. The other side has been told.
 */
int page_line_serve(const struct page_line *l, struct cr_error *err);

#endif

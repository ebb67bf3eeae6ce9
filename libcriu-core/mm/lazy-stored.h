/* A page server whose pages are asked for: the source of a lazy restore is a set of images instead of a tree. */
#ifndef CR_MM_LAZY_STORED_H
#define CR_MM_LAZY_STORED_H

#include "base/error.h"

#include <stdint.h>

struct cr_context;

/**
 * lazy_stored_serve() - give pages of the images to one daemon
 * @listening: called once it can connect, with the port (0: the socket was given); what it returns below 0 is the end
 * Return: 0 the daemon needs no more; negative errno
 */
int lazy_stored_serve(struct cr_context *ctx, int (*listening)(void *arg, uint16_t port, struct cr_error *err), void *arg,
		      struct cr_error *err);

#endif

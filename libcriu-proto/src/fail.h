/*
 * Filling a struct proto_error: the path of a member in front of what is wrong with it.
 */
#ifndef FAIL_H
#define FAIL_H

#include <stdbool.h>
#include <stddef.h>

#include "proto/error.h"

/**
 * struct fail_path - how a walk through a message got to where it is
 * @up:    the message this one is a member of; NULL for the outermost
 * @name:  of the member; of the message for the outermost
 * @index: of the element, where @indexed
 *
 * Lives on the stack of the walk; nothing is formatted before something fails.
 */
struct fail_path {
	const struct fail_path *up;
	const char *name;
	size_t index;
	bool indexed;
};

/* "path: text", or only text without a path. @err may be NULL. Return: @code. */
int fail_at(struct proto_error *err, int code, const struct fail_path *path, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

#endif

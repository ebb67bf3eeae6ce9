/*
 * Filling a struct proto_error.
 */
#include "fail.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "proto/limits.h"

/* Enough for any path of the messages there are, save those that nest in themselves. */
#define PATH_TEXT 160

/* Appends; cuts silently at the end of @text. */
static size_t put(char *text, size_t size, size_t at, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

static size_t put(char *text, size_t size, size_t at, const char *format, ...)
{
	va_list args;

	if (at >= size - 1)
		return at;
	va_start(args, format);
	int n = vsnprintf(text + at, size - at, format, args);
	va_end(args);

	if (n < 0)
		return at;
	return (size_t)n < size - at ? at + (size_t)n : size - 1;
}

static size_t put_path(char *text, size_t size, const struct fail_path *path)
{
	/* One more than the depth limit: the member at which it is passed. */
	const struct fail_path *steps[PROTO_DEPTH_MAX + 2];
	size_t nr = 0, at = 0;

	for (; path != NULL && nr < PROTO_DEPTH_MAX + 2; path = path->up)
		steps[nr++] = path;
	while (nr-- > 0) {
		at = put(text, size, at, at > 0 ? ".%s" : "%s", steps[nr]->name);
		if (steps[nr]->indexed)
			at = put(text, size, at, "[%zu]", steps[nr]->index);
	}
	return at;
}

int fail_at(struct proto_error *err, int code, const struct fail_path *path, const char *format, ...)
{
	va_list args;
	size_t at = 0;

	if (err == NULL)
		return code;
	err->code = code;
	err->text[0] = '\0';
	if (path != NULL) {
		at = put_path(err->text, PATH_TEXT, path);
		if (at == PATH_TEXT - 1)
			memcpy(err->text + at - 3, "...", 3);
		at = put(err->text, sizeof(err->text), at, ": ");
	}
	va_start(args, format);
	vsnprintf(err->text + at, sizeof(err->text) - at, format, args);
	va_end(args);
	return code;
}

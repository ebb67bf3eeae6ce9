/*
 * Configuration files: one statement per line, the name of an option without dashes, then its value, which may be in
 * double quotes; '#' begins a comment.
 */
#ifndef CR_OPTIONS_CONFIG_H
#define CR_OPTIONS_CONFIG_H

#include "options/settings.h"

#include <stdbool.h>
#include <stddef.h>

struct cr_error;

/* One line taken apart. Texts are not NUL terminated. */
struct config_line {
	const char *name; /* NULL: nothing on the line */
	size_t name_len;
	bool attached; /* the value came behind '=' */
	bool has_value;
	char value[4097];
};

/** config_line_parse() - @text without its newline. Return: 0; -EINVAL it is not a statement, @err says why. */
int config_line_parse(const char *text, size_t len, struct config_line *ret, struct cr_error *err);

/** config_apply() - all statements of a text. @name is for messages. Return: 0; -EINVAL or -ENOMEM, @err names the line. */
int config_apply(struct settings *s, const char *text, size_t len, const char *name, enum origin from,
		 struct cr_error *err);

/** config_read() - a file, read whole before it is applied. One that cannot be opened is passed over. Return: as config_apply(). */
int config_read(struct settings *s, int dirfd, const char *path, enum origin from, struct cr_error *err);

/**
 * config_read_defaults() - the files that apply to every command, in order
 * @file:     from --config: in place of the two default files; NULL: none was named
 * @defaults: whether to read /etc/criu/default.conf and $HOME/.criu/default.conf; CRIU_CONFIG_FILE is read anyway
 */
int config_read_defaults(struct settings *s, const char *file, bool defaults, struct cr_error *err);

#endif

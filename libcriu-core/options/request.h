/* Options of a request on top of settings, and the check that all of it can be honoured. */
#ifndef CR_OPTIONS_REQUEST_H
#define CR_OPTIONS_REQUEST_H

#include "options/settings.h"

struct cr_error;

/**
 * settings_merge_request() - take over the options of a request
 * Order of precedence: what @s has so far, @opts, the file that @opts names, and after that the fields that beat it.
 * @opts: stays owned by the caller and must outlive @s
 * Return: 0; -EINVAL or -ENOMEM with @err filled.
 */
int settings_merge_request(struct settings *s, const rpc_criu_opts *opts, struct cr_error *err);

/**
 * settings_check() - is every value in range, and can this version do what is asked?
 * Return: 0; -EINVAL no value for the option; -ENOTSUP not supported for @c. @err names the option.
 */
int settings_check(const struct settings *s, enum command c, struct cr_error *err);

#endif

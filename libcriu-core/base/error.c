/* Recording of failures; see error.h. */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void text_vprint(char *text, size_t size, const char *fmt, va_list ap)
{
	if (vsnprintf(text, size, fmt, ap) < 0)
		text[0] = '\0';
}

int cr_fail(struct cr_error *err, int code, const char *fmt, ...)
{
	char reason[96];
	size_t len;
	va_list ap;

	if (!err)
		return code;
	err->code = code;
	err->hint[0] = '\0';
	va_start(ap, fmt);
	text_vprint(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	len = strlen(err->text);
	/* strerror_r (GNU) may return a static string, which is fine to read from any thread */
	snprintf(err->text + len, sizeof(err->text) - len, ": %s", strerror_r(-code, reason, sizeof(reason)));
	return code;
}

int cr_refuse(struct cr_error *err, int code, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return code;
	err->code = code;
	err->hint[0] = '\0';
	va_start(ap, fmt);
	text_vprint(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	return code;
}

int cr_within(struct cr_error *err, int code, const char *fmt, ...)
{
	char inner[CR_ERROR_TEXT];
	size_t len;
	va_list ap;

	if (!err || code >= 0)
		return code;
	memcpy(inner, err->text, sizeof(inner));
	va_start(ap, fmt);
	text_vprint(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	len = strlen(err->text);
	snprintf(err->text + len, sizeof(err->text) - len, ": %s", inner);
	return code;
}

void cr_advise(struct cr_error *err, const char *fmt, ...)
{
	va_list ap;

	if (!err || err->hint[0])
		return;
	va_start(ap, fmt);
	text_vprint(err->hint, sizeof(err->hint), fmt, ap);
	va_end(ap);
}

void cr_error_clear(struct cr_error *err)
{
	memset(err, 0, sizeof(*err));
}

/* Formatting of log lines; see log.h. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

void cr_log(const struct cr_log *log, enum cr_log_level level, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	if (!log->line || (int)level > log->level)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	log->line(log->arg, level, text);
}

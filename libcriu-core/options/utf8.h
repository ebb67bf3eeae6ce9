/* Paths and names may hold any bytes; messages and JSON may hold UTF-8 only. */
#ifndef CR_OPTIONS_UTF8_H
#define CR_OPTIONS_UTF8_H

#include <stddef.h>

/** utf8_len() - bytes of the sequence at @text, which ends with a NUL; 0: it is none (overlong, a surrogate, cut off) */
size_t utf8_len(const char *text);

#endif

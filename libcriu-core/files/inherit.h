/* Names of resources in --external and --inherit-fd. Pure. */
#ifndef CR_FILES_INHERIT_H
#define CR_FILES_INHERIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** external_pair_parse() - "TYPE[HEX:HEX]" with @type given ("file", "tty"). Return: 0; -EINVAL it is not such a string. */
int external_pair_parse(const char *text, const char *type, uint64_t *ret_first, uint64_t *ret_second);

/** inherit_key_matches() - is the key a client gave the name of this resource? "tty[8803:18]" equals "tty[0x8803:0x18]". */
bool inherit_key_matches(const char *given, const char *key);

#endif

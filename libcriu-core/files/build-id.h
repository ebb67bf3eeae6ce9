/* The build id of an ELF file: a note that its linker put there, and that names the exact build. */
#ifndef CR_FILES_BUILD_ID_H
#define CR_FILES_BUILD_ID_H

#include <stddef.h>
#include <stdint.h>

#define BUILD_ID_MAX 64 /* bytes; 20 in practice */

/** build_id_find() - first GNU build id in a segment of notes. Pure. Return: its length, 0 if there is none. */
size_t build_id_find(const void *notes, size_t len, uint8_t ret[static BUILD_ID_MAX]);

/** build_id_read() - of an open file, readable. Return: its length; 0 not ELF, or without one; negative errno. */
int build_id_read(int fd, uint8_t ret[static BUILD_ID_MAX]);

#endif

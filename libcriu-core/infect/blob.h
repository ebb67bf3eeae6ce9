/* The interpreter blob as the library sees it: bytes to copy into another process, and places in them. */
#ifndef CR_INFECT_BLOB_H
#define CR_INFECT_BLOB_H

#include "blob-layout.h"

#include <stddef.h>

/** blob_image() - the bytes; position independent, needs read and execute. Entry at BLOB_OFF_ENTRY; see blob-layout.h. */
void blob_image(const void **ret, size_t *ret_size);

#endif

/* Our own descriptor table. */
#ifndef CR_FILES_OWN_TABLE_H
#define CR_FILES_OWN_TABLE_H

#include <stdint.h>

/**
 * own_table_grow() - make room for @nr more descriptors at once, as far as the limits allow; no harm if they do not
 *
 * In a process with several threads each doubling of the table waits for an RCU grace period, some 10 ms
 * (expand_fdtable() in fs/file.c): so this is called while there is but one.
 */
void own_table_grow(uint64_t nr);

#endif

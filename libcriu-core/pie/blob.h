/* The interpreter's C entry, for its own files and for host tests. */
#ifndef CR_PIE_BLOB_H
#define CR_PIE_BLOB_H

#include "pie/abi/program.h"

/**
 * blob_main() - run a routine to its end; never comes back
 * @c:       control block
 * @routine: number of the routine
 * @slots:   ABI_NR_SLOTS initial values, NULL = zeroes
 * @frame:   tracee: address of the ucontext to return through, 0 in a restore
 */
_Noreturn void blob_main(struct abi_control *c, uint32_t routine, const uint64_t *slots, uint64_t frame);

#endif

/*
 * Snapshots in two rounds. fork(2) of a large process looks at each of its pages, for which the tree is stopped: 20 ms per GiB
 * and more. So memory is stored by a pre-dump first, which stops the tree to write-protect its pages, for half of that,
 * and the snapshot proper saves what was written to meanwhile. Where that is much, it forks after all.
 */
#ifndef CR_DUMP_FIRST_ROUND_H
#define CR_DUMP_FIRST_ROUND_H

#include "dump/dump-internal.h"

#define FIRST_ROUND_DIR "first" /* among the images, whose parent it is */

/**
 * first_round_make() - if it is worth it and can be done, which the options, the kernel and the size of the tree decide
 * What goes wrong with it is logged, and no reason not to make the snapshot. Return: it is there.
 */
bool first_round_make(struct cr_context *ctx);

/** first_round_remove() - with all of its files, when there is no snapshot that needs it */
void first_round_remove(struct cr_context *ctx);

#endif

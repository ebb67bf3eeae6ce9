/* The tables of stages, as seen from outside of their orchestrators: for names only. */
#ifndef CR_KERNEL_STAGE_TABLES_H
#define CR_KERNEL_STAGE_TABLES_H

#include "kernel/stage.h"

extern const struct stage dump_stages[];
extern const size_t nr_dump_stages;
extern const struct stage restore_stages[];
extern const size_t nr_restore_stages;

#endif

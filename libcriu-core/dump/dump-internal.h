/* A dump under way: what its stages share. */
#ifndef CR_DUMP_INTERNAL_H
#define CR_DUMP_INTERNAL_H

#include "files/files.h"
#include "image/image-set.h"
#include "infect/task.h"
#include "kernel/context.h"
#include "mm/mm.h"

#include <stdbool.h>

struct dump {
	struct cr_context       *ctx;
	struct cr_dump_result   *result;
	bool                     look_only;    /* check --tree: stop after collecting */
	struct tree             *tree;
	struct thread_share     *share;        /* under way from collecting to asking */
	struct file_table       *files;
	struct file_sink         sink;
	struct mm_dump          *mm;
	struct image_set        *set;
	img_task_kobj_ids_entry  root_ids;     /* of the dumper */
	struct mm_dump_stats     pages;
	char                     run_id[37];   /* UUID of this dump */
	bool                     thawed;
	bool                     kept;         /* the images stay, whatever follows */
	uint64_t                 begin_us, freezing_us, frozen_since_us, frozen_us, memdump_us;
};

int dump_collect(struct dump *d, struct cr_error *err);   /* collect.c */
int dump_ask(struct dump *d, struct cr_error *err);       /* ask.c */
void dump_run_id(struct dump *d);                        /* write.c */
int dump_write(struct dump *d, struct cr_error *err);     /* write.c */
int dump_inventory(struct dump *d, struct cr_error *err);

/** dump_obstacles() - Return: 0 if nothing stands in the way; -EBUSY with a sentence that counts, and shows the first */
int dump_obstacles(struct dump *d, struct cr_error *err);

#endif

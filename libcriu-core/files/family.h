/*
 * Kinds whose files refer to each other, or hold content: what is done for all of them at once, in addition to the rows of
 * single files (file-ops.h). Listed in kinds.c. Each member may be NULL. A family keeps what it knows behind a pointer of
 * its own in struct file_table and struct files.
 */
#ifndef CR_FILES_FAMILY_H
#define CR_FILES_FAMILY_H

#include "base/error.h"

struct file_table;
struct files;
struct image_set;

struct file_family {
	const char *name;

	/* Dump. All descriptors of all tasks were seen: may describe more files, and note obstacles. Return: 0 or negative errno */
	int (*collected)(struct file_table *t, struct cr_error *err);
	/* images of its own */
	int (*write)(struct file_table *t, struct image_set *set, struct cr_error *err);
	/* the images are whole, and the tree is about to be ended: what they need and would end with it has to stay. Return: 0 or negative errno */
	int (*outlive)(struct file_table *t, struct cr_error *err);
	/* the tree was not ended: takes back outlive(), also half of it */
	void (*outlive_undo)(struct file_table *t);
	/* gives everything back, also what a failure left half-made */
	void (*table_done)(struct file_table *t);

	/* Restore. files.img and the descriptor tables were read and checked: the family's own images, and references between files */
	int (*read)(struct files *fs, struct cr_error *err);
	/* before any file is opened */
	int (*make)(struct files *fs, struct cr_error *err);
	/* every file that is used is open; no task exists yet */
	int (*settle)(struct files *fs, struct cr_error *err);
	/* the restore has succeeded: what was made outside of processes stays */
	void (*commit)(struct files *fs);
	/* gives everything back; without commit() before, also what was made outside of processes */
	void (*done)(struct files *fs);
};

/** file_family_at() - the i-th, NULL past the end */
const struct file_family *file_family_at(unsigned int i);

#endif

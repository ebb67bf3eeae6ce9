/*
 * What one kind of open file is to the rest of files/: a struct file_ops, in the kind's own source file, listed in
 * kinds.c. A kind holds both halves, dump and restore.
 */
#ifndef CR_FILES_FILE_OPS_H
#define CR_FILES_FILE_OPS_H

#include "base/error.h"
#include "proto/images.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

struct file_table;
struct files;
struct open_file;
struct image_set;
struct program;
struct restored_file;
struct routine;

/* What is known of an open file description before its kind is. Pure data: recorded samples of it are test input. */
struct file_facts {
	struct stat st;
	uint32_t fs_type;    /* statfs f_type: PIPEFS_MAGIC, ANON_INODE_FS_MAGIC, ... */
	int sk_family;       /* AF_* of a socket, 0 (AF_UNSPEC) for everything else */
	uint32_t flags;      /* F_GETFL */
	int64_t pos;         /* lseek(0, SEEK_CUR); 0 where it cannot seek */
	const char *link;    /* text of the /proc/self/fd link, raw; never NULL */
	img_fown_entry fown; /* pid not translated yet */
};

struct file_ops {
	const char *name;  /* for people: "pipe", "regular file" */
	img_fd_types type; /* IMG type of its entries; several kinds may write one type */

	/* Is it mine? Pure. Exactly one kind claims any description, or none, and then it is an obstacle. */
	bool (*claims)(const struct file_facts *facts);

	/*
	 * Facts to entry. Runs once per description while the tree is stopped. @f->fd is our own copy of the description: read
	 * from it without consuming; it is closed after this unless f->keep_fd is set. Allocates from the table's pool.
	 * NULL: recognised only to be refused; the obstacle names @name and @advice.
	 * Return: 0; > 0 an obstacle was noted; negative errno.
	 */
	int (*dump)(struct file_table *t, struct open_file *f, struct cr_error *err);
	const char *advice; /* for dump == NULL, may be NULL */

	/* Entry read from an image: every value in range? Pure; reads @e only. The sub-message is there and its id agrees.
	 * NULL: no entries of this kind come from images (another kind of the same type has the restore half). */
	int (*check)(const img_file_entry *e, struct cr_error *err);

	/*
	 * Entry to a fresh descriptor of the coordinator, O_CLOEXEC. Runs once per entry, in the coordinator, before any task
	 * exists; flags, position and owner of the description are as dumped afterwards, but for owners that must exist.
	 * Return: descriptor, owned by the caller; negative errno.
	 */
	int (*open)(struct files *fs, struct restored_file *f, struct cr_error *err);

	/*
	 * In place of open, for what cannot exist before the tasks do (restored_file.late): emits what makes it arrive at @fd,
	 * the lowest free number of the task, with close-on-exec set. NULL: it can always be opened.
	 */
	void (*arrive)(const struct files *fs, const struct restored_file *f, int fd, struct program *p,
		       struct routine *r);

	/* Owner of asynchronous I/O where the entry itself does not hold it; NULL: it does, or has none. */
	const img_fown_entry *(*fown)(const struct files *fs, const img_file_entry *e);

	/* What can only be done when all descriptors of the task exist; @fd is the lowest number of the description in the
	 * task, and the routine runs in that task alone. Emits operations. NULL: nothing. */
	void (*settle)(const struct files *fs, const struct restored_file *f, int fd, struct program *p,
		       struct routine *r);
	/* bytes of arena that settle will use, at most; goes with settle */
	size_t (*settle_size)(const struct restored_file *f);
};

/** file_is_memfd() - made by memfd_create(2), or shared anonymous memory */
bool file_is_memfd(const struct file_facts *facts);

/** file_is_tty(), file_is_stateless_device() - character devices that have kinds of their own; by device number */
bool file_is_tty(const struct file_facts *facts);
bool file_is_stateless_device(const struct file_facts *facts);
bool file_is_tun(const struct file_facts *facts);

/** file_ops_for() - the kind that claims @facts; NULL: nobody */
const struct file_ops *file_ops_for(const struct file_facts *facts);

/** file_ops_of_type() - the kind with the restore half of a type; NULL: not restored by this version */
const struct file_ops *file_ops_of_type(img_fd_types type);

/** file_ops_at() - for tests: the i-th row, NULL past the end */
const struct file_ops *file_ops_at(unsigned int i);

#endif

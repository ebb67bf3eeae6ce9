/*
 * Stored pages of one address space or shared segment, through a chain of image sets: what an entry says is in the
 * parent is looked up in the set that the link "parent" leads to, and so on.
 */
#ifndef CR_MM_PAGE_CHAIN_H
#define CR_MM_PAGE_CHAIN_H

#include "image/image-set.h"
#include "mm/mm-internal.h"
#include "mm/unpack.h"

/* In place of a number of a file: the page is with the process that was dumped, whose number (ns_pid) the other bits are. */
#define PAGES_AT_SOURCE (UINT32_C(1) << 31)

/* A run of pages in a pages file, or left at their source. */
struct stored_run {
	uint64_t start, end;
	uint64_t off;  /* in the pages file; address at the source */
	uint32_t file; /* which: index of page_files, or PAGES_AT_SOURCE */
	bool lazy;     /* may be brought in later */
};
DEFINE_VEC(stored_runs, struct stored_run)

/** stored_runs_find() - of a list in ascending order: index of the first that ends behind @at; their number: none does. Pure. */
size_t stored_runs_find(const struct stored_runs *runs, uint64_t at);

/* An open pages file. */
struct page_file {
	int fd;
	bool piped;       /* it comes from a streamer: once, from front to end */
	uint32_t pages_id;
	int sums;         /* checksums of its pages; borrowed from the image set; -1: there are none */
	uint64_t sums_at; /* of the first */
	struct unpack *unpack; /* its pages are compressed: fd is of the frames; NULL: they are not */
};

/* One for each set of the chain from which anything is needed. */
DEFINE_VEC(page_files, struct page_file)

void page_files_close(struct page_files *files);

/**
 * page_file_read() - pages of a file that is not piped, unpacked if they are compressed
 * Return: bytes, less than @len where a plain file ends; -EBADMSG compressed pages are damaged; negative errno
 */
ssize_t page_file_read(const struct page_file *f, void *buf, size_t len, uint64_t off);

/**
 * page_file_check() - compare pages that were read with their checksums, if there are any
 * @off: in the pages file; @buf: @len bytes from there. All are whole pages.
 * Return: 0; -EBADMSG they differ, named; negative errno.
 */
int page_file_check(const struct page_file *f, uint64_t off, const void *buf, size_t len, struct cr_error *err);

/** page_file_within() - put the path of a pages file in front of an error */
int page_file_within(const struct page_file *f, int code, struct cr_error *err);

/* An entry of a pagemap image. */
struct map_entry {
	uint64_t start, end;
	uint64_t off;   /* in the set's pages file; meaningless without MM_PE_PRESENT */
	uint32_t flags; /* MM_PE_*, never both PARENT and PRESENT */
};
DEFINE_VEC(map_entries, struct map_entry)

/* One pagemap image as it is, checked: ascending, page aligned. */
struct page_map {
	uint32_t pages_id;
	bool has_round, has_parent_round;
	bool with_inventory;      /* the set is whole only with one; page servers' have none */
	uint8_t round[16];        /* id of the dump that it is part of, if it says so: ours */
	uint8_t parent_round[16]; /* of the dump that pages in the parent are of */
	uint64_t bytes;    /* of its pages file */
	struct map_entries entries;
};

/** page_map_read() - Return: 0; 1 there is no such image; -EBADMSG; negative errno */
int page_map_read(struct image_set *set, enum img_type type, uint64_t id, struct page_map *ret, struct cr_error *err);
void page_map_done(struct page_map *m);

/**
 * page_map_open() - its pages file. @flags: O_RDONLY or O_RDWR
 * @ret: where its pages are compressed, how they are unpacked
 * Return: descriptor; -EBADMSG it is too short; -EOPNOTSUPP it is compressed, and to be written to; negative errno
 */
int page_map_open(struct image_set *set, const struct page_map *m, int flags, struct unpack **ret, struct cr_error *err);

/* Is this run allowed to be there? Asked for the newest set, in order, before the run is added to the list. */
typedef int (*page_check_fn)(void *arg, uint64_t start, uint64_t nr_pages, struct cr_error *err);

/**
 * page_chain_read() - where the content of every stored page is
 * @check: NULL: not asked
 * @runs:  filled, ascending; the files that they name are in @files, open, the caller's also after a failure
 * Return: 0, also if there is no such image; -EBADMSG something is out of range, missing or in no set; -EOPNOTSUPP pages
 * were left at their source; negative errno.
 */
int page_chain_read(struct image_set *set, enum img_type type, uint64_t id, page_check_fn check, void *arg,
		    struct stored_runs *runs, struct page_files *files, struct cr_error *err);

/* What becomes of pages that may come later. */
enum page_left {
	PAGE_LEFT_NONE,  /* those that a dump has left at their source are refused */
	PAGE_LEFT_KNOWN, /* those are found there */
	PAGE_LEFT_ALL,   /* all that the newest set has are asked for where the source is */
};

/** page_chain_read_left() - as page_chain_read(), of a process; what @left says is found as PAGES_AT_SOURCE */
int page_chain_read_left(struct image_set *set, uint64_t ns_pid, enum page_left left, page_check_fn check, void *arg,
			 struct stored_runs *runs, struct page_files *files, struct cr_error *err);

/**
 * page_chain_dedup() - free pages of older sets that a newer one of the chain has stored anew
 * Of all address spaces and segments that the directory of @set has. Sizes of files stay. Nothing is freed unless @set and those of
 * its parents that something is freed for are whole, and the pages files of @set have their size.
 * Return: 0; -ENOENT there is no parent, or a set is not whole; negative errno.
 */
int page_chain_dedup(struct image_set *set, uint64_t *ret_bytes, struct cr_error *err);

#endif

/* The bulk of a dump: page contents into pages-N.img, or to a page server, from several threads. */
#ifndef CR_MM_PAGE_COPY_H
#define CR_MM_PAGE_COPY_H

#include "mm/mm-internal.h"
#include "mm/page-room.h"
#include "procfs/proc-dir.h"

struct frames_out;
struct page_object;

/* What goes into one pages file. The caller fills the first part, with zeroes behind it. */
struct copy_job {
	uint32_t pages_id;
	pid_t pid;                    /* task to read from; 0: read from fd */
	const struct proc_dir *dir;   /* of the task, for memory without read access */
	int fd;                       /* segment */
	const struct page_runs *runs; /* ascending; the content of all is stored */
	const struct page_object *object; /* what is said of it to a page server */
	/*
	 * The task runs meanwhile: pages that it takes away are stored as zeroes and noted here. NULL: it is stopped. Its memory
	 * is read through running_mem alone if it is a client's, since a process that execs keeps its number.
	 */
	struct page_runs *unread;
	int running_mem;
	/*
	 * pid is a copy that shares pages with the task: reading must leave them shared. What it does not have (ascending) is in a
	 * file, each byte at its address.
	 */
	bool is_copy;
	const struct mm_ranges *apart;
	int apart_fd;

	size_t run; /* private from here on: next byte to be handed out */
	size_t apart_at;
	uint64_t run_off, out_off, sums_at;
	struct page_room room; /* under the lock of all */
	struct frames_out *frames; /* they are compressed; NULL: they are not */
	int out, mem;      /* opened at the first chunk; valid while refs > 0 */
	unsigned int refs; /* chunks under way, and one until the last was handed out */
	bool opened;
};

/**
 * page_copy() - carry out all jobs
 * Pages that are all zero become holes of the pages file, whose size stays that of all pages. With a page server there are no
 * such files: everything goes to it, in order.
 * Return: 0 or negative errno; all descriptors are closed in either case.
 */
int page_copy(struct mm_dump *d, struct image_set *set, struct copy_job *jobs, size_t nr, struct cr_error *err);

/** page_is_zero() - @page: MM_PAGE bytes, aligned to 8 */
bool page_is_zero(const void *page);

/** page_runs_bytes() - all of them together */
uint64_t page_runs_bytes(const struct page_runs *runs);

#endif

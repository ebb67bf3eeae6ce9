/* Room on disk for a file of pages, made ahead of them in large pieces. */
#ifndef CR_MM_PAGE_ROOM_H
#define CR_MM_PAGE_ROOM_H

#include <stdint.h>

/* Zeroes: there is never any. What several threads write takes a lock around every call. */
struct page_room {
	int      fd;
	uint64_t total, end, next, pause;
	unsigned int holes;
};

/**
 * page_room_begin() - @fd: empty file, of @total bytes in the end; stays the caller's
 * Does nothing, now and later, where it would not help.
 */
void page_room_begin(struct page_room *r, int fd, uint64_t total);

/** page_room_make() - what ends at @end will be written soon; failures are left to be found by writing */
void page_room_make(struct page_room *r, uint64_t end);

/** page_room_leave() - @len bytes at @at are not written, but are a hole; @taken: behind it nobody has begun to write */
void page_room_leave(struct page_room *r, uint64_t at, uint64_t len, uint64_t taken);

#endif

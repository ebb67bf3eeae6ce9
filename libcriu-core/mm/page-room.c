/*
 * ext4 finds room for each block that is written to the page cache, one at a time and under the lock of the file, which is what
 * a dump to disk waits for most: 160 ms a GiB. If there is room already it takes 95, and making it takes one or two. (tmpfs
 * would clear the pages for it; of others nothing is known.)
 *
 * Pages of zeroes are to stay holes, so room is given back where they turn up; where there are many, no more is made for a
 * while.
 */
#include "mm/page-room.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/magic.h>
#include <sys/vfs.h>

#define AHEAD     ((uint64_t)64 << 20)
#define WORTH     ((uint64_t)4 << 20)
#define FEW_HOLES 64u /* of so many bytes; each takes some microseconds */

void page_room_begin(struct page_room *r, int fd, uint64_t total)
{
	struct statfs fs;

	*r = (struct page_room){ .fd = fd, .pause = AHEAD };
	if (total >= WORTH && fstatfs(fd, &fs) == 0 && fs.f_type == EXT4_SUPER_MAGIC)
		r->total = total;
}

void page_room_make(struct page_room *r, uint64_t end)
{
	uint64_t from = end > r->next ? r->next : UINT64_MAX;

	while (from < end && from < r->total) {
		uint64_t len = r->total - from < AHEAD ? r->total - from : AHEAD;

		if (fallocate(r->fd, 0, (off_t)from, (off_t)len) < 0) {
			r->total = 0;
			return;
		}
		from += len;
		r->end = r->next = from;
		r->holes = 0;
	}
}

static void give_back(const struct page_room *r, uint64_t from, uint64_t end)
{
	if (from < end)
		(void)fallocate(r->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)from, (off_t)(end - from));
}

void page_room_leave(struct page_room *r, uint64_t at, uint64_t len, uint64_t taken)
{
	uint64_t end = at + len < r->end ? at + len : r->end;

	if (at >= r->end)
		return;
	give_back(r, at, end);
	if (++r->holes < FEW_HOLES || r->end <= taken)
		return;
	give_back(r, taken, r->end);
	r->end = taken;
	r->next = taken + r->pause;
	r->pause *= 2;
}

/* Counters made by eventfd(2). */
#include "files/dump-internal.h"
#include "files/restore-internal.h"

#include "base/own.h"
#include "procfs/fdinfo.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

static bool eventfd_claims(const struct file_facts *facts)
{
	return strcmp(facts->link, "anon_inode:[eventfd]") == 0;
}

/* The counter is in hexadecimal without a prefix; eventfd_show_fdinfo() in fs/eventfd.c, Linux 3.8 and later. */
static int eventfd_parse(struct scan rest, img_eventfd_file_entry *e, struct cr_error *err)
{
	struct scan line;

	while (proc_fdinfo_next(&rest, &line))
		if (scan_lit(&line, "eventfd-count:") == 0) {
			scan_blanks(&line);
			return scan_hex(&line, &e->counter) < 0 ? cr_refuse(err, -EINVAL, "fdinfo: eventfd-count") : 0;
		}
	return cr_refuse(err, -EINVAL, "fdinfo has no eventfd-count");
}

/*
 * EFD_SEMAPHORE is the lowest bit of the flags that images hold. The kernel tells it in fdinfo only since 6.5
 * ("eventfd-semaphore"); F_GETFL never shows it. Returns whether it was told.
 */
static bool eventfd_parse_semaphore(struct scan rest, img_eventfd_file_entry *e)
{
	struct scan line;
	uint64_t v;

	while (proc_fdinfo_next(&rest, &line))
		if (scan_lit(&line, "eventfd-semaphore:") == 0) {
			scan_blanks(&line);
			if (scan_dec(&line, &v) == 0 && v)
				e->flags |= EFD_SEMAPHORE;
			return true;
		}
	return false;
}

static bool eventfd_add(int fd, uint64_t n)
{
	struct pollfd room = { .fd = fd, .events = POLLOUT };

	/* a full counter would make the call wait */
	return n == 0 || (poll(&room, 1, 0) == 1 && room.revents & POLLOUT && write(fd, &n, sizeof(n)) == sizeof(n));
}

/*
 * Before 6.5 the difference shows only in what a read takes: one, or all of at least two. What is taken is put back at once,
 * what had to be added is taken again. Tasks of the tree that wait for the counter are stopped, and those outside see a
 * change that lasts a microsecond. RWF_NOWAIT: a reader outside may be faster; eventfd_read() knows it since 5.8.
 */
static int eventfd_try_semaphore(int fd, img_eventfd_file_entry *e, struct cr_error *err)
{
	uint64_t added = e->counter < 2 ? 2 : 0, taken = 0, rest = 0;
	struct iovec one = { &taken, sizeof(taken) }, more = { &rest, sizeof(rest) };
	bool back;

	if (!eventfd_add(fd, added))
		return cr_fail(err, -errno, "add to a counter, to see whether it is a semaphore");
	if (preadv2(fd, &one, 1, -1, RWF_NOWAIT) != sizeof(taken))
		return cr_fail(err, -errno, "read a counter, to see whether it is a semaphore");
	if (taken != 1)
		back = eventfd_add(fd, taken - added);
	else
		back = added ? preadv2(fd, &more, 1, -1, RWF_NOWAIT) == sizeof(rest) : eventfd_add(fd, 1);
	if (!back)
		return cr_fail(err, -errno, "put a counter back to %llu", (unsigned long long)e->counter);
	if (taken == 1)
		e->flags |= EFD_SEMAPHORE;
	return 0;
}

static int eventfd_dump(struct file_table *t, struct open_file *f, struct cr_error *err)
{
	img_eventfd_file_entry *e = pool_new(&t->pool, img_eventfd_file_entry);
	struct scan rest;
	int r;

	if (!e)
		return pool_failed(err);
	r = owned_begin_fdinfo(t, f, img_fd_types_EVENTFD, OWNED_ENTRY(e), &rest, err);
	if (r != 0)
		return r;
	f->entry->efd = e;
	r = eventfd_parse(rest, e, err);
	return r < 0 || eventfd_parse_semaphore(rest, e) ? r : eventfd_try_semaphore(f->fd, e, err);
}

static int eventfd_check(const img_file_entry *e, struct cr_error *err)
{
	if (e->efd->counter == UINT64_MAX) /* can never be reached: writes stop one below */
		return cr_refuse(err, -EBADMSG, "eventfd %u has counted too far", e->id);
	return fown_check(e->efd->fown, err);
}

static int eventfd_open(struct files *fs, struct restored_file *f, struct cr_error *err)
{
	const img_eventfd_file_entry *e = f->entry->efd;
	autofd int fd = eventfd(0, EFD_CLOEXEC | (int)(e->flags & (EFD_SEMAPHORE | EFD_NONBLOCK)));

	(void)fs;
	if (fd < 0)
		return cr_fail(err, -errno, "eventfd");
	if (e->counter && write(fd, &e->counter, sizeof(e->counter)) != sizeof(e->counter))
		return cr_fail(err, -errno, "eventfd counter");
	return fown_finish(take_fd(&fd), e->fown, err);
}

const struct file_ops eventfd_ops = {
	.name = "eventfd",
	.type = img_fd_types_EVENTFD,
	.claims = eventfd_claims,
	.dump = eventfd_dump,
	.check = eventfd_check,
	.open = eventfd_open,
};

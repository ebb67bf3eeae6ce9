/* Counters made by eventfd(2). */
#include "files/dump-internal.h"
#include "files/restore-internal.h"

#include "base/own.h"
#include "procfs/fdinfo.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
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
 * ("eventfd-semaphore"); F_GETFL never shows it.
 */
static void eventfd_parse_semaphore(struct scan rest, img_eventfd_file_entry *e)
{
	struct scan line;
	uint64_t v;

	while (proc_fdinfo_next(&rest, &line))
		if (scan_lit(&line, "eventfd-semaphore:") == 0) {
			scan_blanks(&line);
			if (scan_dec(&line, &v) == 0 && v)
				e->flags |= EFD_SEMAPHORE;
		}
}

static int eventfd_dump(struct file_table *t, struct open_file *f, struct cr_error *err)
{
	img_eventfd_file_entry *e = pool_new(&t->pool, img_eventfd_file_entry);
	struct scan rest;
	int r;

	f->entry = file_entry_new(t, img_fd_types_EVENTFD, f->id, err);
	if (!f->entry || !e)
		return pool_failed(err);
	e->id = f->id;
	e->flags = f->facts.flags;
	e->fown = fown_dump(t, f, &r, err);
	if (!e->fown)
		return r;
	r = file_read_fdinfo(t, f, &rest, err);
	if (r == 0)
		r = eventfd_parse(rest, e, err);
	if (r < 0)
		return r;
	eventfd_parse_semaphore(rest, e);
	f->entry->efd = e;
	return 0;
}

static int eventfd_check(const img_file_entry *e, struct cr_error *err)
{
	if (e->efd->counter == UINT64_MAX)   /* can never be reached: writes stop one below */
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
	if (e->fown->signum && fcntl(fd, F_SETSIG, e->fown->signum) < 0)
		return cr_fail(err, -errno, "signal of asynchronous I/O");
	return take_fd(&fd);
}

static const img_fown_entry *eventfd_fown(const struct files *fs, const img_file_entry *e)
{
	(void)fs;
	return e->efd->fown;
}

const struct file_ops eventfd_ops = {
	.name   = "eventfd",
	.type   = img_fd_types_EVENTFD,
	.claims = eventfd_claims,
	.dump   = eventfd_dump,
	.check  = eventfd_check,
	.open   = eventfd_open,
	.fown   = eventfd_fown,
};

/* Descriptors made by signalfd(2): a mask, nothing else; what is pending belongs to the tasks. */
#include "files/dump-internal.h"
#include "files/restore-internal.h"

#include "base/own.h"
#include "procfs/fdinfo.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool signalfd_claims(const struct file_facts *facts)
{
	return strcmp(facts->link, "anon_inode:[signalfd]") == 0;
}

static int signalfd_parse(struct scan rest, uint64_t *ret, struct cr_error *err)
{
	struct scan line;

	while (proc_fdinfo_next(&rest, &line))
		if (scan_lit(&line, "sigmask:") == 0) {
			scan_blanks(&line);
			return scan_hex(&line, ret) < 0 ? cr_refuse(err, -EINVAL, "fdinfo: sigmask") : 0;
		}
	return cr_refuse(err, -EINVAL, "fdinfo has no sigmask");
}

static int signalfd_dump(struct file_table *t, struct open_file *f, struct cr_error *err)
{
	img_signalfd_entry *e = pool_new(&t->pool, img_signalfd_entry);
	struct scan rest;
	int r;

	f->entry = file_entry_new(t, img_fd_types_SIGNALFD, f->id, err);
	if (!f->entry || !e)
		return pool_failed(err);
	e->id = f->id;
	e->flags = f->facts.flags;
	e->fown = fown_dump(t, f, &r, err);
	if (!e->fown)
		return r;
	r = file_read_fdinfo(t, f, &rest, err);
	if (r == 0)
		r = signalfd_parse(rest, &e->sigmask, err);
	f->entry->sgfd = e;
	return r;
}

static int signalfd_check(const img_file_entry *e, struct cr_error *err)
{
	return fown_check(e->sgfd->fown, err);
}

static int signalfd_open(struct files *fs, struct restored_file *f, struct cr_error *err)
{
	const img_signalfd_entry *e = f->entry->sgfd;
	uint64_t mask = e->sigmask;
	/* the kernel's mask is 8 bytes; that of the C library is larger */
	autofd int fd = (int)syscall(SYS_signalfd4, -1, &mask, sizeof(mask), SFD_CLOEXEC | (e->flags & SFD_NONBLOCK));

	(void)fs;
	if (fd < 0)
		return cr_fail(err, -errno, "signalfd");
	if (e->fown->signum && fcntl(fd, F_SETSIG, e->fown->signum) < 0)
		return cr_fail(err, -errno, "signal of asynchronous I/O");
	return take_fd(&fd);
}

static const img_fown_entry *signalfd_fown(const struct files *fs, const img_file_entry *e)
{
	(void)fs;
	return e->sgfd->fown;
}

const struct file_ops signalfd_ops = {
	.name   = "signalfd",
	.type   = img_fd_types_SIGNALFD,
	.claims = signalfd_claims,
	.dump   = signalfd_dump,
	.check  = signalfd_check,
	.open   = signalfd_open,
	.fown   = signalfd_fown,
};

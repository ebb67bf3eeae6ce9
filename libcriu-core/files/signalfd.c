/* Descriptors made by signalfd(2): a mask, nothing else; what is pending belongs to the tasks. */
#include "files/dump-internal.h"
#include "files/restore-internal.h"

#include "base/own.h"
#include "procfs/fdinfo.h"

#include <errno.h>
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

	if (!e)
		return pool_failed(err);
	r = owned_begin_fdinfo(t, f, img_fd_types_SIGNALFD, OWNED_ENTRY(e), &rest, err);
	if (r != 0)
		return r;
	f->entry->sgfd = e;
	return signalfd_parse(rest, &e->sigmask, err);
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
	return fown_finish(take_fd(&fd), e->fown, err);
}

const struct file_ops signalfd_ops = {
	.name = "signalfd",
	.type = img_fd_types_SIGNALFD,
	.claims = signalfd_claims,
	.dump = signalfd_dump,
	.check = signalfd_check,
	.open = signalfd_open,
};

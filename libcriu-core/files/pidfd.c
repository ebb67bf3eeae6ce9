/*
 * Descriptors made by pidfd_open(2), of processes of the tree. They are made again by the task itself, which is
 * the first moment at which those processes exist; tasks that shared one have one each afterwards, which nothing shows but
 * kcmp(2).
 */
#include "files/dump-internal.h"
#include "files/restore-internal.h"

#include "infect/program.h"
#include "kernel/uapi.h"
#include "procfs/fdinfo.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#ifndef PID_FS_MAGIC
#define PID_FS_MAGIC 0x50494446 /* 6.9 */
#endif

static bool pidfd_claims(const struct file_facts *facts)
{
	return !(facts->flags & O_PATH) &&
	       (facts->fs_type == PID_FS_MAGIC || strcmp(facts->link, "anon_inode:[pidfd]") == 0);
}

/* "Pid:" as our procfs counts; -1 once the process was waited for, 0 outside of our pid namespace; since Linux 5.2 */
static int pidfd_parse(struct scan rest, int *ret, struct cr_error *err)
{
	struct scan line;

	while (proc_fdinfo_next(&rest, &line))
		if (scan_lit(&line, "Pid:") == 0) {
			scan_blanks(&line);
			return scan_int(&line, ret) < 0 ? cr_refuse(err, -EINVAL, "fdinfo: Pid") : 0;
		}
	return cr_refuse(err, -EINVAL, "fdinfo of a pidfd has no Pid");
}

static int pidfd_dump(struct file_table *t, struct open_file *f, struct cr_error *err)
{
	img_pidfd_entry *e = pool_new(&t->pool, img_pidfd_entry);
	struct scan rest;
	pid_t pid;
	int r, host = 0;

	if (!e)
		return pool_failed(err);
	r = owned_begin_fdinfo(t, f, img_fd_types_PIDFD, OWNED_ENTRY(e), &rest, err);
	if (r != 0)
		return r;
	e->ino = (uint32_t)f->facts.st.st_ino;
	e->flags &= ~(uint32_t)O_ACCMODE;
	r = pidfd_parse(rest, &host, err);
	if (r == 0 && host < 0)
		return file_refuse(t, f, "", "pidfd of a process that has ended");
	if (r == 0)
		r = owner_pid(t, host, F_OWNER_PID, &pid, err);
	if (r < 0)
		return r;
	if (pid <= 0)
		return file_refuse(t, f, "", "pidfd of a thread, or of a process outside of the tree (%d)", host);
	e->nspid = pid;
	f->entry->pidfd = e;
	return 0;
}

static int pidfd_check(const img_file_entry *e, struct cr_error *err)
{
	if (e->pidfd->nspid <= 0)
		return cr_refuse(err, -ENOTSUP, "pidfd %u of a process that had ended", e->id);
	return fown_check(e->pidfd->fown, err);
}

static void pidfd_arrive(const struct restored_file *f, int fd, struct program *p, struct routine *r)
{
	const img_pidfd_entry *e = f->entry->pidfd;

	op_equal(emit_call(p, r, "open a pidfd", __NR_pidfd_open, e->nspid, e->flags & (O_NONBLOCK | PIDFD_THREAD)),
		 (uint64_t)fd);
}

const struct file_ops pidfd_ops = {
	.name = "pidfd",
	.type = img_fd_types_PIDFD,
	.claims = pidfd_claims,
	.dump = pidfd_dump,
	.check = pidfd_check,
	.arrive = pidfd_arrive,
};

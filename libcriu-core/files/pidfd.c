/*
 * Descriptors made by pidfd_open(2), of processes of the tree. They are made again by the task itself, which is
 * the first moment at which those processes exist; tasks that shared one have one each afterwards, which nothing shows but
 * kcmp(2). Those of processes that have ended and were waited for are made by the coordinator, of one that ends for it.
 */
#include "files/dump-internal.h"
#include "files/restore-internal.h"

#include "kernel/apart.h"
#include "files/family.h"
#include "infect/program.h"
#include "kernel/uapi.h"
#include "procfs/fdinfo.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>


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

/* Nothing else of it is left that anybody could ask for. */
static int note_end(struct file_table *t, const struct open_file *f, img_pidfd_entry *e, struct cr_error *err)
{
	struct uapi_pidfd_info info = { .mask = PIDFD_INFO_EXIT };

	if (ioctl(f->fd, UAPI_PIDFD_GET_INFO, &info) < 0 || !(info.mask & PIDFD_INFO_EXIT))
		return 0;
	e->ext = pool_new(&t->pool, img_pidfd_ext);
	if (!e->ext)
		return pool_failed(err);
	e->ext->has_exit_code = true;
	e->ext->exit_code = (uint32_t)info.exit_code;
	return 0;
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
	if (r == 0 && host < 0) {
		e->nspid = -1;
		f->entry->pidfd = e;
		return note_end(t, f, e, err);
	}
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
	const img_pidfd_ext *ext = e->pidfd->ext;

	if (e->pidfd->nspid <= 0 && e->pidfd->nspid != -1)
		return cr_refuse(err, -EBADMSG, "pidfd %u of process %d", e->id, e->pidfd->nspid);
	if (ext && ext->has_exit_code && (ext->exit_code > 0xffff || (ext->exit_code & 0x7f) > (uint32_t)SIGRTMAX))
		return cr_refuse(err, -EBADMSG, "pidfd %u of a process that ended with 0x%x", e->id, ext->exit_code);
	return fown_check(e->pidfd->fown, err);
}

static void pidfd_arrive(const struct files *fs, const struct restored_file *f, int fd, struct program *p,
			   struct routine *r)
{
	const img_pidfd_entry *e = f->entry->pidfd;

	(void)fs;
	op_equal(emit_call(p, r, "open a pidfd", __NR_pidfd_open, e->nspid, e->flags & (O_NONBLOCK | PIDFD_THREAD)),
		 (uint64_t)fd);
}

/* Where processes share one, only while it is there can it be opened again: so all of them at once, before it is reaped. */
static int open_dead(struct files *fs, size_t first, struct cr_error *err)
{
	const img_pidfd_entry *like = fs->files.items[first]->entry->pidfd;
	pid_t pid = apart_corpse(like->ext && like->ext->has_exit_code ? (int)like->ext->exit_code : 0);
	int r = pid < 0 ? cr_fail(err, pid, "make a process that has ended") : 0;

	for (size_t i = first; i < fs->files.nr && r == 0; i++) {
		struct restored_file *f = fs->files.items[i];
		const img_pidfd_entry *e = f->entry->pidfd;

		if (f->entry->type != img_fd_types_PIDFD || e->nspid != -1 || e->ino != like->ino || !f->used || f->fd >= 0)
			continue;
		f->fd = (int)syscall(__NR_pidfd_open, pid, e->flags & (O_NONBLOCK | PIDFD_THREAD));
		if (f->fd < 0)
			r = cr_fail(err, -errno, "pidfd %u", f->id);
		else if (e->fown->signum && fcntl(f->fd, F_SETSIG, e->fown->signum) < 0)
			r = cr_fail(err, -errno, "signal of pidfd %u", f->id);
	}
	while (pid > 0 && waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
		;
	return r;
}

static int pidfds_make(struct files *fs, struct cr_error *err)
{
	int r = 0;

	for (size_t i = 0; i < fs->files.nr && r == 0; i++) {
		struct restored_file *f = fs->files.items[i];

		if (f->entry->type == img_fd_types_PIDFD && f->entry->pidfd->nspid == -1 && f->used && f->fd < 0)
			r = open_dead(fs, i, err);
	}
	return r;
}

static int pidfds_read(struct files *fs, struct cr_error *err)
{
	(void)err;
	for (size_t i = 0; i < fs->files.nr; i++)
		if (fs->files.items[i]->entry->type == img_fd_types_PIDFD && fs->files.items[i]->entry->pidfd->nspid == -1)
			fs->files.items[i]->late = false;
	return 0;
}

const struct file_family pidfd_family = {
	.name = "pidfds",
	.read = pidfds_read,
	.make = pidfds_make,
};

const struct file_ops pidfd_ops = {
	.name = "pidfd",
	.type = img_fd_types_PIDFD,
	.claims = pidfd_claims,
	.dump = pidfd_dump,
	.check = pidfd_check,
	.arrive = pidfd_arrive,
};

/*
 * Files that are opened by their path: regular files, directories, block devices, character devices without state, and
 * everything that was opened with O_PATH.
 */
#include "files/dump-internal.h"
#include "files/restore-internal.h"

#include "infect/program.h"
#include "kernel/uapi.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/major.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#ifndef SECRETMEM_MAGIC
#define SECRETMEM_MAGIC 0x5345434d
#endif
#ifndef MQUEUE_MAGIC
#define MQUEUE_MAGIC 0x19800202
#endif

/* Major 1: every open file of these is like any other; Documentation/admin-guide/devices.txt. 11 is kmsg, which has a position of its own. */
bool file_is_stateless_device(const struct file_facts *facts)
{
	unsigned int minor_nr = minor(facts->st.st_rdev);

	return S_ISCHR(facts->st.st_mode) && major(facts->st.st_rdev) == MEM_MAJOR &&
	       (minor_nr == 3 || minor_nr == 5 || minor_nr == 7 || minor_nr == 8 || minor_nr == 9);
}

static bool on_pseudo_fs(const struct file_facts *facts)
{
	switch (facts->fs_type) {
	case MQUEUE_MAGIC:
		return S_ISREG(facts->st.st_mode) && !(facts->flags & O_PATH);
	case PIPEFS_MAGIC:
	case SOCKFS_MAGIC:
	case ANON_INODE_FS_MAGIC:
	case NSFS_MAGIC:
	case PID_FS_MAGIC:
	case SECRETMEM_MAGIC:
		return true;
	default:
		return false;
	}
}

static bool regular_claims(const struct file_facts *facts)
{
	if (on_pseudo_fs(facts) || file_is_memfd(facts))
		return false;
	if (facts->flags & O_PATH)
		return true;
	switch (facts->st.st_mode & S_IFMT) {
	case S_IFREG:
	case S_IFDIR:
	case S_IFBLK:
		return true;
	case S_IFCHR:
		return file_is_stateless_device(facts);
	default:
		return false;
	}
}

static int regular_dump(struct file_table *t, struct open_file *f, struct cr_error *err)
{
	f->entry = file_entry_new(t, img_fd_types_REG, f->id, err);
	return f->entry ? path_dump(t, f, f->id, f->facts.flags, true, &f->entry->reg, err) : -ENOMEM;
}

static int regular_check(const img_file_entry *e, struct cr_error *err)
{
	return reg_check(e->reg, err);
}

/* Below /proc/PID of a task of the tree. */
static void regular_arrive(const struct files *fs, const struct restored_file *f, int fd, struct program *p,
			   struct routine *r)
{
	const img_reg_file_entry *e = f->entry->reg;

	(void)fs;
	op_equal(emit_call(p, r, "open a file of procfs", SYS_openat, AT_FDCWD,
			   emit_data(p, r, e->name, strlen(e->name) + 1, 1), open_flags(e->flags)),
		 (uint64_t)fd);
	if (e->pos && e->pos != UINT64_MAX && !(e->flags & O_PATH))
		op_may_fail(emit_call(p, r, "position in a file of procfs", SYS_lseek, fd, e->pos, SEEK_SET));
}

const struct file_ops regular_ops = {
	.name = "file",
	.type = img_fd_types_REG,
	.claims = regular_claims,
	.dump = regular_dump,
	.check = regular_check,
	.open = regular_open,
	.arrive = regular_arrive,
};

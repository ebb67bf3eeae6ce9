/* What there is to know of a descriptor before its kind is known, from our own copy of it. */
#include "files/dump-internal.h"

#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#ifndef F_GETOWNER_UIDS
#define F_GETOWNER_UIDS 17
#endif

int fs_type_of(struct file_table *t, int fd, dev_t dev, uint32_t *ret, struct cr_error *err)
{
	uintptr_t known = (uintptr_t)map_find(&t->fs_types, (uint64_t)dev + 1);
	struct statfs sf;

	if (!known) {
		if (fstatfs(fd, &sf) < 0)
			return cr_fail(err, -errno, "statfs");
		known = (uintptr_t)(uint32_t)sf.f_type + 1;
		if (map_put(&t->fs_types, (uint64_t)dev + 1, (void *)known) < 0)
			return pool_failed(err);
	}
	*ret = (uint32_t)(known - 1);
	return 0;
}

static void stat_of(const struct statx *sx, struct stat *st)
{
	memset(st, 0, sizeof(*st));
	st->st_dev = makedev(sx->stx_dev_major, sx->stx_dev_minor);
	st->st_rdev = makedev(sx->stx_rdev_major, sx->stx_rdev_minor);
	st->st_ino = sx->stx_ino;
	st->st_mode = sx->stx_mode;
	st->st_nlink = sx->stx_nlink;
	st->st_uid = sx->stx_uid;
	st->st_gid = sx->stx_gid;
	st->st_size = (off_t)sx->stx_size;
	st->st_blocks = (blkcnt_t)sx->stx_blocks;
	st->st_blksize = (blksize_t)sx->stx_blksize;
	st->st_atim = (struct timespec){ sx->stx_atime.tv_sec, sx->stx_atime.tv_nsec };
	st->st_mtim = (struct timespec){ sx->stx_mtime.tv_sec, sx->stx_mtime.tv_nsec };
}

static int facts_owner(int fd, img_fown_entry *ret, struct cr_error *err)
{
	struct f_owner_ex ex;
	uid_t uids[2] = { 0, 0 };
	int signo;

	if (fcntl(fd, F_GETOWN_EX, &ex) < 0)
		return cr_fail(err, -errno, "owner of asynchronous I/O");
	signo = fcntl(fd, F_GETSIG);
	if (signo < 0)
		return cr_fail(err, -errno, "signal of asynchronous I/O");
	ret->signum = (uint32_t)signo;
	if (ex.pid == 0)
		return 0;
	/* F_GETOWNER_UIDS needs CONFIG_CHECKPOINT_RESTORE; without it the owner's rights become those of the restorer */
	if (fcntl(fd, F_GETOWNER_UIDS, uids) < 0 && errno != EINVAL)
		return cr_fail(err, -errno, "ids of the owner of asynchronous I/O");
	ret->pid = (uint32_t)ex.pid;
	ret->pid_type = (uint32_t)ex.type;
	ret->uid = uids[0];
	ret->euid = uids[1];
	return 0;
}

int facts_of(int fd, struct file_facts *ret, uint32_t *ret_mnt_id, struct cr_error *err)
{
	struct statx sx;
	int flags = fcntl(fd, F_GETFL);

	memset(ret, 0, sizeof(*ret));
	ret->link = "";
	if (flags < 0)
		return cr_fail(err, -errno, "open flags");
	if (statx(fd, "", AT_EMPTY_PATH | AT_NO_AUTOMOUNT, STATX_BASIC_STATS | STATX_MNT_ID, &sx) < 0)
		return cr_fail(err, -errno, "stat");
	stat_of(&sx, &ret->st);
	*ret_mnt_id = sx.stx_mask & STATX_MNT_ID ? (uint32_t)sx.stx_mnt_id : 0;
	ret->flags = (uint32_t)flags & ~(uint32_t)O_CLOEXEC;
	if (ret->flags & O_PATH)
		return 0;
	if (S_ISSOCK(ret->st.st_mode)) {
		socklen_t len = sizeof(ret->sk_family);

		if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &ret->sk_family, &len) < 0)
			return cr_fail(err, -errno, "family of a socket");
	}
	if (S_ISREG(ret->st.st_mode) || S_ISDIR(ret->st.st_mode) || S_ISBLK(ret->st.st_mode) ||
	    (S_ISCHR(ret->st.st_mode) && !file_is_stateless_device(ret))) {
		ret->pos = lseek(fd, 0, SEEK_CUR);
		if (ret->pos < 0)
			ret->pos = 0; /* not seekable */
	}
	return facts_owner(fd, &ret->fown, err);
}

int facts_read(struct file_table *t, int fd, struct file_facts *ret, uint32_t *ret_mnt_id, struct cr_error *err)
{
	int r = facts_of(fd, ret, ret_mnt_id, err);

	return r < 0 ? r : fs_type_of(t, fd, ret->st.st_dev, &ret->fs_type, err);
}

/* Decimal digits by hand: this runs for every descriptor, and snprintf would take a good part of the time. */
void number_text(unsigned int n, char ret[static 12])
{
	char digits[12];
	int nr = 0, i = 0;

	do
		digits[nr++] = (char)('0' + n % 10);
	while ((n /= 10) != 0);
	while (nr)
		ret[i++] = digits[--nr];
	ret[i] = '\0';
}

int facts_read_link(struct file_table *t, int fd, struct cr_error *err)
{
	char name[12];
	ssize_t len;

	number_text((unsigned int)fd, name);
	len = readlinkat(t->self_fd, name, t->text, sizeof(t->text));
	if (len < 0)
		return cr_fail(err, -errno, "read link of a descriptor");
	if ((size_t)len >= sizeof(t->text))
		return cr_fail(err, -ENAMETOOLONG, "read link of a descriptor");
	t->text[len] = '\0';
	return (int)len;
}

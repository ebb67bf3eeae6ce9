#include "files/tree-root.h"

#include "base/own.h"
#include "procfs/proc-dir.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

void files_in_root(struct file_table *t, int root_fd, const struct proc_mount_list *mounts)
{
	t->root_fd = root_fd;
	t->mounts = mounts;
}

int open_below(int root_fd, const char *path, int flags)
{
	struct open_how how = { .flags = (uint64_t)(flags | O_CLOEXEC),
				.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS };
	long fd = root_fd < 0 ? open(path, flags | O_CLOEXEC) : syscall(SYS_openat2, root_fd, path, &how, sizeof(how));

	return fd < 0 ? -errno : (int)fd;
}

int tree_open(const struct file_table *t, const char *path, int flags)
{
	return open_below(t->root_fd, path, flags);
}

struct path_look path_look_at(int root_fd, const char *path)
{
	const unsigned int mask = STATX_TYPE | STATX_MODE | STATX_INO | STATX_MNT_ID;
	autofd int fd = root_fd < 0 ? -1 : open_below(root_fd, path, O_PATH | O_NOFOLLOW);
	struct path_look look = { .done = true };
	struct statx sx;
	int r;

	if (root_fd < 0)
		r = statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, mask, &sx);
	else
		r = fd < 0 ? -1 : statx(fd, "", AT_EMPTY_PATH | AT_NO_AUTOMOUNT, mask, &sx);
	if (r < 0)
		return look;
	look.there = true;
	look.dev = makedev(sx.stx_dev_major, sx.stx_dev_minor);
	look.ino = sx.stx_ino;
	look.mode = sx.stx_mode;
	look.mnt_id = sx.stx_mask & STATX_MNT_ID ? (uint32_t)sx.stx_mnt_id : 0;
	return look;
}

struct path_look tree_look(const struct file_table *t, const char *path)
{
	return path_look_at(t->root_fd, path);
}

/* Ours are those of the tree, unless it has its own. */
static int read_mounts(struct file_table *t, struct cr_error *err)
{
	struct proc_dir self = { .fd = t->self_fdinfo, .pid = getpid() };
	int r = t->root_fd < 0 ? proc_mountinfo_read(&self, &t->our_mounts, err) : 0;

	if (t->root_fd < 0)
		t->mounts = &t->our_mounts;
	for (size_t i = 0; r == 0 && i < t->mounts->nr; i++) {
		const struct proc_mount *m = &t->mounts->items[i];
		uint64_t key = (uint64_t)(uint32_t)m->id + 1;

		if (!map_find(&t->mounts_by_id, key) && map_put(&t->mounts_by_id, key, (void *)m) < 0)
			r = pool_failed(err);
	}
	t->mounts_known = r == 0;
	return r;
}

int tree_mounts(struct file_table *t, const struct proc_mount_list **ret, struct cr_error *err)
{
	int r = t->mounts_known ? 0 : read_mounts(t, err);

	*ret = t->mounts;
	return r;
}

bool tree_has_mount(const struct file_table *t, uint32_t mnt_id)
{
	return t->root_fd < 0 || map_find(&t->mounts_by_id, (uint64_t)mnt_id + 1);
}

/* What a mount forbids: a file that may be written to through the one must not be read-only through the other. */
static bool same_limits(int a, int b)
{
	const unsigned long limits = ST_RDONLY | ST_NOSUID | ST_NODEV | ST_NOEXEC;
	struct statvfs x, y;

	return fstatvfs(a, &x) == 0 && fstatvfs(b, &y) == 0 && (x.f_flag & limits) == (y.f_flag & limits);
}

bool tree_same_limits(const struct file_table *t, const struct open_file *f)
{
	autofd int fd = tree_open(t, f->facts.link, O_PATH | O_NOFOLLOW);

	return fd >= 0 && same_limits(f->fd, fd);
}

bool tree_same_file(const struct file_table *t, const struct open_file *f, const struct path_look *at)
{
	autofd int fd = -1;
	struct stat st;

	if (!at->there || at->dev != f->facts.st.st_dev || at->ino != f->facts.st.st_ino ||
	    !tree_has_mount(t, at->mnt_id))
		return false;
	fd = tree_open(t, f->facts.link, O_PATH | O_NOFOLLOW);
	return fd >= 0 && fstat(fd, &st) == 0 && st.st_dev == at->dev && st.st_ino == at->ino && same_limits(f->fd, fd);
}

/*
 * Mapped files. /proc/PID/map_files leads to the very object behind a mapping, unlinked or not, and needs
 * CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN; without these a file can still be found by its path, if that leads to the
 * same inode. A process maps few files many times, so ids are remembered per mount namespace, device, inode and path.
 */
#include "mm/mapped-files.h"

#include "infect/task.h"
#include "kernel/context.h"
#include "procfs/ns-links.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

/* an element that could not be added has no table */
#define HASH_NONFATAL_OOM            1
#define uthash_nonfatal_oom(element) ((void)(element))
#include <uthash.h>

struct cached_file {
	UT_hash_handle hh;
	uint64_t id;
	bool noexec; /* by the mount that it is mapped through */
	size_t key_len;
	char key[]; /* struct file_key, then the path */
};

struct file_key {
	uint64_t mnt_ns, ino;
	uint32_t dev_major, dev_minor;
	uint32_t fdflags, kind;
};

struct file_cache {
	struct cached_file *by_key;
	pid_t ns_pid; /* task whose mount namespace was asked for last */
	uint64_t ns_ino;
	struct cached_file *last;
};

struct file_cache *file_cache_new(void)
{
	return calloc(1, sizeof(struct file_cache));
}

void file_cache_free(struct file_cache *c)
{
	struct cached_file *f, *next;

	if (!c)
		return;
	HASH_ITER(hh, c->by_key, f, next)
	{
		HASH_DEL(c->by_key, f);
		free(f);
	}
	free(c);
}

int mm_obstacle(struct mm_dump *d, const struct task *task, const struct proc_vma *v, const char *path,
		const char *what, const char *advice, struct cr_error *err)
{
	char where[48];
	int r;

	snprintf(where, sizeof(where), "mapping %" PRIx64 "-%" PRIx64, v->start, v->end);
	r = obstacle_add(&d->ctx->obstacles, task->host_pid, task->comm, where, advice, "%s%s%s", what,
			 path[0] ? " " : "", path);
	return r < 0 ? cr_fail(err, r, "note an obstacle") : 1;
}

/* Inode number of the task's mount namespace; asked once for all mappings of a task. */
static uint64_t mount_ns(struct file_cache *c, const struct task *task)
{
	struct stat st;

	if (c->ns_pid != task->host_pid) {
		c->ns_ino = fstatat(task->dir.fd, "ns/mnt", &st, 0) == 0 ? st.st_ino : 0;
		c->ns_pid = task->host_pid;
	}
	return c->ns_ino;
}

/* Opens what is behind a mapping. Return: descriptor, negative errno. */
static int open_object(const struct task *task, const struct proc_vma *v, const char *path, int flags)
{
	char name[64];
	struct stat st;
	int fd;

	snprintf(name, sizeof(name), "map_files/%" PRIx64 "-%" PRIx64, v->start, v->end);
	fd = openat(task->dir.fd, name, flags | O_CLOEXEC);
	if (fd >= 0 || (errno != EPERM && errno != ENOENT && errno != EACCES) || path[0] != '/')
		return fd >= 0 ? fd : -errno;

	autofd int root = openat(task->dir.fd, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (root < 0)
		return -errno;

	autofd int file = openat(root, path + 1, O_PATH | O_CLOEXEC);

	if (file < 0)
		return -errno;
	/* The device in maps is that of the super block, which stat() may hide (btrfs, overlayfs): only the inode is compared. */
	if (fstat(file, &st) < 0)
		return -errno;
	return st.st_ino == v->ino ? take_fd(&file) : -ENOENT;
}

int mm_note_segment(struct mm_dump *d, uint32_t shmid, int fd, uint64_t size, struct cr_error *err)
{
	struct segment *s;
	char path[32];
	int copy;

	for (size_t i = 0; i < d->segments.nr; i++)
		if (d->segments.items[i].shmid == shmid)
			return 0;
	/* a description of our own: looking for holes moves the position, which must not happen to the task */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	copy = open(path, O_RDONLY | O_CLOEXEC | O_NOATIME);
	if (copy < 0 && errno == EPERM)
		copy = open(path, O_RDONLY | O_CLOEXEC); /* reading shows in the time of access of another user's file */
	if (copy < 0)
		return cr_fail(err, -errno, "keep shared memory %" PRIu32, shmid);
	s = segments_add(&d->segments);
	if (!s) {
		close(copy);
		return cr_fail(err, -ENOMEM, "keep shared memory %" PRIu32, shmid);
	}
	*s = (struct segment){ .shmid = shmid, .fd = copy, .size = size };
	return 0;
}

/* Registers a memory object. Return: 0; 1 an obstacle was noted; negative errno. */
static int add_segment(struct mm_dump *d, struct task *task, int fd, const struct proc_vma *v, enum vma_kind kind,
		       uint32_t fdflags, uint64_t *ret_id, struct cr_error *err)
{
	uint32_t id = 0, shmid = (uint32_t)v->ino;
	struct stat st;
	int r = 0;

	if (fstat(fd, &st) < 0)
		return cr_fail(err, -errno, "look at the memory object of %" PRIx64, v->start);
	if (kind == VMA_MEMFD) {
		r = d->config.sink->add_memfd(d->config.sink->arg, task, fd, fdflags, &id, &shmid, err);
		if (r != 0)
			return r;
	}
	/* ipc/shm.c: the inode number of a segment is its id; the segments of an own namespace are saved by ns/ */
	*ret_id = kind == VMA_MEMFD ? id : v->ino;
	if (kind == VMA_SYSV && d->config.own_ipc_ns)
		return 0;
	r = mm_note_segment(d, shmid, fd, (uint64_t)st.st_size, err);
	if (r == 0 && kind == VMA_SYSV)
		for (size_t i = 0; i < d->segments.nr; i++)
			d->segments.items[i].sysv |= d->segments.items[i].shmid == shmid;
	return r;
}

static int add_file(struct mm_dump *d, struct task *task, const struct proc_vma *v, const char *path,
		    enum vma_kind kind, uint32_t fdflags, struct cached_file *ret, struct cr_error *err)
{
	autofd int fd = open_object(task, v, path, kind == VMA_FILE ? O_PATH : O_RDONLY);
	struct statvfs fs;
	struct stat st;
	uint32_t id;
	int r;

	if (fd == -EPERM || fd == -ENOENT || fd == -EACCES)
		return mm_obstacle(d, task, v, path, "file that cannot be opened",
				   "run with CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN", err);
	if (fd < 0)
		return cr_fail(err, fd, "open the file mapped at %" PRIx64, v->start);
	if (kind != VMA_FILE)
		return add_segment(d, task, fd, v, kind, fdflags, &ret->id, err);
	if (fstat(fd, &st) < 0 || fstatvfs(fd, &fs) < 0)
		return cr_fail(err, -errno, "look at the file mapped at %" PRIx64, v->start);
	if (!S_ISREG(st.st_mode))
		return mm_obstacle(d, task, v, path,
				   S_ISCHR(st.st_mode) ? "character device" : "object that is not a regular file",
				   "the process must unmap it first", err);
	r = d->config.sink->add(d->config.sink->arg, task, fd, path, fdflags, &id, err);
	if (r == 0)
		ret->id = id;
	ret->noexec = fs.f_flag & ST_NOEXEC;
	return r;
}

int file_cache_map(struct mm_dump *d, struct task *task, const struct proc_vma *v, const char *path, enum vma_kind kind,
		   uint32_t fdflags, uint64_t *ret_id, struct cr_error *err)
{
	struct file_cache *c = d->files;
	size_t path_len = strlen(path), key_len = sizeof(struct file_key) + path_len;
	struct file_key key = {
		.mnt_ns = mount_ns(c, task),
		.ino = v->ino,
		.dev_major = v->dev_major,
		.dev_minor = v->dev_minor,
		.fdflags = fdflags,
		.kind = kind,
	};
	autofree struct cached_file *f = calloc(1, sizeof(*f) + key_len + 1);
	struct cached_file *found = c->last;
	int r;

	if (!f)
		return cr_fail(err, -ENOMEM, "remember a mapped file");
	memcpy(f->key, &key, sizeof(key));
	memcpy(f->key + sizeof(key), path, path_len);
	f->key_len = key_len;
	if (!found || found->key_len != key_len || memcmp(found->key, f->key, key_len) != 0)
		HASH_FIND(hh, c->by_key, f->key, key_len, found);
	if (!found) {
		r = add_file(d, task, v, path, kind, fdflags, f, err);
		if (r != 0)
			return r < 0 ? cr_within(err, r, "mapping %" PRIx64 "-%" PRIx64 " of %s", v->start, v->end,
						 path)
				     : r;
		found = take_ptr(&f);
		HASH_ADD_KEYPTR(hh, c->by_key, found->key, key_len, found);
		if (!found->hh.tbl) {
			free(found);
			return cr_fail(err, -ENOMEM, "remember a mapped file");
		}
	}
	c->last = found;
	if (found->noexec && v->prot & PROT_EXEC)
		return mm_obstacle(d, task, v, path, "program or library on a mount that has become noexec since",
				   "remount it with exec", err);
	*ret_id = found->id;
	return 0;
}

int file_cache_ring(struct mm_dump *d, const struct task *task, const struct proc_vma *v, const char *path,
		    uint64_t *ret_id, struct cr_error *err)
{
	const struct file_sink *sink = d->config.sink;
	uint32_t id;

	if (v->pgoff || sink->find_socket(sink->arg, v->ino, v->end - v->start, &id) != 0)
		return mm_obstacle(d, task, v, path, "memory of a socket that is not kept, not open, or mapped in part",
				   "the process must have the socket open and all of its ring mapped", err);
	*ret_id = id;
	return 0;
}

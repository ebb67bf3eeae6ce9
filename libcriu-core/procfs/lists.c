/* Directory listings of procfs; see lists.h. */
#include "procfs/lists.h"

#include "base/buf.h"
#include "base/error.h"
#include "base/own.h"
#include "procfs/scan.h"
#include "procfs/stat.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>

/* A call brings what fits: large enough that 1000 descriptors are one call */
#define DENTS_SIZE ((size_t)32 << 10)

/* pid_max ends at 4194304, nr_open at 1073741816; a task may have as many children as there are pids */
#define CHILDREN_TEXT_MAX ((size_t)64 << 20)

/* getdents64(2) */
struct dent {
	uint64_t ino;
	int64_t off;
	uint16_t reclen;
	uint8_t type;
	char name[];
};

static int vec_push(struct int_vec *v, int n)
{
	int *item = int_vec_add(v);

	if (!item)
		return -ENOMEM;
	*item = n;
	return 0;
}

static int int_cmp(const void *a, const void *b)
{
	int x = *(const int *)a, y = *(const int *)b;

	return (x > y) - (x < y);
}

/* The kernel lists in ascending order nearly always: look before sorting. */
static void vec_sort(struct int_vec *v, size_t from)
{
	for (size_t i = from + 1; i < v->nr; i++) {
		if (v->items[i - 1] > v->items[i]) {
			qsort(v->items + from, v->nr - from, sizeof(int), int_cmp);
			return;
		}
	}
}

/* Names that are numbers, out of one buffer of directory entries */
static int dents_parse(const char *text, size_t len, struct int_vec *ret)
{
	for (size_t at = 0; at < len;) {
		struct dent head;
		struct scan name;
		size_t room;
		int n, r;

		if (len - at < sizeof(head))
			return -EINVAL;
		memcpy(&head, text + at, sizeof(head));
		if (head.reclen <= offsetof(struct dent, name) || head.reclen > len - at)
			return -EINVAL;
		room = head.reclen - offsetof(struct dent, name);
		name.p = text + at + offsetof(struct dent, name);
		name.end = name.p + strnlen(name.p, room);
		at += head.reclen;
		if (scan_int(&name, &n) < 0 || name.p != name.end || n < 0)
			continue;
		r = vec_push(ret, n);
		if (r < 0)
			return r;
	}
	return 0;
}

static int numbers_read(int dirfd, struct int_vec *ret)
{
	_Alignas(8) char text[DENTS_SIZE];
	size_t from = ret->nr;

	for (;;) {
		long n = syscall(SYS_getdents64, dirfd, text, sizeof(text));
		int r;

		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		r = dents_parse(text, (size_t)n, ret);
		if (r < 0)
			return r;
	}
	vec_sort(ret, from);
	return 0;
}

static int subdir_read(const struct proc_dir *d, const char *name, struct int_vec *ret, struct cr_error *err)
{
	autofd int fd = proc_open(d, name, O_RDONLY | O_DIRECTORY, err);
	int r;

	if (fd < 0)
		return fd;
	r = numbers_read(fd, ret);
	if (r == -ENOENT)
		r = -ESRCH;
	return r < 0 ? cr_fail(err, r, "list %s of %d", name, d->pid) : 0;
}

int proc_fds_read(const struct proc_dir *d, struct int_vec *ret, struct cr_error *err)
{
	return subdir_read(d, "fd", ret, err);
}

int proc_tasks_read(const struct proc_dir *d, struct int_vec *ret, struct cr_error *err)
{
	return subdir_read(d, "task", ret, err);
}

int proc_pids_read(int procfd, struct int_vec *ret, struct cr_error *err)
{
	autofd int fd = openat(procfd, procfd == AT_FDCWD ? "/proc" : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r;

	if (fd < 0)
		return cr_fail(err, -errno, "open /proc");
	r = numbers_read(fd, ret);
	return r < 0 ? cr_fail(err, r, "list /proc") : 0;
}

int proc_children_parse(const char *text, size_t len, struct int_vec *ret, struct cr_error *err)
{
	struct scan s = SCAN_INIT(text, len);

	/* every number is followed by a blank, so that one that was cut off shows */
	while (s.p < s.end) {
		int pid, r = scan_int(&s, &pid);

		if (r == 0)
			r = pid > 0 ? scan_char(&s, ' ') : -ERANGE;
		if (r == 0)
			r = vec_push(ret, pid);
		if (r < 0)
			return cr_fail(err, r, "children");
	}
	return 0;
}

int proc_children_scan(int procfd, pid_t pid, struct int_vec *ret, struct cr_error *err)
{
	autointvec struct int_vec pids = { 0 };
	int r = proc_pids_read(procfd, &pids, err);

	for (size_t i = 0; r == 0 && i < pids.nr; i++) {
		autoprocdir struct proc_dir d = PROC_DIR_NONE;
		struct proc_stat st;

		r = proc_dir_open(procfd, pids.items[i], &d, err);
		if (r == 0)
			r = proc_stat_read(&d, &st, err);
		if (r == 0 && st.ppid == pid && vec_push(ret, pids.items[i]) < 0)
			return cr_fail(err, -ENOMEM, "children of %d", pid);
		if (r == -ESRCH)
			r = 0;
	}
	return r;
}

/* The children of one thread. Return: 0; -ENOENT the kernel has no such file; negative errno. */
static int thread_children_read(const struct proc_dir *d, int tid, struct buf *text, struct int_vec *ret,
				struct cr_error *err)
{
	char name[48];
	struct stat st;
	int r;

	snprintf(name, sizeof(name), "task/%d/children", tid);
	buf_reset(text);
	r = proc_read_buf(d, name, text, err);
	if (r == -ENOENT) {
		/* a thread that has just ended has no children; its were given to another */
		snprintf(name, sizeof(name), "task/%d", tid);
		return fstatat(d->fd, name, &st, 0) < 0 ? 0 : r;
	}
	return r < 0 ? r : proc_children_parse(text->data, text->len, ret, err);
}

int proc_children_read(const struct proc_dir *d, struct int_vec *ret, struct cr_error *err)
{
	autointvec struct int_vec tids = { 0 };
	autobuf struct buf text = BUF_INIT(CHILDREN_TEXT_MAX);
	size_t from = ret->nr;
	int r = proc_tasks_read(d, &tids, err);

	for (size_t i = 0; r == 0 && i < tids.nr; i++)
		r = thread_children_read(d, tids.items[i], &text, ret, err);
	if (r == -ENOENT) {
		autofd int procfd = openat(d->fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);

		if (procfd < 0)
			return cr_fail(err, -errno, "open the procfs of %d", d->pid);
		ret->nr = from;
		r = proc_children_scan(procfd, d->pid, ret, err);
	}
	if (r == 0)
		vec_sort(ret, from);
	return r;
}

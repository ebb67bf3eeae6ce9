/* Who a process is; see criu-who.h. */
#include "criu-who.h"

#include "base/array.h"
#include "base/error.h"
#include "base/io.h"
#include "base/map.h"
#include "base/own.h"
#include "kernel/uapi.h"
#include "procfs/lists.h"
#include "procfs/stat.h"
#include "procfs/status.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define THREADS_MAX 8192 /* looked at one by one, some 20 us each */
#define LISTS_MAX   64   /* until one has nothing new */

/*
 * The files of a process in procfs belong to its effective user if it is dumpable, else to the root of its user
 * namespace; the directory /proc/PID itself tells nothing, its mode is among the exceptions.
 * task_dump_owner() in fs/proc/base.c, Linux 4.11 and later; before, the same for all but a few files.
 */
static int read_dumpable(const struct proc_dir *d, struct cr_who *w, struct cr_error *err)
{
	struct stat st;

	if (fstatat(d->fd, "fd", &st, AT_SYMLINK_NOFOLLOW) < 0)
		return cr_fail(err, -errno, "owner of the files of the process");
	w->dumpable = st.st_uid == w->uid[1] && st.st_gid == w->gid[1];
	return 0;
}

/* Return: 1 another one, 0 the same or unknown to this kernel, or the thread has ended, as @w says then; negative errno */
static int other_namespace(const struct proc_dir *d, const char *link, struct cr_who *w, struct cr_error *err)
{
	struct stat theirs, ours;
	char own[64];

	snprintf(own, sizeof(own), "/proc/self/%s", link);
	if (stat(own, &ours) < 0)
		return errno == ENOENT ? 0 : cr_fail(err, -errno, "%s", own);
	if (fstatat(d->fd, link, &theirs, 0) == 0)
		return theirs.st_ino != ours.st_ino || theirs.st_dev != ours.st_dev;
	if (errno != ENOENT)
		return cr_fail(err, -errno, "%s", link);
	w->ended = true;
	return 0;
}

static int read_namespaces(const struct proc_dir *d, struct cr_who *w, struct cr_error *err)
{
	static const char *const links[] = { "ns/user", "ns/mnt", "ns/pid", "ns/net", "ns/ipc", "ns/uts", "ns/cgroup" };

	for (size_t i = 0; i < ARRAY_LEN(links); i++) {
		int r = other_namespace(d, links[i], w, err);

		if (r < 0)
			return r;
		w->other_ns = w->other_ns || r;
		if (i == 0)
			w->other_user_ns = r;
	}
	return 0;
}

/* Without a module that has labels there is no such file, or it cannot be read. */
static ssize_t read_label(const struct proc_dir *d, const char *name, char *ret, size_t size)
{
	autofd int fd = proc_open(d, name, O_RDONLY, NULL);
	ssize_t len = fd < 0 ? 0 : fd_read_all(fd, ret, size);

	return len < 0 ? 0 : len;
}

/* The first one is that of one module alone, the others are of those that may be there besides it (Linux 5.8, 4.18). */
static bool other_label(const struct proc_dir *d, const struct proc_dir *own)
{
	static const char *const names[] = { "attr/current", "attr/apparmor/current", "attr/smack/current" };
	char theirs[4096], ours[4096];

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		ssize_t len = read_label(d, names[i], theirs, sizeof(theirs));

		if (len != read_label(own, names[i], ours, sizeof(ours)) || memcmp(theirs, ours, (size_t)len) != 0)
			return true;
	}
	return false;
}

/* The same directory is another root where it is mounted again, without what is mounted below it, or read-only. */
static bool other_mount(const struct proc_dir *d)
{
	struct statx theirs, ours;

	if (statx(d->fd, "root", 0, STATX_MNT_ID, &theirs) < 0 || !(theirs.stx_mask & STATX_MNT_ID) ||
	    statx(AT_FDCWD, "/proc/self/root", 0, STATX_MNT_ID, &ours) < 0)
		return false;
	return theirs.stx_mnt_id != ours.stx_mnt_id;
}

static int read_confinement(const struct proc_dir *d, struct cr_who *w, struct cr_error *err)
{
	autoprocdir struct proc_dir own = PROC_DIR_NONE;
	int r = other_namespace(d, "root", w, err);

	if (r < 0)
		return r;
	w->other_root = r || (!w->ended && other_mount(d));
	r = proc_dir_open(AT_FDCWD, getpid(), &own, err);
	if (r < 0)
		return r;
	w->other_label = other_label(d, &own);
	return 0;
}

int cr_is_below(pid_t pid, pid_t ancestor, struct cr_error *err)
{
	for (int i = 0; i < 4096 && pid > 0; i++) {
		autoprocdir struct proc_dir dir = PROC_DIR_NONE;
		struct proc_stat st;
		int r;

		if (pid == ancestor)
			return 1;
		r = proc_dir_open(AT_FDCWD, pid, &dir, err);
		if (r == 0)
			r = proc_stat_read(&dir, &st, err);
		if (r < 0)
			return r;
		pid = st.ppid;
	}
	return 0;
}

/*
 * Filters that were there before this process and the other one went separate ways hold for both: of as many as this
 * process has itself, in the same namespaces, that is what is taken for granted.
 */
static int read_seccomp(const struct proc_status *st, struct cr_who *w, struct cr_error *err)
{
	autoprocdir struct proc_dir d = PROC_DIR_NONE;
	autostatus struct proc_status own = { 0 };
	int r;

	w->seccomp = st->seccomp != 0;
	if (!w->seccomp || w->other_ns)
		return 0;
	r = proc_dir_open(AT_FDCWD, getpid(), &d, err);
	if (r == 0)
		r = proc_status_read(&d, &own, err);
	if (r < 0)
		return r;
	w->seccomp = own.seccomp != st->seccomp || own.seccomp_filters < st->seccomp_filters;
	return 0;
}

int cr_who_read(pid_t pid, pid_t tid, struct cr_who *ret, struct cr_error *err)
{
	autoprocdir struct proc_dir d = PROC_DIR_NONE;
	autostatus struct proc_status st = { 0 };
	struct cr_who w = { .dumpable = false };
	int r = proc_dir_open_task(AT_FDCWD, pid, tid, &d, err);

	if (r == 0)
		r = proc_status_read(&d, &st, err);
	if (r < 0)
		return r;
	for (int i = 0; i < 4; i++) {
		w.uid[i] = st.uid[i];
		w.gid[i] = st.gid[i];
	}
	w.cap_prm = st.cap_prm;
	w.cap_eff = st.cap_eff;
	w.cap_bnd = st.cap_bnd;
	w.no_new_privs = st.no_new_privs;
	w.landlock = st.no_new_privs && cr_landlock_is_on();
	r = read_namespaces(&d, &w, err);
	if (r == 0)
		r = read_seccomp(&st, &w, err);
	if (r == 0)
		r = read_dumpable(&d, &w, err);
	if (r == 0)
		r = read_confinement(&d, &w, err);
	if (r == 0)
		*ret = w;
	return r;
}

static void add_thread(struct cr_who *all, const struct cr_who *t)
{
	all->cap_prm &= t->cap_prm;
	all->cap_eff &= t->cap_eff;
	all->cap_bnd &= t->cap_bnd;
	all->dumpable &= t->dumpable;
	all->other_user_ns |= t->other_user_ns;
	all->other_ns |= t->other_ns;
	all->no_new_privs |= t->no_new_privs;
	all->seccomp |= t->seccomp;
	all->landlock |= t->landlock;
	all->other_root |= t->other_root;
	all->other_label |= t->other_label;
}

/* Threads of a process that have been looked at. */
struct looked {
	pid_t pid;
	struct map seen;
	size_t nr_alive;
	struct cr_who all;
};

static void begin_all(struct looked *l, const struct cr_who *first)
{
	l->all = *first;
	l->nr_alive = !first->ended;
	if (l->nr_alive)
		return;
	/* of a thread that has ended who it was is all that counts */
	l->all.cap_prm = l->all.cap_eff = l->all.cap_bnd = UINT64_MAX;
	l->all.dumpable = true;
}

/* Return: 0; 1 it has ended meanwhile; negative errno */
static int look_at(struct looked *l, pid_t tid, struct cr_error *err)
{
	struct cr_who one;
	int r = cr_who_read(l->pid, tid, &one, err);

	if (r == -ESRCH || r == -ENOENT) {
		cr_error_clear(err);
		return 1;
	}
	if (r == 0 && !one.ended) {
		add_thread(&l->all, &one);
		l->nr_alive++;
	}
	return r < 0 ? r : map_put(&l->seen, (uint64_t)tid, l) < 0 ? cr_fail(err, -ENOMEM, "look at threads") : 0;
}

/* Return: how many there were that had not been looked at; negative errno */
static int look_at_new(struct looked *l, const struct proc_dir *d, struct cr_error *err)
{
	autointvec struct int_vec tids = { 0 };
	int r = proc_tasks_read(d, &tids, err), nr = 0;

	for (size_t i = 0; r >= 0 && i < tids.nr; i++) {
		if (map_find(&l->seen, (uint64_t)tids.items[i]))
			continue;
		if (l->seen.nr >= THREADS_MAX)
			return cr_refuse(err, -E2BIG, "process %d has %zu threads, too many to look at", (int)l->pid,
					 tids.nr);
		r = look_at(l, tids.items[i], err);
		nr++;
	}
	return r < 0 ? r : nr;
}

/*
 * A thread that ends while it is looked for leaves another one behind, which it has made: so nothing is known before a list
 * has nobody on it who was not looked at. What a thread makes is held in by what holds that thread.
 */
static int look_at_all(struct looked *l, struct cr_error *err)
{
	autoprocdir struct proc_dir d = PROC_DIR_NONE;
	int r = proc_dir_open(AT_FDCWD, l->pid, &d, err);

	for (int i = 0; r == 0 && i < LISTS_MAX; i++) {
		r = look_at_new(l, &d, err);
		if (r > 0) {
			r = 0;
			continue;
		}
		if (r == 0 && !l->nr_alive)
			return cr_refuse(err, -ESRCH, "process %d has ended", (int)l->pid);
		return r;
	}
	return r < 0 ? r
		     : cr_refuse(err, -EAGAIN, "threads of process %d come and go too fast to be looked at",
				 (int)l->pid);
}

int cr_who_read_process(pid_t pid, struct cr_who *ret, struct cr_error *err)
{
	struct looked l = { .pid = pid };
	struct cr_who first;
	int r = cr_who_read(pid, pid, &first, err);

	if (r < 0)
		return r;
	begin_all(&l, &first);
	r = map_put(&l.seen, (uint64_t)pid, &l) < 0 ? cr_fail(err, -ENOMEM, "look at threads") : look_at_all(&l, err);
	map_done(&l.seen);
	if (r == 0)
		*ret = l.all;
	return r;
}

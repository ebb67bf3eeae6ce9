/* Taking over what holds another process in: cgroups, resource limits and what is inherited; see criu-who.h. */
#include "criu-who.h"

#include "base/error.h"
#include "base/io.h"
#include "base/own.h"
#include "procfs/cgroup.h"
#include "procfs/limits.h"
#include "procfs/mountinfo.h"
#include "procfs/stat.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define EXITING 0x4 /* PF_EXITING, include/linux/sched.h; in the ninth field of proc_pid_stat(5) */

/* Is @word one of the words between commas in @list? */
static bool list_holds(const char *list, const char *word, size_t len)
{
	while (*list) {
		size_t n = strcspn(list, ",");

		if (n == len && memcmp(list, word, len) == 0)
			return true;
		list += n + (list[n] == ',');
	}
	return false;
}

/* A v1 hierarchy carries its controllers in the options of its file system; one of several is enough to know it by. */
static bool is_hierarchy(const struct proc_mount *m, const struct proc_cgroup *g)
{
	if (!g->controllers[0])
		return strcmp(m->fstype, "cgroup2") == 0;
	return strcmp(m->fstype, "cgroup") == 0 &&
	       list_holds(m->sb_options, g->controllers, strcspn(g->controllers, ","));
}

/* The path of the group's file below this mount; -ENOENT if the mount does not show the group. */
static int path_below(const struct proc_mount *m, const struct proc_cgroup *g, char *ret, size_t size)
{
	size_t root = strcmp(m->root, "/") == 0 ? 0 : strlen(m->root);
	int len;

	if (strncmp(g->path, m->root, root) != 0 || (root && g->path[root] && g->path[root] != '/'))
		return -ENOENT;
	len = snprintf(ret, size, "%s%s/cgroup.procs", m->mountpoint, g->path + root);
	return len < 0 || (size_t)len >= size ? -ENAMETOOLONG : 0;
}

static int join_one(const struct proc_mount_list *mounts, const struct proc_cgroup *g, struct cr_error *err)
{
	char path[4096];

	for (size_t i = 0; i < mounts->nr; i++) {
		autofd int fd = -1;

		if (!is_hierarchy(&mounts->items[i], g) || path_below(&mounts->items[i], g, path, sizeof(path)) < 0)
			continue;
		fd = open(path, O_WRONLY | O_CLOEXEC);
		/* 0 is the writer itself; cgroups(7) */
		if (fd < 0 || write(fd, "0", 1) != 1)
			return cr_fail(err, -errno, "join cgroup %s", path);
		return 0;
	}
	return cr_refuse(err, -ENOTSUP, "cgroup %s:%s is in no hierarchy that is mounted here", g->controllers,
			 g->path);
}

static const char *path_in(const struct proc_cgroup_list *list, const char *controllers)
{
	for (size_t i = 0; i < list->nr; i++)
		if (strcmp(list->items[i].controllers, controllers) == 0)
			return list->items[i].path;
	return NULL;
}

/*
 * A process whose first thread has ended seems to be in the root group of each v1 hierarchy (proc_cgroup_show() in
 * kernel/cgroup/cgroup.c), and what groups its other threads are in nobody can ask for all of them at once.
 */
static int check_alive(const struct proc_dir *d, struct cr_error *err)
{
	struct proc_stat st;
	int r = proc_stat_read(d, &st, err);

	if (r < 0)
		return r;
	if (st.state != 'Z' && st.state != 'X' && !(st.flags & EXITING))
		return 0;
	cr_refuse(err, -ESRCH, "its first thread has ended, so that nothing tells where it lives");
	cr_advise(err, "ask from a process whose first thread goes on");
	return -ESRCH;
}

int cr_join_cgroups_of(pid_t pid, struct cr_error *err)
{
	autoprocdir struct proc_dir theirs = PROC_DIR_NONE, own = PROC_DIR_NONE;
	autocgroups struct proc_cgroup_list goal = { 0 }, now = { 0 };
	automounts struct proc_mount_list mounts = { 0 };
	int r = proc_dir_open(AT_FDCWD, pid, &theirs, err);

	if (r == 0)
		r = proc_dir_open(AT_FDCWD, getpid(), &own, err);
	if (r == 0)
		r = proc_cgroup_read(&theirs, &goal, err);
	/* afterwards: it was alive then as well */
	if (r == 0)
		r = check_alive(&theirs, err);
	if (r == 0)
		r = proc_cgroup_read(&own, &now, err);
	for (size_t i = 0; r == 0 && i < goal.nr; i++) {
		const char *path = path_in(&now, goal.items[i].controllers);

		if (path && strcmp(path, goal.items[i].path) == 0)
			continue;
		if (!mounts.nr)
			r = proc_mountinfo_read(&own, &mounts, err);
		if (r == 0)
			r = join_one(&mounts, &goal.items[i], err);
	}
	return r;
}

/* A number of one line in procfs, where a kernel that does not have the file is none to be confined by. */
static int copy_number(const struct proc_dir *theirs, const char *name, const char *unset, struct cr_error *err)
{
	autofd int own = -1;
	char path[64], text[32];
	ssize_t len;
	int fd = proc_open(theirs, name, O_RDONLY, err);

	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	len = fd_read_all(fd, text, sizeof(text) - 1);
	close(fd);
	if (len < 0)
		return cr_fail(err, (int)len, "read %s", name);
	text[len] = '\0';
	text[strcspn(text, "\n")] = '\0';
	if (!text[0] || (unset && strcmp(text, unset) == 0))
		return 0;
	snprintf(path, sizeof(path), "/proc/self/%s", name);
	own = open(path, O_WRONLY | O_CLOEXEC);
	if (own < 0 || write(own, text, strlen(text)) < 0)
		return cr_fail(err, -errno, "set %s to %s", name, text);
	return 0;
}

/*
 * With CAP_SYS_RESOURCE a new oom_score_adj is also the least that is possible without it (__set_oom_adj() in fs/proc/base.c).
 * Whose login is not set may set it once, to anybody's (audit_set_loginuid() in kernel/audit.c): so it is set here. An
 * unset one is of user -1; it cannot be unset again, and a client without one could do so himself.
 */
int cr_inherit_from(pid_t pid, struct cr_error *err)
{
	autoprocdir struct proc_dir theirs = PROC_DIR_NONE;
	int r = proc_dir_open(AT_FDCWD, pid, &theirs, err), nice, policy;

	if (r < 0)
		return r;
	/* who is idle does not become ordinary again unless RLIMIT_NICE lets it: sched(7), "Privileges and resource limits" */
	policy = sched_getscheduler(pid);
	if (policy >= 0 && (policy & ~SCHED_RESET_ON_FORK) == SCHED_IDLE &&
	    sched_setscheduler(0, SCHED_IDLE, &(struct sched_param){ 0 }) < 0)
		return cr_fail(err, -errno, "become idle as process %d is", (int)pid);
	errno = 0;
	nice = getpriority(PRIO_PROCESS, (id_t)pid);
	if (nice == -1 && errno)
		return cr_fail(err, -errno, "nice of process %d", (int)pid);
	if (nice > getpriority(PRIO_PROCESS, 0) && setpriority(PRIO_PROCESS, 0, nice) < 0)
		return cr_fail(err, -errno, "take over nice %d", nice);
	r = copy_number(&theirs, "oom_score_adj", NULL, err);
	if (r == 0)
		r = copy_number(&theirs, "loginuid", "4294967295", err);
	if (r == 0 && syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0 && errno != ENOSYS)
		r = cr_fail(err, -errno, "leave the session keyring");
	return r;
}

int cr_limit_as(pid_t pid, struct cr_error *err)
{
	autoprocdir struct proc_dir d = PROC_DIR_NONE;
	struct proc_limits theirs;
	int r = proc_dir_open(AT_FDCWD, pid, &d, err);

	if (r == 0)
		r = proc_limits_read(&d, &theirs, err);
	for (int i = 0; r == 0 && i < PROC_NR_LIMITS; i++) {
		struct rlimit own;
		rlim_t hard = theirs.of[i].hard; /* infinity is the same number for both */

		if (getrlimit(i, &own) < 0)
			return cr_fail(err, -errno, "resource limit %d", i);
		if (own.rlim_max <= hard)
			continue;
		own.rlim_max = hard;
		own.rlim_cur = own.rlim_cur < hard ? own.rlim_cur : hard;
		if (setrlimit(i, &own) < 0)
			r = cr_fail(err, -errno, "resource limit %d", i);
	}
	return r;
}

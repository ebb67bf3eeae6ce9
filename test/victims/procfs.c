/* Below /proc of the tree: working directories there, and what would be needed sooner than it exists. */
#include "victim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static pid_t kid, rooted, parent;
static int fd;

/* "." is /proc/PID of that process */
static bool is_here(pid_t pid)
{
	char text[600] = "";

	return slurp("stat", text, sizeof(text)) > 0 && atoi(text) == pid;
}

/* For those whose root is another, and who find nothing by the names of others */
static void wait_in_root(void)
{
	while (faccessat(fd, "go", F_OK, 0) < 0)
		sleep_ms(10);
}

static void in_parent(long unused)
{
	char path[40];

	(void)unused;
	snprintf(path, sizeof(path), "/proc/%d/task", (int)parent);
	need(chdir(path) == 0);
	victim_hold();
	snprintf(path, sizeof(path), "%d", (int)parent);
	expect(chdir(path) == 0, "chdir(%s)", path);
	expect(is_here(parent), "it is elsewhere");
}

/* out of its root */
static void in_other_root(long unused)
{
	(void)unused;
	need(mkdir(victim_path("root"), 0755) == 0 || errno == EEXIST);
	need(chdir("/proc/self") == 0);
	victim_held();
	need(chroot(victim_path("root")) == 0);
	wait_in_root();
	_exit(is_here(getpid()) ? 0 : 1);
}

static void set_up_working(void)
{
	parent = getpid();
	need((fd = open(victim_path("."), O_RDONLY | O_DIRECTORY)) >= 0);
	need(chdir("/proc/self") == 0);
	kid = victim_fork(in_parent, 0);
	rooted = victim_fork(in_other_root, 0);
	sleep_ms(100);
}

static void check_working(void)
{
	expect(is_here(getpid()), "it is elsewhere");
	victim_reap(kid);
	victim_reap(rooted);
}

static void *wait_here(void *arg)
{
	char path[60];

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)syscall(SYS_gettid));
	need((fd = open(path, O_RDONLY | O_CLOEXEC)) >= 0);
	victim_thread_ready();
	victim_wait();
	return arg;
}

static void set_up_thread(void)
{
	victim_thread(wait_here, NULL);
}

static void be_rooted(long unused)
{
	(void)unused;
	need(chdir("/proc/self") == 0);
	victim_held();
	need(chroot("/proc/self") == 0);
	wait_in_root();
}

static void set_up_root(void)
{
	need((fd = open(victim_path("."), O_RDONLY | O_DIRECTORY)) >= 0);
	victim_fork(be_rooted, 0);
	sleep_ms(100);
}

const struct victim_case victim_cases[] = {
	{ "working-directories", set_up_working, check_working },
	{ "thread", set_up_thread, .refuse = "file of a thread" },
	{ "root", set_up_root, .refuse = "file of a process of the tree" },
	{ NULL },
};

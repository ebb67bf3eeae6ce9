/*
 * Trees with a mount namespace of their own: devices and terminals of theirs, and what is open through mounts of outside: it is the same
 * file that the tree has at that name, or it is refused.
 */
#include "own-mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static int fd[8];
static pid_t child;

/* --- terminals of an instance of their own */

static unsigned int number_of(int master)
{
	unsigned int n = 9999;

	ioctl(master, TIOCGPTN, &n);
	return n;
}

static void set_up_terminals(void)
{
	static const char *const decoys[] = { NULL };
	int no = 0;

	own_mounts(decoys);
	need(mkdir(victim_path("t/pts"), 0755) == 0 &&
	     mknod(victim_path("t/ptmx"), S_IFCHR | 0666, makedev(5, 2)) == 0);
	need(mount("devpts", victim_path("t/pts"), "devpts", 0, "newinstance,ptmxmode=0666,mode=0620") == 0);
	/* by the node beside it, and by its own; the first number is not used any more */
	need((fd[0] = open(victim_path("t/ptmx"), O_RDWR | O_NOCTTY)) >= 0);
	need((fd[1] = open(victim_path("t/pts/ptmx"), O_RDWR | O_NOCTTY)) >= 0 && ioctl(fd[1], TIOCSPTLCK, &no) == 0);
	need((fd[2] = open(victim_path("t/ptmx"), O_RDWR | O_NOCTTY)) >= 0 && ioctl(fd[2], TIOCSPTLCK, &no) == 0);
	need(number_of(fd[0]) == 0 && number_of(fd[1]) == 1 && number_of(fd[2]) == 2 && close(fd[0]) == 0);
	need((fd[3] = open(victim_path("t/pts/1"), O_RDWR | O_NOCTTY)) >= 0);
	need((fd[4] = open(victim_path("t/pts/2"), O_RDWR | O_NOCTTY)) >= 0);
	need(write(fd[3], "up", 2) == 2 && write(fd[2], "down\n", 5) == 5);
}

static void check_terminals(void)
{
	char text[16] = "";
	struct stat st;

	check_private();
	expect(number_of(fd[1]) == 1 && number_of(fd[2]) == 2, "numbers are %u and %u", number_of(fd[1]),
	       number_of(fd[2]));
	check_fd(fd[2], "t/ptmx");
	expect(stat(victim_path("t/pts"), &st) == 0, "stat");
	device = st.st_dev;
	check_fd(fd[1], "t/pts/ptmx");
	check_fd(fd[3], "t/pts/1");
	check_fd(fd[4], "t/pts/2");
	expect(read(fd[1], text, sizeof(text)) == 2 && strncmp(text, "up", 2) == 0, "the master reads %s", text);
	expect(read(fd[4], text, sizeof(text)) == 5 && strncmp(text, "down\n", 5) == 0, "the slave reads %s", text);
	expect(access(victim_path("t/pts/0"), F_OK) < 0, "number 0 is back");
}

/* One over that of all others, with a session that has a terminal of it. */
static void in_session(long arg)
{
	struct stat tty, of;
	pid_t group;

	(void)arg;
	need(setsid() == getpid() && ioctl(fd[1], TIOCSCTTY, 0) == 0);
	need((fd[2] = open("/dev/tty", O_RDWR)) >= 0);
	victim_hold();
	expect(fstat(fd[2], &tty) == 0 && stat("/dev/tty", &of) == 0 && tty.st_rdev == of.st_rdev &&
		       tty.st_dev == of.st_dev,
	       "not /dev/tty");
	expect(ioctl(fd[2], TIOCGPGRP, &group) == 0 && group == getpgrp(), "the terminal is another");
	expect(write(fd[2], "by /dev/tty", 11) == 11, "write");
}

static void set_up_instance(void)
{
	int no = 0;

	own_mounts(NULL);
	need(mount("devpts", "/dev/pts", "devpts", 0, "newinstance,ptmxmode=0666,mode=0620") == 0);
	need((fd[0] = open("/dev/ptmx", O_RDWR | O_NOCTTY)) >= 0 && ioctl(fd[0], TIOCSPTLCK, &no) == 0);
	need(number_of(fd[0]) == 0 && (fd[1] = open("/dev/pts/0", O_RDWR | O_NOCTTY)) >= 0);
	child = victim_fork(in_session, 0);
}

static void check_instance(void)
{
	struct stat at, st;
	char text[16] = "";

	victim_reap(child);
	expect(number_of(fd[0]) == 0, "number %u", number_of(fd[0]));
	expect(stat("/dev/pts/0", &at) == 0 && fstat(fd[1], &st) == 0 && at.st_dev == st.st_dev &&
		       at.st_ino == st.st_ino,
	       "/dev/pts/0 is another terminal");
	expect(read(fd[0], text, sizeof(text)) == 11 && strncmp(text, "by /dev/tty", 11) == 0, "the master reads %s",
	       text);
}

static void set_up_other_instance(void)
{
	if ((fd[0] = open("/dev/ptmx", O_RDWR | O_NOCTTY)) < 0)
		victim_skip("/dev/ptmx: %s", strerror(errno));
	own_mounts(NULL);
	need(mount("devpts", "/dev/pts", "devpts", 0, "newinstance,ptmxmode=0666,mode=0620") == 0);
}

/* --- devices */

static void set_up_devices(void)
{
	static const char *const decoys[] = { "t/null", "t/zero", NULL };

	own_mounts(decoys);
	need(mknod(victim_path("t/null"), S_IFCHR | 0666, makedev(1, 3)) == 0 &&
	     mknod(victim_path("t/zero"), S_IFCHR | 0666, makedev(1, 5)) == 0);
	need((fd[0] = open(victim_path("t/null"), O_RDWR)) >= 0 &&
	     (fd[1] = open(victim_path("t/zero"), O_RDONLY)) >= 0);
	need(dup2(fd[0], 0) == 0);
}

static void check_devices(void)
{
	char byte = 1;

	check_private();
	check_fd(0, "t/null");
	check_fd(fd[0], "t/null");
	check_fd(fd[1], "t/zero");
	expect(read(fd[1], &byte, 1) == 1 && byte == 0, "t/zero gives %d", byte);
}

/* --- from outside: open before, and hidden now; and on what is mounted nowhere any more */

static void set_up_hidden(void)
{
	static const char *const decoys[] = { "t/file", NULL };

	need(mkdir(victim_path("t"), 0755) == 0);
	spill(victim_path("t/file"), "theirs", 6);
	need((fd[0] = open(victim_path("t/file"), O_RDONLY)) >= 0 && unlink(victim_path("t/file")) == 0 &&
	     rmdir(victim_path("t")) == 0);
	own_mounts(decoys);
	spill(victim_path("t/file"), "ours", 4);
}

static void set_up_outside(void)
{
	static const char *const decoys[] = { "t/file", NULL };

	need(mkdir(victim_path("t"), 0755) == 0);
	spill(victim_path("t/file"), "theirs", 6);
	need((fd[0] = open(victim_path("t/file"), O_RDONLY)) >= 0);
	need(rename(victim_path("t"), victim_path("s")) == 0);
	own_mounts(decoys);
	need(rename(victim_path("s"), victim_path("r")) == 0 && mount("over", victim_path("r"), "tmpfs", 0, NULL) == 0);
	spill(victim_path("r/file"), "ours", 4);
}

static void set_up_detached(void)
{
	own_mounts(NULL);
	need(mkdir(victim_path("m"), 0755) == 0 && mount("gone", victim_path("m"), "tmpfs", 0, NULL) == 0);
	spill(victim_path("m/file"), "gone", 4);
	need((fd[0] = open(victim_path("m/file"), O_RDONLY)) >= 0 && umount2(victim_path("m"), MNT_DETACH) == 0);
}

/* Open before, but still what the name leads to. */
static void set_up_taken_along(void)
{
	spill(victim_path("along"), "along", 5);
	need((fd[0] = open(victim_path("along"), O_RDWR)) >= 0 && lseek(fd[0], 3, SEEK_SET) == 3);
	fd[1] = bound(SOCK_STREAM, victim_path("socket"));
	need((fd[2] = inotify_init1(IN_NONBLOCK)) >= 0 &&
	     inotify_add_watch(fd[2], victim_path("along"), IN_MODIFY) == 1);
	own_mounts(NULL);
}

static void check_taken_along(void)
{
	struct statx here, there;

	check_text(fd[0], "along");
	expect((fd[3] = reach(SOCK_STREAM, victim_path("socket"))) >= 0 && accept(fd[1], NULL, NULL) >= 0, "connect");
	expect(!told(fd[2]) && pwrite(fd[0], "A", 1, 0) == 1 && told(fd[2]), "it is not watched");
	expect(lseek(fd[0], 0, SEEK_CUR) == 3, "position");
	expect(statx(fd[0], "", AT_EMPTY_PATH, STATX_MNT_ID, &here) == 0 &&
		       statx(AT_FDCWD, victim_path("along"), 0, STATX_MNT_ID, &there) == 0 &&
		       here.stx_mnt_id == there.stx_mnt_id,
	       "it is open through mount %llu", (unsigned long long)here.stx_mnt_id);
}

/* Now it is read-only, where the descriptor is not. */
static void set_up_forbidden(void)
{
	spill(victim_path("along"), "along", 5);
	need((fd[0] = open(victim_path("along"), O_RDWR)) >= 0);
	own_mounts(NULL);
	need(mount(victim_path("along"), victim_path("along"), NULL, MS_BIND, NULL) == 0 &&
	     mount(NULL, victim_path("along"), NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) == 0);
}

static void set_up_mark_outside(void)
{
	fd[0] = fanotify_init(FAN_CLASS_NOTIF | FAN_NONBLOCK, O_RDONLY);
	if (fd[0] < 0)
		victim_skip("fanotify: %s", strerror(errno));
	need(fanotify_mark(fd[0], FAN_MARK_ADD | FAN_MARK_MOUNT, FAN_CLOSE_WRITE, AT_FDCWD, victim_path(".")) == 0);
	own_mounts(NULL);
}

/* In the namespace, but under something that came later. */
static void set_up_covered(void)
{
	own_mounts(NULL);
	need(mkdir(victim_path("t/sub"), 0755) == 0);
	spill(victim_path("t/sub/file"), "below", 5);
	need((fd[0] = open(victim_path("t/sub/file"), O_RDONLY)) >= 0);
	need(mount("over", victim_path("t/sub"), "tmpfs", 0, NULL) == 0);
	spill(victim_path("t/sub/file"), "above", 5);
}

/* --- without /proc, and with something else in its place */

static void set_up_proc(void)
{
	own_mounts(NULL);
	spill("/proc/self/oom_score_adj", "77", 2);
	spill("/proc/self/coredump_filter", "0x3", 3);
	need(umount2("/proc", MNT_DETACH) == 0 && mount("none", "/proc", "tmpfs", 0, NULL) == 0 &&
	     mkdir("/proc/self", 0755) == 0);
	spill("/proc/self/oom_score_adj", "decoy", 5);
	spill("/proc/self/coredump_filter", "decoy", 5);
}

static void check_proc(void)
{
	char text[16];

	expect(slurp("/proc/self/oom_score_adj", text, sizeof(text)) == 5 && strcmp(text, "decoy") == 0, "it holds %s",
	       text);
	expect(umount2("/proc", MNT_DETACH) == 0 && mount("proc", "/proc", "proc", 0, NULL) == 0, "/proc");
	expect(slurp("/proc/self/oom_score_adj", text, sizeof(text)) > 0 && atoi(text) == 77, "oom_score_adj is %s",
	       text);
	expect(slurp("/proc/self/coredump_filter", text, sizeof(text)) > 0 && strtol(text, NULL, 16) == 3,
	       "coredump_filter is %s", text);
}

const struct victim_case victim_cases[] = {
	{ "terminals", .setup = set_up_terminals, .check = check_terminals, OUR },
	{ "instance", .setup = set_up_instance, .check = check_instance, OUR },
	{ "devices", .setup = set_up_devices, .check = check_devices, OUR },
	{ "taken-along", .setup = set_up_taken_along, .check = check_taken_along, OUR, .flags = CASE_MUTATES },
	{ "proc", .setup = set_up_proc, .check = check_proc, OUR },
	{ "other-instance", .setup = set_up_other_instance, .dump = MOUNTS, .refuse = "tree|fd 3|!hidden" },
	{ "hidden", .setup = set_up_hidden, .dump = MOUNTS, .refuse = "outside of the tree's mount namespace|fd " },
	{ "outside", .setup = set_up_outside, .dump = MOUNTS, .refuse = "outside of the tree's mount namespace|fd " },
	{ "detached", .setup = set_up_detached, .dump = MOUNTS, .refuse = "outside of the tree's mount namespace|fd " },
	{ "mark-outside", .setup = set_up_mark_outside, .dump = MOUNTS,
	  .refuse = "fanotify watches a mount or file system that no path leads to|fd " },
	{ "covered", .setup = set_up_covered, .dump = MOUNTS, .refuse = "hidden under another mount|fd " },
	{ "forbidden", .setup = set_up_forbidden, .dump = MOUNTS,
	  .refuse = "outside of the tree's mount namespace|fd " },
	{ 0 },
};

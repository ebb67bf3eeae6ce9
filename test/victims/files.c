/* Open files: flags, positions, sharing, names that are gone or belong to others, directories, devices, locks. */
#include "victim.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static int fds[64], nr_fds;
static struct stat stats[64];
static pid_t kids[4];
static int nr_kids;

static int keep(int fd)
{
	need(fd >= 0);
	need(fstat(fd, &stats[nr_fds]) == 0);
	fds[nr_fds++] = fd;
	return fd;
}

static int keep_open(const char *name, int flags)
{
	return keep(open(victim_path(name), flags, 0640));
}

static void expect_position(int fd, off_t want)
{
	off_t now = lseek(fd, 0, SEEK_CUR);
	expect(now == want, "position of %d is %ld, should be %ld", fd, (long)now, (long)want);
}

static void expect_text(int fd, off_t at, const char *want)
{
	char now[256] = "";

	expect(pread(fd, now, strlen(want), at) == (ssize_t)strlen(want) && strcmp(now, want) == 0,
	       "fd %d reads %s, should be %s", fd, now, want);
}

static void expect_same_file(int fd, const struct stat *old)
{
	struct stat now;

	expect(fstat(fd, &now) == 0 && now.st_ino == old->st_ino && now.st_dev == old->st_dev,
	       "fd %d is of another file", fd);
}

/* --- every flag */

static const int flag_sets[] = {
	O_RDONLY,
	O_WRONLY,
	O_RDWR,
	O_WRONLY | O_APPEND,
	O_RDWR | O_APPEND,
	O_RDWR | O_NONBLOCK,
	O_RDWR | O_SYNC,
	O_RDWR | O_DSYNC,
	O_RDONLY | O_NOATIME,
	O_RDONLY | O_DIRECT,
	O_PATH,
	O_RDWR | O_CLOEXEC,
	O_RDONLY | O_LARGEFILE,
	O_RDONLY | O_CREAT | O_TRUNC,
	O_RDONLY | O_NOFOLLOW,
	O_RDWR | O_ASYNC,
};

#define NR_FLAG_SETS (int)(sizeof(flag_sets) / sizeof(flag_sets[0]))

static int flags_were[NR_FLAG_SETS];

static void set_up_flags(void)
{
	spill(victim_path("flags"), "0123456789", 10);
	spill(victim_path("flags2"), "0123456789", 10);
	for (int i = 0; i < NR_FLAG_SETS; i++) {
		int fd = open(victim_path(flag_sets[i] & O_TRUNC ? "flags2" : "flags"), flag_sets[i], 0640);
		if (fd < 0 && flag_sets[i] & O_DIRECT)
			fd = open(victim_path("flags"), O_RDONLY);
		keep(fd);
		flags_were[i] = fcntl(fd, F_GETFL);
		if (!(flag_sets[i] & O_PATH))
			need(lseek(fd, i, SEEK_SET) == i);
	}
}

static void check_flags(void)
{
	for (int i = 0; i < NR_FLAG_SETS; i++) {
		expect(fcntl(fds[i], F_GETFL) == flags_were[i], "flags of %d were %o, are %o", i, flags_were[i],
		       fcntl(fds[i], F_GETFL));
		expect(fcntl(fds[i], F_GETFD) == (flag_sets[i] & O_CLOEXEC ? FD_CLOEXEC : 0), "close-on-exec of %d", i);
		if (!(flag_sets[i] & O_PATH))
			expect_position(fds[i], i);
		expect_same_file(fds[i], &stats[i]);
	}
}

static void set_up_append(void)
{
	keep_open("log", O_WRONLY | O_APPEND | O_CREAT);
	need(write(fds[0], "before ", 7) == 7);
	need(lseek(fds[0], 3, SEEK_SET) == 3);
}

static void check_append(void)
{
	char text[32];

	expect_position(fds[0], 3);
	expect(write(fds[0], "after", 5) == 5, "write");
	slurp(victim_path("log"), text, sizeof(text));
	expect(strcmp(text, "before after") == 0, "the file reads %s", text);
}

/* position beyond the end, and beyond 4 GiB */
static void set_up_positions(void)
{
	keep_open("small", O_RDWR | O_CREAT);
	keep_open("large", O_RDWR | O_CREAT);
	need(ftruncate(fds[1], 6ll << 30) == 0);
	need(lseek(fds[0], 4096, SEEK_SET) > 0 && lseek(fds[1], (5ll << 30) + 1, SEEK_SET) > 0);
}

static void check_positions(void)
{
	expect_position(fds[0], 4096);
	expect_position(fds[1], (5ll << 30) + 1);
}

/* --- descriptors: numbers, dup, sharing between processes */

static void set_up_numbers(void)
{
	struct rlimit lim;

	need(getrlimit(RLIMIT_NOFILE, &lim) == 0);
	lim.rlim_cur = lim.rlim_max;
	need(setrlimit(RLIMIT_NOFILE, &lim) == 0);
	int last = lim.rlim_max > 500000 ? 499999 : (int)lim.rlim_max - 1, fd = keep_open("numbered", O_RDWR | O_CREAT);
	const int numbers[] = { last, 1024, 1023, 100, last / 2 };
	for (int i = 0; i < 5; i++)
		keep(dup3(fd, numbers[i], i % 2 ? O_CLOEXEC : 0));
	need(lseek(fd, 99, SEEK_SET) == 99);
}

static void check_numbers(void)
{
	for (int i = 0; i < 6; i++)
		expect_position(fds[i], 99);
	for (int i = 1; i < 6; i++)
		expect(fcntl(fds[i], F_GETFD) == (i % 2 ? 0 : FD_CLOEXEC), "close-on-exec of %d", fds[i]);
	lseek(fds[3], 7, SEEK_SET);
	expect_position(fds[1], 7);
}

/* the same file opened twice is not the same as one opening in two places */
static void reader(long me)
{
	victim_hold();
	char byte = 0;
	for (int i = 0; i < 1000; i++) {
		if (lseek(fds[0], 0, SEEK_CUR) == 10 + me)
			break;
		sleep_ms(5);
	}
	expect(read(fds[0], &byte, 1) == 1 && byte == 'a' + 10 + me, "process %ld read %c", me, byte);
	expect(lseek(fds[1], 0, SEEK_CUR) == 5, "an opening of its own moved");
}

static void set_up_shared(void)
{
	spill(victim_path("alphabet"), "abcdefghijklmnopqrstuvwxyz", 26);
	keep_open("alphabet", O_RDONLY);
	keep_open("alphabet", O_RDONLY);
	keep(dup(fds[0]));
	need(lseek(fds[0], 10, SEEK_SET) == 10 && lseek(fds[1], 5, SEEK_SET) == 5);
	for (long me = 0; me < 3; me++)
		kids[nr_kids++] = victim_fork(reader, me);
	need(close(fds[0]) == 0);
	fds[0] = fds[2];
}

static void check_shared(void)
{
	for (int i = 0; i < nr_kids; i++)
		victim_reap(kids[i]);
	expect_position(fds[0], 13);
	expect_position(fds[1], 5);
}

static void set_up_none(void)
{
	for (int fd = 0; fd < 10; fd++)
		close(fd);
}

static void check_none(void)
{
	for (int fd = 0; fd < 10; fd++)
		expect(fcntl(fd, F_GETFD) < 0 && errno == EBADF, "descriptor %d is open", fd);
}

/* --- names */

static void set_up_unlinked(void)
{
	keep_open("gone", O_RDWR | O_CREAT);
	need(write(fds[0], "the ghost's text", 16) == 16);
	keep_open("gone", O_RDONLY);
	need(fchmod(fds[0], 0604) == 0 && fchown(fds[0], 12, 34) == 0);
	need(unlink(victim_path("gone")) == 0);
	need(lseek(fds[0], 4, SEEK_SET) == 4);
}

static void check_unlinked(void)
{
	struct stat st;

	expect_text(fds[0], 0, "the ghost's text");
	expect_text(fds[1], 4, "ghost");
	expect_position(fds[0], 4);
	expect(fstat(fds[0], &st) == 0 && st.st_nlink == 0, "the file has %lu names", (unsigned long)st.st_nlink);
	expect((st.st_mode & 0777) == 0604 && st.st_uid == 12 && st.st_gid == 34, "mode %o of %u:%u", st.st_mode,
	       st.st_uid, st.st_gid);
	expect(pwrite(fds[0], "X", 1, 0) == 1, "write");
	expect_text(fds[1], 0, "Xhe");
	expect(access(victim_path("gone"), F_OK) < 0, "the name is back");
}

static void set_up_sparse_ghost(void)
{
	keep_open("sparse", O_RDWR | O_CREAT);
	need(pwrite(fds[0], "begin", 5, 0) == 5 && pwrite(fds[0], "middle", 6, 100 << 20) == 6);
	need(ftruncate(fds[0], 300 << 20) == 0 && unlink(victim_path("sparse")) == 0);
}

static void check_sparse_ghost(void)
{
	struct stat st;

	expect_text(fds[0], 0, "begin");
	expect_text(fds[0], 100 << 20, "middle");
	expect(fstat(fds[0], &st) == 0 && st.st_size == 300 << 20, "size %ld", (long)st.st_size);
	expect(st.st_blocks < 4096, "the holes take %ld blocks now", (long)st.st_blocks);
}

static void set_up_big_ghost(void)
{
	static char block[1 << 20];

	keep_open("big", O_RDWR | O_CREAT);
	for (int i = 0; i < 5; i++) {
		pattern_fill(block, sizeof(block), (uint64_t)i);
		need(write(fds[0], block, sizeof(block)) == sizeof(block));
	}
	need(unlink(victim_path("big")) == 0);
}

static void check_big_ghost(void)
{
	static char block[1 << 20];

	for (int i = 0; i < 5; i++)
		expect(pread(fds[0], block, sizeof(block), i << 20) == sizeof(block) &&
			       pattern_same(block, sizeof(block), (uint64_t)i),
		       "block %d", i);
}

static void set_up_ghost_other_name(void)
{
	keep_open("first name", O_RDWR | O_CREAT);
	need(write(fds[0], "linked", 6) == 6);
	need(link(victim_path("first name"), victim_path("second name")) == 0 &&
	     unlink(victim_path("first name")) == 0);
}

static void check_ghost_other_name(void)
{
	char text[16];
	struct stat st;

	expect_text(fds[0], 0, "linked");
	expect(pwrite(fds[0], "L", 1, 0) == 1, "write");
	slurp(victim_path("second name"), text, sizeof(text));
	expect(strcmp(text, "Linked") == 0, "the other name's file reads %s", text);
	expect(access(victim_path("first name"), F_OK) < 0, "the first name is back");
	/* a dump that leaves the tree running keeps its own name for the file, which a later restore needs */
	expect(fstat(fds[0], &st) == 0 && st.st_nlink <= 2, "%lu names", (unsigned long)st.st_nlink);
}

static void set_up_replaced(void)
{
	keep_open("config", O_RDWR | O_CREAT);
	need(write(fds[0], "old text", 8) == 8);
	spill(victim_path("config.new"), "newer text", 10);
	need(rename(victim_path("config.new"), victim_path("config")) == 0);
}

static void check_replaced(void)
{
	char text[32];

	expect_text(fds[0], 0, "old text");
	slurp(victim_path("config"), text, sizeof(text));
	expect(strcmp(text, "newer text") == 0, "the file of that name reads %s", text);
}

static void set_up_tmpfile(void)
{
	int fd = open(victim_path(""), O_TMPFILE | O_RDWR, 0600);

	if (fd < 0)
		victim_skip("O_TMPFILE: %s", strerror(errno));
	keep(fd);
	need(write(fd, "nameless", 8) == 8);
}

static void check_tmpfile(void)
{
	struct stat st;

	expect_text(fds[0], 0, "nameless");
	expect(fstat(fds[0], &st) == 0 && st.st_nlink == 0, "%lu names", (unsigned long)st.st_nlink);
	expect_position(fds[0], 8);
}

static void set_up_renamed(void)
{
	need(mkdir(victim_path("dir"), 0755) == 0);
	spill(victim_path("dir/file"), "moved", 5);
	keep_open("dir/file", O_RDONLY);
	need(rename(victim_path("dir"), victim_path("other dir")) == 0);
}

static void check_renamed(void)
{
	expect_text(fds[0], 0, "moved");
	expect_same_file(fds[0], &stats[0]);
}

static void set_up_odd_names(void)
{
	static const char *const names[] = { "with space",  "line\nbreak", "back\\slash",
					     "x (deleted)", "\xff\x80",    "quote\"'" };

	for (int i = 0; i < 6; i++) {
		keep_open(names[i], O_RDWR | O_CREAT);
		need(lseek(fds[i], i + 1, SEEK_SET) == i + 1);
	}
}

static void check_odd_names(void)
{
	for (int i = 0; i < 6; i++) {
		expect_same_file(fds[i], &stats[i]);
		expect_position(fds[i], i + 1);
	}
}

/* --- directories and devices */

static void set_up_directory(void)
{
	need(mkdir(victim_path("d"), 0755) == 0);
	for (int i = 0; i < 20; i++) {
		char name[32];
		snprintf(name, sizeof(name), "d/file-%02d", i);
		spill(victim_path(name), "", 0);
	}
	keep_open("d", O_RDONLY | O_DIRECTORY);
	keep_open("d", O_PATH | O_DIRECTORY);
	need(mkdir(victim_path("lost"), 0755) == 0);
	keep_open("lost", O_RDONLY | O_DIRECTORY);
	need(rmdir(victim_path("lost")) == 0);
}

static void check_directory(void)
{
	char buf[4096];

	expect(syscall(SYS_getdents64, fds[0], buf, sizeof(buf)) > 0, "getdents");
	expect_same_file(fds[0], &stats[0]);
	expect_same_file(fds[1], &stats[1]);
	expect(faccessat(fds[1], "file-07", F_OK, 0) == 0, "openat relative to O_PATH");
	struct stat st;
	expect(fstat(fds[2], &st) == 0 && S_ISDIR(st.st_mode) && st.st_nlink == 0, "the deleted directory");
	expect(access(victim_path("lost"), F_OK) < 0, "the deleted directory is back");
}

static void set_up_devices(void)
{
	keep(open("/dev/null", O_RDWR));
	keep(open("/dev/zero", O_RDONLY | O_CLOEXEC));
	keep(open("/dev/full", O_WRONLY));
	keep(open("/dev/urandom", O_RDONLY | O_NONBLOCK));
}

static void check_devices(void)
{
	char buf[16];

	for (int i = 0; i < 4; i++) {
		struct stat st;
		expect(fstat(fds[i], &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == stats[i].st_rdev, "device %d",
		       i);
	}
	expect(write(fds[0], "x", 1) == 1 && read(fds[0], buf, 1) == 0, "null");
	expect(read(fds[1], buf, 16) == 16 && buf[3] == 0, "zero");
	expect(write(fds[2], "x", 1) < 0 && errno == ENOSPC, "full");
	expect(read(fds[3], buf, 16) == 16, "urandom");
}

/* files of procfs show whoever has the number now; those of the tree's own tasks have to show the same tasks again */
static void idle(long arg)
{
	victim_hold();
}

static void set_up_procfs(void)
{
	char path[64];

	kids[nr_kids++] = victim_fork(idle, 0);
	keep(open("/proc/self/stat", O_RDONLY));
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)kids[0]);
	keep(open(path, O_RDONLY));
	keep(open("/proc/self/task", O_RDONLY | O_DIRECTORY));
	keep(open("/proc/uptime", O_RDONLY));
	keep(open("/sys/kernel/mm", O_PATH | O_DIRECTORY));
}

static void check_procfs(void)
{
	char text[600] = "";

	for (int i = 0; i < 2; i++) {
		ssize_t n = pread(fds[i], text, sizeof(text) - 1, 0);
		expect(n > 0 && atoi(text) == (i ? kids[0] : getpid()), "descriptor %d is of process %s", i, text);
	}
	snprintf(text, sizeof(text), "%d", (int)getpid());
	expect(faccessat(fds[2], text, F_OK, 0) == 0, "the task directory is of another process");
	expect(pread(fds[3], text, 1, 0) == 1, "uptime");
	expect(faccessat(fds[4], ".", F_OK, 0) == 0, "sysfs");
	victim_reap(kids[0]);
}

static void set_up_eventfd(void)
{
	keep(eventfd(77, EFD_CLOEXEC));
	keep(eventfd(3, EFD_SEMAPHORE | EFD_NONBLOCK));
	keep(eventfd(0, 0));
	need(write(fds[2], &(uint64_t){ 0xfffffffffffffffe }, 8) == 8);
}

static void check_eventfd(void)
{
	static const uint64_t want[] = { 77, 1, 0xfffffffffffffffe };

	for (int i = 0; i < 3; i++) {
		uint64_t value = 0;
		expect(read(fds[i], &value, 8) == 8 && value == want[i], "eventfd %d holds %lu", i, value);
	}
	expect(fcntl(fds[0], F_GETFD) == FD_CLOEXEC && fcntl(fds[1], F_GETFL) & O_NONBLOCK, "flags");
}

/* --- owners of signals about descriptors */

static void set_up_owner(void)
{
	keep_open("owned", O_RDWR | O_CREAT);
	need(fcntl(fds[0], F_SETOWN, getpid()) == 0 && fcntl(fds[0], F_SETSIG, SIGUSR1) == 0);
}

static void check_owner(void)
{
	expect(fcntl(fds[0], F_GETOWN) == getpid(), "owner is %d", fcntl(fds[0], F_GETOWN));
	expect(fcntl(fds[0], F_GETSIG) == SIGUSR1, "signal is %d", fcntl(fds[0], F_GETSIG));
}

/* --- locks */

static struct flock range(short type, off_t start, off_t len)
{
	return (struct flock){ .l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len };
}

static void set_up_locks(void)
{
	struct flock a = range(F_WRLCK, 0, 10), b = range(F_RDLCK, 20, 0), c = range(F_WRLCK, 100, 5);

	keep_open("posix", O_RDWR | O_CREAT);
	keep_open("flock", O_RDWR | O_CREAT);
	keep_open("ofd", O_RDWR | O_CREAT);
	keep_open("flock2", O_RDWR | O_CREAT);
	need(fcntl(fds[0], F_SETLK, &a) == 0 && fcntl(fds[0], F_SETLK, &b) == 0);
	need(flock(fds[1], LOCK_EX) == 0 && flock(fds[3], LOCK_SH) == 0);
	need(fcntl(fds[2], F_OFD_SETLK, &c) == 0);
}

static void lock_prober(long arg)
{
	struct flock a = range(F_RDLCK, 0, 1), b = range(F_RDLCK, 25, 1), c = range(F_RDLCK, 102, 1);
	int posix = open(victim_path("posix"), O_RDWR), fl = open(victim_path("flock"), O_RDWR),
	    ofd = open(victim_path("ofd"), O_RDWR);

	expect(fcntl(posix, F_GETLK, &a) == 0 && a.l_type == F_WRLCK && a.l_pid == getppid() && a.l_len == 10,
	       "POSIX write lock");
	b.l_type = F_WRLCK;
	expect(fcntl(posix, F_GETLK, &b) == 0 && b.l_type == F_RDLCK && b.l_start == 20 && b.l_len == 0,
	       "POSIX read lock");
	expect(flock(fl, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK, "flock");
	expect(fcntl(ofd, F_OFD_GETLK, &c) == 0 && c.l_type == F_WRLCK && c.l_pid == -1 && c.l_len == 5, "OFD lock");
	victim_held();
}

static void check_locks(void)
{
	victim_reap(victim_fork(lock_prober, 0));
}

const struct victim_case victim_cases[] = {
	{ "flags", set_up_flags, check_flags, .flags = CASE_MORE },
	{ "append", set_up_append, check_append, .flags = CASE_MUTATES },
	{ "positions", set_up_positions, check_positions },
	{ "numbers", set_up_numbers, check_numbers, .flags = CASE_MORE },
	{ "shared-positions", set_up_shared, check_shared, .flags = CASE_MORE },
	{ "none", set_up_none, check_none },
	{ "unlinked", set_up_unlinked, check_unlinked, .flags = CASE_MORE },
	{ "sparse-ghost", set_up_sparse_ghost, check_sparse_ghost },
	{ "big-ghost", set_up_big_ghost, check_big_ghost },
	{ "big-ghost-limited", set_up_big_ghost, check_big_ghost, .dump = "--ghost-limit 1M", .refuse = "ghost-limit" },
	{ "link-remap", set_up_ghost_other_name, check_ghost_other_name, .dump = "--link-remap",
	  .restore = "--link-remap", .flags = CASE_MUTATES | CASE_MORE },
	{ "link-remap-refused", set_up_ghost_other_name, check_ghost_other_name, .refuse = "link-remap",
	  .flags = CASE_MUTATES },
	{ "replaced", set_up_replaced, check_replaced },
	{ "tmpfile", set_up_tmpfile, check_tmpfile },
	{ "renamed", set_up_renamed, check_renamed },
	{ "odd-names", set_up_odd_names, check_odd_names },
	{ "directories", set_up_directory, check_directory },
	{ "devices", set_up_devices, check_devices },
	{ "procfs", set_up_procfs, check_procfs },
	{ "eventfd", set_up_eventfd, check_eventfd, .flags = CASE_MORE },
	{ "owner", set_up_owner, check_owner },
	{ "locks", set_up_locks, check_locks, .dump = "--file-locks", .restore = "--file-locks", .flags = CASE_MORE },
	{ "locks-refused", set_up_locks, check_locks, .refuse = "file-locks" },
	{ 0 },
};

/*
 * Descriptors at the edges: O_PATH of all kinds, other file systems, files of /proc, mounts that hide a path, names that
 * came back, ghosts seen through several descriptors, sharing across forks at the highest numbers, access that was had
 * when it was opened and would not be given again.
 */
#include "victim.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int fd[32];
static pid_t kid;
static struct stat st_was[8];

/* --- O_PATH: file, directory, symbolic link, FIFO, socket's name, device, unlinked file */
static void set_up_path(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	spill(victim_path("file"), "text", 4);
	need(symlink("nowhere", victim_path("link")) == 0 && mkfifo(victim_path("fifo"), 0600) == 0 &&
	     mkdir(victim_path("dir"), 0700) == 0);
	need(mknod(victim_path("dev"), S_IFCHR | 0600, makedev(1, 5)) == 0);
	int s = socket(AF_UNIX, SOCK_STREAM, 0);
	need(s >= 0 && chdir(victim_path("")) == 0);
	strcpy(a.sun_path, "sock");
	need(bind(s, (struct sockaddr *)&a, sizeof(a)) == 0);
	close(s);
	static const char *const names[] = { "file", "link", "fifo", "dir", "dev", "sock" };
	for (int i = 0; i < 6; i++)
		need((fd[i] = open(victim_path(names[i]), O_PATH | O_NOFOLLOW | (i % 2 ? O_CLOEXEC : 0))) >= 0 &&
		     fstat(fd[i], &st_was[i]) == 0);
}
static void check_path(void)
{
	char text[32] = "";
	for (int i = 0; i < 6; i++) {
		struct stat st;
		expect(fstat(fd[i], &st) == 0 && st.st_ino == st_was[i].st_ino && st.st_mode == st_was[i].st_mode,
		       "file %d", i);
		expect(fcntl(fd[i], F_GETFL) & O_PATH, "flags of %d are %x", i, fcntl(fd[i], F_GETFL));
	}
	expect(readlinkat(fd[1], "", text, 31) == 7, "link is %s", text);
}
static void set_up_path_unlinked(void)
{
	spill(victim_path("gone"), "text", 4);
	need((fd[0] = open(victim_path("gone"), O_PATH)) >= 0 && unlink(victim_path("gone")) == 0);
}
static void check_path_unlinked(void)
{
	char proc[64], text[8] = "";
	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd[0]);
	int f = open(proc, O_RDONLY);
	expect(f >= 0 && read(f, text, 4) == 4 && strcmp(text, "text") == 0, "content is %s", text);
}

/* --- other file systems */
static void file_on(const char *type, const char *options)
{
	char dir[PATH_MAX], name[PATH_MAX + 10];

	snprintf(dir, sizeof(dir), "%s/m", victim_path(""));
	need(mkdir(dir, 0755) == 0);
	if (mount(type, dir, type, 0, options) < 0)
		victim_skip("mount %s: %s", type, strerror(errno));
	snprintf(name, sizeof(name), "%s/file", dir);
	spill(name, "hello", 5);
	need((fd[0] = open(name, O_RDWR)) >= 0 && lseek(fd[0], 3, SEEK_SET) == 3);
	snprintf(name, sizeof(name), "%s/gone", dir);
	spill(name, "ghost", 5);
	need((fd[1] = open(name, O_RDWR)) >= 0);
	unlink(name);
	need((fd[2] = open(dir, O_RDONLY | O_DIRECTORY)) >= 0);
	snprintf(name, sizeof(name), "%s/sub", dir);
	need(mkdir(name, 0700) == 0 && (fd[3] = open(name, O_RDONLY | O_DIRECTORY)) >= 0);
	snprintf(name, sizeof(name), "%s/map", dir);
	spill(name, "mapped", 6);
	int f = open(name, O_RDWR);
	st_was[0].st_size = (off_t)(uintptr_t)mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, f, 0);
	close(f);
}
static void unmount(const char *name)
{
	chdir("/");
	umount2(victim_path(name), MNT_DETACH);
}
static void check_on(void)
{
	char text[8] = "", *map = (char *)(uintptr_t)st_was[0].st_size;
	expect(read(fd[0], text, 2) == 2 && strcmp(text, "lo") == 0, "file has %s", text);
	memset(text, 0, 8);
	expect(pread(fd[1], text, 5, 0) == 5 && strcmp(text, "ghost") == 0, "ghost has %s", text);
	expect(openat(fd[2], "file", O_RDONLY) >= 0 && openat(fd[3], ".", O_RDONLY) >= 0, "openat");
	expect(memcmp(map, "mapped", 6) == 0, "mapping");
	map[0] = 'M';
	expect(pread(openat(fd[2], "map", O_RDONLY), text, 1, 0) == 1 && text[0] == 'M', "mapping is not of the file");
	unmount("m");
	unmount("o");
}
static void set_up_tmpfs(void)
{
	file_on("tmpfs", "size=10m");
}
static void set_up_ramfs(void)
{
	file_on("ramfs", NULL);
}
static void set_up_overlay(void)
{
	char o[3 * PATH_MAX + 100], base[PATH_MAX], n[PATH_MAX + 20];
	snprintf(base, sizeof(base), "%s/o", victim_path(""));
	need(mkdir(base, 0755) == 0 && mount("tmpfs", base, "tmpfs", 0, NULL) == 0);
	const char *sub[] = { "lower", "upper", "work" };
	for (int i = 0; i < 3; i++) {
		snprintf(n, sizeof(n), "%s/%s", base, sub[i]);
		need(mkdir(n, 0755) == 0);
	}
	snprintf(n, sizeof(n), "%s/lower/below", base);
	spill(n, "below", 5);
	snprintf(o, sizeof(o), "lowerdir=%s/lower,upperdir=%s/upper,workdir=%s/work", base, base, base);
	file_on("overlay", o);
	snprintf(n, sizeof(n), "%s/m/below", victim_path(""));
	need((fd[4] = open(n, O_RDONLY)) >= 0);
}
static void check_overlay(void)
{
	char text[8] = "";
	expect(read(fd[4], text, 5) == 5 && strcmp(text, "below") == 0, "lower file has %s", text);
	check_on();
}

/* --- a mount covers the path: what is there now is another file */
static void set_up_hidden(void)
{
	char dir[PATH_MAX], name[PATH_MAX + 10];
	snprintf(dir, sizeof(dir), "%s/h", victim_path(""));
	snprintf(name, sizeof(name), "%s/file", dir);
	need(mkdir(dir, 0755) == 0);
	spill(name, "below", 5);
	need((fd[0] = open(name, O_RDONLY)) >= 0 && mount("tmpfs", dir, "tmpfs", 0, NULL) == 0);
	spill(name, "above", 5);
}
static void check_hidden(void)
{
	char text[8] = "";
	expect(read(fd[0], text, 5) == 5 && strcmp(text, "below") == 0, "file has %s", text);
	unmount("h");
}

/* --- /proc and /sys */
static void set_up_proc(void)
{
	need((fd[0] = open("/proc/self/status", O_RDONLY)) >= 0 && (fd[1] = open("/proc/meminfo", O_RDONLY)) >= 0);
	need((fd[2] = open("/proc/self/fd", O_RDONLY | O_DIRECTORY)) >= 0 &&
	     (fd[3] = open("/sys/kernel", O_RDONLY | O_DIRECTORY)) >= 0);
	need((fd[4] = open("/proc/self/maps", O_RDONLY)) >= 0 && (fd[5] = open("/proc", O_RDONLY | O_DIRECTORY)) >= 0);
}
static void check_proc(void)
{
	char text[4096];
	for (int i = 0; i < 2; i++)
		expect(pread(fd[i], text, sizeof(text), 0) > 50, "file %d", i);
	expect(openat(fd[2], "0", O_PATH) >= 0, "/proc/self/fd");
	expect(openat(fd[5], "self", O_PATH) >= 0, "/proc");
	expect(pread(fd[4], text, sizeof(text), 0) > 50, "maps");
}
static void set_up_ns_file(void)
{
	need((fd[0] = open("/proc/self/ns/net", O_RDONLY)) >= 0);
}
static void check_ns_file(void)
{
	expect(ioctl(fd[0], 0xb703) == CLONE_NEWNET, "not a namespace");
}

static void set_up_proc_dead(void)
{
	char name[64];
	pid_t pid = fork();
	if (pid == 0) {
		pause();
		_exit(0);
	}
	snprintf(name, sizeof(name), "/proc/%d/status", pid);
	need((fd[0] = open(name, O_RDONLY)) >= 0);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}
static void check_proc_dead(void)
{
	char c;
	expect(read(fd[0], &c, 1) < 0 && errno == ESRCH, "it can be read");
}

/* --- highest numbers, shared across forks: position and flags are one, close-on-exec is not */
static int top;
static void sharer(long arg)
{
	char c;
	fcntl(top, F_SETFD, FD_CLOEXEC);
	victim_hold();
	expect(read(top, &c, 1) == 1, "read");
	expect(fcntl(top, F_GETFD) == FD_CLOEXEC, "close-on-exec of the child");
	expect(fcntl(top - 1, F_GETFD) == 0, "no %d", top - 1);
}
static void set_up_top(void)
{
	struct rlimit rl = { 4000, 4000 };
	need(setrlimit(RLIMIT_NOFILE, &rl) == 0);
	spill(victim_path("letters"), "abcdefghij", 10);
	int f = open(victim_path("letters"), O_RDWR);
	top = 3998;
	need(dup2(f, top) == top && dup2(f, top - 1) == top - 1);
	close(f);
	kid = victim_fork(sharer, 0);
}
static void check_top(void)
{
	victim_reap(kid);
	expect(lseek(top, 0, SEEK_CUR) == 1, "position is %ld", (long)lseek(top, 0, SEEK_CUR));
	expect(fcntl(top, F_GETFD) == 0, "close-on-exec");
	expect(fcntl(top, F_SETFL, O_APPEND) == 0 && fcntl(top - 1, F_GETFL) & O_APPEND, "flags are not shared");
}

/* limits that were lowered below what is open */
static void set_up_beyond(void)
{
	struct rlimit rl = { 10, 20 };
	need(dup2(open("/dev/zero", O_RDONLY), 500) == 500 && setrlimit(RLIMIT_NOFILE, &rl) == 0);
}
static void check_beyond(void)
{
	char c = 1;
	expect(read(500, &c, 1) == 1 && c == 0, "read");
	struct rlimit rl;
	expect(getrlimit(RLIMIT_NOFILE, &rl) == 0 && rl.rlim_cur == 10 && rl.rlim_max == 20, "limit");
}

/* all of the first numbers are used: no room for a service descriptor below */
static void fill(int nr)
{
	struct rlimit rl = { 64, 64 };
	for (int i = 0; i < nr; i++)
		if (fcntl(i, F_GETFD) < 0)
			need(dup2(0, i) == i);
	need(setrlimit(RLIMIT_NOFILE, &rl) == 0);
}
static void set_up_dense(void)
{
	fill(63);
}
static void check_dense(void)
{
	expect(open("/dev/null", O_RDONLY) == 63, "63 is not the next");
	expect(open("/dev/null", O_RDONLY) < 0 && errno == EMFILE, "there is room");
	close(63);
}
static void full(long arg)
{
	victim_held();
	fill(64);
	victim_wait();
	bool room = dup(0) >= 0;
	close(63);
	expect(!room, "there is room");
}
static void set_up_full(void)
{
	kid = victim_fork(full, 0);
	sleep_ms(100);
}
static void check_full(void)
{
	victim_reap(kid);
}

/* --- access that would not be given again */
static void user(long arg)
{
	need(setresgid(1000, 1000, 1000) == 0 && setresuid(1000, 1000, 1000) == 0);
	victim_hold();
	char c;
	expect(pread(fd[0], &c, 1, 0) == 1 && write(fd[1], "x", 1) == 1, "read and write");
	expect(open(victim_path("secret"), O_RDONLY) < 0, "it may be opened");
}
static void set_up_lost_access(void)
{
	spill(victim_path("secret"), "secret", 6);
	need((fd[0] = open(victim_path("secret"), O_RDONLY)) >= 0 &&
	     (fd[1] = open(victim_path("secret"), O_WRONLY | O_APPEND)) >= 0);
	need(chmod(victim_path("secret"), 0) == 0);
	kid = victim_fork(user, 0);
}
static void check_lost_access(void)
{
	victim_reap(kid);
}

/* --- a name that came back: the descriptor is of the old file, which has another link too */
static void set_up_two_ghosts(void)
{
	spill(victim_path("g"), "first", 5);
	need((fd[0] = open(victim_path("g"), O_RDWR)) >= 0 && (fd[1] = open(victim_path("g"), O_RDONLY)) >= 0);
	unlink(victim_path("g"));
	spill(victim_path("g"), "second", 6);
	need((fd[2] = open(victim_path("g"), O_RDWR)) >= 0);
	unlink(victim_path("g"));
	spill(victim_path("g"), "third", 5);
	need((fd[3] = open(victim_path("g"), O_RDWR)) >= 0);
}
static void check_two_ghosts(void)
{
	char text[8] = "";
	expect(pwrite(fd[0], "F", 1, 0) == 1 && pread(fd[1], text, 5, 0) == 5 && strcmp(text, "First") == 0,
	       "first is %s", text);
	expect(pread(fd[2], text, 6, 0) == 6 && memcmp(text, "second", 6) == 0, "second is %s", text);
	expect(pread(fd[3], text, 5, 0) == 5 && memcmp(text, "third", 5) == 0, "third is %s", text);
	struct stat st;
	expect(fstat(fd[0], &st) == 0 && st.st_nlink == 0, "links of the first: %d", (int)st.st_nlink);
	expect(stat(victim_path("g"), &st) == 0 && st.st_size == 5, "the name is of another file");
}

/* --- ghosts keep owner, mode, times; attributes; and a directory that is gone */
static void set_up_ghost_attrs(void)
{
	need((fd[0] = open(victim_path("ga"), O_RDWR | O_CREAT, 0640)) >= 0);
	need(write(fd[0], "abc", 3) == 3 && fchown(fd[0], 12, 34) == 0 && fchmod(fd[0], 02461) == 0);
	struct timespec ts[2] = { { 1000, 5 }, { 2000, 7123 } };
	need(futimens(fd[0], ts) == 0);
	need(symlink("nowhere", victim_path("gl")) == 0 &&
	     utimensat(AT_FDCWD, victim_path("gl"), ts, AT_SYMLINK_NOFOLLOW) == 0);
	need((fd[2] = open(victim_path("gl"), O_PATH | O_NOFOLLOW)) >= 0 && unlink(victim_path("gl")) == 0);
	unlink(victim_path("ga"));
	need(fstat(fd[0], &st_was[0]) == 0);
	need(mkdir(victim_path("gd"), 0711) == 0 && (fd[1] = open(victim_path("gd"), O_RDONLY | O_DIRECTORY)) >= 0 &&
	     rmdir(victim_path("gd")) == 0);
}
static void check_ghost_attrs(void)
{
	struct stat st;
	expect(fstat(fd[0], &st) == 0 && st.st_uid == 12 && st.st_gid == 34 && st.st_mode == st_was[0].st_mode,
	       "owner %d:%d mode %o", st.st_uid, st.st_gid, st.st_mode);
	expect(st.st_mtim.tv_sec == 2000 && st.st_mtim.tv_nsec == 7123, "written at %ld.%09ld", st.st_mtim.tv_sec,
	       st.st_mtim.tv_nsec);
	expect(st.st_atim.tv_sec == 1000 && st.st_atim.tv_nsec == 5, "read at %ld.%09ld", st.st_atim.tv_sec,
	       st.st_atim.tv_nsec);
	expect(fstat(fd[2], &st) == 0 && S_ISLNK(st.st_mode) && st.st_nlink == 0, "link");
	expect(st.st_mtim.tv_sec == 2000 && st.st_mtim.tv_nsec == 7123, "link of %ld.%09ld", st.st_mtim.tv_sec,
	       st.st_mtim.tv_nsec);
	expect(fstat(fd[1], &st) == 0 && S_ISDIR(st.st_mode) && st.st_nlink == 0, "directory");
}

/* --- half-closed pipes across processes, with a reader in one and a writer in another, and a third that has both */
static int a[2], b[2];
static void only_reads(long arg)
{
	close(a[1]);
	close(b[1]);
	close(b[0]);
	victim_hold();
	char t[8] = "";
	expect(read(a[0], t, 8) == 3 && strcmp(t, "abc") == 0, "data is %s", t);
	expect(read(a[0], t, 8) == 0, "no end of file");
}
static void only_writes(long arg)
{
	close(a[0]);
	close(a[1]);
	close(b[0]);
	victim_hold();
	signal(SIGPIPE, SIG_IGN);
	expect(write(b[1], "x", 1) < 0 && errno == EPIPE, "no EPIPE");
}
static pid_t k2;
static void set_up_half(void)
{
	need(pipe(a) == 0 && pipe(b) == 0 && write(a[1], "abc", 3) == 3 && write(b[1], "unread", 6) == 6);
	kid = victim_fork(only_reads, 0);
	k2 = victim_fork(only_writes, 0);
	close(a[0]);
	close(a[1]);
	close(b[0]);
	close(b[1]);
}
static void check_half(void)
{
	victim_reap(kid);
	victim_reap(k2);
}

/* --- directory positions, offsets beyond, very large files with holes */
static void set_up_offsets(void)
{
	need((fd[0] = open(victim_path("huge"), O_RDWR | O_CREAT, 0600)) >= 0 && ftruncate(fd[0], 1ll << 40) == 0);
	need(lseek(fd[0], (1ll << 40) + 12345, SEEK_SET) > 0);
	need((fd[1] = open("/usr/bin", O_RDONLY | O_DIRECTORY)) >= 0);
	char buf[1024];
	need(syscall(SYS_getdents64, fd[1], buf, sizeof(buf)) > 0);
	st_was[0].st_size = lseek(fd[1], 0, SEEK_CUR);
	need((fd[2] = open(victim_path("ghost-huge"), O_RDWR | O_CREAT, 0600)) >= 0 &&
	     ftruncate(fd[2], 1ll << 38) == 0);
	need(pwrite(fd[2], "end", 3, (1ll << 38) - 3) == 3 && unlink(victim_path("ghost-huge")) == 0);
}
static void check_offsets(void)
{
	char t[4] = "";
	struct stat st;
	expect(lseek(fd[0], 0, SEEK_CUR) == (1ll << 40) + 12345, "offset");
	expect(lseek(fd[1], 0, SEEK_CUR) == st_was[0].st_size, "position in the directory");
	expect(pread(fd[2], t, 3, (1ll << 38) - 3) == 3 && strcmp(t, "end") == 0, "end of the ghost is %s", t);
	expect(fstat(fd[2], &st) == 0 && st.st_blocks < 100, "ghost has %ld blocks", (long)st.st_blocks);
}

/* --- a file shorter than its mapping; a private mapping with pages beyond the end */
static char *map[2];
static void set_up_truncated(void)
{
	static char fill[16384];
	memset(fill, 'q', sizeof(fill));
	spill(victim_path("t"), fill, sizeof(fill));
	int f = open(victim_path("t"), O_RDWR);
	map[0] = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_SHARED, f, 0);
	map[1] = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_PRIVATE, f, 0);
	map[1][0] = 'w';
	need(ftruncate(f, 5000) == 0);
	close(f);
}
static sig_atomic_t volatile bus;
static void on_bus(int sig)
{
	_exit(7);
}
static void check_truncated(void)
{
	int status;
	expect(map[0][100] == 'q' && map[1][0] == 'w' && map[1][100] == 'q' && map[0][6000] == 0, "content");
	pid_t pid = fork();
	if (pid == 0) {
		signal(SIGBUS, on_bus);
		_exit(map[0][9000] == 0);
	}
	waitpid(pid, &status, 0);
	expect(status == 7 << 8, "beyond the end: status %x", status);
}

/* --- asynchronous owners of pipes and FIFOs */
static void set_up_owner(void)
{
	need(pipe2(a, O_NONBLOCK) == 0 && fcntl(a[0], F_SETOWN, getpid()) == 0 && fcntl(a[0], F_SETSIG, SIGUSR1) == 0);
	signal(SIGUSR1, SIG_IGN);
	need(fcntl(a[0], F_SETFL, O_NONBLOCK | O_ASYNC) == 0);
	struct f_owner_ex o = { F_OWNER_TID, gettid() };
	spill(victim_path("own"), "x", 1);
	need((fd[0] = open(victim_path("own"), O_RDONLY)) >= 0 && fcntl(fd[0], F_SETOWN_EX, &o) == 0);
}
static void check_owner(void)
{
	struct f_owner_ex o = { 0 };
	expect(fcntl(a[0], F_GETOWN) == getpid() && fcntl(a[0], F_GETSIG) == SIGUSR1, "owner %d signal %d",
	       fcntl(a[0], F_GETOWN), fcntl(a[0], F_GETSIG));
	expect((fcntl(a[0], F_GETFL) & (O_ASYNC | O_NONBLOCK)) == (O_ASYNC | O_NONBLOCK), "flags %o",
	       fcntl(a[0], F_GETFL));
	expect(fcntl(fd[0], F_GETOWN_EX, &o) == 0 && o.type == F_OWNER_TID && o.pid == gettid(), "owner type %d pid %d",
	       o.type, o.pid);
}

/* --- names longer than PATH_MAX */
static void set_up_long(void)
{
	char part[251];
	memset(part, 'n', 250);
	part[250] = 0;
	int d = open(victim_path(""), O_RDONLY | O_DIRECTORY);
	for (int i = 0; i < 20; i++) {
		need(mkdirat(d, part, 0755) == 0);
		int n = openat(d, part, O_RDONLY | O_DIRECTORY);
		close(d);
		d = n;
	}
	need((fd[0] = openat(d, "file", O_RDWR | O_CREAT, 0600)) >= 0 && write(fd[0], "deep", 4) == 4);
	close(d);
}
static void check_long(void)
{
	char t[8] = "";
	expect(pread(fd[0], t, 4, 0) == 4 && strcmp(t, "deep") == 0, "content %s", t);
}

/* --- a pipe with pages from splice and vmsplice, tee'd */
static void set_up_spliced(void)
{
	static char buf[8192];
	need(pipe(a) == 0 && pipe(b) == 0);
	pattern_fill(buf, sizeof(buf), 9);
	spill(victim_path("s"), buf, sizeof(buf));
	int f = open(victim_path("s"), O_RDONLY);
	need(splice(f, NULL, a[1], NULL, 8192, 0) == 8192 && tee(a[0], b[1], 8192, 0) == 8192);
	need(write(a[1], "tail", 4) == 4);
}
static void check_spliced(void)
{
	static char buf[9000];
	expect(read(a[0], buf, 9000) == 8196 && pattern_same(buf, 8192, 9) && memcmp(buf + 8192, "tail", 4) == 0,
	       "first pipe");
	expect(read(b[0], buf, 9000) == 8192 && pattern_same(buf, 8192, 9), "second pipe");
}

/* --- a periodic timer that has expired, and one that was stopped but keeps its interval */
static void set_up_timerfd(void)
{
	struct itimerspec it = { { 0, 20000000 }, { 0, 1000000 } }, stop = { { 5, 0 }, { 0, 0 } };
	struct itimerspec abs = { { 0, 30000000 }, { 0, 1000000 } };
	for (int i = 0; i < 3; i++)
		need((fd[i] = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK)) >= 0);
	need(timerfd_settime(fd[0], 0, &it, NULL) == 0 && timerfd_settime(fd[1], 0, &stop, NULL) == 0);
	need(timerfd_settime(fd[2], TFD_TIMER_ABSTIME, &abs, NULL) == 0);
	sleep_ms(100);
}
static void check_timerfd(void)
{
	uint64_t n = 0;
	struct itimerspec it;
	for (int i = 0; i < 3; i += 2) {
		expect(read(fd[i], &n, 8) == 8 && n >= 1, "%lu expirations of timer %d", n, i);
		sleep_ms(100);
		expect(read(fd[i], &n, 8) == 8 && n >= 2, "%lu more expirations of timer %d", n, i);
	}
	expect(timerfd_gettime(fd[1], &it) == 0 && it.it_value.tv_sec == 0 && it.it_value.tv_nsec == 0,
	       "the stopped timer runs");
	expect(read(fd[1], &n, 8) < 0 && errno == EAGAIN, "the stopped timer has expired");
}

const struct victim_case victim_cases[] = {
	{ "path", set_up_path, check_path, .flags = CASE_MORE },
	{ "path-unlinked", set_up_path_unlinked, check_path_unlinked },
	{ "on-tmpfs", set_up_tmpfs, check_on, .flags = CASE_MUTATES },
	{ "on-ramfs", set_up_ramfs, check_on, .flags = CASE_MUTATES },
	{ "on-overlay", set_up_overlay, check_overlay, .flags = CASE_MUTATES },
	{ "hidden-by-mount", set_up_hidden, check_hidden, .refuse = "fd 3: file hidden under another mount" },
	{ "proc", set_up_proc, check_proc, .flags = CASE_ALTERS },
	{ "namespace-file", set_up_ns_file, check_ns_file, .refuse = "fd 3: namespace file, net:" },
	{ "proc-of-the-dead", set_up_proc_dead, check_proc_dead, .refuse = "fd 3: file of a process that has ended" },
	{ "top-shared", set_up_top, check_top, .flags = CASE_MORE },
	{ "beyond-limit", set_up_beyond, check_beyond },
	{ "dense", set_up_dense, check_dense },
	{ "full", set_up_full, check_full },
	{ "lost-access", set_up_lost_access, check_lost_access },
	{ "name-came-back", set_up_two_ghosts, check_two_ghosts, .flags = CASE_MORE },
	{ "ghost-attributes", set_up_ghost_attrs, check_ghost_attrs, .flags = CASE_MORE },
	{ "pipes-half-closed", set_up_half, check_half, .flags = CASE_MORE },
	{ "offsets", set_up_offsets, check_offsets },
	{ "truncated-mapping", set_up_truncated, check_truncated },
	{ "owners", set_up_owner, check_owner, .flags = CASE_MORE },
	{ "long-path", set_up_long, check_long, .refuse = "file with a path longer than" },
	{ "timerfd-expired", set_up_timerfd, check_timerfd, .flags = CASE_MORE },
	{ "spliced", set_up_spliced, check_spliced, .flags = CASE_MORE },
	{ NULL },
};

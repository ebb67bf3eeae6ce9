/* Trees with a mount namespace of their own: all of their mounts come back, and what is in memory file systems with them. */
#include "mount-lines.h"
#include "victim.h"

#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

/* ---- a memory file system with all there is in one */

static int fds[8];
static char *area;

#define SPARSE_AT (40l << 20)

static void set_up_content(void)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	struct timespec times[2] = { { 1000, 0 }, { 1234567890, 987654321 } };
	const char *m;

	own_mounts();
	m = dir("m");
	need(mount("memory", m, "tmpfs", MS_NOSUID | MS_NODIRATIME, "size=64m,mode=1751,nr_inodes=1000") == 0);
	need(chdir(m) == 0 && mkdir("d", 0700) == 0 && mkdir("d/e", 0751) == 0);
	spill("d/e/text", "content", 7);
	need(link("d/e/text", "other") == 0 && symlink("/nowhere/at all", "link") == 0);
	need(mkfifo("fifo", 0604) == 0 && mknod("null", S_IFCHR | 0600, makedev(1, 3)) == 0);
	need(chown("d/e", 1234, 4321) == 0 && lchown("link", 77, 78) == 0);
	need((fds[0] = open("sparse", O_RDWR | O_CREAT, 0600)) >= 0 && pwrite(fds[0], "end", 3, SPARSE_AT) == 3);
	need((fds[1] = open("d/e/text", O_RDWR | O_APPEND)) >= 0 && lseek(fds[1], 3, SEEK_SET) == 3);
	need((fds[2] = open("gone", O_RDWR | O_CREAT, 0640)) >= 0 && write(fds[2], "ghost", 5) == 5 && unlink("gone") == 0);
	need((fds[3] = open("d", O_RDONLY | O_DIRECTORY)) >= 0);
	need((fds[4] = open("mapped", O_RDWR | O_CREAT, 0600)) >= 0 && ftruncate(fds[4], 8192) == 0);
	need((area = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fds[4], 0)) != MAP_FAILED);
	pattern_fill(area, 8192, 5);
	need(setxattr("other", "trusted.mark", "value", 5, 0) == 0);
	/* one that nobody listens to any more, and one that is listened to */
	need((fds[5] = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0);
	strcpy(name.sun_path, "d/stale");
	need(bind(fds[5], (void *)&name, sizeof(name)) == 0 && close(fds[5]) == 0 && chmod("d/stale", 0640) == 0);
	need(chown("d/stale", 5, 6) == 0);
	need((fds[5] = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0);
	snprintf(name.sun_path, sizeof(name.sun_path), "live");
	need(bind(fds[5], (void *)&name, sizeof(name)) == 0 && listen(fds[5], 3) == 0);
	need(utimensat(AT_FDCWD, "other", times, 0) == 0 && utimensat(AT_FDCWD, "d", times, 0) == 0);
	describe(before, sizeof(before));
}

static void expect_node(const char *path, mode_t mode, uid_t uid, gid_t gid)
{
	struct stat st = { 0 };

	expect(lstat(path, &st) == 0 && st.st_mode == mode && st.st_uid == uid && st.st_gid == gid, "%s: mode %o owner %u:%u", path,
	       st.st_mode, st.st_uid, st.st_gid);
}

static void check_content(void)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX, .sun_path = "live" };
	struct stat st, other;
	char text[32] = "";
	int s;

	expect_same_mounts();
	expect_node(".", S_IFDIR | 01751, 0, 0);
	expect_node("d", S_IFDIR | 0700, 0, 0);
	expect_node("d/e", S_IFDIR | 0751, 1234, 4321);
	expect_node("fifo", S_IFIFO | 0604, 0, 0);
	expect_node("null", S_IFCHR | 0600, 0, 0);
	expect_node("d/stale", S_IFSOCK | 0640, 5, 6);
	expect_node("link", S_IFLNK | 0777, 77, 78);
	expect(stat("null", &st) == 0 && st.st_rdev == makedev(1, 3), "device of null");
	expect(readlink("link", text, sizeof(text)) == 15 && memcmp(text, "/nowhere/at all", 15) == 0, "link leads to %s", text);
	expect(stat("d/e/text", &st) == 0 && stat("other", &other) == 0 && st.st_ino == other.st_ino && st.st_nlink == 2 &&
		       st.st_size == 7,
	       "hard link");
	expect(st.st_mtim.tv_sec == 1234567890 && st.st_mtim.tv_nsec == 987654321, "time of a file %ld.%09ld", st.st_mtim.tv_sec,
	       st.st_mtim.tv_nsec);
	expect(stat("d", &st) == 0 && st.st_mtim.tv_sec == 1234567890 && st.st_mtim.tv_nsec == 987654321,
	       "time of a directory %ld.%09ld", st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
	expect(fstat(fds[0], &st) == 0 && st.st_size == SPARSE_AT + 3 && st.st_blocks < 64, "sparse: %ld bytes, %ld blocks",
	       (long)st.st_size, (long)st.st_blocks);
	expect(pread(fds[0], text, 3, SPARSE_AT) == 3 && memcmp(text, "end", 3) == 0, "sparse: content");
	expect(getxattr("d/e/text", "trusted.mark", text, sizeof(text)) == 5 && memcmp(text, "value", 5) == 0, "attribute");
	expect(read(fds[1], text, sizeof(text)) == 4 && memcmp(text, "tent", 4) == 0, "position");
	expect(write(fds[1], "!", 1) == 1 && stat("other", &st) == 0 && st.st_size == 8, "it is another file than at its name");
	expect(fstat(fds[2], &st) == 0 && st.st_nlink == 0 && pread(fds[2], text, 5, 0) == 5 && memcmp(text, "ghost", 5) == 0,
	       "unlinked file");
	expect(faccessat(fds[3], "e/text", F_OK, 0) == 0, "directory");
	expect(pattern_same(area, 8192, 5), "mapped file");
	area[100] = 99;
	expect(pread(fds[4], text, 1, 100) == 1 && text[0] == 99, "the mapping is not of the file");
	expect((s = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0 && connect(s, (void *)&name, sizeof(name)) == 0, "connect to a name");
}

/* ---- new file systems of the kernel, hidden ones, and parts of them */

static void set_up_kinds(void)
{
	const char *p;

	own_mounts();
	need(mount("sysfs", dir("sys"), "sysfs", MS_RDONLY | MS_NOSUID, NULL) == 0);
	need(mount("devpts", dir("pts"), "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,mode=620,gid=5,ptmxmode=666") == 0);
	need(mount("mqueue", dir("mq"), "mqueue", MS_NOATIME, NULL) == 0);
	need(mount("dev", dir("dev"), "devtmpfs", MS_NOEXEC, NULL) == 0);
	need(mount("all", dir("proc"), "proc", MS_STRICTATIME, "hidepid=2") == 0);
	/* hidden: procfs, and a memory file system that has something, below another */
	p = dir("stack");
	need(mount("proc", p, "proc", 0, NULL) == 0 && mount("low", p, "tmpfs", 0, NULL) == 0);
	dir("stack/sub");
	spill(victim_path("stack/low"), "lowest", 6);
	need(mount("hidden", victim_path("stack/sub"), "tmpfs", 0, NULL) == 0);
	spill(victim_path("stack/sub/hidden"), "hidden", 6);
	need(mount("middle", victim_path("stack"), "tmpfs", 0, "size=1m") == 0);
	spill(victim_path("stack/below"), "x", 1);
	need(mkdir(victim_path("stack/sub"), 0700) == 0 && mount("deep", victim_path("stack/sub"), "tmpfs", MS_RDONLY, NULL) == 0);
	/* parts */
	dir("part");
	need(mount(victim_path("proc/sys"), victim_path("part"), NULL, MS_BIND, NULL) == 0);
	need(mount(NULL, victim_path("part"), NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) == 0);
	spill(victim_path("file"), "", 0);
	need(mount("/dev/null", victim_path("file"), NULL, MS_BIND, NULL) == 0);
	/* what was there when it became read-only */
	need(mount("sealed", dir("sealed"), "tmpfs", 0, NULL) == 0);
	spill(victim_path("sealed/in"), "inside", 6);
	need(mount("sealed", victim_path("sealed"), "tmpfs", MS_REMOUNT | MS_RDONLY, NULL) == 0);
	describe(before, sizeof(before));
}

static void check_kinds(void)
{
	char text[32] = "";

	expect_same_mounts();
	expect(access(victim_path("sys/kernel"), F_OK) == 0, "sysfs");
	expect(access(victim_path("pts/ptmx"), F_OK) == 0, "devpts");
	expect(slurp(victim_path("stack/below"), text, sizeof(text)) == 1, "content of a hidden mount's cover");
	expect(slurp(victim_path("sealed/in"), text, sizeof(text)) == 6 && strcmp(text, "inside") == 0, "read-only: %s", text);
	expect(open(victim_path("sealed/new"), O_CREAT | O_WRONLY, 0600) < 0 && errno == EROFS, "read-only: can be written to");
	expect(access(victim_path("part/kernel"), F_OK) == 0, "part of proc");
	expect(umount2(victim_path("stack/sub"), 0) == 0 && umount2(victim_path("stack"), 0) == 0 &&
		       slurp(victim_path("stack/sub/hidden"), text, sizeof(text)) == 6 && strcmp(text, "hidden") == 0 &&
		       slurp(victim_path("stack/low"), text, sizeof(text)) == 6 && strcmp(text, "lowest") == 0,
	       "what was hidden: %s", text);
	expect(umount2(victim_path("stack/sub"), 0) == 0 && umount2(victim_path("stack"), 0) == 0 &&
		       access(victim_path("stack/self"), F_OK) == 0,
	       "what was hidden by that");
}

/* ---- binds of directories and files, with flags of their own */

static void set_up_binds(void)
{
	own_mounts();
	dir("a");
	dir("a/b");
	dir("to");
	spill(victim_path("a/b/file"), "shown", 5);
	spill(victim_path("over"), "hidden", 6);
	need(mount(victim_path("a"), victim_path("to"), NULL, MS_BIND, NULL) == 0);
	need(mount(NULL, victim_path("to"), NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NOEXEC, NULL) == 0);
	need(mount(victim_path("a/b/file"), victim_path("over"), NULL, MS_BIND, NULL) == 0);
	need(mount("memory", dir("t"), "tmpfs", 0, NULL) == 0);
	dir("t/x");
	dir("t/y");
	spill(victim_path("t/x/in"), "memory", 6);
	spill(victim_path("t/point"), "", 0);
	need(mount(victim_path("t/x"), victim_path("t/y"), NULL, MS_BIND, NULL) == 0);
	need(mount(victim_path("t/x/in"), victim_path("t/point"), NULL, MS_BIND, NULL) == 0);
	need((fds[0] = open(victim_path("t/y/in"), O_RDWR)) >= 0);
	need((fds[1] = open(victim_path("over"), O_RDONLY)) >= 0);
	need((fds[2] = open(victim_path("t/point"), O_RDWR)) >= 0);
	need(chdir(victim_path("to/b")) == 0);
	describe(before, sizeof(before));
}

static void check_binds(void)
{
	char text[16] = "";

	expect_same_mounts();
	expect(pread(fds[1], text, 16, 0) == 5 && memcmp(text, "shown", 5) == 0, "file on a file: %s", text);
	expect(open("file", O_RDWR) < 0 && errno == EROFS, "the working directory can be written to");
	expect(pwrite(fds[0], "M", 1, 0) == 1 && pread(fds[2], text, 6, 0) == 6 && memcmp(text, "Memory", 6) == 0,
	       "two ways to one file: %s", text);
}

/* ---- who is told of new mounts */

static void set_up_groups(void)
{
	own_mounts();
	need(mount("one", dir("one"), "tmpfs", 0, NULL) == 0 && mount(NULL, victim_path("one"), NULL, MS_SHARED, NULL) == 0);
	dir("one/sub");
	dir("peer");
	dir("slave");
	dir("both");
	dir("both-peer");
	dir("part");
	dir("kept");
	need(mount(victim_path("one"), victim_path("peer"), NULL, MS_BIND, NULL) == 0);
	need(mount(victim_path("one"), victim_path("slave"), NULL, MS_BIND, NULL) == 0 &&
	     mount(NULL, victim_path("slave"), NULL, MS_SLAVE, NULL) == 0);
	need(mount(victim_path("one"), victim_path("both"), NULL, MS_BIND, NULL) == 0 &&
	     mount(NULL, victim_path("both"), NULL, MS_SLAVE, NULL) == 0 &&
	     mount(NULL, victim_path("both"), NULL, MS_SHARED, NULL) == 0);
	need(mount(victim_path("both"), victim_path("both-peer"), NULL, MS_BIND, NULL) == 0);
	need(mount(victim_path("one/sub"), victim_path("part"), NULL, MS_BIND, NULL) == 0);
	need(mount("kept", victim_path("kept"), "tmpfs", 0, NULL) == 0 &&
	     mount(NULL, victim_path("kept"), NULL, MS_UNBINDABLE, NULL) == 0);
	spill(victim_path("kept/file"), "kept", 4);
	/* the root as well, and what is seen of it elsewhere */
	need(mount(NULL, "/", NULL, MS_SHARED, NULL) == 0);
	dir("of-root");
	dir("in-root");
	need(mount(victim_path("in-root"), victim_path("of-root"), NULL, MS_BIND, NULL) == 0);
	describe(before, sizeof(before));
}

static void check_groups(void)
{
	expect_same_mounts();
	expect(access(victim_path("kept/file"), F_OK) == 0, "content of what is not to be bound");
	expect(mount("new", victim_path("one/sub"), "tmpfs", 0, NULL) == 0, "mount");
	spill(victim_path("one/sub/file"), "x", 1);
	expect(access(victim_path("peer/sub/file"), F_OK) == 0, "a peer does not see it");
	expect(access(victim_path("slave/sub/file"), F_OK) == 0, "a slave does not see it");
	expect(access(victim_path("both/sub/file"), F_OK) == 0, "a slave with peers does not see it");
	expect(access(victim_path("both-peer/sub/file"), F_OK) == 0, "a peer of a slave does not see it");
	expect(access(victim_path("part/file"), F_OK) == 0, "a peer with a part does not see it");
}

/* ---- with an IPC namespace as well, whose message queues are mounted, and with terminals of its own */

static mqd_t queue;

static void set_up_with_ipc(void)
{
	char path[300];
	int number = -1;

	if (unshare(CLONE_NEWIPC) < 0)
		victim_skip("unshare(CLONE_NEWIPC): %s", strerror(errno));
	own_mounts();
	need(mount("mqueue", dir("mq"), "mqueue", MS_NOEXEC, NULL) == 0);
	need((queue = mq_open("/own", O_CREAT | O_RDWR, 0600, NULL)) >= 0 && mq_send(queue, "message", 7, 3) == 0);
	need(access(victim_path("mq/own"), F_OK) == 0);
	dir("dev");
	need(mount("devpts", dir("dev/pts"), "devpts", 0, "newinstance,ptmxmode=666") == 0);
	need(symlink("pts/ptmx", victim_path("dev/ptmx")) == 0);
	need((fds[0] = open(victim_path("dev/ptmx"), O_RDWR | O_NOCTTY)) >= 0 && ioctl(fds[0], TIOCGPTN, &number) == 0);
	need(ioctl(fds[0], TIOCSPTLCK, &(int){ 0 }) == 0);
	snprintf(path, sizeof(path), "%s/%d", victim_path("dev/pts"), number);
	need((fds[1] = open(path, O_RDWR | O_NOCTTY)) >= 0 && write(fds[0], "typed\n", 6) == 6);
	describe(before, sizeof(before));
}

static void check_with_ipc(void)
{
	char text[8192] = "";
	struct stat st, dev;

	expect_same_mounts();
	expect(access(victim_path("mq/own"), F_OK) == 0, "the queue is not in the mount");
	expect(mq_receive(queue, text, sizeof(text), NULL) == 7 && memcmp(text, "message", 7) == 0, "message: %s", text);
	expect(fstat(fds[1], &st) == 0 && stat(victim_path("dev/pts"), &dev) == 0 && st.st_dev == dev.st_dev,
	       "the terminal is of another instance");
	expect(read(fds[1], text, sizeof(text)) == 6 && memcmp(text, "typed", 5) == 0, "typed: %s", text);
}

/* ---- refused */

static void set_up_outside(void)
{
	if (unshare(CLONE_NEWNS) < 0)
		victim_skip("unshare(CLONE_NEWNS): %s", strerror(errno));
}

static void set_up_part(void)
{
	own_mounts();
	need(mount("m", dir("m"), "tmpfs", 0, NULL) == 0);
	spill(victim_path("m/x"), "", 0);
	dir("m/sub");
	dir("part");
	need(mount(victim_path("m/sub"), victim_path("part"), NULL, MS_BIND, NULL) == 0 && umount2(victim_path("m"), MNT_DETACH) == 0);
}

static void set_up_deleted(void)
{
	own_mounts();
	dir("from");
	dir("to");
	need(mount(victim_path("from"), victim_path("to"), NULL, MS_BIND, NULL) == 0 && rmdir(victim_path("from")) == 0);
}

const struct victim_case victim_cases[] = {
	{ "content", set_up_content, check_content, .flags = CASE_MORE | CASE_MUTATES },
	{ "kinds", set_up_kinds, check_kinds, .flags = CASE_MUTATES },
	{ "binds", set_up_binds, check_binds, .flags = CASE_MUTATES },
	{ "groups", set_up_groups, check_groups, .flags = CASE_MUTATES },
	{ "with-ipc", set_up_with_ipc, check_with_ipc, .flags = CASE_MUTATES },
	{ "outside", set_up_outside, NULL, .refuse = "mount at|is mounted outside as well|mnt[]" },
	{ "only-a-part", set_up_part, NULL, .refuse = "mount at|not to be seen as a whole" },
	{ "deleted", set_up_deleted, NULL, .refuse = "mount at|is deleted" },
	{ 0 },
};

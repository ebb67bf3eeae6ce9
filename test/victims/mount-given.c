/* Trees with a mount namespace of their own, of which something is given to the restore: block devices, mounts of outside, the root. */
#include "mount-lines.h"
#include "victim.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

static int fds[4];
static char *area;

/* ---- a block device: a loop device with a number that others are unlikely to have */

#define DISK_SIZE (8 << 20)

static char loop[32];

static int run(const char *program, char *const argv[])
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		execv(program, argv);
		_exit(127);
	}
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void make_disk(int number)
{
	char path[256];
	char *const argv[] = { "mke2fs", "-q", "-F", "-t", "ext4", path, NULL };
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), disk, dev;

	if (control < 0 || (ioctl(control, LOOP_CTL_ADD, number) < 0 && errno != EEXIST))
		victim_skip("loop devices: %s", strerror(errno));
	snprintf(loop, sizeof(loop), "/dev/loop%d", number);
	snprintf(path, sizeof(path), "%s", victim_path("disk.img"));
	need((disk = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600)) >= 0 && ftruncate(disk, DISK_SIZE) == 0);
	if (run("/sbin/mke2fs", argv) != 0)
		victim_skip("no mke2fs");
	need((dev = open(loop, O_RDWR | O_CLOEXEC)) >= 0);
	if (ioctl(dev, LOOP_SET_FD, disk) < 0)
		victim_skip("%s: %s", loop, strerror(errno));
	close(dev);
	close(disk);
	close(control);
}

static void drop_disk(void)
{
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), dev = open(loop, O_RDWR | O_CLOEXEC), r;

	expect(dev >= 0 && ioctl(dev, LOOP_CLR_FD, 0) == 0, "detach %s", loop);
	close(dev);
	/* it is detached when the last has closed it */
	for (int i = 0; (r = ioctl(control, LOOP_CTL_REMOVE, atoi(loop + 9))) < 0 && i < 100; i++)
		sleep_ms(20);
	expect(r == 0, "remove %s", loop);
	close(control);
}

static void set_up_device(void)
{
	own_mounts();
	make_disk(77);
	if (mount(loop, dir("disk"), "ext4", MS_NOEXEC | MS_NOATIME, "errors=continue") < 0)
		victim_skip("mount ext4: %s", strerror(errno));
	dir("disk/sub");
	dir("part");
	need(mount(victim_path("disk/sub"), victim_path("part"), NULL, MS_BIND, NULL) == 0);
	need(mount(NULL, victim_path("part"), NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) == 0);
	need((fds[0] = open(victim_path("disk/sub/file"), O_RDWR | O_CREAT, 0600)) >= 0 && ftruncate(fds[0], 8192) == 0);
	need((area = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fds[0], 0)) != MAP_FAILED);
	pattern_fill(area, 8192, 9);
	need(chdir(victim_path("part")) == 0);
	describe(before, sizeof(before));
}

static void check_device(void)
{
	struct stat st;

	expect_same_mounts();
	expect(pattern_same(area, 8192, 9), "mapped file of the device");
	expect(stat("file", &st) == 0 && st.st_size == 8192 && major(st.st_dev) == 7, "the working directory is on %x",
	       (unsigned)st.st_dev);
	expect(pwrite(fds[0], "x", 1, 8192) == 1 && open("file", O_RDWR) < 0 && errno == EROFS, "how it may be written to");
	munmap(area, 8192);
	close(fds[0]);
	expect(chdir("/") == 0 && umount2(victim_path("part"), 0) == 0 && umount2(victim_path("disk"), 0) == 0, "umount");
	drop_disk();
}

static void set_up_unnamed(void)
{
	own_mounts();
	make_disk(78);
	if (mount(loop, dir("disk"), "ext4", 0, NULL) < 0)
		victim_skip("mount ext4: %s", strerror(errno));
}

static void check_unnamed(void)
{
	expect(umount2(victim_path("disk"), 0) == 0, "umount");
	drop_disk();
}

/* ---- another root directory: programs and libraries are those of outside, and found there again */

static void show(const char *path)
{
	char to[512] = "";

	snprintf(to, sizeof(to), "%s%s", victim_path("root"), path);
	for (char *p = to + strlen(victim_path("root")) + 1; *p; p++)
		if (*p == '/') {
			*p = '\0';
			need(mkdir(to, 0755) == 0 || errno == EEXIST);
			*p = '/';
		}
	need(mkdir(to, 0755) == 0 || errno == EEXIST);
	need(mount(path, to, NULL, MS_BIND, NULL) == 0);
}

static void change_root(const char *fstype)
{
	static const char *const links[] = { "bin", "sbin", "lib", "lib32", "lib64" };
	char exe[256] = "", text[300];
	const char *root = dir("root");
	char old[256];

	if (unshare(CLONE_NEWNS) < 0)
		victim_skip("unshare(CLONE_NEWNS): %s", strerror(errno));
	need(readlink("/proc/self/exe", exe, sizeof(exe) - 1) > 0 && strrchr(exe, '/'));
	*strrchr(exe, '/') = '\0';
	need(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 && mount(root, root, fstype, fstype ? 0 : MS_BIND, NULL) == 0);
	show("/usr");
	show(exe);
	show(victim_path("."));
	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
		char from[64], to[320];

		snprintf(from, sizeof(from), "usr/%s", links[i]);
		snprintf(to, sizeof(to), "%s/%s", victim_path("root"), links[i]);
		snprintf(text, sizeof(text), "/%s", links[i]);
		need(symlink(from, to) == 0 || errno == EEXIST);
	}
	dir("root/proc");
	dir("root/dev");
	dir("root/old");
	snprintf(old, sizeof(old), "%s", victim_path("root/old"));
	need(mount("proc", victim_path("root/proc"), "proc", MS_NOSUID | MS_NOEXEC | MS_NODEV, NULL) == 0);
	need(mount("dev", victim_path("root/dev"), "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k") == 0);
	spill(victim_path("root/dev/null"), "", 0);
	need(mount("/dev/null", victim_path("root/dev/null"), NULL, MS_BIND, NULL) == 0);
	need(chdir(victim_path("root")) == 0 && syscall(SYS_pivot_root, ".", "old") == 0 && chdir("/") == 0);
	need(umount2("/old", MNT_DETACH) == 0);
	need((fds[0] = open("/usr/bin/env", O_RDONLY)) >= 0 && (fds[1] = open("/inside", O_RDWR | O_CREAT, 0644)) >= 0);
	describe(before, sizeof(before));
}

static void set_up_root(void)
{
	change_root(NULL);
}

static void set_up_memory_root(void)
{
	change_root("tmpfs");
}

static void check_root(void)
{
	struct stat a, b;

	expect_same_mounts();
	expect(fstat(fds[0], &a) == 0 && stat("/usr/bin/env", &b) == 0 && a.st_ino == b.st_ino && a.st_dev == b.st_dev,
	       "a program");
	expect(fstat(fds[1], &a) == 0 && stat("/inside", &b) == 0 && a.st_ino == b.st_ino, "a file of the root itself");
	expect(access("/old", F_OK) == 0 && access("/etc", F_OK) < 0, "another root");
}

/* ---- a mount of outside that is named, and another takes its place */

static void set_up_named(void)
{
	if (unshare(CLONE_NEWNS) < 0)
		victim_skip("unshare(CLONE_NEWNS): %s", strerror(errno));
	need(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
	bare_mounts(NULL);
	dir("one");
	dir("two");
	dir("to");
	spill(victim_path("one/file"), "one", 3);
	spill(victim_path("two/file"), "two", 3);
	need(mount(victim_path("one"), victim_path("to"), NULL, MS_BIND, NULL) == 0);
	need(mount(NULL, victim_path("to"), NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NODEV, NULL) == 0);
	describe(before, sizeof(before));
}

static void check_named(void)
{
	char text[8] = "", *is, *was;

	expect(slurp(victim_path("to/file"), text, sizeof(text)) == 3 && strcmp(text, "two") == 0, "it is %s", text);
	expect(open(victim_path("to/file"), O_RDWR) < 0 && errno == EROFS, "it can be written to");
	/* all else is as it was */
	describe(after, sizeof(after));
	is = strstr(after, "/two ");
	was = strstr(before, "/one ");
	expect(is && was, "its root is not shown");
	if (is)
		memcpy(is, "/one", 4);
	expect(strcmp(before, after) == 0, "mounts: %s, were %s", after, before);
}

/* ---- file systems that have to be asked for, and a mount that is left out */

static void set_up_asked(void)
{
	own_mounts();
	if (mount("huge", dir("huge"), "hugetlbfs", MS_NOSUID, "mode=1770") < 0)
		victim_skip("hugetlbfs: %s", strerror(errno));
	dir("left");
	describe(before, sizeof(before));
	need(mount("left", victim_path("left"), "tmpfs", 0, NULL) == 0);
}

static void check_asked(void)
{
	expect_same_mounts();
}

/* ---- peers and slaves of mounts outside: in the namespace of the first process, which is that of the tests */

static int outer = -1;

static void in_outer(void (*fn)(void))
{
	pid_t pid = fork();
	int status = -1;

	if (pid == 0) {
		if (setns(outer, CLONE_NEWNS) < 0)
			_exit(1);
		fn();
		_exit(0);
	}
	expect(waitpid(pid, &status, 0) == pid && status == 0, "in the namespace outside: status %x", status);
}

static void share_outside(unsigned long how)
{
	char ns[256];

	need(mount("outer", dir("outer"), "tmpfs", 0, NULL) == 0 && mount(NULL, victim_path("outer"), NULL, MS_SHARED, NULL) == 0);
	dir("outer/sub");
	if (unshare(CLONE_NEWNS) < 0) {
		umount2(victim_path("outer"), MNT_DETACH);
		victim_skip("unshare(CLONE_NEWNS): %s", strerror(errno));
	}
	snprintf(ns, sizeof(ns), "%s", victim_path("outer"));
	bare_mounts(ns);
	if (how)
		need(mount(NULL, victim_path("outer"), NULL, how, NULL) == 0);
	describe(before, sizeof(before));
}

static void set_up_peer(void)
{
	share_outside(0);
}

static void set_up_slave(void)
{
	share_outside(MS_SLAVE);
}

static void mount_there(void)
{
	if (mount("new", victim_path("outer/sub"), "tmpfs", 0, NULL) < 0 || mkdir(victim_path("outer/sub/seen"), 0700) < 0)
		_exit(2);
}

static void umount_there(void)
{
	if (umount2(victim_path("outer/sub"), MNT_DETACH) < 0 || umount2(victim_path("outer"), MNT_DETACH) < 0)
		_exit(3);
}

static void umount_all(void)
{
	umount2(victim_path("outer"), MNT_DETACH);
}

/* The first process of the namespace that the tests are in has it still. */
static void open_outer(void)
{
	expect((outer = open("/proc/1/ns/mnt", O_RDONLY | O_CLOEXEC)) >= 0, "open the namespace outside");
}

static void check_outer(void)
{
	open_outer();
	expect_same_mounts();
	in_outer(mount_there);
	expect(access(victim_path("outer/sub/seen"), F_OK) == 0, "what is mounted outside is not seen");
	in_outer(umount_there);
}

static void check_refused_outer(void)
{
	open_outer();
	in_outer(umount_all);
}

/* The whole of a file system that is mounted outside is the root: "/" of it, as the restorer's root is of another one. */
static void set_up_outer_root(void)
{
	need(mount("outer", dir("root"), "tmpfs", 0, "mode=755") == 0);
	change_root(NULL);
}

static void umount_root(void)
{
	if (umount2(victim_path("root"), MNT_DETACH) < 0)
		_exit(3);
}

static void check_outer_root(void)
{
	check_root();
	open_outer();
	in_outer(umount_root);
}

/* One of two, that lie over each other outside as well. */
static void set_up_covered(void)
{
	char path[256];

	snprintf(path, sizeof(path), "%s", dir("outer"));
	need(mount("under", path, "tmpfs", 0, NULL) == 0);
	if (mount("over", path, "tmpfs", 0, NULL) < 0 || unshare(CLONE_NEWNS) < 0) {
		umount2(path, MNT_DETACH);
		umount2(path, MNT_DETACH);
		victim_skip("unshare(CLONE_NEWNS): %s", strerror(errno));
	}
	bare_mounts(path);
}

static void umount_both(void)
{
	umount_all();
	umount_all();
}

static void check_covered(void)
{
	open_outer();
	in_outer(umount_both);
}

const struct victim_case victim_cases[] = {
	{ "device", set_up_device, check_device, "--external dev[7/77]:disk", "--external dev[disk]:/dev/loop77",
	  .flags = CASE_MORE | CASE_MUTATES },
	{ "device-unnamed", set_up_unnamed, check_unnamed, .refuse = "mount at|ext4|--external dev[7/78]:NAME" },
	{ "root", set_up_root, check_root, "--external mnt[]", "--external mnt[] --root @DIR@/root", .flags = CASE_MUTATES | CASE_ALTERS },
	{ "memory-root", set_up_memory_root, check_root, "--external mnt[]", "--external mnt[]", .flags = CASE_MUTATES | CASE_ALTERS },
	{ "outer-root", set_up_outer_root, check_outer_root, "--external mnt[]", "--external mnt[] --root @DIR@/root",
	  .flags = CASE_MUTATES | CASE_ALTERS },
	{ "fs-and-skip", set_up_asked, check_asked, "--enable-fs hugetlbfs --skip-mnt @DIR@/left", .flags = CASE_MUTATES },
	{ "fs-not-asked", set_up_asked, NULL, "--skip-mnt @DIR@/left", .refuse = "hugetlbfs|--enable-fs" },
	{ "named", set_up_named, check_named, "--external mnt[@DIR@/to]:there", "--external mnt[there]:@DIR@/two", .flags = CASE_MUTATES },
	{ "peer", set_up_peer, check_outer, "--external mnt[]:s", "--external mnt[]:s", .flags = CASE_MUTATES },
	{ "slave", set_up_slave, check_outer, "--external mnt[]:m", "--external mnt[]:m", .flags = CASE_MUTATES },
	{ "old-options", set_up_slave, check_outer, "--ext-mount-map auto --enable-external-masters",
	  "--ext-mount-map auto --enable-external-masters", .flags = CASE_MUTATES },
	{ "peer-refused", set_up_peer, check_refused_outer, "--external mnt[]", .refuse = "peer of a mount outside|--enable-external-sharing" },
	{ "slave-refused", set_up_slave, check_refused_outer, "--external mnt[]:s", .refuse = "slave of a mount outside|--enable-external-masters" },
	{ "covered", set_up_covered, check_covered, "--external mnt[]", .refuse = "nothing leads to it|unmount what lies over it" },
	{ 0 },
};

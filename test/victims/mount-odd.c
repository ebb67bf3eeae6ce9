/* Trees with a mount namespace of their own, where mounts and files are not as one would expect: kept, or refused by name. */
#include "mount-lines.h"
#include "victim.h"

#include <endian.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>

static int fd;
static pid_t child;

/* ---- names, times that tar would warn of, and what a directory gives to all that is new in it */

static const char *const names[] = { "a blank", "new\nline", "back\\slash", "#hash",
				     "tab\t.",  "\377\376",  "--file=x",    "*" };
static const struct timespec ahead[2] = { { 4000000000, 1 }, { 4000000000, 1 } },
			     ago[2] = { { -1000, 0 }, { -1000, 5 } };

/* acl(5) as attributes have it: a version, then tag, rights, id; rights are those of the owner, of user 1000, of the group, ... */
static void set_list(const char *path, const char *name)
{
	static const uint16_t tags[] = { 1, 2, 4, 16, 32 }, rights[] = { 7, 7, 5, 7, 5 };
	struct {
		uint32_t version;
		struct {
			uint16_t tag, rights;
			uint32_t id;
		} rows[5];
	} list = { .version = htole32(2) };

	for (size_t i = 0; i < 5; i++) {
		list.rows[i].tag = htole16(tags[i]);
		list.rows[i].rights = htole16(rights[i]);
		list.rows[i].id = i == 1 ? htole32(1000) : UINT32_MAX;
	}
	if (setxattr(path, name, &list, sizeof(list), 0) < 0)
		victim_skip("%s: %s", name, strerror(errno));
}

static void leave_socket(const char *path)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	int s = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(name.sun_path, sizeof(name.sun_path), "%s", path);
	need(s >= 0 && bind(s, (void *)&name, sizeof(name)) == 0 && close(s) == 0);
}

static void set_up_names(void)
{
	own_mounts();
	need(mount("odd name", dir("m"), "tmpfs", 0, NULL) == 0 && chdir(victim_path("m")) == 0);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char path[64];

		need(mkdir(names[i], 0755) == 0 && mount(names[i], names[i], "tmpfs", 0, NULL) == 0);
		snprintf(path, sizeof(path), "./%s/%s", names[i], names[i]);
		spill(path, names[i], strlen(names[i]));
		need(mount(path, path, NULL, MS_BIND, NULL) == 0);
	}
	/* the files in the list have none of their own */
	need(mkdir("d", 0755) == 0 && mkdir("d/plain", 0700) == 0);
	spill("d/file", "x", 1);
	leave_socket("d/socket");
	set_list("d", "system.posix_acl_default");
	set_list(".", "system.posix_acl_default");
	spill("ahead", "", 0);
	spill("ago", "", 0);
	need(utimensat(AT_FDCWD, "ahead", ahead, 0) == 0 && utimensat(AT_FDCWD, "ago", ago, 0) == 0);
	need(utimensat(AT_FDCWD, "d", ahead, 0) == 0 && utimensat(AT_FDCWD, ".", ahead, 0) == 0);
	describe(before, sizeof(before));
}

static void expect_time(const char *path, const struct timespec *want)
{
	struct stat st = { 0 };

	expect(stat(path, &st) == 0 && st.st_mtim.tv_sec == want->tv_sec && st.st_mtim.tv_nsec == want->tv_nsec,
	       "time of %s: %ld.%09ld", path, (long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
}

static void check_names(void)
{
	static const char *const plain[] = { "d/plain", "d/file", "d/socket" };
	char text[64];

	expect_same_mounts();
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char path[64];

		snprintf(path, sizeof(path), "./%s/%s", names[i], names[i]);
		expect(slurp(path, text, sizeof(text)) == (ssize_t)strlen(names[i]) && strcmp(text, names[i]) == 0,
		       "content of %s", path);
	}
	expect(getxattr("d", "system.posix_acl_default", text, sizeof(text)) > 0, "the list is gone");
	for (size_t i = 0; i < 3; i++)
		expect(getxattr(plain[i], "system.posix_acl_access", text, sizeof(text)) < 0 && errno == ENODATA,
		       "%s has a list", plain[i]);
	expect_time("ahead", &ahead[1]);
	expect_time("ago", &ago[1]);
	expect_time("d", &ahead[1]);
	expect_time(".", &ahead[1]);
}

/* ---- a directory of a file system is mounted over the whole of it */

static void set_up_over_itself(void)
{
	own_mounts();
	need(mount("m", dir("m"), "tmpfs", 0, NULL) == 0);
	dir("m/sub");
	dir("m/sub/sub");
	spill(victim_path("m/file"), "upper", 5);
	spill(victim_path("m/sub/file"), "lower", 5);
	for (int i = 0; i < 2; i++)
		need(mount(victim_path("m/sub"), victim_path("m"), NULL, MS_BIND, NULL) == 0);
	describe(before, sizeof(before));
}

static void check_over_itself(void)
{
	char text[16] = "";

	expect_same_mounts();
	expect(umount2(victim_path("m"), 0) == 0 && slurp(victim_path("m/file"), text, sizeof(text)) == 5 &&
		       strcmp(text, "lower") == 0,
	       "in what lies over it: %s", text);
	expect(umount2(victim_path("m"), 0) == 0 && slurp(victim_path("m/file"), text, sizeof(text)) == 5 &&
		       strcmp(text, "upper") == 0,
	       "in what it lies over: %s", text);
}

/* ---- a mount of the same directory that forbids writing lies over the one that a file is open through */

static void cover_read_only(void)
{
	const char *m = victim_path("m");

	need(mount(m, m, NULL, MS_BIND, NULL) == 0 &&
	     mount(NULL, m, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) == 0);
}

static void set_up_covered_file(void)
{
	own_mounts();
	need(mount("m", dir("m"), "tmpfs", 0, NULL) == 0);
	need((fd = open(victim_path("m/file"), O_RDWR | O_CREAT, 0600)) >= 0);
	cover_read_only();
}

static void set_up_covered_cwd(void)
{
	own_mounts();
	need(mount("m", dir("m"), "tmpfs", 0, NULL) == 0 && chdir(victim_path("m")) == 0);
	cover_read_only();
}

/* one that allows the same is as good */
static void set_up_covered_alike(void)
{
	own_mounts();
	need(mount("m", dir("m"), "tmpfs", 0, NULL) == 0);
	need((fd = open(victim_path("m/file"), O_RDWR | O_CREAT, 0600)) >= 0 && write(fd, "kept", 4) == 4);
	need(mount(victim_path("m"), victim_path("m"), NULL, MS_BIND, NULL) == 0);
	describe(before, sizeof(before));
}

static void check_covered_alike(void)
{
	char text[8] = "";

	expect_same_mounts();
	expect(pread(fd, text, sizeof(text), 0) == 4 && memcmp(text, "kept", 4) == 0 && write(fd, "!", 1) == 1,
	       "the file holds %s", text);
}

/* ---- what a mount has forbidden since */

static void set_up_program(void)
{
	static char text[1 << 20];
	int in, out;
	ssize_t n;

	own_mounts();
	need(mount("m", dir("m"), "tmpfs", 0, NULL) == 0);
	need((in = open("/bin/sleep", O_RDONLY)) >= 0 &&
	     (out = open(victim_path("m/sleep"), O_WRONLY | O_CREAT, 0755)) >= 0);
	while ((n = read(in, text, sizeof(text))) > 0)
		need(write(out, text, (size_t)n) == n);
	close(in);
	close(out);
	need((child = fork()) >= 0);
	if (child == 0) {
		execl(victim_path("m/sleep"), "sleep", "1000", NULL);
		_exit(1);
	}
	for (int i = 0; i < 2000; i++) {
		char name[32], exe[300] = "";

		snprintf(name, sizeof(name), "/proc/%d/exe", child);
		if (readlink(name, exe, sizeof(exe) - 1) > 0 && strcmp(exe, victim_path("m/sleep")) == 0)
			break;
		sleep_ms(5);
	}
	victim_asleep(child);
	need(mount(NULL, victim_path("m"), NULL, MS_BIND | MS_REMOUNT | MS_NOEXEC, NULL) == 0);
}

static void check_program(void)
{
	expect(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child, "the program");
}

static void set_up_device(void)
{
	own_mounts();
	need(mount("m", dir("m"), "tmpfs", 0, NULL) == 0 &&
	     mknod(victim_path("m/null"), S_IFCHR | 0600, makedev(1, 3)) == 0);
	need((fd = open(victim_path("m/null"), O_RDWR)) >= 0);
	need(mount(NULL, victim_path("m"), NULL, MS_BIND | MS_REMOUNT | MS_NODEV, NULL) == 0);
}

/* ---- a file, and the working directory, on what is left out */

static void set_up_left_out(void)
{
	own_mounts();
	need(mount("m", dir("m"), "tmpfs", 0, NULL) == 0 &&
	     (fd = open(victim_path("m/file"), O_RDWR | O_CREAT, 0600)) >= 0);
}

static void set_up_left_out_cwd(void)
{
	own_mounts();
	need(mount("m", dir("m"), "tmpfs", 0, NULL) == 0 && chdir(victim_path("m")) == 0);
}

/* ---- what is there only once the tree is */

static void set_up_console(void)
{
	char path[300];

	own_mounts();
	need(mount("devpts", dir("pts"), "devpts", 0, "newinstance,ptmxmode=666") == 0);
	need((fd = open(victim_path("pts/ptmx"), O_RDWR | O_NOCTTY)) >= 0);
	spill(victim_path("console"), "", 0);
	snprintf(path, sizeof(path), "%s", victim_path("pts/0"));
	need(mount(path, victim_path("console"), NULL, MS_BIND, NULL) == 0);
}

static void set_up_process(void)
{
	char path[64];

	own_mounts();
	snprintf(path, sizeof(path), "/proc/%d", (int)getpid());
	need(mount(path, dir("process"), NULL, MS_BIND, NULL) == 0);
}

static void set_up_masked(void)
{
	char path[64];

	own_mounts();
	snprintf(path, sizeof(path), "/proc/%d/environ", (int)getpid());
	need(mount("/dev/null", path, NULL, MS_BIND, NULL) == 0);
}

/* ---- what has no name in its file system, and a socket with two names */

static void set_up_object(void)
{
	own_mounts();
	spill(victim_path("net"), "", 0);
	need(mount("/proc/self/ns/net", victim_path("net"), NULL, MS_BIND, NULL) == 0);
}

static void set_up_linked(void)
{
	own_mounts();
	need(mount("m", dir("m"), "tmpfs", 0, NULL) == 0 && chdir(victim_path("m")) == 0);
	leave_socket("one");
	need(link("one", "two") == 0 && chdir("/") == 0);
}

const struct victim_case victim_cases[] = {
	{ "names", set_up_names, check_names, .flags = CASE_MORE },
	{ "over-itself", set_up_over_itself, check_over_itself, .flags = CASE_MUTATES },
	{ "covered-alike", set_up_covered_alike, check_covered_alike, .flags = CASE_MUTATES },
	{ "covered-file", set_up_covered_file, NULL, .refuse = "fd|hidden under another mount|m/file" },
	{ "covered-cwd", set_up_covered_cwd, NULL, .refuse = "working directory|hidden under another mount" },
	{ "noexec-since", set_up_program, check_program, .refuse = "noexec since|m/sleep|remount it" },
	{ "nodev-since", set_up_device, NULL, .refuse = "nodev since|m/null|remount it" },
	{ "left-out", set_up_left_out, NULL, "--skip-mnt @DIR@/m",
	  .refuse = "outside of the tree's mount namespace|m/file" },
	{ "left-out-cwd", set_up_left_out_cwd, NULL, "--skip-mnt @DIR@/m",
	  .refuse = "working directory|outside of the tree's mount namespace" },
	{ "console", set_up_console, NULL, .refuse = "mount at|console|process or terminal|--external mnt[" },
	{ "process", set_up_process, NULL, .refuse = "mount at|process or terminal|--external mnt[" },
	{ "masked", set_up_masked, NULL, .refuse = "mount at|environ|process or terminal|--skip-mnt" },
	{ "object", set_up_object, NULL, .refuse = "mount at|nsfs|--external mnt[" },
	{ "linked-socket", set_up_linked, NULL, .refuse = "mount at|socket with several names" },
	{ 0 },
};

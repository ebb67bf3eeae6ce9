/* What a process is known by: name, program file, arguments, environment, auxiliary vector, directories. */
#include "victim.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

extern char **environ;
static char text_was[65536], text_is[65536];
static ssize_t len_was;

static void remember(const char *path)
{
	len_was = slurp(path, text_was, sizeof(text_was));
	need(len_was > 0);
}

static void expect_file(const char *path)
{
	ssize_t len = slurp(path, text_is, sizeof(text_is));

	expect(len == len_was && memcmp(text_is, text_was, (size_t)len) == 0, "%s differs (%zd bytes, were %zd)", path,
	       len, len_was);
}

static void expect_link(const char *link, const char *want)
{
	char now[PATH_MAX] = "";

	expect(readlink(link, now, sizeof(now) - 1) >= 0, "readlink %s", link);
	expect(strcmp(now, want) == 0, "%s is %s, should be %s", link, now, want);
}

static void set_up_comm(void)
{
	need(prctl(PR_SET_NAME, "a (b) c") == 0);
	remember("/proc/self/comm");
}
static void check_comm(void)
{
	expect_file("/proc/self/comm");
}

/* a program that writes its status into its arguments, the way daemons do */
static void set_up_cmdline(void)
{
	char cmdline[4096];
	ssize_t len = slurp("/proc/self/cmdline", cmdline, sizeof(cmdline));
	char *first = NULL;

	need(len > 4);
	/* the arguments end where the environment begins, both on the stack */
	for (char *p = environ[0] - 1; !first && p > environ[0] - len - 64; p--)
		if (memcmp(p, cmdline, (size_t)len) == 0)
			first = p;
	need(first);
	memset(first, 0, (size_t)len);
	snprintf(first, (size_t)len, "idle");
	remember("/proc/self/cmdline");
}

static void check_cmdline(void)
{
	expect_file("/proc/self/cmdline");
}
static void set_up_environ(void)
{
	remember("/proc/self/environ");
}

static void check_environ(void)
{
	expect_file("/proc/self/environ");
	expect(getenv("PATH") && getenv("VICTIM_MARK") && strcmp(getenv("VICTIM_MARK"), "one two") == 0, "getenv");
}

static unsigned char random_was[16];

static void set_up_auxv(void)
{
	remember("/proc/self/auxv");
	memcpy(random_was, (void *)getauxval(AT_RANDOM), 16);
}

static void check_auxv(void)
{
	expect_file("/proc/self/auxv");
	expect(memcmp(random_was, (void *)getauxval(AT_RANDOM), 16) == 0, "AT_RANDOM");
	expect(memcmp((void *)getauxval(AT_SYSINFO_EHDR), ELFMAG, SELFMAG) == 0,
	       "no vDSO where the auxiliary vector says");
}

/* --- program files that are gone or others by now: the case runs in a copy of the victim */

static void run_copy(const char *as, const char *name)
{
	static char buf[1 << 20];
	const char *path = victim_path(name);

	if (strcmp(getenv("VICTIM_COPY") ? getenv("VICTIM_COPY") : "", name) == 0)
		return;
	int in = open("/proc/self/exe", O_RDONLY), out = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0755);
	ssize_t n;
	need(in >= 0 && out >= 0);
	while ((n = read(in, buf, sizeof(buf))) > 0)
		need(write(out, buf, (size_t)n) == n);
	close(in);
	close(out);
	setenv("VICTIM_COPY", name, 1);
	execl(path, path, as, (char *)NULL);
	need(false);
}

static char copy_path[PATH_MAX];

static void set_up_exe(void)
{
	run_copy("exe", "copy of it");
	snprintf(copy_path, sizeof(copy_path), "%s", victim_path("copy of it"));
}

static void check_exe(void)
{
	expect_link("/proc/self/exe", copy_path);
}

static void set_up_exe_deleted(void)
{
	run_copy("exe-deleted", "gone");
	need(unlink(victim_path("gone")) == 0);
	snprintf(copy_path, sizeof(copy_path), "%s (deleted)", victim_path("gone"));
}

static void check_exe_deleted(void)
{
	char now[PATH_MAX] = "";

	expect(readlink("/proc/self/exe", now, sizeof(now) - 1) > 0 && strstr(now, "(deleted)"), "exe is %s", now);
	remember("/proc/self/exe");
	expect(memcmp(text_was, ELFMAG, SELFMAG) == 0, "the program cannot be read");
	expect(access(victim_path("gone"), F_OK) < 0, "the deleted program is back");
}

/* --- directories */

static char cwd_was[PATH_MAX];

static void set_up_cwd(void)
{
	need(mkdir(victim_path("deep"), 0755) == 0 && mkdir(victim_path("deep/er"), 0755) == 0);
	need(chdir(victim_path("deep/er")) == 0 && getcwd(cwd_was, sizeof(cwd_was)));
}

static void check_cwd(void)
{
	char now[PATH_MAX];
	expect(getcwd(now, sizeof(now)) && strcmp(now, cwd_was) == 0, "cwd is %s", now);
}

static void set_up_cwd_deleted(void)
{
	need(mkdir(victim_path("lost"), 0755) == 0 && chdir(victim_path("lost")) == 0 &&
	     rmdir(victim_path("lost")) == 0);
}

static void check_cwd_deleted(void)
{
	char now[PATH_MAX];
	expect(!getcwd(now, sizeof(now)) && errno == ENOENT, "cwd is %s", now);
	expect(access(victim_path("lost"), F_OK) < 0, "the deleted directory is back");
}

static void set_up_root(void)
{
	struct stat st;

	need(mkdir(victim_path("sub"), 0755) == 0);
	need(chroot(victim_path("")) == 0 && chdir("/sub") == 0);
	victim_moved("");
	need(stat("/sub", &st) == 0);
}

static void check_root(void)
{
	char now[PATH_MAX];

	expect(getcwd(now, sizeof(now)) && strcmp(now, "/sub") == 0, "cwd is %s", now);
	expect(access("/sub", F_OK) == 0 && access("/usr", F_OK) < 0, "another root");
	expect(chdir("/..") == 0 && getcwd(now, sizeof(now)) && strcmp(now, "/") == 0, "the way out is open: %s", now);
}

const struct victim_case victim_cases[] = {
	{ "comm", set_up_comm, check_comm },
	{ "cmdline", set_up_cmdline, check_cmdline },
	{ "environ", set_up_environ, check_environ, .flags = CASE_MORE },
	{ "auxv", set_up_auxv, check_auxv, .flags = CASE_MORE },
	{ "exe", set_up_exe, check_exe },
	{ "exe-deleted", set_up_exe_deleted, check_exe_deleted, .flags = CASE_MORE },
	{ "cwd", set_up_cwd, check_cwd },
	{ "cwd-deleted", set_up_cwd_deleted, check_cwd_deleted },
	{ "root", set_up_root, check_root, .flags = CASE_MORE },
	{ 0 },
};

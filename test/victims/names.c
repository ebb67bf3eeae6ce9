/* Open files that the kernel calls deleted, though their name leads to them. */
#include "victim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static int fd;

static void need_deleted(void)
{
	char link[40], text[4096] = "";

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	need(readlink(link, text, sizeof(text) - 1) > 0 && strstr(text, " (deleted)"));
}

static void set_up_back(void)
{
	spill(victim_path("name"), "content", 7);
	need((fd = open(victim_path("name"), O_RDWR)) >= 0 && lseek(fd, 2, SEEK_SET) == 2);
	need(link(victim_path("name"), victim_path("spare")) == 0 && unlink(victim_path("name")) == 0);
	need(link(victim_path("spare"), victim_path("name")) == 0 && unlink(victim_path("spare")) == 0);
	need_deleted();
}

static void check_back(void)
{
	char text[16] = "";
	struct stat st, is;

	expect(stat(victim_path("name"), &st) == 0 && fstat(fd, &is) == 0 && st.st_ino == is.st_ino && is.st_nlink == 1,
	       "another file");
	expect(read(fd, text, sizeof(text)) == 5 && strcmp(text, "ntent") == 0, "'%s'", text);
}

/* Whoever looks at a name of /proc/net, if only to see it, makes those who have it open look as if it were gone. */
static void set_up_net(void)
{
	char path[64], head[8];
	struct stat st;

	need((fd = open("/proc/self/net/dev", O_RDONLY)) >= 0 && read(fd, head, 5) == 5);
	snprintf(path, sizeof(path), "/proc/%d/net/dev", getpid());
	need(stat(path, &st) == 0);
	need_deleted();
}

static void check_net(void)
{
	char text[128] = "";

	expect(lseek(fd, 0, SEEK_CUR) == 5, "position is %lld", (long long)lseek(fd, 0, SEEK_CUR));
	expect(pread(fd, text, sizeof(text) - 1, 0) > 20 && strncmp(text, "Inter-", 6) == 0, "it reads '%s'", text);
}

const struct victim_case victim_cases[] = {
	{ "came-back", set_up_back, check_back, .flags = CASE_ALTERS },
	{ "proc-net", set_up_net, check_net, .flags = CASE_ALTERS | CASE_MORE },
	{ NULL },
};

/*
 * Files by other ways than that of their file system's root: bind mounts of a directory and of the file itself, read-only
 * ones, mounts stacked on each other. Whoever restores them has to go the same way: it decides what may be done.
 */
#include "victim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static int fd[8];
static char *area;

static void bind(const char *from, const char *to)
{
	if (mount(from, to, NULL, MS_BIND, NULL) < 0)
		victim_skip("bind mount: %s", strerror(errno));
}

static unsigned long flags_of(int f)
{
	struct statvfs s;

	need(fstatvfs(f, &s) == 0);
	return s.f_flag & (ST_RDONLY | ST_NOEXEC | ST_NOSUID);
}

/* --- one file, by the directory, by a bind mount of that, and by one of the file alone that is read-only */

static void set_up_ways(void)
{
	need(mkdir(victim_path("a"), 0755) == 0 && mkdir(victim_path("b"), 0755) == 0);
	spill(victim_path("a/file"), "one file", 8);
	spill(victim_path("alone"), "", 0);
	bind(victim_path("a"), victim_path("b"));
	bind(victim_path("a/file"), victim_path("alone"));
	need(mount(NULL, victim_path("alone"), NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOEXEC | MS_NOSUID, NULL) ==
	     0);
	need((fd[0] = open(victim_path("a/file"), O_RDWR)) >= 0 && (fd[1] = open(victim_path("b/file"), O_RDWR)) >= 0 &&
	     (fd[2] = open(victim_path("alone"), O_RDONLY)) >= 0 &&
	     (fd[3] = open(victim_path("b"), O_RDONLY | O_DIRECTORY)) >= 0);
	area = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd[2], 0);
	need(area != MAP_FAILED && lseek(fd[1], 4, SEEK_SET) == 4 && chdir(victim_path("b")) == 0);
	need(open(victim_path("alone"), O_RDWR) < 0 && errno == EROFS);
}

static void check_ways(void)
{
	char text[8] = "", path[32];

	expect(!flags_of(fd[0]) && !flags_of(fd[1]) && flags_of(fd[2]) == (ST_RDONLY | ST_NOEXEC | ST_NOSUID),
	       "flags are %lx %lx %lx", flags_of(fd[0]), flags_of(fd[1]), flags_of(fd[2]));
	expect(read(fd[1], text, 4) == 4 && strcmp(text, "file") == 0, "at its position: %s", text);
	expect(pwrite(fd[0], "ONE", 3, 0) == 3 && pread(fd[2], text, 3, 0) == 3 && memcmp(text, "ONE", 3) == 0,
	       "files differ");
	expect(mprotect(area, 4096, PROT_READ | PROT_EXEC) < 0, "what is not to be executed can be made so");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd[2]);
	expect(open(path, O_RDWR) < 0 && errno == EROFS, "the read-only way can be written through");
	expect(access("file", F_OK) == 0 && openat(fd[3], "file", O_RDONLY) >= 0, "the directory is not there");
	expect(umount2(victim_path("b"), MNT_DETACH) == 0 && umount2(victim_path("alone"), MNT_DETACH) == 0, "umount");
}

/* --- a file that was there before a mount over its directory, and one of the same name in what hides it */

static void set_up_stacked(void)
{
	need(mkdir(victim_path("s"), 0755) == 0);
	if (mount("lower", victim_path("s"), "tmpfs", 0, NULL) < 0)
		victim_skip("mount tmpfs: %s", strerror(errno));
	need(mount("upper", victim_path("s"), "tmpfs", 0, NULL) == 0);
	spill(victim_path("s/file"), "upper", 5);
	need((fd[0] = open(victim_path("s/file"), O_RDWR)) >= 0);
}

static void check_stacked(void)
{
	char text[8] = "";

	expect(read(fd[0], text, 5) == 5 && strcmp(text, "upper") == 0, "content is %s", text);
	close(fd[0]);
	expect(umount(victim_path("s")) == 0 && umount(victim_path("s")) == 0, "umount");
}

const struct victim_case victim_cases[] = {
	{ "ways", set_up_ways, check_ways, .flags = CASE_MUTATES },
	{ "stacked", set_up_stacked, check_stacked, .flags = CASE_MUTATES },
	{ 0 },
};

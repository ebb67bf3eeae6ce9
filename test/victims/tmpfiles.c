/* Files that were made without a name (O_TMPFILE): they can be given one later, by whichever description of them is left. */
#include "victim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEXT "without a name"
#define HOLE 65536

static int maker, other;

static int tmpfile_new(int flags)
{
	int fd = open(victim_path(""), O_TMPFILE | flags, 0640);

	if (fd < 0)
		victim_skip("O_TMPFILE: %s", strerror(errno));
	return fd;
}

static int again(int fd, int flags)
{
	char path[40];
	int r;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	r = open(path, flags);
	need(r >= 0);
	return r;
}

static void expect_name(int fd, const char *name)
{
	char path[40], buf[64] = "";

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	expect(linkat(AT_FDCWD, path, AT_FDCWD, victim_path(name), AT_SYMLINK_FOLLOW) == 0, "it cannot be given a name");
	expect(slurp(victim_path(name), buf, sizeof(buf)) == sizeof(TEXT) - 1 && strcmp(buf, TEXT) == 0, "content '%s'", buf);
	unlink(victim_path(name));
}

static void expect_same_file(int a, int b)
{
	struct stat sa, sb;

	expect(fstat(a, &sa) == 0 && fstat(b, &sb) == 0 && sa.st_ino == sb.st_ino && sa.st_dev == sb.st_dev, "two files");
	expect((sa.st_mode & 07777) == 0640, "mode is %o", sa.st_mode);
}

/* The description that made it comes last. */
static void set_up_behind(void)
{
	int fd = tmpfile_new(O_RDWR);

	need(write(fd, TEXT, sizeof(TEXT) - 1) == sizeof(TEXT) - 1);
	other = again(fd, O_RDONLY);
	maker = fcntl(fd, F_DUPFD, other + 1);
	need(maker > other && close(fd) == 0 && lseek(maker, 3, SEEK_SET) == 3);
}

static void check_behind(void)
{
	expect_same_file(maker, other);
	expect(fcntl(maker, F_GETFL) & O_TMPFILE & ~O_DIRECTORY, "flags are %o", fcntl(maker, F_GETFL));
	expect(lseek(maker, 0, SEEK_CUR) == 3 && lseek(other, 0, SEEK_CUR) == 0, "positions");
	expect_name(maker, "named");
}

static void set_up_reader(void)
{
	int fd = tmpfile_new(O_RDWR);

	need(write(fd, TEXT, sizeof(TEXT) - 1) == sizeof(TEXT) - 1);
	other = again(fd, O_RDONLY);
	close(fd);
}

static void check_reader(void)
{
	expect_name(other, "named");
}

/* It has got its name already. */
static void set_up_linked(void)
{
	char path[40];

	set_up_behind();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", maker);
	need(linkat(AT_FDCWD, path, AT_FDCWD, victim_path("linked"), AT_SYMLINK_FOLLOW) == 0);
}

static void check_linked(void)
{
	struct stat st, is;

	expect_same_file(maker, other);
	expect(stat(victim_path("linked"), &st) == 0 && fstat(maker, &is) == 0 && st.st_ino == is.st_ino, "another file");
	expect(pwrite(maker, "W", 1, 0) == 1, "the maker cannot write");
	expect(lseek(maker, 0, SEEK_CUR) == 3, "position");
	unlink(victim_path("linked"));
}

/* What is written to it goes to its end, wherever it is to go: that is not how it can be filled again. */
static void set_up_append(void)
{
	maker = tmpfile_new(O_WRONLY | O_APPEND);
	need(ftruncate(maker, HOLE) == 0 && write(maker, TEXT, sizeof(TEXT) - 1) == sizeof(TEXT) - 1);
}

static void check_append(void)
{
	char buf[64] = "";
	int fd = again(maker, O_RDONLY);
	struct stat st;

	expect(fstat(fd, &st) == 0 && st.st_size == HOLE + sizeof(TEXT) - 1, "%lld bytes", (long long)st.st_size);
	expect(pread(fd, buf, sizeof(buf), HOLE) == sizeof(TEXT) - 1 && strcmp(buf, TEXT) == 0, "content '%s'", buf);
	expect(write(maker, "!", 1) == 1 && pread(fd, buf, 2, HOLE + sizeof(TEXT) - 2) == 2 && buf[1] == '!', "appending");
	close(fd);
}

const struct victim_case victim_cases[] = {
	{ "behind", set_up_behind, check_behind },
	{ "reader", set_up_reader, check_reader },
	/* nobody can have O_TMPFILE among the flags of a file that has a name */
	{ "linked", set_up_linked, check_linked, .dump = "--link-remap", .flags = CASE_ALTERS | CASE_MUTATES },
	{ "append", set_up_append, check_append },
	{ NULL },
};

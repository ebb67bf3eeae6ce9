/* Names below a root directory that is not our own: nothing leads out of it. */
#include "files/tree-root.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char top[] = "/tmp/test-tree-root-XXXXXX";
static int root = -1;

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path);
}

static int make(int dir, const char *name)
{
	int fd = openat(dir, name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

	return fd < 0 ? -1 : close(fd);
}

/* A file, and one of the same name outside */
static int set_up(void **state)
{
	int dir;

	(void)state;
	if (!mkdtemp(top))
		return -1;
	dir = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (mkdirat(dir, "root", 0700) < 0 || mkdirat(dir, "root/sub", 0700) < 0 || make(dir, "file") < 0 ||
	    make(dir, "root/file") < 0 || symlinkat("/file", dir, "root/sub/absolute") < 0 ||
	    symlinkat("../../file", dir, "root/sub/up") < 0 || symlinkat("/missing", dir, "root/dangling") < 0)
		return -1;
	root = openat(dir, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
	close(dir);
	return root < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
	(void)state;
	close(root);
	return nftw(top, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void inside(void **state)
{
	static const char *const names[] = {
		"/file", "file", "/../file", "/sub/../../file", "/sub/absolute", "/sub/up"
	};
	struct stat want, got;

	(void)state;
	assert_int_equal(fstatat(root, "file", &want, 0), 0);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		int fd = open_below(root, names[i], O_PATH);

		if (fd < 0 || fstat(fd, &got) < 0 || got.st_ino != want.st_ino)
			fail_msg("%s: descriptor %d, inode %lu, not %lu", names[i], fd, (unsigned long)got.st_ino,
				 (unsigned long)want.st_ino);
		assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
		close(fd);
	}
	assert_int_equal(open_below(root, "/dangling", O_PATH), -ENOENT);
	assert_int_equal(open_below(root, top, O_PATH), -ENOENT);
}

static void looks(void **state)
{
	struct path_look at = path_look_at(root, "/sub/absolute");
	struct stat st;

	(void)state;
	assert_int_equal(fstatat(root, "sub/absolute", &st, AT_SYMLINK_NOFOLLOW), 0);
	assert_true(at.done && at.there && S_ISLNK(at.mode) && at.ino == st.st_ino && at.dev == st.st_dev);
	at = path_look_at(root, "/missing");
	assert_true(at.done && !at.there);
	at = path_look_at(-1, top);
	assert_int_equal(stat(top, &st), 0);
	assert_true(at.there && at.ino == st.st_ino && at.dev == st.st_dev && S_ISDIR(at.mode));
	at = path_look_at(-1, "/file-that-is-not-there");
	assert_true(at.done && !at.there);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(inside), cmocka_unit_test(looks) };

	return cmocka_run_group_tests(tests, set_up, tear_down);
}

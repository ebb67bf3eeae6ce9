/* Names by inode number: in the directories that are named, on their file system, within bounds. */
#include "files/irmap.h"

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

static char top[] = "/tmp/test-irmap-XXXXXX";

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path);
}

static int set_up(void **state)
{
	int dir, fd;

	(void)state;
	if (!mkdtemp(top))
		return -1;
	dir = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (mkdirat(dir, "a", 0700) < 0 || mkdirat(dir, "a/deep", 0700) < 0 || mkdirat(dir, "b", 0700) < 0)
		return -1;
	fd = openat(dir, "a/deep/file", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	close(fd);
	if (linkat(dir, "a/deep/file", dir, "b/link", 0) < 0 || symlinkat("../a", dir, "b/loop") < 0 ||
	    symlinkat("..", dir, "a/up") < 0)
		return -1;
	close(dir);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	return nftw(top, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void expect(const char *name, const char *const *dirs, size_t nr, const char *of, const char *want)
{
	char paths[4][64], got[4096], *items[4], full[128];
	rpc_criu_opts opts = { .irmap_scan_paths = { items, nr } };
	struct stat st;
	size_t len;

	snprintf(full, sizeof(full), "%s/%s", top, of);
	assert_int_equal(lstat(full, &st), 0);
	for (size_t i = 0; i < nr; i++) {
		bool whole = dirs[i][0] == '/' || dirs[i][0] == '.';

		snprintf(paths[i], sizeof(paths[i]), "%s%s%s", whole ? "" : top, whole ? "" : "/", dirs[i]);
		items[i] = paths[i];
	}
	len = irmap_find(-1, &opts, st.st_dev, st.st_ino, got, sizeof(got));
	if (!want) {
		if (len)
			fail_msg("%s: found %s", name, got);
		return;
	}
	snprintf(full, sizeof(full), "%s/%s", top, want);
	if (len != strlen(full) || strcmp(got, full) != 0)
		fail_msg("%s: %zu bytes, %s, not %s", name, len, len ? got : "", full);
}

static void names(void **state)
{
	const char *a[] = { "a" }, *b[] = { "b" }, *both[] = { "b", "a" }, *elsewhere[] = { "/proc/self" },
		   *relative[] = { "." };
	const char *missing[] = { "missing", "a" }, *open_there[] = { "/proc/self/cwd/deep" }, *slashes[] = { "a//" };
	char cwd[4096], *was = getcwd(cwd, sizeof(cwd));

	(void)state;
	expect("below", a, 1, "a/deep/file", "a/deep/file");
	expect("another name", b, 1, "a/deep/file", "b/link");
	expect("the first wins", both, 2, "a/deep/file", "b/link");
	expect("the directory itself", a, 1, "a", "a");
	expect("no links are followed", b, 1, "a/deep", NULL);
	expect("a link itself", b, 1, "b/loop", "b/loop");
	expect("another file system", elsewhere, 1, "a/deep/file", NULL);
	expect("relative", relative, 1, "a/deep/file", NULL);
	expect("a directory that is missing", missing, 2, "a/deep/file", "a/deep/file");
	expect("slashes at the end", slashes, 1, "a/deep/file", "a/deep/file");
	assert_non_null(was);
	assert_int_equal(chdir(top) < 0 ? -1 : chdir("a"), 0);
	expect("through what a process has open", open_there, 1, "a/deep/file", NULL);
	assert_int_equal(chdir(was), 0);
	expect("nothing named", a, 0, "a/deep/file", NULL);
}

static void bounds(void **state)
{
	char *items[] = { top }, small[8];
	rpc_criu_opts opts = { .irmap_scan_paths = { items, 1 } };
	struct stat st;

	(void)state;
	assert_int_equal(lstat(top, &st), 0);
	assert_int_equal(irmap_find(-1, &opts, st.st_dev, st.st_ino, small, sizeof(small)), 0);
	assert_int_equal(irmap_find(-1, &opts, st.st_dev + 1, st.st_ino, small, sizeof(small)), 0);
}

/* Names begin at the root that is given, and there are others outside. */
static void below_a_root(void **state)
{
	char name[] = "/deep", up[] = "/../b", *items[] = { up, name }, got[64];
	rpc_criu_opts opts = { .irmap_scan_paths = { items, 2 } };
	int dir = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC), root = openat(dir, "a", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct stat st;

	(void)state;
	assert_int_equal(fstatat(dir, "a/deep/file", &st, 0), 0);
	assert_int_equal(irmap_find(root, &opts, st.st_dev, st.st_ino, got, sizeof(got)), strlen("/deep/file"));
	assert_string_equal(got, "/deep/file");
	close(root);
	close(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(names), cmocka_unit_test(bounds),
					    cmocka_unit_test(below_a_root) };

	return cmocka_run_group_tests(tests, set_up, tear_down);
}

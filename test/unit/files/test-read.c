/* Images that criu 4.2 wrote: their files are read and checked as a whole. Then with bytes changed: refused or not, never a crash. */
#include "base/array.h"
#include "files/files.h"
#include "image/image-set.h"
#include "kernel/context.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define SAMPLES "test/data/images"

struct set {
	const char *name;
	struct files_owner owners[5];
	size_t nr;
	int r;
	int service; /* of the first */
};

static const struct set sets[] = {
	{ "simple", { { 8, 2 } }, 1, 0, 3 },
	{ "files", { { 126, 2 } }, 1, 0, 12 },
	{ "pipes", { { 153, 2 }, { 155, 3 } }, 2, 0, 7 },
	{ "tree", { { 92, 2 }, { 94, 3 }, { 96, 4 }, { 97, 5 } }, 4, 0, -1 },
	{ "memory", { { 262, 2 }, { 264, 3 } }, 2, 0, -1 },
	{ "anon-fds", { { 181, 2 } }, 1, 0, -1 },
	{ "unix", { { 208, 2 } }, 1, 0, -1 },
	{ "inet", { { 235, 2 } }, 1, -EINVAL, -1 }, /* a TCP connection needs its option */
	{ "simple", { { 9, 2 } }, 1, -ENOENT, -1 }, /* no such task */
};

static const rpc_criu_opts locks = { .has_file_locks = true, .file_locks = true };

static int read_set(int dirfd, const struct set *s, const rpc_criu_opts *rpc, struct cr_error *err)
{
	struct cr_options opts = { .rpc = rpc };
	struct cr_context ctx = { .opts = &opts };
	autofree_by(image_set_free) struct image_set *set = NULL;
	autofree_by(files_free) struct files *files = NULL;
	int r = image_set_open(dirfd, &set, err);

	if (r < 0)
		return r;
	r = files_read(&ctx, set, s->owners, s->nr, &files, err);
	if (r == 0 && s->service >= 0)
		assert_int_equal(files_service_fd(files, s->owners[0].ns_pid), s->service);
	return r;
}

static void test_samples(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(sets); i++) {
		char path[200];
		struct cr_error err = { 0 };
		int dirfd, r;

		snprintf(path, sizeof(path), SAMPLES "/%s", sets[i].name);
		dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		assert_true(dirfd >= 0);
		r = read_set(dirfd, &sets[i], &locks, &err);
		close(dirfd);
		if (r != sets[i].r)
			fail_msg("%s: %d %s", sets[i].name, r, err.text);
	}
}

static void test_locks_need_the_option(void **state)
{
	static const rpc_criu_opts none;
	struct cr_error err = { 0 };
	int dirfd = open(SAMPLES "/files", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	(void)state;
	assert_int_equal(read_set(dirfd, &sets[1], &none, &err), -EINVAL);
	assert_string_equal(err.hint, "--file-locks");
	close(dirfd);
}

/* --------------------------------------------------------------- changed bytes */

static size_t slurp(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, size);

	if (fd >= 0)
		close(fd);
	return n < 0 ? 0 : (size_t)n;
}

static void spill(int dirfd, const char *name, const char *buf, size_t len)
{
	int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, buf, len), len);
	close(fd);
}

static void change_one(const struct set *s, int tmp, const char *name, char *buf, size_t len)
{
	unsigned int seed = 7;

	for (int round = 0; round < 150; round++) {
		size_t at = (size_t)rand_r(&seed) % len;
		char old = buf[at];

		buf[at] = (char)rand_r(&seed);
		spill(tmp, name, buf, len);
		read_set(tmp, s, &locks, NULL);
		buf[at] = old;
	}
	for (size_t cut = 0; cut < len; cut += 1 + len / 40) {
		spill(tmp, name, buf, cut);
		read_set(tmp, s, &locks, NULL);
	}
	spill(tmp, name, buf, len);
}

static void copy_set(const char *from, int tmp)
{
	static char buf[1 << 16];
	DIR *d = opendir(from);

	assert_non_null(d);
	for (struct dirent *e; (e = readdir(d));) {
		char path[600];

		snprintf(path, sizeof(path), "%s/%s", from, e->d_name);
		if (e->d_name[0] != '.')
			spill(tmp, e->d_name, buf, slurp(path, buf, sizeof(buf)));
	}
	closedir(d);
}

static void remove_all(int tmp, const char *dir)
{
	DIR *d = fdopendir(dup(tmp));

	rewinddir(d);
	for (struct dirent *e; (e = readdir(d));)
		if (e->d_name[0] != '.')
			unlinkat(tmp, e->d_name, 0);
	closedir(d);
	rmdir(dir);
}

static void change_set(const struct set *from, const char *const *names)
{
	static char buf[1 << 16];
	struct set s = *from;
	char dir[] = "/tmp/test-read-XXXXXX", path[200];
	int tmp;

	s.service = -1;
	assert_non_null(mkdtemp(dir));
	tmp = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	snprintf(path, sizeof(path), SAMPLES "/%s", s.name);
	copy_set(path, tmp);
	for (; *names; names++) {
		snprintf(path, sizeof(path), SAMPLES "/%s/%s", s.name, *names);
		change_one(&s, tmp, *names, buf, slurp(path, buf, sizeof(buf)));
	}
	assert_int_equal(read_set(tmp, &s, &locks, NULL), from->r);
	remove_all(tmp, dir);
	close(tmp);
}

static void test_changed(void **state)
{
	(void)state;
	change_set(&sets[1], (const char *const[]){ "files.img", "fdinfo-2.img", "remap-fpath.img", "ghost-file-1.img",
						    "filelocks.img", "fs-126.img", NULL });
	change_set(&sets[2], (const char *const[]){ "pipes-data.img", "fifo-data.img", "files.img", NULL });
	change_set(&sets[4], (const char *const[]){ "memfd.img", "files.img", NULL });
	change_set(&sets[5], (const char *const[]){ "files.img", NULL });
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_samples),
		cmocka_unit_test(test_locks_need_the_option),
		cmocka_unit_test(test_changed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Image sets: when one exists, and what a set that is not finished leaves. */
#include "base/array.h"
#include "image/image-set.h"
#include "image/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define NR_IDS 300

int __real_close(int fd);
int __wrap_close(int fd);

static int close_code; /* with which files that may be written to are closed; 0: as usual */

int __wrap_close(int fd)
{
	int flags = close_code ? fcntl(fd, F_GETFL) : O_RDONLY;
	int r = __real_close(fd);

	if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY)
		return r;
	errno = close_code;
	return -1;
}

struct place {
	char path[40];
	int fd;
};

static struct place place_make(void)
{
	struct place p = { .path = "/tmp/test-image-set-XXXXXX" };

	assert_non_null(mkdtemp(p.path));
	p.fd = open(p.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(p.fd >= 0);
	return p;
}

/* Fails if anything is left. */
static void place_done(struct place *p)
{
	close(p->fd);
	assert_int_equal(rmdir(p->path), 0);
}

static bool there(const struct place *p, const char *name)
{
	return faccessat(p->fd, name, F_OK, 0) == 0;
}

/* A few kinds of images, one without framing, and enough of them for a directory to be read in pieces. */
static struct image_set *set_make(const struct place *p)
{
	img_task_kobj_ids_entry ids = { .files_id = 1 };
	img_seccomp_entry none = { 0 };
	struct cr_error err = { 0 };
	struct image_set *set;
	int fd;

	assert_int_equal(image_set_create(p->fd, &set, &err), 0);
	assert_int_equal(image_write_single(set, IMG_SECCOMP, 0, &none, &err), 0);
	for (uint64_t i = 1; i <= NR_IDS; i++)
		assert_int_equal(image_write_single(set, IMG_IDS, i, &ids, &err), 0);
	fd = image_open_raw(set, IMG_PAGES, 1, &err);
	assert_true(fd >= 0);
	close(fd);
	return set;
}

static int commit(struct image_set *set, struct cr_error *err)
{
	img_inventory_entry inv = { .img_version = 2 };

	return image_set_commit(set, &inv, err);
}

static void remove_set(const struct place *p)
{
	unlinkat(p->fd, "inventory.img", 0);
	unlinkat(p->fd, "seccomp.img", 0);
	unlinkat(p->fd, "pages-1.img", 0);
	for (int i = 1; i <= NR_IDS; i++) {
		char name[40];

		snprintf(name, sizeof(name), "ids-%d.img", i);
		unlinkat(p->fd, name, 0);
	}
}

static void test_whole(void **state)
{
	struct place p = place_make();
	struct cr_error err = { 0 };
	struct image_set *set = set_make(&p);

	(void)state;
	assert_false(there(&p, "inventory.img"));
	assert_int_equal(commit(set, &err), 0);
	assert_true(there(&p, "inventory.img"));
	assert_false(there(&p, "inventory.img.part"));
	image_set_free(set);
	assert_true(there(&p, "inventory.img"));
	remove_set(&p);
	place_done(&p);
}

static void test_given_up(void **state)
{
	struct place p = place_make();
	struct cr_error err = { 0 };
	struct image_set *set = set_make(&p);

	(void)state;
	assert_int_equal(commit(set, &err), 0);
	image_set_withdraw(set);
	image_set_free(set);
	place_done(&p);
}

/* Whichever is removed before the commit: there is no set, and no inventory that says otherwise. */
static void test_removed(void **state)
{
	static const char *const names[] = { "seccomp.img", "ids-1.img", "ids-137.img", "ids-300.img", "pages-1.img" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		struct place p = place_make();
		struct cr_error err = { 0 };
		struct image_set *set = set_make(&p);

		assert_int_equal(unlinkat(p.fd, names[i], 0), 0);
		if (commit(set, &err) != -ENOENT || !strstr(err.text, names[i]))
			fail_msg("%s was removed: %s", names[i], err.text);
		assert_false(there(&p, "inventory.img"));
		image_set_free(set);
		place_done(&p);
	}
}

/* A directory that may be entered but not listed; the superuser may list all. */
static void test_removed_unlisted(void **state)
{
	struct place p = place_make();
	struct cr_error err = { 0 };
	struct image_set *set = set_make(&p);

	(void)state;
	assert_int_equal(unlinkat(p.fd, "ids-7.img", 0), 0);
	assert_int_equal(fchmod(p.fd, 0300), 0);
	assert_int_equal(commit(set, &err), -ENOENT);
	assert_non_null(strstr(err.text, "ids-7.img"));
	image_set_free(set);
	place_done(&p);
}

static void test_directory_removed(void **state)
{
	struct place p = place_make();
	struct cr_error err = { 0 };
	struct image_set *set = set_make(&p);

	(void)state;
	remove_set(&p);
	assert_int_equal(rmdir(p.path), 0);
	assert_int_equal(commit(set, &err), -ENOENT);
	image_set_free(set);
	close(p.fd);
}

/* Where the set before is, names say: a process that has it open is no name, and a link that leads nowhere is none. */
/* What an older set has left, and this one does not have. */
static void test_clear(void **state)
{
	struct place p = place_make();
	struct cr_error err = { 0 };
	struct image_set *set = NULL;

	(void)state;
	close(openat(p.fd, "pagemap-shmem-7.img", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	close(openat(p.fd, "pagemap-7.img", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	assert_int_equal(image_set_create(p.fd, &set, &err), 0);
	assert_int_equal(image_set_clear(set, IMG_PAGEMAP_SHMEM, 7, &err), 0);
	assert_false(there(&p, "pagemap-shmem-7.img"));
	assert_true(there(&p, "pagemap-7.img"));
	assert_int_equal(image_set_clear(set, IMG_PAGEMAP_SHMEM, 7, &err), 0);
	image_set_free(set);
	assert_int_equal(unlinkat(p.fd, "pagemap-7.img", 0), 0);
	assert_int_equal(mkdirat(p.fd, "pagemap-7.img", 0700), 0);
	assert_int_equal(image_set_create(p.fd, &set, &err), 0);
	assert_int_equal(image_set_clear(set, IMG_PAGEMAP, 7, &err), -EISDIR);
	assert_non_null(strstr(err.text, "pagemap-7.img"));
	image_set_free(set);
	assert_int_equal(unlinkat(p.fd, "pagemap-7.img", AT_REMOVEDIR), 0);
	place_done(&p);
}

static void test_previous(void **state)
{
	static const struct {
		const char *name, *link, *path;
		int r;
	} cases[] = {
		{ "by path", NULL, "before", 0 },
		{ "by link", "before", "missing", 0 },
		{ "a link of names", "again", "missing", 0 },
		{ "nothing there", NULL, "missing", -ENOENT },
		{ "a link that leads nowhere", "missing", "before", -ENOENT },
		{ "what a process has open", NULL, "/proc/self/cwd/before", -ELOOP },
		{ "a link to that", "/proc/self/cwd/before", "before", -ELOOP },
		{ "the directory itself", NULL, ".", -EINVAL },
		{ "one that needs it", NULL, "needs", -EINVAL },
		{ "one that needs one that needs it", NULL, "far", -EINVAL },
		{ "one whose own chain is broken", NULL, "broken", 0 },
		{ "one whose chain bites its tail", NULL, "bites", 0 },
	};
	/* directories, and what their links say */
	static const char *const others[][2] = {
		{ "needs", ".." }, { "far", "../needs" }, { "broken", "../missing" }, { "bites", "../bites" },
	};
	struct place p = place_make();
	char cwd[4096];

	(void)state;
	assert_non_null(getcwd(cwd, sizeof(cwd)));
	assert_int_equal(chdir(p.path), 0);
	assert_int_equal(mkdirat(p.fd, "before", 0700), 0);
	assert_int_equal(symlinkat("before", p.fd, "again"), 0);
	for (size_t i = 0; i < ARRAY_LEN(others); i++) {
		char name[40];

		assert_int_equal(mkdirat(p.fd, others[i][0], 0700), 0);
		snprintf(name, sizeof(name), "%s/" IMAGE_PARENT_LINK, others[i][0]);
		assert_int_equal(symlinkat(others[i][1], p.fd, name), 0);
	}
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct image_set *before = NULL;
		struct cr_error err = { 0 };
		int r;

		if (cases[i].link)
			assert_int_equal(symlinkat(cases[i].link, p.fd, IMAGE_PARENT_LINK), 0);
		r = image_set_open_previous(p.fd, cases[i].path, &before, &err);
		if (r != cases[i].r)
			fail_msg("%s: %d, not %d", cases[i].name, r, cases[i].r);
		assert_true((r < 0) == (err.text[0] != '\0'));
		image_set_free(before);
		if (cases[i].link)
			assert_int_equal(unlinkat(p.fd, IMAGE_PARENT_LINK, 0), 0);
	}
	for (size_t i = 0; i < ARRAY_LEN(others); i++) {
		char name[40];

		snprintf(name, sizeof(name), "%s/" IMAGE_PARENT_LINK, others[i][0]);
		assert_int_equal(unlinkat(p.fd, name, 0), 0);
		assert_int_equal(unlinkat(p.fd, others[i][0], AT_REMOVEDIR), 0);
	}
	assert_int_equal(unlinkat(p.fd, "before", AT_REMOVEDIR), 0);
	assert_int_equal(unlinkat(p.fd, "again", 0), 0);
	assert_int_equal(chdir(cwd), 0);
	place_done(&p);
}

/* Under the name of an image there is a pipe, which would take what nobody gets out of it: no dump. */
static void test_no_files(void **state)
{
	static const char *const names[] = { "ids-1.img", "pages-1.img", "inventory.img.part" };

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		img_task_kobj_ids_entry ids = { .files_id = 1 };
		struct place p = place_make();
		struct cr_error err = { 0 };
		struct image_set *set;
		int r, fd;

		assert_int_equal(mkfifoat(p.fd, names[i], 0600), 0);
		assert_int_equal(image_set_create(p.fd, &set, &err), 0);
		r = image_write_single(set, IMG_IDS, 1, &ids, &err);
		fd = r == 0 ? image_open_raw(set, IMG_PAGES, 1, &err) : r;
		if (fd >= 0)
			close(fd);
		r = fd >= 0 ? commit(set, &err) : fd;
		assert_int_equal(r, -EEXIST);
		assert_non_null(strstr(err.text, "is not a regular file"));
		image_set_free(set);
		unlinkat(p.fd, names[i], 0);
		place_done(&p);
	}
}

/* What a file system may say at the end alone; interrupted is closed, too. */
static void test_close_fails(void **state)
{
	static const struct {
		int code, r;
	} cases[] = { { EDQUOT, -EDQUOT }, { ENOSPC, -ENOSPC }, { EIO, -EIO }, { EINTR, 0 } };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		img_task_kobj_ids_entry ids = { .files_id = 1 };
		struct place p = place_make();
		struct cr_error err = { 0 };
		struct image_set *set = set_make(&p);
		int fd = image_open_raw(set, IMG_PAGES, 1, &err);

		close_code = cases[i].code;
		assert_int_equal(image_set_close(set, fd), cases[i].r);
		assert_int_equal(fcntl(fd, F_GETFD), -1);
		assert_int_equal(image_write_single(set, IMG_IDS, 1, &ids, &err), cases[i].r);
		assert_int_equal(commit(set, &err), cases[i].r);
		close_code = 0;
		assert_int_equal(there(&p, "inventory.img"), cases[i].r == 0);
		image_set_free(set);
		remove_set(&p);
		place_done(&p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_files),         cmocka_unit_test(test_whole),
		cmocka_unit_test(test_given_up),         cmocka_unit_test(test_removed),
		cmocka_unit_test(test_removed_unlisted), cmocka_unit_test(test_directory_removed),
		cmocka_unit_test(test_previous),         cmocka_unit_test(test_close_fails),
		cmocka_unit_test(test_clear),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

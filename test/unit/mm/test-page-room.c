/* Room made ahead for a file of pages: it is there before it is written to, holes stay holes, and nothing has to work. */
#include "mm/mm-internal.h"
#include "mm/page-room.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <cmocka.h>

#define MIB ((uint64_t)1 << 20)

struct file {
	int fd;
	struct page_room room;
};

/* Skips where files for a while are not on ext4. */
static void make(struct file *f, uint64_t size)
{
	char path[] = "/tmp/test-page-room.XXXXXX";
	struct statfs fs;

	f->fd = mkostemp(path, O_CLOEXEC);
	assert_true(f->fd >= 0);
	unlink(path);
	assert_int_equal(ftruncate(f->fd, (off_t)size), 0);
	assert_int_equal(fstatfs(f->fd, &fs), 0);
	if (fs.f_type != EXT4_SUPER_MAGIC)
		skip();
	page_room_begin(&f->room, f->fd, size);
}

static uint64_t taken(const struct file *f)
{
	struct stat st;

	assert_int_equal(fstat(f->fd, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

/* Blocks of the file that describe it are counted as well. */
static void assert_takes(const struct file *f, uint64_t bytes)
{
	assert_in_range(taken(f), bytes, bytes + 64 * MM_PAGE);
}

static void test_ahead(void **state)
{
	struct file f;

	(void)state;
	make(&f, 100 * MIB);
	assert_takes(&f, 0);
	page_room_make(&f.room, MM_PAGE);
	assert_takes(&f, 64 * MIB);
	page_room_make(&f.room, 64 * MIB);
	assert_takes(&f, 64 * MIB);
	page_room_make(&f.room, 64 * MIB + 1);
	assert_takes(&f, 100 * MIB);
	close(f.fd);
}

/* One step may be longer than what is made at a time. */
static void test_far(void **state)
{
	struct file f;

	(void)state;
	make(&f, 300 * MIB);
	page_room_make(&f.room, 130 * MIB);
	assert_takes(&f, 192 * MIB);
	close(f.fd);
}

static void test_few_holes(void **state)
{
	struct file f;

	(void)state;
	make(&f, 8 * MIB);
	page_room_make(&f.room, MIB);
	page_room_leave(&f.room, 0, MM_PAGE, MIB);
	page_room_leave(&f.room, 7 * MM_PAGE, 2 * MM_PAGE, MIB);
	assert_takes(&f, 8 * MIB - 3 * MM_PAGE);
	/* what nobody has made room for is left alone */
	page_room_leave(&f.room, 8 * MIB, MIB, 8 * MIB);
	assert_takes(&f, 8 * MIB - 3 * MM_PAGE);
	close(f.fd);
}

/* The rest is given back, and there is none for as long; then twice as long. */
static void test_many_holes(void **state)
{
	struct file f;
	uint64_t at = 0;

	(void)state;
	make(&f, 1000 * MIB);
	page_room_make(&f.room, MIB);
	for (; at < MIB; at += 2 * MM_PAGE)
		page_room_leave(&f.room, at, MM_PAGE, MIB);
	assert_takes(&f, MIB / 2);
	page_room_make(&f.room, 65 * MIB);
	assert_takes(&f, MIB / 2);
	page_room_make(&f.room, 65 * MIB + 1);
	assert_takes(&f, MIB / 2 + 64 * MIB);
	for (at = 65 * MIB; at < 66 * MIB; at += 2 * MM_PAGE)
		page_room_leave(&f.room, at, MM_PAGE, 66 * MIB);
	assert_takes(&f, MIB);
	page_room_make(&f.room, 194 * MIB);
	assert_takes(&f, MIB);
	page_room_make(&f.room, 195 * MIB);
	assert_takes(&f, 65 * MIB);
	close(f.fd);
}

static void test_not_worth_it(void **state)
{
	struct page_room none = { 0 }, memory;
	struct file f;
	int fd = memfd_create("pages", MFD_CLOEXEC);
	struct stat st;

	(void)state;
	make(&f, 3 * MIB);
	page_room_make(&f.room, 3 * MIB);
	assert_takes(&f, 0);
	close(f.fd);

	page_room_make(&none, MIB);
	page_room_leave(&none, 0, MIB, MIB);

	assert_int_equal(ftruncate(fd, (off_t)(16 * MIB)), 0);
	page_room_begin(&memory, fd, 16 * MIB);
	page_room_make(&memory, 16 * MIB);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_blocks, 0);
	close(fd);
}

/* Where it fails once it is not tried again. */
static void test_failure(void **state)
{
	struct file f;
	char path[64];
	int fd;

	(void)state;
	make(&f, 100 * MIB);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", f.fd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	f.room.fd = fd;
	page_room_make(&f.room, MIB);
	f.room.fd = f.fd;
	page_room_make(&f.room, 2 * MIB);
	page_room_make(&f.room, 99 * MIB);
	assert_takes(&f, 0);
	close(fd);
	close(f.fd);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ahead),	   cmocka_unit_test(test_far),		cmocka_unit_test(test_few_holes),
		cmocka_unit_test(test_many_holes), cmocka_unit_test(test_not_worth_it), cmocka_unit_test(test_failure),
	};

	return cmocka_run_group_tests_name("page-room", tests, NULL, NULL);
}

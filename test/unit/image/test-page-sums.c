/* Checksums of pages: the sum itself, and the file that they are in, whatever it has come to. */
#include "image/page-sums.h"

#include "base/array.h"
#include "base/io.h"
#include "page-sum.h"

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

#define ROUND "3b5b6a60-8c4c-4d45-9d0a-2b6f1d1e8a11"
#define HEAD  96
#define ENTRY 16

/* One bit at a time, as the definition has it. */
static uint32_t crc_by_bits(const uint8_t *p, size_t len)
{
	uint32_t crc = UINT32_MAX;

	for (size_t i = 0; i < len; i++) {
		crc ^= p[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
	}
	return ~crc;
}

static uint32_t sum_by_definition(const uint8_t *page)
{
	uint8_t lane[512], values[32];

	for (size_t k = 0; k < 8; k++) {
		uint32_t crc;

		for (size_t i = 0; i < 64; i++)
			memcpy(lane + i * 8, page + i * 64 + k * 8, 8);
		crc = crc_by_bits(lane, sizeof(lane));
		for (int i = 0; i < 4; i++)
			values[k * 4 + (size_t)i] = (uint8_t)(crc >> (8 * i));
	}
	return crc_by_bits(values, sizeof(values));
}

static void test_sum(void **state)
{
	static uint8_t page[PAGE_SUM_PAGE] __attribute__((aligned(8)));
	uint64_t x = 88172645463325252u;

	(void)state;
	assert_int_equal(crc32c("123456789", 9), 0xe3069283);
	for (int round = 0; round < 20; round++) {
		uint32_t sum = sum_by_definition(page);

		assert_int_equal(page_sum_plain(page), sum);
		if (crc32c_in_hardware())
			assert_int_equal(page_sum_hardware(page), sum);
		/* every bit counts */
		page[(size_t)round * 211] ^= (uint8_t)(1 << round % 8);
		assert_int_not_equal(page_sum(page, crc32c_in_hardware()), sum);
		for (size_t i = 0; i < sizeof(page); i++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			page[i] = (uint8_t)x;
		}
	}
}

struct place {
	char path[40];
	int fd;
};

static void place_make(struct place *p)
{
	snprintf(p->path, sizeof(p->path), "/tmp/test-page-sums-XXXXXX");
	assert_non_null(mkdtemp(p->path));
	p->fd = open(p->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(p->fd >= 0);
}

static void place_done(struct place *p)
{
	unlinkat(p->fd, "pages.sum", 0);
	unlinkat(p->fd, "inventory.img", 0);
	close(p->fd);
	assert_int_equal(rmdir(p->path), 0);
}

/* A set with sums of three pages files, the second of which is empty. */
static void make_set(const struct place *p, const char *round, const char *inventory_round)
{
	struct sums_of files[] = { { 1, 3, 0 }, { 2, 0, 0 }, { 70000, 2, 0 } };
	uint32_t sums[] = { 11, 12, 13, 21, 22 };
	img_inventory_entry inv = { .img_version = 2, .dump_criu_run_id = (char *)(uintptr_t)inventory_round };
	struct cr_error err = { 0 };
	struct image_set *set;
	int fd;

	assert_int_equal(image_set_create(p->fd, &set, &err), 0);
	fd = page_sums_create(set, round, files, ARRAY_LEN(files), &err);
	assert_true(fd >= 0);
	assert_int_equal(files[0].at, HEAD + 3 * ENTRY);
	assert_int_equal(files[2].at, files[0].at + 12);
	assert_int_equal(fd_pwrite_all(fd, sums, sizeof(sums), (off_t)files[0].at), 0);
	close(fd);
	assert_int_equal(image_set_commit(set, &inv, &err), 0);
	image_set_free(set);
}

static int open_sums(const struct place *p, bool ignore, struct image_set **ret_set, const struct page_sums **ret,
		     struct cr_error *err)
{
	*ret = NULL;
	memset(err, 0, sizeof(*err));
	assert_int_equal(image_set_open(p->fd, ret_set, err), 0);
	if (ignore)
		image_set_ignore_sums(*ret_set);
	return image_set_sums(*ret_set, ret, err);
}

static void test_file(void **state)
{
	struct place p;
	struct image_set *set;
	const struct page_sums *sums;
	struct cr_error err;
	uint32_t sum;

	(void)state;
	place_make(&p);
	make_set(&p, ROUND, ROUND);
	assert_int_equal(open_sums(&p, false, &set, &sums, &err), 0);
	assert_int_equal(page_sums_find(sums, 1)->nr_pages, 3);
	assert_int_equal(page_sums_find(sums, 2)->nr_pages, 0);
	assert_int_equal(page_sums_find(sums, 70000)->nr_pages, 2);
	assert_null(page_sums_find(sums, 3));
	assert_int_equal(pread(sums->fd, &sum, 4, (off_t)page_sums_find(sums, 70000)->at), 4);
	assert_int_equal(sum, 21);
	image_set_free(set);

	assert_int_equal(open_sums(&p, true, &set, &sums, &err), PAGE_SUMS_NONE);
	assert_null(sums);
	image_set_free(set);

	/* a dump without sums into the same directory */
	assert_int_equal(image_set_create(p.fd, &set, &err), 0);
	assert_int_equal(faccessat(p.fd, "pages.sum", F_OK, 0), -1);
	image_set_free(set);
	place_done(&p);
}

static void test_of_another_dump(void **state)
{
	static const char *const others[] = { NULL, "", "3b5b6a60-8c4c-4d45-9d0a-2b6f1d1e8a12" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(others); i++) {
		struct place p;
		struct image_set *set;
		const struct page_sums *sums;
		struct cr_error err;

		place_make(&p);
		make_set(&p, ROUND, others[i]);
		assert_int_equal(open_sums(&p, false, &set, &sums, &err), PAGE_SUMS_FOREIGN);
		assert_null(sums);
		image_set_free(set);
		place_done(&p);
	}
}

/* A set that is not committed leaves no sums either. */
static void test_given_up(void **state)
{
	struct sums_of files[] = { { 1, 3, 0 } };
	struct cr_error err = { 0 };
	struct image_set *set;
	struct place p;
	int fd;

	(void)state;
	place_make(&p);
	assert_int_equal(image_set_create(p.fd, &set, &err), 0);
	fd = page_sums_create(set, ROUND, files, 1, &err);
	assert_true(fd >= 0);
	close(fd);
	image_set_free(set);
	close(p.fd);
	assert_int_equal(rmdir(p.path), 0);
}

static size_t read_file(const struct place *p, char *buf, size_t size)
{
	autofd int fd = openat(p->fd, "pages.sum", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd_read_all(fd, buf, size);

	assert_true(n > 0 && n < (ssize_t)size);
	return (size_t)n;
}

static void must_be_damaged(const struct place *p, const char *bytes, size_t len, const char *how, size_t at)
{
	autofd int fd = openat(p->fd, "pages.sum", O_WRONLY | O_TRUNC | O_CLOEXEC);
	const struct page_sums *sums;
	struct image_set *set;
	struct cr_error err;
	int r;

	assert_int_equal(fd_write_all(fd, bytes, len), 0);
	r = open_sums(p, false, &set, &sums, &err);
	if ((r != -EBADMSG && r != -EOPNOTSUPP) || !strstr(err.text, "pages.sum") || !strstr(err.hint, "--no-checksums"))
		fail_msg("%s at %zu: %d %s (%s)", how, at, r, err.text, err.hint);
	image_set_free(set);
}

static void test_damaged(void **state)
{
	char good[512], bad[513];
	struct place p;
	size_t len;

	(void)state;
	place_make(&p);
	make_set(&p, ROUND, ROUND);
	len = read_file(&p, good, sizeof(good));
	assert_int_equal(len, HEAD + 3 * ENTRY + 20);
	for (size_t at = 0; at < HEAD + 3 * ENTRY; at++)
		for (int bit = 0; bit < 8; bit++) {
			memcpy(bad, good, len);
			bad[at] = (char)(bad[at] ^ 1 << bit);
			must_be_damaged(&p, bad, len, "a bit is flipped", at);
		}
	for (size_t at = 0; at < len; at++)
		must_be_damaged(&p, good, at, "cut", at);
	memcpy(bad, good, len);
	bad[len] = 0;
	must_be_damaged(&p, bad, len + 1, "longer", len + 1);
	place_done(&p);
}

static void put32(char *p, uint32_t v)
{
	memcpy(p, &v, sizeof(v));
}

/* Heads that lie with a checksum that is right. */
static void test_lies(void **state)
{
	static const struct {
		const char *what;
		size_t at;
		uint32_t value;
	} cases[] = {
		{ "number of files", 16, 4 },
		{ "number of files, enormous", 16, UINT32_MAX },
		{ "number of files, fewer", 16, 2 },
		{ "files out of order", HEAD, 3 },
		{ "a file twice", HEAD, 2 },
		{ "reserved", HEAD + 4, 1 },
		{ "more pages", HEAD + 8, 4 },
		{ "pages, enormous", HEAD + 12, UINT32_MAX },
		{ "fewer pages", HEAD + 8, 2 },
		{ "id without an end", 32, 0 },
	};
	char good[512];
	struct place p;
	size_t len;

	(void)state;
	place_make(&p);
	make_set(&p, ROUND, ROUND);
	len = read_file(&p, good, sizeof(good));
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char bad[512];
		uint32_t nr;

		memcpy(bad, good, len);
		put32(bad + cases[i].at, cases[i].value);
		if (cases[i].at == 32)
			memset(bad + 32, 'x', 64);
		put32(bad + 20, 0);
		memcpy(&nr, bad + 16, sizeof(nr));
		put32(bad + 20, crc32c(bad, HEAD + (nr < 4 ? nr : 4) * ENTRY));
		must_be_damaged(&p, bad, len, cases[i].what, cases[i].at);
	}
	place_done(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sum),	      cmocka_unit_test(test_file),    cmocka_unit_test(test_of_another_dump),
		cmocka_unit_test(test_given_up), cmocka_unit_test(test_damaged), cmocka_unit_test(test_lies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

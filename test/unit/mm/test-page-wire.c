/* Records of the protocol of page servers. */
#include "mm/page-wire.h"
#include "base/array.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

/* Byte for byte: what is on the wire is not ours to change. */
static void test_bytes(void **state)
{
	static const uint8_t want[PAGE_WIRE_SIZE] = {
		0x06, 0x00, 0x06, 0x00, 0, 0, 0, 0, 0x02, 0x01, 0, 0, 0, 0, 0, 0,
		0x00, 0x30, 0x20, 0x10, 0x7f, 0, 0, 0, 0x01, 0xd2, 0x04, 0, 0, 0, 0, 0,
	};
	struct page_wire w = {
		.cmd = PAGE_WIRE_ADD_F,
		.flags = 6,
		.nr_pages = 0x102,
		.vaddr = 0x7f10203000,
		.dst_id = page_wire_id(IMG_PAGEMAP, 1234),
	};
	struct page_wire back;
	uint8_t got[PAGE_WIRE_SIZE];

	(void)state;
	page_wire_encode(&w, got);
	assert_memory_equal(got, want, sizeof(want));
	assert_int_equal(page_wire_decode(got, &back, NULL), 0);
	assert_memory_equal(&back, &w, sizeof(w));
}

static void test_commands(void **state)
{
	static const struct {
		uint32_t cmd, flags;
		int want;
	} cases[] = {
		{ 0, 0, -EPROTO },      { PAGE_WIRE_ADD, 0, 0 },        { PAGE_WIRE_ADD, 4, -EPROTO },
		{ PAGE_WIRE_HOLE, 0, 0 }, { PAGE_WIRE_OPEN, 0, 0 },     { PAGE_WIRE_OPEN2, 0, 0 },
		{ PAGE_WIRE_PARENT, 0, 0 }, { PAGE_WIRE_ADD_F, 0, -EPROTO }, { PAGE_WIRE_ADD_F, 1, 0 },
		{ PAGE_WIRE_ADD_F, 2, 0 }, { PAGE_WIRE_ADD_F, 3, 0 },   { PAGE_WIRE_ADD_F, 5, -EPROTO },
		{ PAGE_WIRE_ADD_F, 6, 0 }, { PAGE_WIRE_ADD_F, 8, -EPROTO }, { PAGE_WIRE_GET, 0, 0 },
		{ 8, 0, -EPROTO },      { 0x1022, 0, -EPROTO },         { PAGE_WIRE_CLOSE, 0, 0 },
		{ PAGE_WIRE_FORCE_CLOSE, 0, 0 }, { PAGE_WIRE_CLOSE, 1, -EPROTO }, { 0x1025, 0, -EPROTO },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct page_wire w = { .cmd = cases[i].cmd, .flags = cases[i].flags }, back;
		struct cr_error err = { 0 };
		uint8_t rec[PAGE_WIRE_SIZE];
		int r;

		page_wire_encode(&w, rec);
		r = page_wire_decode(rec, &back, &err);
		if (r != cases[i].want)
			fail_msg("command %x flags %x: %d", cases[i].cmd, cases[i].flags, r);
		assert_int_equal(err.code, r);
	}
}

/* A record of 24 bytes has its number of pages where ours have nothing. */
static void test_old_peer(void **state)
{
	struct page_wire w = { .cmd = PAGE_WIRE_ADD_F, .flags = 4, .nr_pages = 1 };
	struct cr_error err = { 0 };
	uint8_t rec[PAGE_WIRE_SIZE];

	(void)state;
	page_wire_encode(&w, rec);
	rec[4] = 1;
	assert_int_equal(page_wire_decode(rec, &w, &err), -EPROTO);
	assert_non_null(strstr(err.hint, "4.1"));
}

static void test_ranges(void **state)
{
	static const struct {
		uint64_t vaddr, nr;
		int want;
	} cases[] = {
		{ 0, 1, 0 },
		{ 0x1000, 0, -EPROTO },
		{ 0x1001, 1, -EPROTO },
		{ (UINT64_C(1) << 57) - 0x1000, 1, 0 },
		{ (UINT64_C(1) << 57) - 0x1000, 2, -EPROTO },
		{ UINT64_C(1) << 57, 1, -EPROTO },
		{ UINT64_MAX - 0xfff, 1, -EPROTO },
		{ 0x1000, UINT64_MAX, -EPROTO },
		{ 0x1000, UINT64_C(1) << 52, -EPROTO }, /* bytes overflow */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct page_wire w = { .nr_pages = cases[i].nr, .vaddr = cases[i].vaddr };

		if (page_wire_check_range(&w, NULL) != cases[i].want)
			fail_msg("%lu pages at %lx", (unsigned long)w.nr_pages, (unsigned long)w.vaddr);
	}
}

static void test_ids(void **state)
{
	static const struct {
		uint64_t dst;
		int type; /* -1: none */
		uint64_t id;
	} cases[] = {
		{ 0x4d201, IMG_PAGEMAP, 1234 },   { 0x4d20a, IMG_PAGEMAP, 1234 },  { 0x111, IMG_PAGEMAP, 1 },
		{ 0x002, IMG_PAGEMAP_SHMEM, 0 },  { 0x72b, -1, 0 },                { 0x71b, IMG_PAGEMAP_SHMEM, 7 },
		{ 0x722, IMG_PAGEMAP_SHMEM, 7 },  { 0x7ffffffff02, -1, 0 },        { 0xffffffff02, IMG_PAGEMAP_SHMEM, UINT32_MAX },
		{ 0x001, -1, 0 },                 { 0x7fffffff01, IMG_PAGEMAP, INT32_MAX }, { 0x8000000001, -1, 0 },
		{ 0x100, -1, 0 },                 { UINT64_MAX, -1, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		enum img_type type = IMG_TYPE_NR;
		uint64_t id = 0;
		int r = page_wire_of(cases[i].dst, &type, &id, NULL);

		if (cases[i].type < 0 ? r != -EPROTO : r != 0 || (int)type != cases[i].type || id != cases[i].id)
			fail_msg("id %lx: %d, type %d, id %lu", (unsigned long)cases[i].dst, r, (int)type, (unsigned long)id);
	}
	assert_int_equal(page_wire_id(IMG_PAGEMAP_SHMEM, 7), 0x702);
}

/* The id of a dump, there and back. */
static void test_rounds(void **state)
{
	static const char text[] = "01234567-89ab-4cde-8f01-fedcba987654";
	uint8_t round[PAGE_ROUND_SIZE];
	char again[PAGE_ROUND_TEXT];

	(void)state;
	page_round_parse(text, round);
	assert_true(page_round_is_set(round));
	page_round_text(round, again);
	assert_string_equal(again, text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bytes),  cmocka_unit_test(test_commands), cmocka_unit_test(test_old_peer),
		cmocka_unit_test(test_ranges), cmocka_unit_test(test_ids),      cmocka_unit_test(test_rounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

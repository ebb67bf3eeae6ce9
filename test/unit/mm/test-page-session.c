/* What a page server makes of what it hears; the store is a list of notes here. */
#include "mm/mm-internal.h"
#include "mm/page-session.h"

#include "base/array.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

struct notes {
	char text[1000];
	int parent; /* what is answered */
	int fails;  /* code of the next call */
};

static void note(struct notes *n, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void note(struct notes *n, const char *fmt, ...)
{
	size_t at = strlen(n->text);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(n->text + at, sizeof(n->text) - at, fmt, ap);
	va_end(ap);
}

static int parent(void *arg, enum img_type type, uint64_t id, const uint8_t *round, struct cr_error *err)
{
	struct notes *n = arg;

	(void)err;
	note(n, "parent %s%" PRIu64 " round %02x%02x;", type == IMG_PAGEMAP ? "" : "s", id, round[0], round[15]);
	return n->parent;
}

static int begin(void *arg, enum img_type type, uint64_t id, const uint8_t *round, struct cr_error *err)
{
	struct notes *n = arg;

	note(n, "open %s%" PRIu64 " round %02x%02x;", type == IMG_PAGEMAP ? "" : "s", id, round[0], round[15]);
	return n->fails ? cr_fail(err, n->fails, "told to") : 0;
}

static int add(void *arg, uint64_t start, uint64_t end, uint32_t flags, struct cr_error *err)
{
	(void)err;
	note(arg, "%" PRIx64 "-%" PRIx64 " %x;", start, end, flags);
	return 0;
}

static int finish(void *arg, struct cr_error *err)
{
	struct notes *n = arg;

	note(n, "finish;");
	return n->fails ? cr_fail(err, n->fails, "told to") : 0;
}

static const struct page_store_ops ops = { .parent = parent, .open = begin, .add = add, .finish = finish };

static int take(struct page_session *s, const struct page_wire *w, struct page_answer *a, uint64_t *content,
		struct cr_error *err)
{
	uint8_t rec[PAGE_WIRE_SIZE];

	page_wire_encode(w, rec);
	return page_session_take(s, rec, a, content, err);
}

static void test_whole(void **state)
{
	const uint64_t seven = page_wire_id(IMG_PAGEMAP, 7), nine = page_wire_id(IMG_PAGEMAP_SHMEM, 9);
	const struct {
		struct page_wire w;
		uint64_t content;
		size_t answer;
		uint8_t first;
	} steps[] = {
		{ { .cmd = PAGE_WIRE_PARENT, .dst_id = seven }, 0, 4, 1 },
		{ { .cmd = PAGE_WIRE_OPEN2, .dst_id = seven }, 0, 1, 1 },
		{ { .cmd = PAGE_WIRE_ADD_F, .flags = 6, .nr_pages = 3, .vaddr = 0x1000 }, 0x3000, 0, 0 },
		{ { .cmd = PAGE_WIRE_HOLE, .nr_pages = 1, .vaddr = 0x4000 }, 0, 0, 0 },
		{ { .cmd = PAGE_WIRE_ADD_F, .flags = 1, .nr_pages = 1, .vaddr = 0x5000 }, 0, 0, 0 },
		{ { .cmd = PAGE_WIRE_ADD, .nr_pages = 1, .vaddr = 0x8000 }, 0x1000, 0, 0 },
		{ { .cmd = PAGE_WIRE_OPEN, .dst_id = nine }, 0, 0, 0 },
		{ { .cmd = PAGE_WIRE_ADD, .nr_pages = 1, .vaddr = 0 }, 0x1000, 0, 0 },
		{ { .cmd = PAGE_WIRE_CLOSE }, 0, 4, 0 },
	};
	struct notes n = { .parent = 1 };
	struct page_session s = { .ops = &ops, .arg = &n };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		struct page_answer a;
		struct cr_error err = { 0 };
		uint64_t content;

		assert_false(s.ended);
		if (take(&s, &steps[i].w, &a, &content, &err) != 0)
			fail_msg("step %zu: %s", i, err.text);
		if (content != steps[i].content || a.nr != steps[i].answer || (a.nr && a.bytes[0] != steps[i].first))
			fail_msg("step %zu: content %" PRIx64 ", answer of %zu", i, content, a.nr);
	}
	assert_true(s.ended && s.leaves);
	assert_string_equal(n.text, "parent 7 round 0000;open 7 round 0000;parent 7 round 0000;1000-4000 6;4000-5000 1;"
				    "5000-6000 1;8000-9000 4;open s9 round 0000;0-1000 4;finish;");
}

/* Which dump is meant, in the members that have no other use in these records. */
static void test_rounds(void **state)
{
	struct notes n = { 0 };
	struct page_session s = { .ops = &ops, .arg = &n };
	struct page_wire w = { .cmd = PAGE_WIRE_PARENT, .dst_id = page_wire_id(IMG_PAGEMAP, 7) };
	uint8_t round[PAGE_ROUND_SIZE];
	struct page_answer a;
	uint64_t content;

	(void)state;
	page_round_parse("12345678-9abc-def0-1122-3344556677fe", round);
	page_wire_set_round(&w, round);
	assert_int_equal(take(&s, &w, &a, &content, NULL), 0);
	assert_int_equal(a.bytes[0], 0);
	w.cmd = PAGE_WIRE_OPEN;
	assert_int_equal(take(&s, &w, &a, &content, NULL), 0);
	assert_string_equal(n.text, "parent 7 round 12fe;open 7 round 12fe;");
	page_round_parse("not one", round);
	assert_false(page_round_is_set(round));
	page_round_parse("12345678-9abc-def0-1122-3344556677f", round);
	assert_false(page_round_is_set(round));
}

static void test_refused(void **state)
{
	static const struct {
		const char *name;
		struct page_wire first, second;
	} cases[] = {
		{ "pages of nothing", { .cmd = PAGE_WIRE_ADD, .nr_pages = 1 }, { 0 } },
		{ "no such image", { .cmd = PAGE_WIRE_OPEN, .dst_id = 99 }, { 0 } },
		{ "asks for pages", { .cmd = PAGE_WIRE_GET, .nr_pages = 1, .dst_id = 7 }, { 0 } },
		{ "same address", { .cmd = PAGE_WIRE_ADD, .nr_pages = 1, .vaddr = 0x2000 },
		  { .cmd = PAGE_WIRE_ADD, .nr_pages = 1, .vaddr = 0x2000 } },
		{ "overlap", { .cmd = PAGE_WIRE_ADD, .nr_pages = 2, .vaddr = 0x2000 },
		  { .cmd = PAGE_WIRE_HOLE, .nr_pages = 1, .vaddr = 0x3000 } },
		{ "backwards", { .cmd = PAGE_WIRE_HOLE, .nr_pages = 1, .vaddr = 0x2000 },
		  { .cmd = PAGE_WIRE_ADD, .nr_pages = 1, .vaddr = 0x1000 } },
		{ "out of range", { .cmd = PAGE_WIRE_ADD, .nr_pages = 1, .vaddr = UINT64_C(1) << 57 }, { 0 } },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct notes n = { 0 };
		struct page_session s = { .ops = &ops, .arg = &n };
		struct page_wire open = { .cmd = PAGE_WIRE_OPEN, .dst_id = page_wire_id(IMG_PAGEMAP, 7) };
		struct cr_error err = { 0 };
		struct page_answer a;
		uint64_t content;
		int r = i > 0 ? take(&s, &open, &a, &content, &err) : 0;

		if (r == 0)
			r = take(&s, &cases[i].first, &a, &content, &err);
		if (r == 0 && cases[i].second.cmd)
			r = take(&s, &cases[i].second, &a, &content, &err);
		if (r != -EPROTO || err.code != r || a.nr || content)
			fail_msg("%s: %d %s", cases[i].name, r, err.text);
	}
}

/* What the store says is what is said. */
static void test_store_fails(void **state)
{
	struct notes n = { .fails = -ENOSPC };
	struct page_session s = { .ops = &ops, .arg = &n };
	struct page_wire w = { .cmd = PAGE_WIRE_OPEN2, .dst_id = page_wire_id(IMG_PAGEMAP, 7) };
	struct page_answer a;
	uint64_t content;

	(void)state;
	assert_int_equal(take(&s, &w, &a, &content, NULL), -ENOSPC);
	assert_false(s.open);
	assert_int_equal(a.nr, 0);
	w = (struct page_wire){ .cmd = PAGE_WIRE_CLOSE };
	assert_int_equal(take(&s, &w, &a, &content, NULL), -ENOSPC);
	assert_false(s.ended);
	page_session_status(-ENOSPC, &a);
	assert_memory_equal(a.bytes, "\xe4\xff\xff\xff", 4);
	n.fails = 0;
	w.cmd = PAGE_WIRE_FORCE_CLOSE;
	assert_int_equal(take(&s, &w, &a, &content, NULL), 0);
	assert_true(s.ended && !s.leaves);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole),
		cmocka_unit_test(test_rounds),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_store_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

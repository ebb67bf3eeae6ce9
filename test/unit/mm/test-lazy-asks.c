/* Questions for memory and the answers to them: what is taken for one, in which order they are answered, what fits which. */
#include "mm/lazy-asks.h"
#include "mm/lazy-remote.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#define PID 7

static struct page_wire get(uint64_t at, uint64_t nr)
{
	return (struct page_wire){ .cmd = PAGE_WIRE_GET, .vaddr = at * MM_PAGE, .nr_pages = nr, .dst_id = PID };
}

static struct page_wire word(const char *text)
{
	struct page_wire w = { .cmd = PAGE_WIRE_PARENT, .dst_id = page_wire_id(IMG_PAGEMAP, INT32_MAX) };

	page_wire_set_round(&w, (const uint8_t *)text);
	return w;
}

static int check(const struct page_wire *w)
{
	uint8_t rec[PAGE_WIRE_SIZE];
	struct cr_error err = { 0 };
	struct page_wire got;

	page_wire_encode(w, rec);
	return lazy_ask_check(rec, &got, &err);
}

static void test_check(void **state)
{
	static const struct {
		const char *name;
		struct page_wire w;
		int r;
	} cases[] = {
		{ "get", { .cmd = PAGE_WIRE_GET, .vaddr = MM_PAGE, .nr_pages = 1, .dst_id = 1 }, 0 },
		{ "close", { .cmd = PAGE_WIRE_CLOSE }, 0 },
		{ "force close", { .cmd = PAGE_WIRE_FORCE_CLOSE }, 0 },
		{ "parent", { .cmd = PAGE_WIRE_PARENT, .dst_id = 0x701 }, 0 },
		{ "no page", { .cmd = PAGE_WIRE_GET, .vaddr = MM_PAGE, .dst_id = 1 }, -EPROTO },
		{ "not aligned", { .cmd = PAGE_WIRE_GET, .vaddr = 1, .nr_pages = 1, .dst_id = 1 }, -EPROTO },
		{ "too many", { .cmd = PAGE_WIRE_GET, .vaddr = MM_PAGE, .nr_pages = UINT64_C(1) << 52, .dst_id = 1 }, -EPROTO },
		{ "no process", { .cmd = PAGE_WIRE_GET, .vaddr = MM_PAGE, .nr_pages = 1 }, -EPROTO },
		{ "no pid", { .cmd = PAGE_WIRE_GET, .vaddr = MM_PAGE, .nr_pages = 1, .dst_id = UINT64_C(1) << 31 }, -EPROTO },
		{ "open", { .cmd = PAGE_WIRE_OPEN2, .dst_id = 0x701 }, -EPROTO },
		{ "pages", { .cmd = PAGE_WIRE_ADD, .vaddr = MM_PAGE, .nr_pages = 1 }, -EPROTO },
		{ "nothing", { .cmd = 99 }, -EPROTO },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (check(&cases[i].w) != cases[i].r)
			fail_msg("%s: %d", cases[i].name, check(&cases[i].w));
}

/* Others are answered in order, and may run from their first question on. */
static void test_others(void **state)
{
	static struct lazy_asks a;
	const struct page_wire all[] = { get(1, 100), get(200, 1), { .cmd = PAGE_WIRE_CLOSE } };
	struct page_wire w;

	(void)state;
	a = (struct lazy_asks){ 0 };
	for (size_t i = 0; i < 3; i++)
		lazy_asks_add(&a, &all[i]);
	assert_true(a.any && a.started && a.ended && !a.ours);
	for (size_t i = 0; i < 3; i++) {
		assert_true(lazy_asks_take(&a, &w));
		assert_int_equal(w.cmd, all[i].cmd);
		assert_int_equal(w.vaddr, all[i].vaddr);
	}
	assert_false(lazy_asks_take(&a, &w));
}

/* Ours says when it starts; what somebody waits for comes first, but nothing overtakes what is not about pages. */
static void test_ours(void **state)
{
	static struct lazy_asks a;
	const struct page_wire hello = word(PAGE_LAZY_HELLO), start = word(PAGE_LAZY_START), end = { .cmd = PAGE_WIRE_CLOSE };
	const struct page_wire all[] = { get(1000, 64), get(2000, 16), get(3000, 64), get(4000, 1), start, get(5000, 1), end };
	const uint64_t order[] = { 2000, 4000, 1000, 3000, 0, 5000 };
	struct page_wire w;

	(void)state;
	a = (struct lazy_asks){ 0 };
	lazy_asks_add(&a, &hello);
	assert_true(a.ours && !a.started && lazy_asks_is_ours(&hello) && !lazy_asks_is_ours(&all[0]));
	assert_true(lazy_asks_take(&a, &w) && lazy_asks_is_ours(&w));
	for (size_t i = 0; i < 4; i++)
		lazy_asks_add(&a, &all[i]);
	assert_false(a.started);
	for (size_t i = 4; i < 7; i++)
		lazy_asks_add(&a, &all[i]);
	assert_true(a.started && a.ended);
	for (size_t i = 0; i < 6; i++) {
		assert_true(lazy_asks_take(&a, &w));
		if (order[i])
			assert_int_equal(w.vaddr, order[i] * MM_PAGE);
		else
			assert_true(lazy_asks_is_ours(&w));
	}
	assert_true(lazy_asks_take(&a, &w) && w.cmd == PAGE_WIRE_CLOSE);
}

static ssize_t answered(struct page_wire w, struct lazy_piece *ret)
{
	static const struct lazy_piece asked[] = {
		{ PID, 16 * MM_PAGE, 64 * MM_PAGE }, { PID, 16 * MM_PAGE, 16 * MM_PAGE }, { PID + 1, 16 * MM_PAGE, 128 * MM_PAGE },
	};
	uint8_t rec[PAGE_WIRE_SIZE];
	struct cr_error err = { 0 };
	ssize_t r;

	page_wire_encode(&w, rec);
	r = lazy_answer_check(rec, asked, 3, ret, &err);
	assert_true(r >= 0 || err.text[0]);
	return r;
}

static void test_answers(void **state)
{
	static const struct {
		const char *name;
		struct page_wire w;
		ssize_t r;
	} cases[] = {
		{ "the longer", { PAGE_WIRE_ADD_F, MM_PE_PRESENT, 64, 16 * MM_PAGE, PID }, 0 },
		{ "the shorter", { PAGE_WIRE_ADD_F, MM_PE_PRESENT, 16, 16 * MM_PAGE, PID }, 1 },
		{ "a part of the shorter", { PAGE_WIRE_ADD_F, MM_PE_PRESENT, 3, 16 * MM_PAGE, PID }, 1 },
		{ "a part of the longer", { PAGE_WIRE_ADD_F, MM_PE_PRESENT, 17, 16 * MM_PAGE, PID }, 0 },
		{ "of another process", { PAGE_WIRE_ADD_F, MM_PE_PRESENT | MM_PE_LAZY, 128, 16 * MM_PAGE, PID + 1 }, 2 },
		{ "too many", { PAGE_WIRE_ADD_F, MM_PE_PRESENT, 65, 16 * MM_PAGE, PID }, -EPROTO },
		{ "none", { PAGE_WIRE_ADD_F, MM_PE_PRESENT, 0, 16 * MM_PAGE, PID }, -EPROTO },
		{ "elsewhere", { PAGE_WIRE_ADD_F, MM_PE_PRESENT, 16, 17 * MM_PAGE, PID }, -EPROTO },
		{ "of nobody", { PAGE_WIRE_ADD_F, MM_PE_PRESENT, 16, 16 * MM_PAGE, PID + 2 }, -EPROTO },
		{ "without content", { PAGE_WIRE_ADD_F, MM_PE_LAZY, 16, 16 * MM_PAGE, PID }, -EPROTO },
		{ "of an old kind", { PAGE_WIRE_ADD, 0, 16, 16 * MM_PAGE, PID }, -EPROTO },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct lazy_piece got = { 0 };
		ssize_t r = answered(cases[i].w, &got);

		if (r != cases[i].r || (r >= 0 && (got.at != cases[i].w.vaddr || got.len != cases[i].w.nr_pages * MM_PAGE)))
			fail_msg("%s: %zd", cases[i].name, r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_check),
		cmocka_unit_test(test_others),
		cmocka_unit_test(test_ours),
		cmocka_unit_test(test_answers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

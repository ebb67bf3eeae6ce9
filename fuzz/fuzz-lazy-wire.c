/*
 * Both ends of a lazy restore through the network: records that a source takes for questions, and records that a daemon takes
 * for the heads of answers. The first byte says which of the two hears them, and how many questions are open.
 */
#include "mm/lazy-asks.h"
#include "mm/lazy-remote.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_range(uint64_t at, uint64_t len)
{
	if (!len || at % MM_PAGE || len % MM_PAGE || at > MM_ADDR_MAX || len > MM_ADDR_MAX - at)
		abort();
}

static void asked(const uint8_t *data, size_t size)
{
	struct lazy_asks a = { 0 };
	size_t added = 0, taken = 0;
	struct page_wire w, next;

	for (size_t at = 0; at + PAGE_WIRE_SIZE <= size && !a.ended; at += PAGE_WIRE_SIZE) {
		struct cr_error err = { 0 };
		int r = lazy_ask_check(data + at, &w, &err);

		if (r > 0 || (r < 0 && (err.code != r || !err.text[0])))
			abort();
		if (r < 0)
			break;
		if (w.cmd == PAGE_WIRE_GET) {
			check_range(w.vaddr, w.nr_pages * MM_PAGE);
			if (!w.dst_id || w.dst_id > INT32_MAX)
				abort();
		}
		if (a.nr == LAZY_ASKS_MAX)
			taken += lazy_asks_take(&a, &next);
		lazy_asks_add(&a, &w);
		added++;
	}
	while (lazy_asks_take(&a, &w)) {
		taken++;
		if (a.nr && (w.cmd == PAGE_WIRE_CLOSE || w.cmd == PAGE_WIRE_FORCE_CLOSE))
			abort(); /* the end overtook a question */
	}
	if (added != taken)
		abort();
}

static void answered(const uint8_t *data, size_t size, size_t nr)
{
	struct lazy_piece asks[16];

	for (size_t i = 0; i < nr; i++)
		asks[i] = (struct lazy_piece){ 7 + (uint32_t)i % 2, (i / 2 + 1) * MM_PAGE, (i + 1) * MM_PAGE };
	for (size_t at = 0; at + PAGE_WIRE_SIZE <= size; at += PAGE_WIRE_SIZE) {
		struct cr_error err = { 0 };
		struct lazy_piece got;
		ssize_t r = lazy_answer_check(data + at, asks, nr, &got, &err);

		if (r >= (ssize_t)nr || (r < 0 && (err.code != r || !err.text[0])))
			abort();
		if (r < 0)
			continue;
		check_range(got.at, got.len);
		if (got.at != asks[r].at || got.ns_pid != asks[r].ns_pid || got.len > asks[r].len)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size)
		return 0;
	if (data[0] & 1)
		asked(data + 1, size - 1);
	else
		answered(data + 1, size - 1, data[0] >> 1 & 15);
	return 0;
}

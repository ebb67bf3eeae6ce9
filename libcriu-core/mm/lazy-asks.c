/* Questions for memory; see lazy-asks.h. */
#include "mm/lazy-asks.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define URGENT 16 /* pages: whoever waits for memory asks for little */

static bool is_word(const struct page_wire *w, const char *word)
{
	uint8_t round[PAGE_ROUND_SIZE];

	page_wire_get_round(w, round);
	return w->cmd == PAGE_WIRE_PARENT && memcmp(round, word, sizeof(round)) == 0;
}

bool lazy_asks_is_ours(const struct page_wire *w)
{
	return is_word(w, PAGE_LAZY_HELLO) || is_word(w, PAGE_LAZY_START);
}

int lazy_ask_check(const uint8_t rec[static PAGE_WIRE_SIZE], struct page_wire *ret, struct cr_error *err)
{
	struct page_wire w;
	int r = page_wire_decode(rec, &w, err);

	if (r < 0)
		return r;
	switch (w.cmd) {
	case PAGE_WIRE_GET:
		r = page_wire_check_range(&w, err);
		if (r == 0 && (w.dst_id == 0 || w.dst_id > INT32_MAX))
			r = cr_refuse(err, -EPROTO, "pages of process %" PRIu64, w.dst_id);
		break;
	case PAGE_WIRE_PARENT:
	case PAGE_WIRE_CLOSE:
	case PAGE_WIRE_FORCE_CLOSE:
		break;
	default:
		r = cr_refuse(err, -EPROTO, "command %" PRIu32 ": pages can only be fetched here", w.cmd);
	}
	if (r == 0)
		*ret = w;
	return r;
}

void lazy_asks_add(struct lazy_asks *a, const struct page_wire *w)
{
	a->ours |= is_word(w, PAGE_LAZY_HELLO);
	/* others say nothing, and ask for what a task has touched: after that it may be running */
	a->started |= is_word(w, PAGE_LAZY_START) || (w->cmd == PAGE_WIRE_GET && !a->ours);
	a->ended |= w->cmd == PAGE_WIRE_CLOSE || w->cmd == PAGE_WIRE_FORCE_CLOSE;
	a->any = true;
	a->items[a->nr++] = *w;
}

/*
 * Others may rely on the order. Of ours, who looks up each answer, what is short comes first; but nothing that ends the
 * conversation overtakes what was asked before it.
 */
bool lazy_asks_take(struct lazy_asks *a, struct page_wire *ret)
{
	size_t i = 0;

	if (!a->nr)
		return false;
	if (a->ours && a->items[0].cmd == PAGE_WIRE_GET) {
		while (i < a->nr && a->items[i].cmd == PAGE_WIRE_GET && a->items[i].nr_pages > URGENT)
			i++;
		if (i == a->nr || a->items[i].cmd != PAGE_WIRE_GET)
			i = 0;
	}
	*ret = a->items[i];
	memmove(&a->items[i], &a->items[i + 1], (a->nr - i - 1) * sizeof(*a->items));
	a->nr--;
	return true;
}

/*
 * The questions that somebody has who fetches memory, as they come and in the order in which they are answered. Pure: no
 * sockets, no memory of anybody.
 */
#ifndef CR_MM_LAZY_ASKS_H
#define CR_MM_LAZY_ASKS_H

#include "mm/mm-internal.h"
#include "mm/page-wire.h"

#define LAZY_ASKS_MAX 256

/* All zero but for usual_ms: at the beginning. */
struct lazy_asks {
	struct page_wire items[LAZY_ASKS_MAX]; /* not answered yet, as they came */
	size_t nr;
	bool any;     /* has it said anything that can be understood? */
	bool ours;    /* it says when the tree is about to run there */
	bool started; /* it may be running there */
	bool ended;   /* it has said its last word */
	int usual_ms; /* the caller's */
};

/** lazy_ask_check() - one record. Return: 0; -EPROTO nothing that can be asked */
int lazy_ask_check(const uint8_t rec[static PAGE_WIRE_SIZE], struct page_wire *ret, struct cr_error *err);

/** lazy_asks_add() - note what is to be answered. Needs room for it, and that nothing has ended */
void lazy_asks_add(struct lazy_asks *a, const struct page_wire *w);

/** lazy_asks_take() - what is to be answered next. Return: false: nothing */
bool lazy_asks_take(struct lazy_asks *a, struct page_wire *ret);

/** lazy_asks_is_ours() - is it a word that only our own side knows? */
bool lazy_asks_is_ours(const struct page_wire *w);

static inline bool lazy_asks_begun(const struct lazy_asks *a)
{
	return a->any;
}

#endif

/*
 * What a pager fetches from where the memory was left: many pages are asked for at once, so that the way there and back costs
 * little; what somebody waits for is asked for at once, whatever else is under way.
 *
 * An answer is put where its question said, as far as that is still what belongs there: what was moved, dropped or unmapped
 * meanwhile is left out, and asked for anew where it belongs now.
 */
#ifndef CR_MM_LAZY_FETCH_H
#define CR_MM_LAZY_FETCH_H

#include "mm/lazy-pager.h"

/** lazy_fetch_ask() - for a run at the source. @wanted: somebody waits. Return: 0, negative errno */
int lazy_fetch_ask(struct lazy_pager *p, struct lazy_space *s, const struct lazy_run *run, bool wanted,
		   struct cr_error *err);

/** lazy_fetch_hear() - one answer. Return: 0, negative errno */
int lazy_fetch_hear(struct lazy_pager *p, struct cr_error *err);

/** lazy_fetch_all() - the answers to all that was asked. Return: 0, negative errno */
int lazy_fetch_all(struct lazy_pager *p, struct cr_error *err);

/** lazy_fetch_some() - a step of what is brought in without being asked for. Return: 0, negative errno */
int lazy_fetch_some(struct lazy_pager *p, struct lazy_space *s, struct cr_error *err);

/** lazy_fetch_waits() - is there nothing to be done but to wait for answers? */
bool lazy_fetch_waits(const struct lazy_pager *p);

/** lazy_fetch_left_ms() - how long an answer may still take. Return: -1: as long as it likes; 0: no longer */
int lazy_fetch_left_ms(const struct lazy_pager *p);

/** lazy_fetch_start() - tell the source that the tree is about to run here. Return: 0 it may; negative errno */
int lazy_fetch_start(struct lazy_pager *p, struct cr_error *err);

/** lazy_fetch_end() - tell it that nothing is needed any more */
void lazy_fetch_end(struct lazy_pager *p);

#endif

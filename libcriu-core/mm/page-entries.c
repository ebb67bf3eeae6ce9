/* Entries of pagemap images; see page-entries.h. */
#include "mm/page-entries.h"

/* Runs that join but for how they are read, which is of no interest to who restores them. */
static uint64_t joined_end(const struct page_runs *runs, size_t i, size_t *ret_next)
{
	const struct page_run *run = &runs->items[i];
	size_t n = i + 1;

	while (n < runs->nr && runs->items[n].start == runs->items[n - 1].end && runs->items[n].flags == run->flags)
		n++;
	*ret_next = n;
	return runs->items[n - 1].end;
}

/* The next page inside of [at, end) that must not be lazy, or @end. */
static uint64_t next_eager(struct page_walk *w, uint64_t at, uint64_t end)
{
	const struct addr_vec *eager = &w->of->eager;

	while (w->eager < eager->nr && eager->items[w->eager] < at)
		w->eager++;
	return w->eager < eager->nr && eager->items[w->eager] < end ? eager->items[w->eager] : end;
}

bool page_walk_next(struct page_walk *w, struct map_entry *ret)
{
	const struct page_runs *runs = w->of->runs;
	const struct page_run *run;
	uint64_t at, stop;

	if (w->run == runs->nr)
		return false;
	run = &runs->items[w->run];
	if (!w->at)
		w->end = joined_end(runs, w->run, &w->next);
	at = w->at ? w->at : run->start;
	stop = run->flags & MM_PE_LAZY ? next_eager(w, at, w->end) : w->end;
	*ret = (struct map_entry){ .start = at, .end = stop, .flags = run->flags };
	if (stop == at) {
		ret->end = at + MM_PAGE;
		ret->flags &= ~(uint32_t)MM_PE_LAZY;
	}
	w->at = ret->end;
	if (ret->end == w->end) {
		w->run = w->next;
		w->at = 0;
	}
	return true;
}

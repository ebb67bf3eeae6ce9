/* Book-keeping of a lazy restore; see lazy-runs.h. */
#include "mm/lazy-runs.h"

#include <errno.h>

/* The first run that ends above @at; nr if there is none. */
static size_t first_above(const struct lazy_runs *l, uint64_t at)
{
	size_t lo = 0, hi = l->nr;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (l->items[mid].end > at)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

void lazy_run_clip(struct lazy_run *run, uint64_t start, uint64_t end)
{
	if (start > run->start) {
		run->off += start - run->start;
		run->start = start;
	}
	if (end < run->end)
		run->end = end;
}

static struct lazy_run part_of(const struct lazy_run *run, uint64_t start, uint64_t end)
{
	struct lazy_run part = *run;

	lazy_run_clip(&part, start, end);
	return part;
}

static bool goes_on(const struct lazy_run *a, const struct lazy_run *b)
{
	return a->end == b->start && a->file == b->file && a->off + (a->end - a->start) == b->off;
}

int lazy_runs_append(struct lazy_runs *l, const struct lazy_run *run)
{
	struct lazy_run *last = l->nr ? &l->items[l->nr - 1] : NULL;

	if (last && goes_on(last, run)) {
		last->end = run->end;
		return 0;
	}
	last = lazy_runs_add(l);
	if (!last)
		return -ENOMEM;
	*last = *run;
	return 0;
}

int lazy_runs_copy(struct lazy_runs *to, const struct lazy_runs *from)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < from->nr; i++)
		r = lazy_runs_append(to, &from->items[i]);
	if (r < 0)
		lazy_runs_done(to);
	return r;
}

bool lazy_runs_around(const struct lazy_runs *l, uint64_t at, uint64_t size, struct lazy_run *ret)
{
	size_t i = first_above(l, at);
	uint64_t block = at & ~(size - 1);

	if (i == l->nr || l->items[i].start > at)
		return false;
	*ret = part_of(&l->items[i], block, block + size);
	return true;
}

bool lazy_runs_last(const struct lazy_runs *l, uint64_t size, struct lazy_run *ret)
{
	return l->nr && lazy_runs_around(l, l->items[l->nr - 1].end - 1, size, ret);
}

bool lazy_runs_next(const struct lazy_runs *l, uint64_t at, uint64_t end, struct lazy_run *ret)
{
	size_t i = first_above(l, at);

	if (i == l->nr || l->items[i].start >= end)
		return false;
	*ret = part_of(&l->items[i], at, end);
	return true;
}

/* Room for one more at @i; the list has @l->nr more than before. */
static int open_gap(struct lazy_runs *l, size_t i)
{
	if (!lazy_runs_add(l))
		return -ENOMEM;
	memmove(&l->items[i + 1], &l->items[i], (l->nr - 1 - i) * sizeof(*l->items));
	return 0;
}

static void remove_some(struct lazy_runs *l, size_t i, size_t nr)
{
	memmove(&l->items[i], &l->items[i + nr], (l->nr - i - nr) * sizeof(*l->items));
	l->nr -= nr;
}

int lazy_runs_cut(struct lazy_runs *l, uint64_t start, uint64_t end)
{
	size_t i = first_above(l, start), stop;

	if (start >= end || i == l->nr || l->items[i].start >= end)
		return 0;
	if (l->items[i].start < start && l->items[i].end > end) {
		if (open_gap(l, i) < 0)
			return -ENOMEM;
		l->items[i] = part_of(&l->items[i], 0, start);
		l->items[i + 1] = part_of(&l->items[i + 1], end, UINT64_MAX);
		return 0;
	}
	if (l->items[i].start < start)
		l->items[i++].end = start;
	for (stop = i; stop < l->nr && l->items[stop].end <= end; stop++)
		;
	if (stop < l->nr && l->items[stop].start < end)
		l->items[stop] = part_of(&l->items[stop], end, UINT64_MAX);
	remove_some(l, i, stop - i);
	return 0;
}

/* Return: 0 or -ENOMEM, with nothing left in @ret. */
static int take_range(const struct lazy_runs *l, uint64_t start, uint64_t end, struct lazy_runs *ret)
{
	for (size_t i = first_above(l, start); i < l->nr && l->items[i].start < end; i++) {
		struct lazy_run part = part_of(&l->items[i], start, end);

		if (lazy_runs_append(ret, &part) < 0) {
			lazy_runs_done(ret);
			return -ENOMEM;
		}
	}
	return 0;
}

/* Room for @more, so that what follows cannot fail. */
static int reserve(struct lazy_runs *l, size_t more)
{
	size_t nr = l->nr;

	for (size_t i = 0; i < more; i++)
		if (!lazy_runs_add(l)) {
			l->nr = nr;
			return -ENOMEM;
		}
	l->nr = nr;
	return 0;
}

int lazy_runs_move(struct lazy_runs *l, uint64_t from, uint64_t to, uint64_t len)
{
	struct lazy_runs moved = { 0 };
	size_t at;

	if (from + len < from || to + len < to || (from < to + len && to < from + len))
		return len ? -EINVAL : 0;
	/* two cuts may split one run each, beside what is put in */
	if (take_range(l, from, from + len, &moved) < 0 || reserve(l, moved.nr + 2) < 0) {
		lazy_runs_done(&moved);
		return -ENOMEM;
	}
	lazy_runs_cut(l, from, from + len);
	lazy_runs_cut(l, to, to + len);
	at = first_above(l, to);
	memmove(&l->items[at + moved.nr], &l->items[at], (l->nr - at) * sizeof(*l->items));
	l->nr += moved.nr;
	for (size_t i = 0; i < moved.nr; i++) {
		struct lazy_run *run = &l->items[at + i];

		*run = moved.items[i];
		run->start = run->start - from + to;
		run->end = run->end - from + to;
	}
	lazy_runs_done(&moved);
	return 0;
}

uint64_t lazy_runs_bytes(const struct lazy_runs *l)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < l->nr; i++)
		bytes += l->items[i].end - l->items[i].start;
	return bytes;
}

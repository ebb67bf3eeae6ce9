/* Fetching what was left at its source; see lazy-fetch.h. */
#include "mm/lazy-fetch.h"

#include "base/clock.h"
#include "mm/lazy-io.h"
#include "mm/lazy-remote.h"

#include <errno.h>

#define AT_ONCE  ((uint64_t)256 << 10) /* of what nobody waits for: what comes behind it has to wait no longer than that takes */
#define UNDER_WAY ((uint64_t)4 << 20)
#define SPARE    64                    /* questions kept back for those who wait */
#define STALL_MS 120000

static struct lazy_space *find_space(struct lazy_pager *p, uint64_t id)
{
	for (size_t i = 0; i < p->spaces.nr; i++)
		if (p->spaces.items[i].id == id)
			return &p->spaces.items[i];
	return NULL;
}

static bool is_wanted(const struct lazy_pager *p, const struct lazy_space *s, const struct lazy_run *run)
{
	for (size_t i = 0; i < p->nr_asks; i++) {
		const struct lazy_ask *a = &p->asks[i];

		if (a->wanted && a->space == s->id && a->run.file == run->file && a->run.start == run->start &&
		    a->run.off == run->off && a->run.end >= run->end)
			return true;
	}
	return false;
}

int lazy_fetch_ask(struct lazy_pager *p, struct lazy_space *s, const struct lazy_run *run, bool wanted,
		   struct cr_error *err)
{
	struct lazy_piece piece = { run->file & ~PAGES_AT_SOURCE, run->off, run->end - run->start };
	int r = 0;

	if (!s->id)
		s->id = ++p->nr_spaces;
	if (wanted && is_wanted(p, s, run))
		return 0;
	/* hearing an answer moves no spaces, and ends none */
	while (r == 0 && p->nr_asks == LAZY_ASKS)
		r = lazy_fetch_hear(p, err);
	if (r == 0)
		r = lazy_remote_ask(p->remote, &piece, err);
	/* it need not be asked for once more */
	if (r == 0 && wanted && lazy_runs_cut(&s->fresh, run->start, run->end) < 0)
		r = cr_fail(err, -ENOMEM, "keep books");
	if (r < 0)
		return r;
	if (!p->nr_asks)
		p->heard_ms = monotonic_ms();
	p->asks[p->nr_asks++] = (struct lazy_ask){ s->id, *run, wanted };
	p->under_way += piece.len;
	s->nr_asked++;
	return 0;
}

/* Return: enum lazy_answer, negative errno */
static int place(struct lazy_pager *p, struct lazy_space *s, const struct lazy_run *asked, struct cr_error *err)
{
	struct lazy_run part;
	int r = LAZY_DONE;

	for (uint64_t at = asked->start; r == LAZY_DONE && lazy_runs_next(&s->todo, at, asked->end, &part); at = part.end)
		if (part.file == asked->file && part.off - part.start == asked->off - asked->start)
			r = lazy_place(p, s, &part, p->buffer + (part.start - asked->start), err);
	return r;
}

int lazy_fetch_hear(struct lazy_pager *p, struct cr_error *err)
{
	struct lazy_piece asked[LAZY_ASKS], piece;
	struct lazy_space *s;
	struct lazy_ask a;
	ssize_t i;
	int r = 0;

	for (size_t k = 0; k < p->nr_asks; k++) {
		const struct lazy_run *run = &p->asks[k].run;

		asked[k] = (struct lazy_piece){ run->file & ~PAGES_AT_SOURCE, run->off, run->end - run->start };
	}
	i = lazy_remote_hear(p->remote, asked, p->nr_asks, p->buffer, &piece, err);
	if (i < 0)
		return (int)i;
	a = p->asks[i];
	p->asks[i] = p->asks[--p->nr_asks];
	p->under_way -= a.run.end - a.run.start;
	p->heard_ms = monotonic_ms();
	s = find_space(p, a.space);
	if (!s)
		return 0;
	s->nr_asked--;
	a.run.end = a.run.start + piece.len;
	if (!s->over)
		r = place(p, s, &a.run, err);
	/* who has waited for what does not belong there any more asks again, and so does who stands behind a change */
	if (a.wanted && !s->over)
		lazy_wake(s->uffd, a.run.start, a.run.end - a.run.start);
	return r < 0 ? r : 0;
}

int lazy_fetch_all(struct lazy_pager *p, struct cr_error *err)
{
	int r = 0;

	while (r == 0 && p->nr_asks)
		r = lazy_fetch_hear(p, err);
	return r;
}

static bool has_room(const struct lazy_pager *p)
{
	return p->under_way + AT_ONCE <= UNDER_WAY && p->nr_asks + SPARE < LAZY_ASKS;
}

/* Answers that could not be put in place, or do not belong there any more, leave something that has to be asked for again. */
static bool has_more(const struct lazy_space *s)
{
	return !s->over && (s->fresh.nr || (!s->nr_asked && s->todo.nr));
}

int lazy_fetch_some(struct lazy_pager *p, struct lazy_space *s, struct cr_error *err)
{
	struct lazy_run run;
	int r = 0;

	if (!has_more(s))
		return 0;
	if (!s->fresh.nr && lazy_runs_copy(&s->fresh, &s->todo) < 0)
		return cr_fail(err, -ENOMEM, "keep books");
	if (!lazy_runs_last(&s->fresh, AT_ONCE, &run) || (lazy_at_source(&run) && !has_room(p)))
		return 0;
	r = lazy_at_source(&run) ? lazy_fetch_ask(p, s, &run, false, err) : lazy_bring(p, s, &run, err);
	if (r >= 0 && lazy_runs_cut(&s->fresh, run.start, run.end) < 0)
		r = cr_fail(err, -ENOMEM, "keep books");
	return r < 0 ? r : 0;
}

bool lazy_fetch_waits(const struct lazy_pager *p)
{
	for (size_t i = 0; i < p->spaces.nr; i++) {
		const struct lazy_space *s = &p->spaces.items[i];
		const struct lazy_runs *l = s->fresh.nr ? &s->fresh : &s->todo;

		if (has_more(s) && (has_room(p) || !lazy_at_source(&l->items[l->nr - 1])))
			return false;
	}
	return true;
}

int lazy_fetch_left_ms(const struct lazy_pager *p)
{
	int64_t left = p->heard_ms + STALL_MS - monotonic_ms();

	return !p->nr_asks ? -1 : left > 0 ? (int)left : 0;
}

int lazy_fetch_start(struct lazy_pager *p, struct cr_error *err)
{
	int r = lazy_fetch_all(p, err);

	return r < 0 ? r : lazy_remote_start(p->remote, err);
}

void lazy_fetch_end(struct lazy_pager *p)
{
	struct cr_error err = { 0 };
	int r = lazy_fetch_all(p, &err);

	if (r == 0)
		r = lazy_remote_close(p->remote, &err);
	if (r < 0)
		log_warn(&p->log, "%s, continuing: all memory is here, but those who had it may not know that", err.text);
}

/*
 * Placing descriptors, see placement.h. Numbers are filled upwards. As long as the next wanted number is the lowest free
 * one, a descriptor that is fetched arrives where it belongs and one call is enough. A gap is plugged with duplicates
 * where that is cheaper than moving every descriptor above it; otherwise what comes is moved up and its number freed.
 */
#include "files/placement.h"

#include "base/map.h"

#include <errno.h>

struct placer {
	const struct place_want *want;
	size_t placed;    /* so many of them have their number */
	size_t above;     /* index of the first of them that is above low */
	int service, low; /* lowest free number, below which everything is occupied */
	void (*emit)(void *arg, const struct place_step *s);
	void *arg;
	struct map first; /* file number + 1 to the first place_want that is it */
	size_t cutoff;    /* gaps below this want are plugged */
};

int place_service(const struct place_want *want, size_t nr)
{
	int n = 0;

	for (size_t i = 0; i < nr && want[i].fd <= n; i++)
		if (want[i].fd == n)
			n++;
	return n;
}

/* The lowest number is taken: to the next one that is not. */
static void step_low(struct placer *p)
{
	p->low++;
	for (;;) {
		while (p->above < p->placed && p->want[p->above].fd < p->low)
			p->above++;
		if (p->low != p->service && !(p->above < p->placed && p->want[p->above].fd == p->low))
			return;
		p->low++;
	}
}

static void plug_up_to(struct placer *p, int fd)
{
	while (p->low < fd) {
		p->emit(p->arg, &(struct place_step){ .kind = PLACE_PLUG, .fd = p->low });
		step_low(p);
	}
}

/* Which wants are fetched, and not duplicates of one that was. Return: 0 or -ENOMEM */
static int find_takes(struct placer *p, const struct place_want *want, size_t nr)
{
	for (size_t i = 0; i < nr; i++) {
		int r;

		if (map_find(&p->first, (uint64_t)want[i].file + 1))
			continue;
		r = map_put(&p->first, (uint64_t)want[i].file + 1, (void *)&want[i]);
		if (r < 0)
			return r;
	}
	return 0;
}

static bool is_take(const struct placer *p, size_t i)
{
	return map_find(&p->first, (uint64_t)p->want[i].file + 1) == &p->want[i];
}

/*
 * Up to which want are gaps to be plugged? A plug costs one call, a gap one for closing its plugs (two if the service
 * descriptor is in it), and every descriptor fetched above the first gap that stays open two more than arriving in place.
 */
static size_t find_cutoff(const struct placer *p, size_t nr)
{
	size_t takes = 0, best = 0, cutoff = 0;
	uint64_t plugs = 0;
	int next = 0; /* number behind the last want */

	for (size_t i = 0; i < nr; i++)
		takes += is_take(p, i);
	best = 2 * takes;
	for (size_t i = 0; i < nr; i++) {
		bool service = p->service >= next && p->service < p->want[i].fd;
		uint64_t gap = (uint64_t)(p->want[i].fd - next) - service;

		plugs += gap ? gap + 1 + service : 0;
		takes -= is_take(p, i);
		next = p->want[i].fd + 1;
		if (plugs + 2 * takes <= best) {
			best = plugs + 2 * takes;
			cutoff = i + 1;
		}
	}
	return cutoff;
}

static void place_one(struct placer *p, size_t i)
{
	const struct place_want *w = &p->want[i];
	const struct place_want *had = map_find(&p->first, (uint64_t)w->file + 1);

	if (p->low < w->fd && i < p->cutoff)
		plug_up_to(p, w->fd);
	if (had != w) {
		p->emit(p->arg, &(struct place_step){
					.kind = PLACE_DUP, .fd = w->fd, .from = had->fd, .want = i, .final = true });
		if (p->low == w->fd)
			step_low(p);
		return;
	}
	p->emit(p->arg, &(struct place_step){ .kind = PLACE_TAKE, .fd = p->low, .want = i, .final = p->low == w->fd });
	if (p->low == w->fd) {
		step_low(p);
		return;
	}
	p->emit(p->arg,
		&(struct place_step){ .kind = PLACE_DUP, .fd = w->fd, .from = p->low, .want = i, .final = true });
	p->emit(p->arg, &(struct place_step){ .kind = PLACE_CLOSE, .fd = p->low, .last = p->low });
}

/* Close what was used as plugs: runs of numbers below @low that nobody wants, the service's excepted. */
static void unplug(struct placer *p, const struct place_want *want, size_t nr)
{
	int n = 0;

	for (size_t i = 0; i <= nr && n < p->low; i++) {
		int end = i < nr && want[i].fd < p->low ? want[i].fd : p->low;

		while (n < end) {
			int stop = p->service >= n && p->service < end ? p->service : end;

			if (n < stop)
				p->emit(p->arg, &(struct place_step){ .kind = PLACE_CLOSE, .fd = n, .last = stop - 1 });
			n = stop == end ? end : stop + 1;
		}
		n = end + 1;
	}
}

int place_plan(const struct place_want *want, size_t nr, int service,
	       void (*emit)(void *arg, const struct place_step *s), void *arg)
{
	struct placer p = { .want = want, .service = service, .low = service == 0, .emit = emit, .arg = arg };
	int r = find_takes(&p, want, nr);

	for (size_t i = 0; i < nr && r == 0; i++)
		if (want[i].fd < 0 || want[i].fd == service || (i && want[i].fd <= want[i - 1].fd))
			r = -EINVAL;
	if (r == 0) {
		p.cutoff = find_cutoff(&p, nr);
		for (; p.placed < nr; p.placed++)
			place_one(&p, p.placed);
		unplug(&p, want, nr);
	}
	map_done(&p.first);
	return r;
}

/*
 * Placing descriptors, see placement.h. Numbers are filled upwards. As long as the next wanted number is the lowest free
 * one, a descriptor that is fetched arrives where it belongs and one call is enough. A gap is plugged with duplicates
 * where that is cheaper than moving every descriptor above it; otherwise what comes is moved up and its number freed.
 */
#include "files/placement.h"

#include "files/map.h"

#include <errno.h>

struct placer {
	int    service, low;    /* lowest free number, below which everything is occupied */
	void (*emit)(void *arg, const struct place_step *s);
	void  *arg;
	struct map first;       /* file number + 1 to the place_want that has it already */
};

int place_service(const struct place_want *want, size_t nr)
{
	int n = 0;

	for (size_t i = 0; i < nr && want[i].fd <= n; i++)
		if (want[i].fd == n)
			n++;
	return n;
}

static void step_low(struct placer *p)
{
	p->low++;
	if (p->low == p->service)
		p->low++;
}

static void plug_up_to(struct placer *p, int fd)
{
	while (p->low < fd) {
		p->emit(p->arg, &(struct place_step){ .kind = PLACE_PLUG, .fd = p->low });
		step_low(p);
	}
}

static bool plug_pays(const struct placer *p, int fd, size_t left)
{
	/* per plug one call, per gap one; a move costs two more than arriving in place */
	return (uint64_t)(fd - p->low) + 1 <= 2 * (uint64_t)left;
}

static int place_one(struct placer *p, const struct place_want *want, size_t i, size_t nr)
{
	const struct place_want *w = &want[i];
	const struct place_want *had = map_find(&p->first, (uint64_t)w->file + 1);
	int r;

	if (had) {
		p->emit(p->arg, &(struct place_step){ .kind = PLACE_DUP, .fd = w->fd, .from = had->fd, .want = i, .final = true });
		if (p->low == w->fd)
			step_low(p);
		return 0;
	}
	r = map_put(&p->first, (uint64_t)w->file + 1, (void *)w);
	if (r < 0)
		return r;
	if (p->low < w->fd && plug_pays(p, w->fd, nr - i))
		plug_up_to(p, w->fd);
	p->emit(p->arg, &(struct place_step){ .kind = PLACE_TAKE, .fd = p->low, .want = i, .final = p->low == w->fd });
	if (p->low == w->fd) {
		step_low(p);
		return 0;
	}
	p->emit(p->arg, &(struct place_step){ .kind = PLACE_DUP, .fd = w->fd, .from = p->low, .want = i, .final = true });
	p->emit(p->arg, &(struct place_step){ .kind = PLACE_CLOSE, .fd = p->low, .last = p->low });
	return 0;
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

int place_plan(const struct place_want *want, size_t nr, int service, void (*emit)(void *arg, const struct place_step *s),
	       void *arg)
{
	struct placer p = { .service = service, .low = service == 0, .emit = emit, .arg = arg };
	int r = 0;

	for (size_t i = 0; i < nr && r == 0; i++) {
		if (want[i].fd < 0 || want[i].fd == service || (i && want[i].fd <= want[i - 1].fd))
			r = -EINVAL;
		else
			r = place_one(&p, want, i, nr);
	}
	if (r == 0)
		unplug(&p, want, nr);
	map_done(&p.first);
	return r;
}

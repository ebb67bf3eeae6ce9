/* Pages that stay with the tasks of a lazy dump; see lazy-leave.h. */
#include "mm/lazy-leave.h"

#include "mm/lazy.h"
#include "mm/lazy-source.h"
#include "mm/page-select.h"

#include "base/own.h"
#include "infect/task.h"
#include "kernel/context.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

/* ------------------------------------------------ which */

/* Where the walk through the mappings and the pages that are needed at once stands. */
struct places {
	const struct mm_task *mt;
	const struct addr_vec *eager;
	size_t vma, page;
};

/* May the page at @at be left? @ret_end: up to there it is the same */
static bool may_stay(struct places *w, uint64_t at, uint64_t end, uint64_t *ret_end)
{
	const img_vma_entry *v;
	bool now;

	*ret_end = end;
	/* pseudo-mappings follow the real ones, all of which have their pages there */
	while (w->vma < w->mt->vmas.nr && w->mt->vmas.items[w->vma].end <= at)
		w->vma++;
	if (w->vma == w->mt->vmas.nr)
		return false;
	v = &w->mt->vmas.items[w->vma];
	if (v->end < *ret_end)
		*ret_end = v->end;
	while (w->page < w->eager->nr && w->eager->items[w->page] < at)
		w->page++;
	now = w->page < w->eager->nr && w->eager->items[w->page] == at;
	if (now)
		*ret_end = at + MM_PAGE;
	else if (w->page < w->eager->nr && w->eager->items[w->page] < *ret_end)
		*ret_end = w->eager->items[w->page];
	return !now && v->start <= at && mm_may_come_later(v);
}

int lazy_leave(struct mm_task *mt, const struct addr_vec *eager, struct cr_error *err)
{
	struct places w = { .mt = mt, .eager = eager };
	struct page_runs all = { 0 };
	int r = 0;

	page_runs_done(&mt->to_copy);
	mt->to_copy = (struct page_runs){ 0 };
	for (size_t i = 0; r == 0 && i < mt->pages.nr; i++) {
		const struct page_run *run = &mt->pages.items[i];
		uint64_t end;

		for (uint64_t at = run->start; r == 0 && at < run->end; at = end) {
			uint32_t flags = run->flags;

			if (may_stay(&w, at, run->end, &end) && flags & MM_PE_LAZY)
				flags &= ~(uint32_t)MM_PE_PRESENT;
			r = page_runs_put(&all, at, end, flags, run->slow);
			if (r == 0 && flags & MM_PE_PRESENT)
				r = page_runs_put(&mt->to_copy, at, end, flags, run->slow);
		}
	}
	if (r < 0) {
		page_runs_done(&all);
		return cr_fail(err, r, "find pages that stay");
	}
	page_runs_done(&mt->pages);
	mt->pages = all;
	return 0;
}

static bool is_left(const struct page_run *run)
{
	return run->flags & MM_PE_LAZY && !(run->flags & (MM_PE_PRESENT | MM_PE_PARENT));
}

uint64_t lazy_left_bytes(const struct mm_task *mt)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < mt->pages.nr; i++)
		if (is_left(&mt->pages.items[i]))
			sum += mt->pages.items[i].end - mt->pages.items[i].start;
	return sum;
}

/* ------------------------------------------------ giving it away */

struct giver {
	struct mm_dump *d;
	void (*started)(void *arg);
	void *arg;
	const struct mm_task *last; /* whose memory file is open */
	int mem;
};

static const struct mm_task *find_task(const struct mm_dump *d, uint32_t ns_pid)
{
	for (size_t i = 0; i < d->tasks.nr; i++)
		if ((uint32_t)d->tasks.items[i]->task->ns_pid == ns_pid)
			return d->tasks.items[i];
	return NULL;
}

/* The run that covers @at. Return: NULL: none does */
static const struct page_run *find_run(const struct mm_task *mt, uint64_t at)
{
	size_t lo = 0, hi = mt->pages.nr;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (mt->pages.items[mid].end > at)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo < mt->pages.nr && mt->pages.items[lo].start <= at ? &mt->pages.items[lo] : NULL;
}

/* Whatever the dump knows of is given, so that who asks need not know which of it was stored; nothing else is. */
static int check(void *arg, uint32_t ns_pid, uint64_t start, uint64_t end, struct cr_error *err)
{
	const struct giver *g = arg;
	const struct mm_task *mt = find_task(g->d, ns_pid);

	if (!mt)
		return cr_refuse(err, -EPROTO, "pages of process %" PRIu32 ", which is none of the tree", ns_pid);
	for (uint64_t at = start; at < end;) {
		const struct page_run *run = find_run(mt, at);

		if (!run)
			return cr_refuse(err, -EPROTO, "process %" PRIu32 " has no page at %" PRIx64 " to be sent", ns_pid, at);
		at = run->end;
	}
	return 0;
}

static int read_slow(struct giver *g, const struct mm_task *mt, uint64_t at, char *buf, size_t len, struct cr_error *err)
{
	if (g->last != mt) {
		int fd = proc_open(&mt->task->dir, "mem", O_RDONLY, err);

		if (fd < 0)
			return fd;
		if (g->mem >= 0)
			close(g->mem);
		g->mem = fd;
		g->last = mt;
	}
	while (len) {
		ssize_t n = pread(g->mem, buf, len, (off_t)at);

		if (n <= 0)
			return cr_fail(err, n ? -errno : -EIO, "read memory of pid %d at %" PRIx64, mt->task->host_pid, at);
		buf += n;
		at += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

static int give(void *arg, uint32_t ns_pid, uint64_t at, void *buf, size_t len, struct cr_error *err)
{
	struct giver *g = arg;
	const struct mm_task *mt = find_task(g->d, ns_pid);
	char *to = buf;
	int r = 0;

	while (r == 0 && len) {
		const struct page_run *run = find_run(mt, at);
		size_t some = run->end - at < len ? (size_t)(run->end - at) : len;
		struct iovec here = { to, some }, there = { (void *)(uintptr_t)at, some };
		ssize_t n = run->slow ? 0 : process_vm_readv(mt->task->lead->host_tid, &here, 1, &there, 1, 0);

		if (n < 0 && errno != EFAULT)
			return cr_fail(err, -errno, "read memory of pid %d", mt->task->host_pid);
		if (n < (ssize_t)some) {
			size_t got = n > 0 ? (size_t)n : 0;

			r = read_slow(g, mt, at + got, to + got, some - got, err);
		}
		at += some;
		to += some;
		len -= some;
	}
	return r;
}

static void started(void *arg)
{
	const struct giver *g = arg;

	g->started(g->arg);
}

static const struct lazy_store_ops of_tasks = { .check = check, .read = give, .started = started };

int mm_give_left(struct mm_dump *d, struct lazy_source *source, void (*runs)(void *arg), void *arg, struct cr_error *err)
{
	struct giver g = { .d = d, .started = runs, .arg = arg, .mem = -1 };
	int r = lazy_source_serve(source, d->config.run_id, &of_tasks, &g, err);

	if (g.mem >= 0)
		close(g.mem);
	return r;
}

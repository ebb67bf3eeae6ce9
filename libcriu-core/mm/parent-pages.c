/* Pages of previous sets; see parent-pages.h. */
#include "mm/parent-pages.h"

#include "kernel/context.h"
#include "mm/page-chain.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

struct parent_task {
	uint64_t id;
	struct mm_ranges has;
};
DEFINE_VEC(parent_tasks, struct parent_task)

struct mm_parent {
	struct cr_context *ctx;
	struct image_set *set; /* borrowed, while it is read */
	struct parent_tasks tasks;
};

/* Where they are stored is of no interest here. */
static int add_runs(struct mm_ranges *has, const struct stored_runs *runs)
{
	for (size_t i = 0; i < runs->nr; i++) {
		const struct stored_run *run = &runs->items[i];
		struct mm_range *last = has->nr ? &has->items[has->nr - 1] : NULL;

		if (last && last->end == run->start) {
			last->end = run->end;
			continue;
		}
		last = mm_ranges_add(has);
		if (!last)
			return -ENOMEM;
		*last = (struct mm_range){ run->start, run->end };
	}
	return 0;
}

/* What cannot be read could not be restored from either: then nothing is left to it. */
static int read_one(void *arg, enum img_type type, uint64_t id, struct cr_error *err)
{
	struct mm_parent *p = arg;
	struct stored_runs runs = { 0 };
	struct page_files files = { 0 };
	struct cr_error why = { 0 };
	struct parent_task *task = parent_tasks_add(&p->tasks);
	int r;

	if (!task)
		return cr_fail(err, -ENOMEM, "read earlier images");
	task->id = id;
	r = page_chain_read(p->set, type, id, NULL, NULL, &runs, &files, &why);
	if (r < 0)
		log_warn(&p->ctx->log, "pid %" PRIu64 ": earlier images: %s, continuing with all pages", id, why.text);
	r = r < 0 ? 0 : add_runs(&task->has, &runs);
	stored_runs_done(&runs);
	page_files_close(&files);
	return r < 0 ? cr_fail(err, r, "read earlier images") : 0;
}

static int by_id(const void *a, const void *b)
{
	const struct parent_task *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

int mm_parent_read(struct cr_context *ctx, struct image_set *set, struct mm_parent **ret, struct cr_error *err)
{
	autofree_by(mm_parent_free) struct mm_parent *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return cr_fail(err, -ENOMEM, "read earlier images");
	p->ctx = ctx;
	p->set = set;
	r = image_set_each(set, IMG_PAGEMAP, read_one, p, err);
	if (r < 0)
		return r;
	if (p->tasks.nr)
		qsort(p->tasks.items, p->tasks.nr, sizeof(*p->tasks.items), by_id);
	*ret = take_ptr(&p);
	return 0;
}

void mm_parent_free(struct mm_parent *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < p->tasks.nr; i++)
		mm_ranges_done(&p->tasks.items[i].has);
	parent_tasks_done(&p->tasks);
	free(p);
}

const struct mm_ranges *mm_parent_find(const struct mm_parent *p, uint64_t ns_pid)
{
	struct parent_task key = { .id = ns_pid }, *found = NULL;

	if (p && p->tasks.nr)
		found = bsearch(&key, p->tasks.items, p->tasks.nr, sizeof(key), by_id);
	return found ? &found->has : NULL;
}

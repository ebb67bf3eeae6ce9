#include "mm/store-sums.h"

#include "base/io.h"
#include "image/page-sums.h"
#include "image/stream.h"

#include <errno.h>
#include <string.h>

void store_sums_put(struct store_sums *s, const uint8_t round[static PAGE_ROUND_SIZE], uint32_t pages_id, uint64_t nr_pages,
		    struct page_sum_vec *sums)
{
	struct store_sums_file *file = NULL;

	if (!s->files.nr)
		memcpy(s->round, round, PAGE_ROUND_SIZE);
	if (!page_round_is_set(round) || memcmp(s->round, round, PAGE_ROUND_SIZE) != 0 || sums->nr != nr_pages)
		s->none = true;
	if (!s->none)
		file = store_sums_files_add(&s->files);
	if (!file) {
		s->none = true;
		page_sum_vec_done(sums);
		return;
	}
	*file = (struct store_sums_file){ pages_id, *sums };
	*sums = (struct page_sum_vec){ 0 };
}

void store_sums_join(struct store_sums *s, struct store_sums *from)
{
	s->none |= from->none;
	for (size_t i = 0; i < from->files.nr; i++) {
		struct store_sums_file *f = &from->files.items[i];

		store_sums_put(s, from->round, f->pages_id, f->sums.nr, &f->sums);
	}
	store_sums_done(from);
	*from = (struct store_sums){ 0 };
}

static int by_id(const void *a, const void *b)
{
	const struct store_sums_file *x = a, *y = b;

	return x->pages_id < y->pages_id ? -1 : x->pages_id > y->pages_id;
}

static int write_all(const struct store_sums *s, int fd, const struct sums_of *at, struct cr_error *err)
{
	int r = 0;

	for (size_t i = 0; i < s->files.nr && r == 0; i++) {
		const struct page_sum_vec *sums = &s->files.items[i].sums;

		r = fd_pwrite_all(fd, sums->items, sums->nr * sizeof(*sums->items), (off_t)at[i].at);
	}
	return r < 0 ? cr_fail(err, r, "write pages.sum") : 0;
}

int store_sums_write(struct store_sums *s, struct image_set *set, struct cr_error *err)
{
	autofree struct sums_of *files = NULL;
	char round[PAGE_ROUND_TEXT];

	if (s->none || !s->files.nr)
		return 1;
	qsort(s->files.items, s->files.nr, sizeof(*s->files.items), by_id);
	files = calloc(s->files.nr, sizeof(*files));
	if (!files)
		return cr_fail(err, -ENOMEM, "write pages.sum");
	for (size_t i = 0; i < s->files.nr; i++)
		files[i] = (struct sums_of){ .pages_id = s->files.items[i].pages_id, .nr_pages = s->files.items[i].sums.nr };
	page_round_text(s->round, round);

	autofd int fd = page_sums_create(set, round, files, s->files.nr, err);

	int r = fd < 0 ? fd : write_all(s, fd, files, err);

	if (r < 0)
		return r;
	r = image_set_close(set, take_fd(&fd));
	return r < 0 ? cr_fail(err, r, "end pages.sum") : 0;
}

void store_sums_done(struct store_sums *s)
{
	for (size_t i = 0; i < s->files.nr; i++)
		page_sum_vec_done(&s->files.items[i].sums);
	store_sums_files_done(&s->files);
}

/* Looking up pages in a chain of image sets; see page-chain.h. */
#include "mm/page-chain.h"
#include "image/page-sums.h"
#include "image/stream.h"
#include "mm/page-chain-internal.h"
#include "mm/page-wire.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define LEVELS_MAX 1024 /* sets of a chain; also ends a chain that bites its tail */

size_t stored_runs_find(const struct stored_runs *runs, uint64_t at)
{
	size_t lo = 0, hi = runs->nr;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (runs->items[mid].end > at)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

void page_files_close(struct page_files *files)
{
	for (size_t i = 0; i < files->nr; i++) {
		close(files->items[i].fd);
		unpack_free(files->items[i].unpack);
	}
	page_files_done(files);
}

void page_map_done(struct page_map *m)
{
	map_entries_done(&m->entries);
}

/* ------------------------------------------------ one set */

static int add_entry(struct page_map *m, const img_pagemap_entry *e, struct cr_error *err)
{
	uint64_t nr = e->has_nr_pages ? e->nr_pages : e->compat_nr_pages;
	uint32_t flags = e->has_flags ? e->flags : e->has_in_parent && e->in_parent ? MM_PE_PARENT : MM_PE_PRESENT;
	uint64_t last = m->entries.nr ? m->entries.items[m->entries.nr - 1].end : 0;
	struct map_entry *to;

	if (e->vaddr % MM_PAGE || e->vaddr > MM_ADDR_MAX || nr == 0 || nr > (MM_ADDR_MAX - e->vaddr) / MM_PAGE)
		return cr_refuse(err, -EBADMSG, "pages: %" PRIu64 " at %" PRIx64 " are out of range", nr, e->vaddr);
	if (e->vaddr < last)
		return cr_refuse(err, -EBADMSG, "pages at %" PRIx64 " are out of order", e->vaddr);
	if (flags & MM_PE_PARENT && flags & MM_PE_PRESENT)
		return cr_refuse(err, -EBADMSG, "pages at %" PRIx64 " are both here and in an earlier set", e->vaddr);
	to = map_entries_add(&m->entries);
	if (!to)
		return cr_fail(err, -ENOMEM, "remember where pages are");
	*to = (struct map_entry){ .start = e->vaddr, .end = e->vaddr + nr * MM_PAGE, .flags = flags };
	if (flags & MM_PE_PRESENT) {
		to->off = m->bytes;
		m->bytes += nr * MM_PAGE;
	}
	return 0;
}

static void take_head(struct page_map *m, const img_pagemap_head *head)
{
	const img_pagemap_head_ext *ext = head->ext;

	m->pages_id = head->pages_id;
	m->has_round = ext && ext->round.len == sizeof(m->round);
	if (m->has_round)
		memcpy(m->round, ext->round.data, sizeof(m->round));
	m->has_parent_round = ext && ext->parent_round.len == sizeof(m->parent_round);
	if (m->has_parent_round)
		memcpy(m->parent_round, ext->parent_round.data, sizeof(m->parent_round));
	m->with_inventory = ext && ext->has_with_inventory && ext->with_inventory;
}

static int read_entries(struct image_reader *reader, struct page_map *m, struct cr_error *err)
{
	void *entry = NULL;
	int r = image_read(reader, &entry, err);

	if (r <= 0)
		return r < 0 ? r : cr_refuse(err, -EBADMSG, "page map without a head");
	take_head(m, entry);
	img_entry_free(entry);
	while ((r = image_read(reader, &entry, err)) > 0) {
		r = add_entry(m, entry, err);
		img_entry_free(entry);
		if (r < 0)
			return r;
	}
	return r;
}

int page_map_read(struct image_set *set, enum img_type type, uint64_t id, struct page_map *ret, struct cr_error *err)
{
	autofree_by(image_reader_close) struct image_reader *reader = NULL;
	struct page_map m = { 0 };
	int r = image_reader_open(set, type, id, &reader, err);

	if (r == 1)
		cr_error_clear(err);
	if (r != 0)
		return r;
	r = read_entries(reader, &m, err);
	if (r < 0) {
		page_map_done(&m);
		return r;
	}
	*ret = m;
	return 0;
}

/* One descriptor for each process and set stays open: large trees and long chains need more than the usual limit. */
static bool more_descriptors(struct cr_error *err)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) < 0 || lim.rlim_cur == lim.rlim_max)
		return false;
	lim.rlim_cur = lim.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &lim) < 0)
		return false;
	cr_error_clear(err);
	return true;
}

static int open_stored(struct image_set *set, enum img_type type, uint32_t pages_id, int flags, struct cr_error *err)
{
	int fd = image_open_stored(set, type, pages_id, flags, err);

	return fd == -EMFILE && more_descriptors(err) ? image_open_stored(set, type, pages_id, flags, err) : fd;
}

/* Return: descriptor; -ENOENT they are not compressed either; negative errno */
static int open_packed(struct image_set *set, const struct page_map *m, int flags, struct unpack **ret, struct cr_error *err)
{
	autofd int fd = open_stored(set, IMG_PAGES_PACKED, m->pages_id, O_RDONLY, err);
	int r;

	if (fd < 0)
		return fd;
	if (flags != O_RDONLY)
		return cr_refuse(err, -EOPNOTSUPP, "the pages of pages-%" PRIu32 ".frames are compressed, and cannot be freed one by one",
				 m->pages_id);
	r = unpack_new(fd, m->bytes, ret, err);
	return r < 0 ? cr_within(err, r, "pages-%" PRIu32 ".frames", m->pages_id) : take_fd(&fd);
}

/* Plain ones are looked for first: most are. */
static int open_pages(struct image_set *set, const struct page_map *m, int flags, struct unpack **ret, struct cr_error *err)
{
	int fd = open_stored(set, IMG_PAGES, m->pages_id, flags, err);
	struct cr_error other = { 0 };

	if (fd != -ENOENT || image_set_streams(set))
		return fd;
	fd = open_packed(set, m, flags, ret, &other);
	if (fd != -ENOENT && err)
		*err = other;
	return fd;
}

int page_chain_parent(struct image_set *set, struct image_set **ret, struct cr_error *err)
{
	int r = image_set_parent(set, ret, err);

	return r == -EMFILE && more_descriptors(err) ? image_set_parent(set, ret, err) : r;
}

int page_map_open(struct image_set *set, const struct page_map *m, int flags, struct unpack **ret, struct cr_error *err)
{
	autofd int fd = open_pages(set, m, flags, ret, err);
	struct stat st;

	if (fd < 0)
		return fd;
	if (image_set_streams(set) || *ret)
		return take_fd(&fd);
	if (fstat(fd, &st) < 0)
		return cr_fail(err, -errno, "look at pages-%" PRIu32 ".img", m->pages_id);
	if (!S_ISREG(st.st_mode))
		return cr_refuse(err, -EBADMSG, "pages-%" PRIu32 ".img is not a regular file", m->pages_id);
	if ((uint64_t)st.st_size < m->bytes)
		return cr_refuse(err, -EBADMSG, "pages-%" PRIu32 ".img has %lld bytes and should have %" PRIu64,
				 m->pages_id, (long long)st.st_size, m->bytes);
	return take_fd(&fd);
}

/* ------------------------------------------------ the chain */

void page_chain_done(struct chain *c)
{
	for (size_t i = 0; i < c->levels.nr; i++)
		page_map_done(&c->levels.items[i].map);
	levels_done(&c->levels);
}

/* The dump that a set is of, as its inventory has it. Return: 0; 1 there is none, or it does not say; negative errno */
static int round_of_set(struct image_set *set, uint8_t ret[static PAGE_ROUND_SIZE], struct cr_error *err)
{
	const char *text;
	int r = image_set_run_id(set, &text, err);

	if (r != 0)
		return r;
	page_round_parse(text, ret);
	return page_round_is_set(ret) ? 0 : 1;
}

/* Files of two dumps in one directory: copied together, or left behind by an older one. */
static int check_of_set(struct image_set *set, const struct page_map *m, struct cr_error *err)
{
	uint8_t round[PAGE_ROUND_SIZE];
	const char *text;
	int r;

	if (!m->has_round || image_set_streams(set))
		return 0;
	r = image_set_run_id(set, &text, err);
	if (r == 1 && m->with_inventory) {
		cr_refuse(err, -EBADMSG, "the images are not whole any more: inventory.img is gone");
		cr_advise(err, "a restore with --auto-dedup frees the images that it has read, and a dump begins by removing it");
		return -EBADMSG;
	}
	if (r != 0)
		return r < 0 ? r : 0;
	page_round_parse(text, round);
	if (memcmp(round, m->round, sizeof(round)) == 0)
		return 0;
	cr_refuse(err, -EBADMSG, "the page map is of another dump than inventory.img");
	cr_advise(err, "put the files of one dump together, or dump into an empty directory");
	return -EBADMSG;
}

int page_chain_add(struct chain *c, struct image_set *set, struct cr_error *err)
{
	struct page_map map = { 0 };
	struct level *l;
	int r = page_map_read(set, c->type, c->id, &map, err);

	c->ends = r == 1;
	if (r != 0)
		return r;
	r = check_of_set(set, &map, err);
	if (r < 0) {
		page_map_done(&map);
		return r;
	}
	l = levels_add(&c->levels);
	if (!l) {
		page_map_done(&map);
		return cr_fail(err, -ENOMEM, "read page maps");
	}
	*l = (struct level){ .set = set, .map = map };
	return 0;
}

/* Pages were left to one dump, and to no other that may lie there now. */
static int check_parent(const struct page_map *child, const struct level *parent, struct cr_error *err)
{
	uint8_t round[PAGE_ROUND_SIZE] = { 0 };
	int r = 0;

	if (!child->has_parent_round)
		return 0;
	if (parent->map.has_round)
		memcpy(round, parent->map.round, sizeof(round));
	else
		r = round_of_set(parent->set, round, err);
	if (r < 0 || memcmp(round, child->parent_round, sizeof(round)) == 0)
		return r;
	cr_refuse(err, -EBADMSG, "it is not the dump that these images were made against");
	cr_advise(err, "its directory was written to again; images that have a parent are of use only together with it");
	return -EBADMSG;
}

/* Have level @at read. Return: 0; 1 there is none; negative errno. */
int page_chain_reach(struct chain *c, size_t at, struct cr_error *err)
{
	while (c->levels.nr <= at) {
		struct image_set *parent = NULL;
		size_t nr = c->levels.nr;
		int r;

		if (c->ends)
			return 1;
		if (c->levels.nr == LEVELS_MAX)
			return cr_refuse(err, -ELOOP, "a chain of more than %d image sets", LEVELS_MAX);
		r = page_chain_parent(c->levels.items[nr - 1].set, &parent, err);
		if (r == 0)
			r = page_chain_add(c, parent, err);
		if (r == 0)
			r = check_parent(&c->levels.items[nr - 1].map, &c->levels.items[nr], err);
		if (r < 0)
			return cr_within(err, r, "parent %zu", nr);
		c->ends |= r == 1;
	}
	return 0;
}

size_t map_entries_find(const struct page_map *m, uint64_t at)
{
	size_t lo = 0, hi = m->entries.nr;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (m->entries.items[mid].end > at)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

/* Images of a page server say themselves which dump they are of. */
static bool are_of_map(const struct page_sums *sums, const struct page_map *m)
{
	char round[PAGE_ROUND_TEXT];

	if (!m->has_round)
		return false;
	page_round_text(m->round, round);
	return strcmp(sums->round, round) == 0;
}

/* Sums that are for another number of pages than there are would be compared with others than those they were made of. */
static int find_sums(struct level *l, struct page_file *ret, struct cr_error *err)
{
	const struct page_sums *sums;
	const struct sums_of *of;
	int r = image_set_sums(l->set, &sums, err);

	if (r == PAGE_SUMS_UNBOUND && are_of_map(sums, &l->map))
		r = 0;
	if (r != 0)
		return r < 0 ? r : 0;
	of = page_sums_find(sums, l->map.pages_id);
	if (!of)
		return 0;
	if (of->nr_pages != l->map.bytes / MM_PAGE) {
		cr_refuse(err, -EBADMSG, "pages.sum is for %" PRIu64 " pages of pages-%" PRIu32 ".img, which has %" PRIu64,
			  of->nr_pages, l->map.pages_id, l->map.bytes / MM_PAGE);
		cr_advise(err, "--no-checksums restores without comparing the pages with their checksums");
		return -EBADMSG;
	}
	ret->sums = sums->fd;
	ret->sums_at = of->at;
	return 0;
}

static int open_level(struct chain *c, struct level *l, struct cr_error *err)
{
	struct page_file f = { .fd = -1, .sums = -1, .pages_id = l->map.pages_id, .piped = image_set_streams(l->set) }, *slot;
	int r = find_sums(l, &f, err);

	if (r < 0)
		return r;
	f.fd = page_map_open(l->set, &l->map, O_RDONLY, &f.unpack, err);
	if (f.fd < 0)
		return f.fd;
	l->file = (uint32_t)c->files->nr;
	slot = page_files_add(c->files);
	if (!slot) {
		close(f.fd);
		unpack_free(f.unpack);
		return cr_fail(err, -ENOMEM, "open pages");
	}
	*slot = f;
	l->opened = true;
	return 0;
}

static int put_run(struct chain *c, struct level *l, const struct map_entry *e, uint64_t start, uint64_t end,
		   struct cr_error *err)
{
	struct stored_run *last = c->runs->nr ? &c->runs->items[c->runs->nr - 1] : NULL;
	uint64_t off = e->off + (start - e->start);
	bool lazy = e->flags & MM_PE_LAZY;

	if (!l->opened) {
		int r = open_level(c, l, err);

		if (r < 0)
			return r;
	}
	if (last && last->end == start && last->file == l->file && last->lazy == lazy &&
	    last->off + (last->end - last->start) == off) {
		last->end = end;
		return 0;
	}
	last = stored_runs_add(c->runs);
	if (!last)
		return cr_fail(err, -ENOMEM, "remember where pages are");
	*last = (struct stored_run){ .start = start, .end = end, .off = off, .file = l->file, .lazy = lazy };
	return 0;
}

/* Only the newest dump can still have its tasks. */
static bool is_left(const struct chain *c, size_t level, const struct map_entry *e)
{
	return level == 0 && e->flags & MM_PE_LAZY && !(e->flags & MM_PE_PARENT) &&
	       (c->left == PAGE_LEFT_ALL || (c->left == PAGE_LEFT_KNOWN && !(e->flags & MM_PE_PRESENT)));
}

static int put_left(struct chain *c, uint64_t start, uint64_t end, struct cr_error *err)
{
	struct stored_run *run = stored_runs_add(c->runs);

	if (!run)
		return cr_fail(err, -ENOMEM, "remember where pages are");
	*run = (struct stored_run){
		.start = start, .end = end, .off = start, .file = PAGES_AT_SOURCE | (uint32_t)c->id, .lazy = true
	};
	return 0;
}

static int refuse_left(uint64_t at, struct cr_error *err)
{
	cr_refuse(err, -EOPNOTSUPP, "pages at %" PRIx64 " were left at their source (lazy dump)", at);
	cr_advise(err, "start criu lazy-pages --page-server while that dump waits, and restore with --lazy-pages");
	return -EOPNOTSUPP;
}

/* Finds [start, end) in the sets from @level on. As deep as the chain is long, with a small frame for each. */
static int resolve(struct chain *c, size_t level, uint64_t start, uint64_t end, struct cr_error *err)
{
	int r = page_chain_reach(c, level, err);

	if (r < 0)
		return r;
	for (size_t i = r == 0 ? map_entries_find(&c->levels.items[level].map, start) : 0; start < end; i++) {
		/* deeper calls may move the array */
		struct level *l = r == 1 ? NULL : &c->levels.items[level];
		const struct map_entry *e = l && i < l->map.entries.nr ? &l->map.entries.items[i] : NULL;
		uint64_t stop;

		if (!e || e->start > start)
			return cr_refuse(err, -EBADMSG, "pages at %" PRIx64 " should be in parent %zu and are not", start,
					 level);
		stop = e->end < end ? e->end : end;
		if (is_left(c, level, e))
			r = put_left(c, start, stop, err);
		else if (e->flags & MM_PE_PARENT)
			r = resolve(c, level + 1, start, stop, err);
		else if (e->flags & MM_PE_PRESENT)
			r = put_run(c, l, e, start, stop, err);
		else
			r = refuse_left(start, err);
		if (r < 0)
			return r;
		start = stop;
	}
	return 0;
}

static int resolve_all(struct chain *c, page_check_fn check, void *arg, struct cr_error *err)
{
	for (size_t i = 0; i < c->levels.items[0].map.entries.nr; i++) {
		struct map_entry e = c->levels.items[0].map.entries.items[i];
		int r = check ? check(arg, e.start, (e.end - e.start) / MM_PAGE, err) : 0;

		if (r == 0)
			r = resolve(c, 0, e.start, e.end, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int read_chain(struct chain *c, struct image_set *set, page_check_fn check, void *arg, struct cr_error *err)
{
	int r = page_chain_add(c, set, err);

	if (r == 0)
		r = resolve_all(c, check, arg, err);
	page_chain_done(c);
	return r < 0 ? r : 0;
}

int page_chain_read(struct image_set *set, enum img_type type, uint64_t id, page_check_fn check, void *arg,
		    struct stored_runs *runs, struct page_files *files, struct cr_error *err)
{
	struct chain c = { .type = type, .id = id, .runs = runs, .files = files };

	return read_chain(&c, set, check, arg, err);
}

int page_chain_read_left(struct image_set *set, uint64_t ns_pid, enum page_left left, page_check_fn check, void *arg,
			 struct stored_runs *runs, struct page_files *files, struct cr_error *err)
{
	struct chain c = { .type = IMG_PAGEMAP, .id = ns_pid, .left = left, .runs = runs, .files = files };

	return read_chain(&c, set, check, arg, err);
}

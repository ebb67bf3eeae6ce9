/* Freeing what a newer set of a chain has stored anew; see page-chain.h. */
#include "mm/page-chain-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <unistd.h>

/* Frees what @e stores and @newer has stored, too. Nothing else can be needed of it: @newer is asked first. */
static int punch_entry(int fd, const struct map_entry *e, const struct page_map *newer, uint64_t *bytes)
{
	for (size_t i = map_entries_find(newer, e->start); i < newer->entries.nr; i++) {
		const struct map_entry *n = &newer->entries.items[i];
		uint64_t start = n->start > e->start ? n->start : e->start, end = n->end < e->end ? n->end : e->end;

		if (n->start >= e->end)
			return 0;
		if (!(n->flags & MM_PE_PRESENT))
			continue;
		if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(e->off + (start - e->start)),
			      (off_t)(end - start)) < 0)
			return -errno;
		*bytes += end - start;
	}
	return 0;
}

static int punch_level(const struct chain *c, size_t level, uint64_t *bytes, struct cr_error *err)
{
	const struct level *l = &c->levels.items[level];
	struct unpack *none = NULL;
	autofd int fd = l->map.bytes ? page_map_open(l->set, &l->map, O_RDWR, &none, err) : -1;

	if (!l->map.bytes)
		return 0;
	if (fd < 0)
		return fd;
	for (size_t i = 0; i < l->map.entries.nr; i++)
		for (size_t k = 0; k < level && l->map.entries.items[i].flags & MM_PE_PRESENT; k++) {
			int r = punch_entry(fd, &l->map.entries.items[i], &c->levels.items[k].map, bytes);

			if (r < 0)
				return cr_fail(err, r, "free pages of pages-%" PRIu32 ".img", l->map.pages_id);
		}
	return 0;
}

/* Nothing is freed in favour of a set of which something may be missing: page maps are there before their pages. */
static int check_whole(struct image_set *set, struct cr_error *err)
{
	struct image_set *parent = NULL;
	size_t nr = 0;
	int r;

	/* the oldest need not be: nothing is freed for it */
	while ((r = page_chain_parent(set, &parent, err)) == 0) {
		r = image_set_check_whole(set, err);
		if (r < 0 && nr)
			cr_within(err, r, "parent %zu is not whole", nr);
		else if (r < 0)
			cr_within(err, r, "these images are not whole");
		if (r < 0)
			cr_advise(err, "pages that a page server has stored are whole with the inventory.img of their dump beside them");
		if (r < 0)
			return r;
		set = parent;
		nr++;
	}
	return r < 0 ? r : 0;
}

/* The pages of the newest set, in favour of which all the others are freed: a file that is missing or short must not cost both. */
static int check_newest(void *arg, enum img_type type, uint64_t id, struct cr_error *err)
{
	struct image_set *set = arg;
	struct unpack *unpack = NULL;
	struct page_map m = { 0 };
	int r = page_map_read(set, type, id, &m, err);

	if (r == 0 && m.bytes) {
		autofd int fd = page_map_open(set, &m, O_RDONLY, &unpack, err);

		r = fd < 0 ? fd : 0;
		unpack_free(unpack);
	}
	page_map_done(&m);
	return r < 0 ? r : 0;
}

struct dedup {
	struct image_set *set;
	uint64_t bytes;
};

static int dedup_one(void *arg, enum img_type type, uint64_t id, struct cr_error *err)
{
	struct dedup *d = arg;
	struct chain c = { .type = type, .id = id };
	int r = page_chain_add(&c, d->set, err);

	for (size_t level = 1; r == 0 && (r = page_chain_reach(&c, level, err)) == 0; level++)
		r = punch_level(&c, level, &d->bytes, err);
	page_chain_done(&c);
	return r < 0 ? r : 0;
}

int page_chain_dedup(struct image_set *set, uint64_t *ret_bytes, struct cr_error *err)
{
	struct dedup d = { .set = set };
	struct image_set *parent = NULL;
	int r = image_set_parent(set, &parent, err);

	if (r == 1)
		return cr_refuse(err, -ENOENT, "this directory has no parent");
	if (r == 0)
		r = check_whole(set, err);
	if (r == 0)
		r = image_set_each(set, IMG_PAGEMAP, check_newest, set, err);
	if (r == 0)
		r = image_set_each(set, IMG_PAGEMAP_SHMEM, check_newest, set, err);
	if (r == 0)
		r = image_set_each(set, IMG_PAGEMAP, dedup_one, &d, err);
	if (r == 0)
		r = image_set_each(set, IMG_PAGEMAP_SHMEM, dedup_one, &d, err);
	if (r == 0)
		*ret_bytes = d.bytes;
	return r;
}

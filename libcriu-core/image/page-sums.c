/* The file pages.sum; see page-sums.h. */
#include "image/page-sums.h"

#include "base/io.h"
#include "image/image-set-internal.h"
#include "image/stream.h"
#include "page-sum.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MAGIC       0x53554d50u
#define VERSION     1u
#define KIND        1u
#define FILES_MAX   (1u << 23) /* processes and segments */
#define PAGES_MAX   (UINT64_C(1) << 45)

static_assert(PAGE_SUMS_PAGE == PAGE_SUM_PAGE, "one size of pages");

struct head {
	uint32_t magic, version, kind, page_size, nr, crc;
	uint64_t size;
	char round[PAGE_SUMS_ROUND];
};
static_assert(sizeof(struct head) == 96, "the layout of the file");

struct entry {
	uint32_t pages_id, zero;
	uint64_t nr_pages;
};
static_assert(sizeof(struct entry) == 16, "the layout of the file");

static int damaged(struct cr_error *err, const char *how)
{
	cr_refuse(err, -EBADMSG, "pages.sum is damaged: %s", how);
	cr_advise(err, "--no-checksums restores without comparing the pages with their checksums");
	return -EBADMSG;
}

static int head_check(const struct head *h, uint64_t size, struct cr_error *err)
{
	if (h->magic != MAGIC)
		return damaged(err, "it begins with something else");
	if (h->version != VERSION || h->kind != KIND || h->page_size != PAGE_SUMS_PAGE) {
		cr_refuse(err, -EOPNOTSUPP, "pages.sum: version %" PRIu32 ", kind %" PRIu32 ", pages of %" PRIu32 " bytes are not known",
			  h->version, h->kind, h->page_size);
		cr_advise(err, "--no-checksums restores without comparing the pages with their checksums");
		return -EOPNOTSUPP;
	}
	if (h->size != size)
		return damaged(err, h->size > size ? "it is cut short" : "it is too long");
	if (h->nr > FILES_MAX || h->nr > (size - sizeof(*h)) / sizeof(struct entry))
		return damaged(err, "it is for more files than it has room for");
	return memchr(h->round, 0, sizeof(h->round)) ? 0 : damaged(err, "its id does not end");
}

static uint32_t crc_of(const char *bytes, size_t len)
{
	const uint32_t zero = 0;
	uint32_t crc = UINT32_MAX;

	for (size_t i = 0; i < len; i++) {
		size_t in = i - offsetof(struct head, crc);

		crc = crc32c_byte_plain(crc, (uint8_t)(in < sizeof(zero) ? 0 : bytes[i]));
	}
	return ~crc;
}

static int index_parse(const char *bytes, const struct head *h, struct page_sums *s, struct cr_error *err)
{
	uint64_t at = sizeof(*h) + (uint64_t)h->nr * sizeof(struct entry);

	for (uint32_t i = 0; i < h->nr; i++) {
		struct entry e;

		memcpy(&e, bytes + sizeof(*h) + i * sizeof(e), sizeof(e));
		if (e.zero || e.nr_pages > PAGES_MAX || e.nr_pages > (h->size - at) / sizeof(uint32_t))
			return damaged(err, "a number in it is out of range");
		if (i && e.pages_id <= s->files[i - 1].pages_id)
			return damaged(err, "files are out of order");
		s->files[s->nr++] = (struct sums_of){ e.pages_id, e.nr_pages, at };
		at += e.nr_pages * sizeof(uint32_t);
	}
	return at == h->size ? 0 : damaged(err, "sizes do not add up");
}

int page_sums_parse(const void *bytes, size_t len, uint64_t size, struct page_sums *ret, struct cr_error *err)
{
	struct page_sums s = { .fd = -1 };
	struct head h;
	int r;

	if (len < sizeof(h) || size < len)
		return damaged(err, "it is cut short");
	memcpy(&h, bytes, sizeof(h));
	r = head_check(&h, size, err);
	if (r < 0)
		return r;
	if (len < sizeof(h) + (uint64_t)h.nr * sizeof(struct entry))
		return damaged(err, "it is cut short");
	if (crc_of(bytes, sizeof(h) + h.nr * sizeof(struct entry)) != h.crc)
		return damaged(err, "its head does not match the checksum of that");
	s.files = calloc((size_t)h.nr + 1, sizeof(*s.files));
	if (!s.files)
		return cr_fail(err, -ENOMEM, "read pages.sum");
	memcpy(s.round, h.round, sizeof(s.round));
	r = index_parse(bytes, &h, &s, err);
	if (r < 0) {
		free(s.files);
		return r;
	}
	*ret = s;
	return 0;
}

void page_sums_free(struct page_sums *s)
{
	if (!s)
		return;
	if (s->fd >= 0)
		close(s->fd);
	free(s->files);
	free(s);
}

static int by_id(const void *key, const void *item)
{
	uint32_t id = *(const uint32_t *)key, other = ((const struct sums_of *)item)->pages_id;

	return id < other ? -1 : id > other;
}

const struct sums_of *page_sums_find(const struct page_sums *s, uint32_t pages_id)
{
	return s->nr ? bsearch(&pages_id, s->files, s->nr, sizeof(*s->files), by_id) : NULL;
}

int page_sums_create(struct image_set *set, const char *round, struct sums_of *files, size_t nr, struct cr_error *err)
{
	struct head h = { MAGIC, VERSION, KIND, PAGE_SUMS_PAGE, (uint32_t)nr, 0, 0, "" };
	size_t len = sizeof(h) + nr * sizeof(struct entry);
	autofree char *bytes = nr <= FILES_MAX ? calloc(1, len) : NULL;
	int r;

	if (!bytes || strlen(round) >= sizeof(h.round))
		return cr_fail(err, bytes ? -EINVAL : -ENOMEM, "prepare pages.sum");
	memcpy(h.round, round, strlen(round));
	h.size = len;
	for (size_t i = 0; i < nr; i++) {
		struct entry e = { files[i].pages_id, 0, files[i].nr_pages };

		files[i].at = h.size;
		h.size += files[i].nr_pages * sizeof(uint32_t);
		memcpy(bytes + sizeof(h) + i * sizeof(e), &e, sizeof(e));
	}
	memcpy(bytes, &h, sizeof(h));
	h.crc = crc_of(bytes, len);
	memcpy(bytes, &h, sizeof(h));

	autofd int fd = image_open_raw(set, IMG_PAGE_SUMS, 0, err);

	if (fd < 0)
		return fd;
	r = image_set_write(set, fd, bytes, len);
	return r < 0 ? cr_fail(err, r, "write pages.sum") : take_fd(&fd);
}

/* ------------------------------------------------ of a set that is read */

static int read_head(int fd, struct page_sums *ret, struct cr_error *err)
{
	struct head h;
	struct stat st;
	ssize_t n;
	int r;

	if (fstat(fd, &st) < 0)
		return cr_fail(err, -errno, "look at pages.sum");
	if (!S_ISREG(st.st_mode))
		return damaged(err, "it is not a regular file");
	n = fd_pread_all(fd, &h, sizeof(h), 0);
	if (n < 0)
		return cr_fail(err, (int)n, "read pages.sum");
	if (n != sizeof(h))
		return damaged(err, "it is cut short");
	r = head_check(&h, (uint64_t)st.st_size, err);
	if (r < 0)
		return r;

	size_t len = sizeof(h) + h.nr * sizeof(struct entry);
	autofree char *bytes = malloc(len);

	if (!bytes)
		return cr_fail(err, -ENOMEM, "read pages.sum");
	n = fd_pread_all(fd, bytes, len, 0);
	if (n < 0)
		return cr_fail(err, (int)n, "read pages.sum");
	return page_sums_parse(bytes, (size_t)n, (uint64_t)st.st_size, ret, err);
}

/* Return: 0 they are this set's; PAGE_SUMS_FOREIGN; PAGE_SUMS_UNBOUND: a set without an inventory has no id. */
static int round_check(struct image_set *set, const char *round, struct cr_error *err)
{
	const char *run_id;
	int r = image_set_run_id(set, &run_id, err);

	if (r != 0)
		return r < 0 ? r : PAGE_SUMS_UNBOUND;
	return strcmp(run_id, round) == 0 ? 0 : PAGE_SUMS_FOREIGN;
}

static int sums_open(struct image_set *set, struct page_sums **ret, struct cr_error *err)
{
	autofree_by(page_sums_free) struct page_sums *s = NULL;
	autofd int fd = image_set_openat(set, IMG_PAGE_SUMS, 0, O_RDONLY, err);
	int r;

	if (fd == -ENOENT) {
		cr_error_clear(err);
		return PAGE_SUMS_NONE;
	}
	if (fd < 0)
		return fd;
	s = calloc(1, sizeof(*s));
	if (!s)
		return cr_fail(err, -ENOMEM, "read pages.sum");
	s->fd = -1;
	r = read_head(fd, s, err);
	if (r == 0)
		r = round_check(set, s->round, err);
	if (r != 0 && r != PAGE_SUMS_UNBOUND)
		return r;
	s->fd = take_fd(&fd);
	*ret = take_ptr(&s);
	return r;
}

int image_set_sums(struct image_set *set, const struct page_sums **ret, struct cr_error *err)
{
	if (!set->sums_known) {
		int r = sums_open(set, &set->sums, err);

		if (r < 0)
			return r;
		set->sums_known = true;
		set->sums_state = r;
	}
	*ret = set->sums;
	return set->sums_state;
}

void image_set_ignore_sums(struct image_set *set)
{
	set->sums_known = set->sums_ignored = true;
	set->sums_state = PAGE_SUMS_NONE;
}

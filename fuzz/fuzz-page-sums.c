/*
 * Heads of pages.sum, as a file of a size that the input chooses. Most inputs would end at the checksum of the head, so it is
 * put right first, unless the input says not to.
 */
#include "image/page-sums.h"
#include "page-sum.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define HEAD  96
#define ENTRY 16

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put_right(uint8_t *bytes, size_t len)
{
	uint32_t nr, crc = 0;

	if (len < HEAD)
		return;
	memcpy(&nr, bytes + 16, sizeof(nr));
	if (nr > (len - HEAD) / ENTRY)
		return;
	memcpy(bytes + 20, &crc, sizeof(crc));
	crc = crc32c(bytes, HEAD + nr * (size_t)ENTRY);
	memcpy(bytes + 20, &crc, sizeof(crc));
}

/* What was accepted lies inside of the file, in order, and is found. */
static void check(const struct page_sums *s, size_t len, uint64_t size)
{
	uint64_t at = HEAD + s->nr * (uint64_t)ENTRY;

	if (s->nr > len / ENTRY || !memchr(s->round, 0, sizeof(s->round)))
		abort();
	for (size_t i = 0; i < s->nr; i++) {
		if (s->files[i].at != at || page_sums_find(s, s->files[i].pages_id) != &s->files[i])
			abort();
		at += s->files[i].nr_pages * 4;
	}
	if (at != size)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct page_sums *s = NULL;
	struct cr_error err = { 0 };
	uint64_t whole;
	uint8_t *bytes;
	int r;

	if (size < sizeof(whole) + 1)
		return 0;
	memcpy(&whole, data + 1, sizeof(whole));
	bytes = malloc(size);
	s = calloc(1, sizeof(*s));
	if (!bytes || !s)
		abort();
	size -= sizeof(whole) + 1;
	memcpy(bytes, data + 1 + sizeof(whole), size);
	if (!(data[0] & 1))
		put_right(bytes, size);
	r = page_sums_parse(bytes, size, data[0] & 2 ? whole : size, s, &err);
	if (r > 0 || (r < 0) != (err.code < 0) || (r < 0 && !err.text[0]))
		abort();
	if (r == 0)
		check(s, size, data[0] & 2 ? whole : size);
	else
		s->fd = -1;
	page_sums_free(s);
	free(bytes);
	return 0;
}

/* Records of the protocol of page servers; see page-wire.h. */
#include "mm/page-wire.h"
#include "mm/mm-internal.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define TYPE_TASK  1
#define TYPE_SHMEM 2
#define FLAGS_BITS 16

static void put32(uint8_t *to, uint32_t v)
{
	v = htole32(v);
	memcpy(to, &v, sizeof(v));
}

static void put64(uint8_t *to, uint64_t v)
{
	v = htole64(v);
	memcpy(to, &v, sizeof(v));
}

static uint32_t get32(const uint8_t *from)
{
	uint32_t v;

	memcpy(&v, from, sizeof(v));
	return le32toh(v);
}

static uint64_t get64(const uint8_t *from)
{
	uint64_t v;

	memcpy(&v, from, sizeof(v));
	return le64toh(v);
}

void page_wire_encode(const struct page_wire *w, uint8_t ret[static PAGE_WIRE_SIZE])
{
	put32(ret, w->cmd | w->flags << FLAGS_BITS);
	put32(ret + 4, 0);
	put64(ret + 8, w->nr_pages);
	put64(ret + 16, w->vaddr);
	put64(ret + 24, w->dst_id);
}

static int check_cmd(const struct page_wire *w, struct cr_error *err)
{
	if (w->cmd == PAGE_WIRE_ADD_F) {
		if (w->flags & ~(uint32_t)(MM_PE_PARENT | MM_PE_LAZY | MM_PE_PRESENT) || !w->flags ||
		    (w->flags & MM_PE_PARENT && w->flags & MM_PE_PRESENT))
			return cr_refuse(err, -EPROTO, "pages with flags %" PRIx32, w->flags);
		return 0;
	}
	if (w->flags || !((w->cmd >= PAGE_WIRE_ADD && w->cmd <= PAGE_WIRE_GET) || w->cmd == PAGE_WIRE_CLOSE ||
			  w->cmd == PAGE_WIRE_FORCE_CLOSE))
		return cr_refuse(err, -EPROTO, "unknown command %" PRIx32, w->cmd | w->flags << FLAGS_BITS);
	return 0;
}

int page_wire_decode(const uint8_t rec[static PAGE_WIRE_SIZE], struct page_wire *ret, struct cr_error *err)
{
	uint32_t word = get32(rec);
	struct page_wire w = {
		.cmd = word & ((1u << FLAGS_BITS) - 1),
		.flags = word >> FLAGS_BITS,
		.nr_pages = get64(rec + 8),
		.vaddr = get64(rec + 16),
		.dst_id = get64(rec + 24),
	};
	int r = check_cmd(&w, err);

	if (r < 0)
		return r;
	if (get32(rec + 4)) {
		cr_refuse(err, -EPROTO, "a record that is not one of 32 bytes");
		cr_advise(err, "the other side may be CRIU 4.1 or older, whose records are shorter");
		return -EPROTO;
	}
	*ret = w;
	return 0;
}

int page_wire_check_range(const struct page_wire *w, struct cr_error *err)
{
	if (w->vaddr % MM_PAGE || w->vaddr > MM_ADDR_MAX || w->nr_pages == 0 ||
	    w->nr_pages > (MM_ADDR_MAX - w->vaddr) / MM_PAGE)
		return cr_refuse(err, -EPROTO, "%" PRIu64 " pages at %" PRIx64 " are out of range", w->nr_pages,
				 w->vaddr);
	return 0;
}

uint64_t page_wire_id(enum img_type type, uint64_t id)
{
	return id << 8 | (type == IMG_PAGEMAP ? TYPE_TASK : TYPE_SHMEM);
}

int page_wire_of(uint64_t dst_id, enum img_type *ret_type, uint64_t *ret_id, struct cr_error *err)
{
	uint64_t id = dst_id >> 8;
	bool task = false, shmem = false;

	switch (dst_id & 0xff) {
	case TYPE_TASK:
	case 10:
	case 11:
	case 16:
	case 17:
		task = true;
		break;
	case TYPE_SHMEM:
	case 27:
	case 28:
	case 29:
	case 32:
	case 33:
	case 34:
		shmem = true;
		break;
	}
	if ((!task && !shmem) || id > UINT32_MAX || (task && (id == 0 || id > INT32_MAX)))
		return cr_refuse(err, -EPROTO, "pages of something that is neither a process nor a segment (%" PRIx64 ")",
				 dst_id);
	*ret_type = task ? IMG_PAGEMAP : IMG_PAGEMAP_SHMEM;
	*ret_id = id;
	return 0;
}

static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

void page_round_parse(const char *text, uint8_t ret[static PAGE_ROUND_SIZE])
{
	uint8_t round[PAGE_ROUND_SIZE] = { 0 };
	size_t nr = 0;

	memset(ret, 0, PAGE_ROUND_SIZE);
	for (; *text; text++) {
		int d = hex_digit(*text);

		if (*text == '-')
			continue;
		if (d < 0 || nr == 2 * sizeof(round))
			return;
		round[nr / 2] = (uint8_t)(round[nr / 2] << 4 | d);
		nr++;
	}
	if (nr == 2 * sizeof(round))
		memcpy(ret, round, sizeof(round));
}

void page_round_text(const uint8_t round[static PAGE_ROUND_SIZE], char ret[static PAGE_ROUND_TEXT])
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < PAGE_ROUND_SIZE; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*ret++ = '-';
		*ret++ = digits[round[i] >> 4];
		*ret++ = digits[round[i] & 15];
	}
	*ret = '\0';
}

bool page_round_is_set(const uint8_t round[static PAGE_ROUND_SIZE])
{
	static const uint8_t none[PAGE_ROUND_SIZE];

	return memcmp(round, none, sizeof(none)) != 0;
}

void page_wire_set_round(struct page_wire *w, const uint8_t round[static PAGE_ROUND_SIZE])
{
	w->nr_pages = get64(round);
	w->vaddr = get64(round + 8);
}

void page_wire_get_round(const struct page_wire *w, uint8_t ret[static PAGE_ROUND_SIZE])
{
	put64(ret, w->nr_pages);
	put64(ret + 8, w->vaddr);
}

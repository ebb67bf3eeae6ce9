/* The server's side of a conversation; see page-session.h. */
#include "mm/page-session.h"
#include "mm/mm-internal.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

static void answer32(struct page_answer *a, int32_t value)
{
	uint32_t v = htole32((uint32_t)value);

	memcpy(a->bytes, &v, sizeof(v));
	a->nr = sizeof(v);
}

void page_session_status(int code, struct page_answer *ret)
{
	answer32(ret, code);
}

static int take_open(struct page_session *s, const struct page_wire *w, struct page_answer *ret, struct cr_error *err)
{
	static const uint8_t none[PAGE_ROUND_SIZE];
	uint8_t round[PAGE_ROUND_SIZE];
	enum img_type type;
	uint64_t id;
	int r = page_wire_of(w->dst_id, &type, &id, err);

	page_wire_get_round(w, round);
	if (r == 0)
		r = s->ops->open(s->arg, type, id, round, err);
	if (r < 0)
		return r;
	s->open = true;
	s->next = 0;
	if (w->cmd == PAGE_WIRE_OPEN)
		return 0;
	r = s->ops->parent(s->arg, type, id, none, err);
	if (r < 0)
		return r;
	ret->bytes[0] = r > 0;
	ret->nr = 1;
	return 0;
}

static int take_parent(struct page_session *s, const struct page_wire *w, struct page_answer *ret, struct cr_error *err)
{
	uint8_t round[PAGE_ROUND_SIZE];
	enum img_type type;
	uint64_t id;
	int r = page_wire_of(w->dst_id, &type, &id, err);

	page_wire_get_round(w, round);
	if (r == 0)
		r = s->ops->parent(s->arg, type, id, round, err);
	if (r < 0)
		return r;
	answer32(ret, r > 0);
	return 0;
}

static int take_pages(struct page_session *s, const struct page_wire *w, uint32_t flags, uint64_t *ret_content,
		      struct cr_error *err)
{
	uint64_t end;
	int r = page_wire_check_range(w, err);

	if (r < 0)
		return r;
	if (!s->open)
		return cr_refuse(err, -EPROTO, "pages of nothing: no image was begun");
	if (w->vaddr < s->next)
		return cr_refuse(err, -EPROTO, "pages at %" PRIx64 " are out of order", w->vaddr);
	end = w->vaddr + w->nr_pages * MM_PAGE;
	r = s->ops->add(s->arg, w->vaddr, end, flags, err);
	if (r < 0)
		return r;
	s->next = end;
	if (flags & MM_PE_PRESENT)
		*ret_content = end - w->vaddr;
	return 0;
}

static int take_close(struct page_session *s, const struct page_wire *w, struct page_answer *ret, struct cr_error *err)
{
	int r = s->ops->finish(s->arg, err);

	if (r < 0)
		return r;
	s->open = false;
	s->ended = true;
	s->leaves = w->cmd == PAGE_WIRE_CLOSE;
	page_session_status(0, ret);
	return 0;
}

int page_session_take(struct page_session *s, const uint8_t *rec, struct page_answer *ret, uint64_t *ret_content,
		      struct cr_error *err)
{
	struct page_wire w;
	int r = page_wire_decode(rec, &w, err);

	ret->nr = 0;
	*ret_content = 0;
	if (r < 0)
		return r;
	switch (w.cmd) {
	case PAGE_WIRE_OPEN:
	case PAGE_WIRE_OPEN2:
		return take_open(s, &w, ret, err);
	case PAGE_WIRE_PARENT:
		return take_parent(s, &w, ret, err);
	case PAGE_WIRE_ADD:
		return take_pages(s, &w, MM_PE_PRESENT, ret_content, err);
	case PAGE_WIRE_HOLE:
		return take_pages(s, &w, MM_PE_PARENT, ret_content, err);
	case PAGE_WIRE_ADD_F:
		return take_pages(s, &w, w.flags, ret_content, err);
	case PAGE_WIRE_CLOSE:
	case PAGE_WIRE_FORCE_CLOSE:
		return take_close(s, &w, ret, err);
	default:
		/* GET: of a server that has the memory of a process, which this one has not */
		return cr_refuse(err, -EPROTO, "pages were asked for, and this server only takes them");
	}
}

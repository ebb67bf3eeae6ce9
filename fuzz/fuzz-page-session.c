/*
 * What a page server hears: records, with their content skipped as the server would read it. The first byte says what the
 * store answers. Whatever is passed on to the store is in order, in range, and of an image that was begun.
 */
#include "mm/mm-internal.h"
#include "mm/page-session.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct store {
	uint8_t answers; /* 1: there is a parent; 2: opening fails; 4: finishing fails */
	bool open, finished;
	uint64_t next, content;
};

static int parent(void *arg, enum img_type type, uint64_t id, const uint8_t *round, struct cr_error *err)
{
	struct store *s = arg;

	(void)round;
	(void)err;
	if ((type != IMG_PAGEMAP && type != IMG_PAGEMAP_SHMEM) || id > UINT32_MAX)
		abort();
	return s->answers & 1;
}

static int begin(void *arg, enum img_type type, uint64_t id, const uint8_t *round, struct cr_error *err)
{
	struct store *s = arg;
	char name[IMG_NAME_MAX];

	(void)round;
	if (s->finished || img_name(type, id, name, sizeof(name)) < 0)
		abort();
	s->open = true;
	s->next = 0;
	return s->answers & 2 ? cr_fail(err, -28, "begin") : 0;
}

static int add(void *arg, uint64_t start, uint64_t end, uint32_t flags, struct cr_error *err)
{
	struct store *s = arg;

	(void)err;
	if (!s->open || s->finished || start < s->next || end <= start || end > MM_ADDR_MAX || start % MM_PAGE ||
	    end % MM_PAGE || !flags || flags & ~7u || (flags & MM_PE_PARENT && flags & MM_PE_PRESENT))
		abort();
	s->next = end;
	s->content = flags & MM_PE_PRESENT ? end - start : 0;
	return 0;
}

static int finish(void *arg, struct cr_error *err)
{
	struct store *s = arg;

	s->finished = true;
	return s->answers & 4 ? cr_fail(err, -28, "finish") : 0;
}

static const struct page_store_ops ops = { .parent = parent, .open = begin, .add = add, .finish = finish };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct store store = { .answers = size ? data[0] : 0 };
	struct page_session s = { .ops = &ops, .arg = &store };

	for (size_t at = 1; at + PAGE_WIRE_SIZE <= size && !s.ended;) {
		struct page_answer answer;
		struct cr_error err = { 0 };
		uint64_t content = 0;
		int r;

		store.content = 0;
		r = page_session_take(&s, data + at, &answer, &content, &err);
		at += PAGE_WIRE_SIZE;
		if (r > 0 || (r < 0 && (err.code != r || !err.text[0])) || answer.nr > sizeof(answer.bytes))
			abort();
		if (r < 0)
			break;
		if (content != store.content || s.ended != store.finished)
			abort();
		/* as the server reads it: to the end of it, or of the connection */
		at = content > size - at ? size : at + (size_t)content;
	}
	return 0;
}

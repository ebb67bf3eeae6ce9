/*
 * Image files. The first byte says which kind; with its top bit the rest is the whole file, else
 * what comes behind the right header. Whatever decodes must encode, decode and encode to the same
 * bytes again, and what lies behind an entry must lie in the file.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/images.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_entry(enum img_msg msg, const void *entry)
{
	struct proto_buf first = proto_buf_of(64 << 20), second = proto_buf_of(64 << 20);
	void *again = NULL;

	if (img_entry_encode(msg, entry, &first, NULL) < 0)
		abort();
	if (img_entry_decode(msg, first.data + 4, first.len - 4, NULL, &again, NULL) < 0)
		abort();
	if (img_entry_encode(msg, again, &second, NULL) < 0)
		abort();
	if (first.len != second.len || memcmp(first.data, second.data, first.len) != 0)
		abort();
	img_entry_free(again);
	proto_buf_done(&second);
	proto_buf_done(&first);
}

static void check_span(const struct proto_buf *file, struct img_span span)
{
	if (span.len > 0 && (span.bytes < file->data || span.bytes + span.len > file->data + file->len))
		abort();
}

/* Memory of the caller's, each piece of its own, so that its ends are watched. */
struct room {
	void **given;
	size_t nr;
};

static void *room_take(void *arg, size_t size)
{
	struct room *room = arg;
	void **given = realloc(room->given, (room->nr + 1) * sizeof(*given));

	if (given == NULL)
		return NULL;
	room->given = given;
	given[room->nr] = malloc(size);
	return given[room->nr] != NULL ? given[room->nr++] : NULL;
}

static void room_done(struct room *room)
{
	while (room->nr > 0)
		free(room->given[--room->nr]);
	free(room->given);
}

static void check_file(enum img_type type, const struct proto_buf *file, bool in_room)
{
	struct room room = { 0 };
	struct proto_limits limits = img_limits_default;
	struct img_reader reader;
	struct img_item item;
	struct proto_error err = { 0 };

	if (in_room)
		limits.room = (struct proto_room){ room_take, &room };
	int r = img_reader_init(&reader, type, file->data, file->len, &limits, &err);

	while (r >= 0 && (r = img_reader_next(&reader, &item, &err)) == 1) {
		if (item.msg != IMG_MSG_NONE)
			check_entry(item.msg, item.entry);
		check_span(file, item.encoded);
		check_span(file, item.payload[0]);
		check_span(file, item.payload[1]);
		img_item_done(&item);
	}
	if (r < 0 && (err.code != r || err.text[0] == '\0'))
		abort();
	room_done(&room);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct proto_buf file = proto_buf_of(64 << 20);
	enum img_type type;

	if (size == 0)
		return 0;
	type = (enum img_type)(data[0] % 128 % IMG_TYPE_NR);
	if (data[0] < 128 && img_header_encode(type, &file, NULL) < 0)
		abort();
	if (proto_buf_append(&file, data + 1, size - 1) < 0)
		abort();
	check_file(type, &file, false);
	check_file(type, &file, true);
	proto_buf_done(&file);
	return 0;
}

/*
 * Walking an image that lies in memory. Every length is checked before it is used.
 */
#include "proto/images.h"

#include <errno.h>
#include <string.h>

#include "fail.h"

void img_item_done(struct img_item *item)
{
	img_entry_free(item->entry);
	*item = (struct img_item){ 0 };
}

int img_reader_init(struct img_reader *reader, enum img_type type, const void *bytes, size_t len,
		    const struct proto_limits *limits, struct proto_error *err)
{
	size_t header = 0;
	int r = img_header_check(type, bytes, len, &header, err);

	if (r < 0)
		return r;
	*reader = (struct img_reader){
		.kind = img_kind_of(type), .limits = limits,
		.bytes = bytes, .len = len, .pos = header,
	};
	return 0;
}

static int cut_short(const struct img_reader *reader, const char *what, struct proto_error *err)
{
	return fail_at(err, -EBADMSG, NULL, "%s: entry %llu: %s is cut short at byte %zu",
		       reader->kind->prefix, (unsigned long long)reader->nr_entries, what,
		       reader->len);
}

/* A raw image is one item: all of it. */
static int next_raw(struct img_reader *reader, struct img_item *ret_item)
{
	if (reader->nr_entries++ > 0 || reader->len == 0)
		return 0;
	*ret_item = (struct img_item){ .payload = { { reader->bytes, reader->len } } };
	reader->pos = reader->len;
	return 1;
}

/* No bytes are left: was that to be expected? */
static int at_end(const struct img_reader *reader, struct proto_error *err)
{
	if (reader->records_left > 0 && reader->records_left != IMG_RECORDS_TO_END)
		return cut_short(reader, "list of records", err);
	if ((reader->kind->single || reader->kind->head != IMG_MSG_NONE) && reader->nr_entries == 0)
		return fail_at(err, -EBADMSG, NULL, "%s: no entry", reader->kind->prefix);
	return 0;
}

/* The message that has to come next; IMG_MSG_NONE if none may. */
static enum img_msg expected(const struct img_reader *reader)
{
	if (reader->records_left > 0)
		return reader->record;
	if (reader->nr_entries == 0 && reader->kind->head != IMG_MSG_NONE)
		return reader->kind->head;
	if (reader->nr_entries > 0 && reader->kind->single)
		return IMG_MSG_NONE;
	return reader->kind->entry;
}

static int take_payload(struct img_reader *reader, struct img_item *item, struct proto_error *err)
{
	struct img_payload follows = img_payload_of(item->msg, item->entry);

	if (follows.to_end)
		follows.len[0] = reader->len - reader->pos;
	for (int i = 0; i < 2; i++) {
		size_t left = reader->len - reader->pos;

		if (follows.len[i] > left || follows.pad[i] > left - follows.len[i])
			return cut_short(reader, "payload", err);
		item->payload[i].bytes = reader->bytes + reader->pos;
		item->payload[i].len = (size_t)follows.len[i];
		reader->pos += (size_t)follows.len[i] + follows.pad[i];
	}
	/* Records have no records of their own. */
	if (follows.record != IMG_MSG_NONE) {
		reader->record = follows.record;
		reader->records_left = follows.nr;
	}
	return 0;
}

int img_reader_next(struct img_reader *reader, struct img_item *ret_item, struct proto_error *err)
{
	struct img_item item = { 0 };
	uint32_t size;

	if (reader->kind->header == IMG_HEADER_NONE)
		return next_raw(reader, ret_item);
	if (reader->pos == reader->len)
		return at_end(reader, err);

	item.msg = expected(reader);
	if (item.msg == IMG_MSG_NONE)
		return fail_at(err, -EBADMSG, NULL, "%s: %zu bytes after the only entry",
			       reader->kind->prefix, reader->len - reader->pos);
	if (reader->len - reader->pos < sizeof(size))
		return cut_short(reader, "size", err);
	memcpy(&size, reader->bytes + reader->pos, sizeof(size));
	if (size > reader->len - reader->pos - sizeof(size))
		return cut_short(reader, "message", err);

	item.encoded.bytes = reader->bytes + reader->pos + sizeof(size);
	item.encoded.len = size;

	int r = img_entry_decode(item.msg, item.encoded.bytes, size, reader->limits, &item.entry, err);

	if (r < 0)
		return r;
	reader->pos += sizeof(size) + size;
	if (reader->records_left == 0)
		reader->nr_entries++;
	else if (reader->records_left != IMG_RECORDS_TO_END)
		reader->records_left--;

	r = take_payload(reader, &item, err);
	if (r < 0) {
		img_item_done(&item);
		return r;
	}
	*ret_item = item;
	return 1;
}

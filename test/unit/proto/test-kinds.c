/*
 * Names and magics of images are those of the tables of facts; what follows an entry; headers.
 */
#include "proto-test.h"

#include <errno.h>

#include "proto/images.h"

/* Column @nr of a table row "| a | b | c |", blanks around it left out; false if there is none. */
static int column(const char *row, size_t nr, char *ret_text, size_t size)
{
	const char *at = strchr(row, '|'), *end;

	for (; nr > 0 && at != NULL; nr--)
		at = strchr(at + 1, '|');
	if (at == NULL || (end = strchr(at + 1, '|')) == NULL)
		return 0;
	at++;
	while (at < end && *at == ' ')
		at++;
	while (end > at && end[-1] == ' ')
		end--;
	if ((size_t)(end - at) >= size)
		return 0;
	memcpy(ret_text, at, (size_t)(end - at));
	ret_text[end - at] = '\0';
	return 1;
}

/* The nth of "a / b / c". */
static int part(const char *list, size_t nr, char *ret_text, size_t size)
{
	const char *end;

	for (; nr > 0 && list != NULL; nr--) {
		list = strstr(list, " / ");
		if (list != NULL)
			list += 3;
	}
	if (list == NULL)
		return 0;
	end = strstr(list, " / ");
	size_t len = end != NULL ? (size_t)(end - list) : strlen(list);

	if (len >= size)
		return 0;
	memcpy(ret_text, list, len);
	ret_text[len] = '\0';
	return 1;
}

/* "core-PID.img" to "core-7.img": a word in capitals stands for a number. */
static void fill_in_number(char *name)
{
	static const char capitals[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
	char *word = name + strcspn(name, capitals);
	size_t len = strspn(word, capitals);

	if (len == 0)
		return;
	*word = '7';
	memmove(word + 1, word + len, strlen(word + len) + 1);
}

static void check_kind(const char *name, uint32_t magic, const char *messages, const char *shape)
{
	enum img_type type;
	uint64_t id;
	char first[80] = "", again[IMG_NAME_MAX];

	if (img_name_parse(name, &type, &id) < 0)
		fail_msg("%s: no such image", name);
	const struct img_kind *kind = img_kind_of(type);

	assert_int_equal(img_name(type, id, again, sizeof(again)), 0);
	assert_string_equal(again, name);
	if (kind->magic != magic)
		fail_msg("%s: magic 0x%x, not 0x%x", name, kind->magic, magic);
	assert_true((kind->header == IMG_HEADER_NONE) == (magic == 0));
	if (shape == NULL)
		return;

	/* The first of the messages begins the file. */
	sscanf(messages, "%79[a-z_]", first);
	const char *ours = img_msg_name(kind->head != IMG_MSG_NONE ? kind->head : kind->entry);

	if (magic != 0 && strcmp(messages, "–") != 0 && strcmp(messages, "the same") != 0 && strcmp(ours, first) != 0)
		fail_msg("%s: begins with %s, not %s", name, ours, first);
	if (kind->single != (strncmp(shape, "single", 6) == 0))
		fail_msg("%s: is %s", name, shape);
	assert_int_equal(kind->head != IMG_MSG_NONE, strcmp(shape, "head+array") == 0);
}

static void kinds_are_as_the_facts_say(void **state)
{
	char *text = test_read_file("test/data/images-files.md", NULL), *save = NULL;
	int section = 0;
	size_t checked = 0;

	(void)state;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char names[160], magics[80], messages[160], shape[80];

		sscanf(line, "## %d.", &section);
		if (line[0] != '|' || (section != 4 && section != 5) || !column(line, 0, names, sizeof(names)) ||
		    !column(line, 1, magics, sizeof(magics)) || !column(line, 2, messages, sizeof(messages)) ||
		    strchr("0123456789", magics[0]) == NULL)
			continue;

		/* Dumps of pages from before there were pagemaps: not restorable by anyone. */
		if (section == 5 && strncmp(names, "pages-", 6) == 0)
			continue;
		/* A row may name several files, and has one magic for all or one for each. */
		char name[80], magic[40];

		for (size_t i = 0; part(names, i, name, sizeof(name)); i++) {
			if (!part(magics, i, magic, sizeof(magic)))
				assert_true(part(magics, 0, magic, sizeof(magic)));
			fill_in_number(name);
			check_kind(name, (uint32_t)strtoul(magic, NULL, 16), messages,
				   section == 4 && column(line, 3, shape, sizeof(shape)) ? shape : NULL);
			checked++;
		}
	}
	free(text);
	if (checked < 80)
		fail_msg("only %zu kinds were found in the table", checked);
}

static void names_are_strict(void **state)
{
	static const char *const bad[] = {
		"",
		"core",
		"core-.img",
		"core-01.img",
		"core-+1.img",
		"core--1.img",
		"core- 1.img",
		"core-1.img.tmp",
		"core-18446744073709551616.img",
		"core-1a.img",
		"ghost-file-A.img",
		"ghost-file-0x1.img",
		"pstree.img2",
		"xpstree.img",
		"pagemap-shmem-.img",
		"pages-1",
		"../core-1.img",
		"stats-dump.img",
	};
	enum img_type type;
	uint64_t id;
	char name[IMG_NAME_MAX];

	(void)state;
	for (size_t i = 0; i < TEST_NR(bad); i++)
		if (img_name_parse(bad[i], &type, &id) != -ENOENT)
			fail_msg("\"%s\" was taken for an image", bad[i]);
	assert_int_equal(img_name_parse("ghost-file-ff.img", &type, &id), 0);
	assert_int_equal(type, IMG_GHOST_FILE);
	assert_int_equal(id, 0xff);
	assert_int_equal(img_name_parse("core-18446744073709551615.img", &type, &id), 0);
	assert_true(id == UINT64_MAX);

	assert_int_equal(img_name(IMG_PSTREE, 1, name, sizeof(name)), -EINVAL);
	assert_int_equal(img_name(IMG_TYPE_NR, 0, name, sizeof(name)), -EINVAL);
	assert_int_equal(img_name(IMG_CORE, 10, name, strlen("core-10.img")), -EINVAL);
	assert_int_equal(img_name(IMG_CORE, 10, name, strlen("core-10.img") + 1), 0);
	assert_string_equal(name, "core-10.img");
	for (unsigned int i = 0; i < IMG_TYPE_NR; i++) {
		uint64_t number = img_kind_of((enum img_type)i)->number != IMG_NUMBER_NONE ? UINT64_MAX : 0;

		assert_int_equal(img_name((enum img_type)i, number, name, sizeof(name)), 0);
		assert_int_equal(img_name_parse(name, &type, &id), 0);
		assert_int_equal(type, i);
		assert_true(id == number);
	}
}

static void headers(void **state)
{
	struct proto_error err = { 0 };

	(void)state;
	for (unsigned int i = 0; i < IMG_TYPE_NR; i++) {
		struct proto_buf buf = proto_buf_of(100);
		size_t len = 99;

		assert_int_equal(img_header_encode((enum img_type)i, &buf, NULL), 0);
		assert_int_equal(buf.len, img_header_len((enum img_type)i));
		assert_int_equal(img_header_check((enum img_type)i, buf.data, buf.len, &len, &err), 0);
		assert_int_equal(len, buf.len);
		for (size_t cut = 0; cut < buf.len; cut++)
			assert_int_equal(img_header_check((enum img_type)i, buf.data, cut, &len, &err), -EBADMSG);
		for (size_t at = 0; at < buf.len; at++) {
			buf.data[at] ^= 0x10;
			assert_int_equal(img_header_check((enum img_type)i, buf.data, buf.len, &len, &err), -EBADMSG);
			buf.data[at] ^= 0x10;
		}
		/* Version 1 of the images had the second magic only. */
		if (buf.len == 8) {
			assert_int_equal(img_header_check((enum img_type)i, buf.data + 4, 4, &len, &err), 0);
			assert_int_equal(len, 4);
		}
		proto_buf_done(&buf);
	}
}

/* One image built from pieces; each has its payload. */
struct walk {
	struct proto_buf buf;
	enum img_type type;
};

static void add(struct walk *walk, enum img_msg msg, const void *entry, const char *payload)
{
	assert_int_equal(img_entry_encode(msg, entry, &walk->buf, NULL), 0);
	assert_int_equal(proto_buf_append(&walk->buf, payload, strlen(payload)), 0);
}

/* What the reader finds, as text: "message[payload|payload] ...", then how it ends. */
static void walk_to_text(const struct walk *walk, size_t len, char *ret_text, size_t size)
{
	struct img_reader reader;
	struct img_item item;
	uint8_t *copy = test_copy(walk->buf.data, len);
	size_t at = 0;
	int r = img_reader_init(&reader, walk->type, copy, len, NULL, NULL);

	while (r >= 0 && (r = img_reader_next(&reader, &item, NULL)) == 1) {
		at += (size_t)snprintf(ret_text + at, size - at, "%s[%.*s|%.*s] ", img_msg_name(item.msg),
				       (int)item.payload[0].len, (const char *)item.payload[0].bytes,
				       (int)item.payload[1].len, (const char *)item.payload[1].bytes);
		img_item_done(&item);
	}
	snprintf(ret_text + at, size - at, "%d", r);
	free(copy);
}

static void check_walk(struct walk *walk, const char *wanted)
{
	char text[1000];

	walk_to_text(walk, walk->buf.len, text, sizeof(text));
	assert_string_equal(text, wanted);
	/* One byte less is never a whole image: each of these ends in a payload or a message. */
	walk_to_text(walk, walk->buf.len - 1, text, sizeof(text));
	assert_non_null(strstr(text, "-74"));
	proto_buf_done(&walk->buf);
}

static struct walk walk_of(enum img_type type)
{
	struct walk walk = { .buf = proto_buf_of(10000), .type = type };

	assert_int_equal(img_header_encode(type, &walk.buf, NULL), 0);
	return walk;
}

static void what_follows_an_entry(void **state)
{
	img_ipc_desc_entry desc = { 0 };
	struct walk walk;

	(void)state;
	walk = walk_of(IMG_PIPES_DATA);
	add(&walk, IMG_MSG_pipe_data_entry, &(img_pipe_data_entry){ .bytes = 3 }, "abc");
	add(&walk, IMG_MSG_pipe_data_entry, &(img_pipe_data_entry){ .bytes = 0 }, "");
	add(&walk, IMG_MSG_pipe_data_entry, &(img_pipe_data_entry){ .bytes = 1 }, "d");
	check_walk(&walk, "pipe_data_entry[abc|] pipe_data_entry[|] pipe_data_entry[d|] 0");

	walk = walk_of(IMG_TCP_STREAM);
	add(&walk, IMG_MSG_tcp_stream_entry, &(img_tcp_stream_entry){ .inq_len = 2, .outq_len = 3 }, "inout");
	check_walk(&walk, "tcp_stream_entry[in|out] 0");

	walk = walk_of(IMG_IPCNS_MSG);
	add(&walk, IMG_MSG_ipc_msg_entry, &(img_ipc_msg_entry){ .desc = &desc, .qnum = 2 }, "");
	add(&walk, IMG_MSG_ipc_msg, &(img_ipc_msg){ .msize = 5 }, "hello...");
	add(&walk, IMG_MSG_ipc_msg, &(img_ipc_msg){ .msize = 8 }, "12345678");
	add(&walk, IMG_MSG_ipc_msg_entry, &(img_ipc_msg_entry){ .desc = &desc, .qnum = 0 }, "");
	add(&walk, IMG_MSG_ipc_msg_entry, &(img_ipc_msg_entry){ .desc = &desc, .qnum = 1 }, "");
	add(&walk, IMG_MSG_ipc_msg, &(img_ipc_msg){ .msize = 1 }, "x.......");
	check_walk(&walk, "ipc_msg_entry[|] ipc_msg[hello|] ipc_msg[12345678|] ipc_msg_entry[|] "
			  "ipc_msg_entry[|] ipc_msg[x|] 0");

	walk = walk_of(IMG_IPCNS_SEM);
	add(&walk, IMG_MSG_ipc_sem_entry, &(img_ipc_sem_entry){ .desc = &desc, .nsems = 3 }, "aabbcc..");
	check_walk(&walk, "ipc_sem_entry[aabbcc|] 0");

	walk = walk_of(IMG_IPCNS_SHM);
	add(&walk, IMG_MSG_ipc_shm_entry, &(img_ipc_shm_entry){ .desc = &desc, .size = 5 }, "12345...");
	add(&walk, IMG_MSG_ipc_shm_entry,
	    &(img_ipc_shm_entry){ .desc = &desc, .size = 5, .has_in_pagemaps = true, .in_pagemaps = true }, "");
	check_walk(&walk, "ipc_shm_entry[12345|] ipc_shm_entry[|] 0");

	walk = walk_of(IMG_GHOST_FILE);
	add(&walk, IMG_MSG_ghost_file_entry,
	    &(img_ghost_file_entry){ .mode = 0100644, .has_chunks = true, .chunks = true }, "");
	add(&walk, IMG_MSG_ghost_chunk_entry, &(img_ghost_chunk_entry){ .len = 2, .off = 0 }, "ab");
	add(&walk, IMG_MSG_ghost_chunk_entry, &(img_ghost_chunk_entry){ .len = 1, .off = 9 }, "c");
	check_walk(&walk, "ghost_file_entry[|] ghost_chunk_entry[ab|] ghost_chunk_entry[c|] 0");
}

static void wrong_numbers_of_entries(void **state)
{
	struct walk walk;
	char text[1000];

	(void)state;
	walk = walk_of(IMG_GHOST_FILE);
	add(&walk, IMG_MSG_ghost_file_entry, &(img_ghost_file_entry){ .mode = 0100644 }, "plain text");
	walk_to_text(&walk, walk.buf.len, text, sizeof(text));
	assert_string_equal(text, "ghost_file_entry[plain text|] 0");
	proto_buf_done(&walk.buf);

	/* Nothing follows a ghost that is no regular file. */
	walk = walk_of(IMG_GHOST_FILE);
	add(&walk, IMG_MSG_ghost_file_entry, &(img_ghost_file_entry){ .mode = 0010644 }, "x");
	walk_to_text(&walk, walk.buf.len, text, sizeof(text));
	assert_string_equal(text, "ghost_file_entry[|] -74");
	proto_buf_done(&walk.buf);

	walk = walk_of(IMG_FS);
	walk_to_text(&walk, walk.buf.len, text, sizeof(text));
	assert_string_equal(text, "-74");
	add(&walk, IMG_MSG_fs_entry, &(img_fs_entry){ 0 }, "");
	add(&walk, IMG_MSG_fs_entry, &(img_fs_entry){ 0 }, "");
	walk_to_text(&walk, walk.buf.len, text, sizeof(text));
	assert_string_equal(text, "fs_entry[|] -74");
	proto_buf_done(&walk.buf);

	walk = walk_of(IMG_PAGEMAP);
	walk_to_text(&walk, walk.buf.len, text, sizeof(text));
	assert_string_equal(text, "-74");
	add(&walk, IMG_MSG_pagemap_head, &(img_pagemap_head){ 0 }, "");
	add(&walk, IMG_MSG_pagemap_entry, &(img_pagemap_entry){ 0 }, "");
	add(&walk, IMG_MSG_pagemap_entry, &(img_pagemap_entry){ 0 }, "");
	check_walk(&walk, "pagemap_head[|] pagemap_entry[|] pagemap_entry[|] 0");

	/* An array may be empty; a raw image is what it is. */
	walk = walk_of(IMG_FILES);
	walk_to_text(&walk, walk.buf.len, text, sizeof(text));
	assert_string_equal(text, "0");
	proto_buf_done(&walk.buf);
	walk = walk_of(IMG_ROUTE);
	walk_to_text(&walk, walk.buf.len, text, sizeof(text));
	assert_string_equal(text, "0");
	assert_int_equal(proto_buf_append(&walk.buf, "raw", 3), 0);
	walk_to_text(&walk, walk.buf.len, text, sizeof(text));
	assert_string_equal(text, "none[raw|] 0");
	proto_buf_done(&walk.buf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kinds_are_as_the_facts_say),
		cmocka_unit_test(names_are_strict),
		cmocka_unit_test(headers),
		cmocka_unit_test(what_follows_an_entry),
		cmocka_unit_test(wrong_numbers_of_entries),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * The decoder against bytes that no honest writer makes, and against those that only some make.
 */
#include "proto-test.h"

#include <errno.h>

#include "proto/images.h"

#define HEX_MAX 256

/* "0a 03 61 62 63" to bytes. */
static size_t from_hex(const char *hex, uint8_t bytes[HEX_MAX])
{
	size_t nr = 0;
	unsigned int byte;
	int used;

	while (sscanf(hex, " %2x%n", &byte, &used) == 1) {
		assert_true(nr < HEX_MAX);
		bytes[nr++] = (uint8_t)byte;
		hex += used;
	}
	return nr;
}

static int decode_hex(enum img_msg msg, const char *hex, const struct proto_limits *limits, void **ret_entry,
		      struct proto_error *err)
{
	uint8_t bytes[HEX_MAX];
	size_t len = from_hex(hex, bytes);
	uint8_t *copy = test_copy(bytes, len);
	int r = img_entry_decode(msg, copy, len, limits, ret_entry, err);

	free(copy);
	return r;
}

struct bad_case {
	const char *name;
	enum img_msg msg;
	const char *hex;
	int code;
	const char *text;
};

static const struct bad_case bad_cases[] = {
	{ "empty", IMG_MSG_fs_entry, "", -EBADMSG, "fs_entry.cwd_id: required field is missing" },
	{ "second field missing", IMG_MSG_fs_entry, "08 01", -EBADMSG, "fs_entry.root_id: required field is missing" },
	{ "tag cut", IMG_MSG_fs_entry, "08 01 90", -EBADMSG, "fs_entry: tag is cut short" },
	{ "number cut", IMG_MSG_fs_entry, "08 81", -EBADMSG, "fs_entry.cwd_id: cut short" },
	{ "number of 65 bits", IMG_MSG_fs_entry, "08 ff ff ff ff ff ff ff ff ff 02", -EBADMSG,
	  "fs_entry.cwd_id: cut short" },
	{ "number of eleven bytes", IMG_MSG_fs_entry, "08 80 80 80 80 80 80 80 80 80 80 01", -EBADMSG,
	  "fs_entry.cwd_id: cut short" },
	{ "field number 0", IMG_MSG_fs_entry, "00 01", -EBADMSG, "fs_entry: impossible field number" },
	{ "field number of 30 bits", IMG_MSG_fs_entry, "80 80 80 80 10 01", -EBADMSG,
	  "fs_entry: impossible field number" },
	{ "bytes where a number should be", IMG_MSG_fs_entry, "0a 01 31", -EBADMSG,
	  "fs_entry.cwd_id: wrong wire type" },
	{ "number where a message should be", IMG_MSG_pipe_entry, "08 01 10 01 18 00 20 01", -EBADMSG,
	  "pipe_entry.fown: wrong wire type" },
	{ "message longer than the rest", IMG_MSG_pipe_entry, "08 01 10 01 18 00 22 05 08 00", -EBADMSG,
	  "pipe_entry.fown: cut short" },
	{ "length near 2^64", IMG_MSG_pipe_entry, "22 ff ff ff ff ff ff ff ff ff 01", -EBADMSG,
	  "pipe_entry.fown: cut short" },
	{ "member incomplete", IMG_MSG_pipe_entry, "08 01 10 01 18 00 22 02 08 00", -EBADMSG,
	  "pipe_entry.fown.euid: required field is missing" },
	{ "unknown field cut", IMG_MSG_fs_entry, "08 01 10 01 fa 7f 05 31", -EBADMSG,
	  "fs_entry: unknown field 2047 is cut short or of a bad type" },
	{ "group", IMG_MSG_fs_entry, "08 01 10 01 fb 7f fc 7f", -EBADMSG,
	  "fs_entry: unknown field 2047 is cut short or of a bad type" },
	{ "NUL in a string", IMG_MSG_pidns_entry, "0a 03 61 00 62", -EBADMSG,
	  "pidns_entry.ext_key: string contains a NUL byte" },
	{ "string element cut", IMG_MSG_plugins_entry, "62 01 61 62 05 61", -EBADMSG,
	  "plugins_entry.plugins[1]: cut short" },
	{ "packed numbers cut", IMG_MSG_scm_entry, "08 01 12 03 01 02 80", -EBADMSG,
	  "scm_entry.rights[2]: packed numbers are cut short" },
	{ "fixed64 cut", IMG_MSG_sk_opts_entry, "81 01 01 02 03", -EBADMSG, "sk_opts_entry.so_filter[0]: cut short" },
	{ "deep path", IMG_MSG_cgroup_entry, "12 0d 12 0b 0a 01 61 12 02 0a 00 12 02 12 00", -EBADMSG,
	  "cgroup_entry.controllers[0].dirs[0].children[1].children[0].dir_name: "
	  "required field is missing" },
};

static void bad_bytes_are_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < TEST_NR(bad_cases); i++) {
		const struct bad_case *c = &bad_cases[i];
		struct proto_error err = { 0 };
		void *entry = NULL;
		int r = decode_hex(c->msg, c->hex, NULL, &entry, &err);

		if (r != c->code || err.code != c->code || strcmp(err.text, c->text) != 0)
			fail_msg("%s: got %d \"%s\"", c->name, r, err.text);
		assert_null(entry);
	}
}

static void limits_are_kept(void **state)
{
	static const struct {
		const char *name;
		enum img_msg msg;
		const char *hex;
		struct proto_limits limits;
		const char *text;
	} cases[] = {
		{ "message",
		  IMG_MSG_fs_entry,
		  "08 01 10 01",
		  { 3, 9, 9, 9999 },
		  "fs_entry: message longer than 3 bytes" },
		{ "string",
		  IMG_MSG_plugins_entry,
		  "62 02 61 61 62 03 61 61 61",
		  { 99, 2, 9, 9999 },
		  "plugins_entry.plugins[1]: string longer than 2 bytes" },
		{ "count",
		  IMG_MSG_plugins_entry,
		  "62 00 62 00 62 00",
		  { 99, 9, 2, 9999 },
		  "plugins_entry.plugins[2]: more than 2 elements" },
		{ "count of packed",
		  IMG_MSG_scm_entry,
		  "08 01 12 03 01 02 03",
		  { 99, 9, 2, 9999 },
		  "scm_entry.rights[2]: more than 2 elements" },
		{ "count of numbers",
		  IMG_MSG_scm_entry,
		  "08 01 10 01 10 02 10 03",
		  { 99, 9, 2, 9999 },
		  "scm_entry.rights[2]: more than 2 elements" },
		{ "memory",
		  IMG_MSG_plugins_entry,
		  "62 04 61 61 61 61",
		  { 99, 9, 9, 64 },
		  "plugins_entry.plugins[0]: message needs more than 64 bytes of memory" },
		{ "no memory at all",
		  IMG_MSG_fs_entry,
		  "08 01 10 01",
		  { 99, 9, 9, 3 },
		  "fs_entry: memory limit is too low" },
	};

	(void)state;
	for (size_t i = 0; i < TEST_NR(cases); i++) {
		struct proto_error err = { 0 };
		void *entry;
		int r = decode_hex(cases[i].msg, cases[i].hex, &cases[i].limits, &entry, &err);

		if (r != -E2BIG || strcmp(err.text, cases[i].text) != 0)
			fail_msg("%s: got %d \"%s\"", cases[i].name, r, err.text);
	}
}

static void unknown_fields_are_skipped(void **state)
{
	void *entry;

	(void)state;
	assert_int_equal(decode_hex(IMG_MSG_fs_entry,
				    "f8 7f 05 08 01 f9 7f 01 02 03 04 05 06 07 08 "
				    "fa 7f 02 61 62 fd 7f 01 02 03 04 10 02",
				    NULL, &entry, NULL),
			 0);
	const img_fs_entry *fs = entry;

	assert_int_equal(fs->cwd_id, 1);
	assert_int_equal(fs->root_id, 2);
	assert_false(fs->has_umask);
	img_entry_free(entry);
}

static void packed_and_single_numbers_join(void **state)
{
	void *entry;

	(void)state;
	assert_int_equal(
		decode_hex(IMG_MSG_scm_entry, "10 07 08 01 12 03 01 80 01 10 05 12 00 10 06", NULL, &entry, NULL), 0);
	const img_scm_entry *scm = entry;
	static const uint32_t wanted[] = { 7, 1, 128, 5, 6 };

	assert_int_equal(scm->rights.nr, TEST_NR(wanted));
	assert_memory_equal(scm->rights.items, wanted, sizeof(wanted));
	img_entry_free(entry);
}

static void a_field_that_stands_twice(void **state)
{
	void *entry;

	(void)state;
	/* The last number and string count; messages are merged. */
	assert_int_equal(decode_hex(IMG_MSG_net_device_entry,
				    "08 01 08 02 10 01 18 01 20 01 2a 01 61 2a 01 62 "
				    "5a 04 08 01 10 07 5a 02 08 02",
				    NULL, &entry, NULL),
			 0);
	const img_net_device_entry *dev = entry;

	assert_int_equal(dev->type, img_nd_type_VETH);
	assert_string_equal(dev->name, "b");
	assert_int_equal(dev->macvlan->mode, 2);
	assert_true(dev->macvlan->has_flags);
	assert_int_equal(dev->macvlan->flags, 7);
	img_entry_free(entry);
}

static void numbers_of_every_type(void **state)
{
	void *entry;

	(void)state;
	/* int32 -1 takes ten bytes; five bytes mean the same to a field of 32 bits. */
	assert_int_equal(decode_hex(IMG_MSG_netns_id, "08 01 10 ff ff ff ff ff ff ff ff ff 01", NULL, &entry, NULL), 0);
	assert_int_equal(((img_netns_id *)entry)->netnsid_value, -1);
	img_entry_free(entry);
	assert_int_equal(decode_hex(IMG_MSG_netns_id, "08 01 10 ff ff ff ff 0f", NULL, &entry, NULL), 0);
	assert_int_equal(((img_netns_id *)entry)->netnsid_value, -1);
	img_entry_free(entry);
	/* Any number but 0 is true. */
	assert_int_equal(decode_hex(IMG_MSG_img_streamer_reply_entry, "08 80 01", NULL, &entry, NULL), 0);
	assert_true(((img_img_streamer_reply_entry *)entry)->exists);
	img_entry_free(entry);
	/* An enum keeps a value without a name. */
	assert_int_equal(decode_hex(IMG_MSG_file_entry, "08 e7 07 10 01", NULL, &entry, NULL), 0);
	assert_int_equal(((img_file_entry *)entry)->type, 999);
	img_entry_free(entry);
}

static void defaults_stand_where_a_field_is_absent(void **state)
{
	void *entry;

	(void)state;
	assert_int_equal(decode_hex(IMG_MSG_reg_file_entry,
				    "08 01 10 00 18 00 2a 0a 08 00 10 00 18 00 20 00 28 00 32 01 2f", NULL, &entry,
				    NULL),
			 0);
	const img_reg_file_entry *reg = entry;

	assert_false(reg->has_mnt_id);
	assert_int_equal(reg->mnt_id, -1);
	assert_string_equal(reg->name, "/");
	assert_false(reg->has_size);
	img_entry_free(entry);

	/* Also in a member and in the elements of an array. */
	assert_int_equal(decode_hex(IMG_MSG_file_entry,
				    "08 01 10 01 1a 15 08 01 10 00 18 00 2a 0a 08 00 10 00 18 00 20 00 "
				    "28 00 32 01 2f",
				    NULL, &entry, NULL),
			 0);
	assert_int_equal(((img_file_entry *)entry)->reg->mnt_id, -1);
	img_entry_free(entry);
}

/* @depth directories, one in the other. */
static void nested(size_t depth, struct proto_buf *out)
{
	static const uint8_t name[] = { 0x0a, 0x01, 'd' };
	struct proto_buf inner = proto_buf_of(1 << 20);

	assert_int_equal(proto_buf_append(&inner, name, sizeof(name)), 0);
	for (size_t i = 1; i < depth; i++) {
		struct proto_buf outer = proto_buf_of(1 << 20);
		uint8_t head[] = { 0x12, (uint8_t)(inner.len & 0x7f) | 0x80, (uint8_t)(inner.len >> 7) };

		assert_int_equal(proto_buf_append(&outer, name, sizeof(name)), 0);
		assert_int_equal(proto_buf_append(&outer, head, sizeof(head)), 0);
		assert_int_equal(proto_buf_append(&outer, inner.data, inner.len), 0);
		proto_buf_done(&inner);
		inner = outer;
	}
	*out = inner;
}

static void nesting_is_bounded(void **state)
{
	struct proto_error err = { 0 };
	struct proto_buf bytes;
	void *entry;

	(void)state;
	nested(PROTO_DEPTH_MAX + 1, &bytes);
	assert_int_equal(img_entry_decode(IMG_MSG_cgroup_dir_entry, bytes.data, bytes.len, NULL, &entry, NULL), 0);
	img_entry_free(entry);
	proto_buf_done(&bytes);

	nested(PROTO_DEPTH_MAX + 2, &bytes);
	assert_int_equal(img_entry_decode(IMG_MSG_cgroup_dir_entry, bytes.data, bytes.len, NULL, &entry, &err),
			 -EBADMSG);
	/* The path is cut, what is wrong is not. */
	assert_non_null(strstr(err.text, "...: nested deeper than 100 messages"));
	proto_buf_done(&bytes);
}

/*
 * Arrays whose fields take turns: each is found full again and again, and must not be copied each
 * time. 200000 elements in turns take as long as 200000 in a row, give or take.
 */
static void turns_are_linear(void **state)
{
	struct proto_limits limits = img_limits_default;
	struct proto_buf bytes = proto_buf_of(1 << 20);
	void *entry;

	(void)state;
	for (int i = 0; i < 100000; i++) {
		static const uint8_t turn[] = { 0x10, 0x01, 0x18, 0x02 };

		assert_int_equal(proto_buf_append(&bytes, turn, sizeof(turn)), 0);
	}
	/* Doubling leaves at most as much behind as it needs in the end. */
	limits.memory = 4 * 200000 * sizeof(uint32_t) + 3 * bytes.len + (1 << 20);
	assert_int_equal(img_entry_decode(IMG_MSG_sit_entry, bytes.data, bytes.len, &limits, &entry, NULL), 0);
	assert_int_equal(((img_sit_entry *)entry)->local.nr, 100000);
	assert_int_equal(((img_sit_entry *)entry)->remote.nr, 100000);
	assert_int_equal(((img_sit_entry *)entry)->remote.items[99999], 2);
	img_entry_free(entry);
	proto_buf_done(&bytes);
}

/* A short message that would take much memory: 2 bytes of each element become 40. */
static void memory_follows_the_length(void **state)
{
	struct proto_buf bytes = proto_buf_of(1 << 24);
	struct proto_error err = { 0 };
	void *entry;

	(void)state;
	for (int i = 0; i < 1000000; i++) {
		static const uint8_t empty[] = { 0x12, 0x00 };

		assert_int_equal(proto_buf_append(&bytes, empty, sizeof(empty)), 0);
	}

	struct proto_limits limits = img_limits_default;

	limits.memory = 1 << 20;
	assert_int_equal(img_entry_decode(IMG_MSG_cgroup_entry, bytes.data, bytes.len, &limits, &entry, &err), -E2BIG);
	assert_string_equal(err.text, "cgroup_entry.controllers[0]: message needs more than 1048576 "
				      "bytes of memory");
	proto_buf_done(&bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bad_bytes_are_refused),
		cmocka_unit_test(limits_are_kept),
		cmocka_unit_test(unknown_fields_are_skipped),
		cmocka_unit_test(packed_and_single_numbers_join),
		cmocka_unit_test(a_field_that_stands_twice),
		cmocka_unit_test(numbers_of_every_type),
		cmocka_unit_test(defaults_stand_where_a_field_is_absent),
		cmocka_unit_test(nesting_is_bounded),
		cmocka_unit_test(turns_are_linear),
		cmocka_unit_test(memory_follows_the_length),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

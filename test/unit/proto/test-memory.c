/*
 * What happens when memory runs out: the n-th allocation fails, n = 1, 2, ... until the work
 * succeeds. Each time the error says so and nothing stays behind.
 *
 * The two files of the library that allocate are part of this test, with allocators that count.
 */
#include "proto-test.h"

#include <errno.h>

static long allocations_left; /* before one fails */
static long blocks;           /* taken and not given back */

static int may_allocate(void)
{
	return allocations_left-- != 0;
}

static void *counting_malloc(size_t size)
{
	void *mem = may_allocate() ? malloc(size) : NULL;

	blocks += mem != NULL;
	return mem;
}

static void *counting_realloc(void *old, size_t size)
{
	void *mem = may_allocate() ? realloc(old, size) : NULL;

	blocks += mem != NULL && old == NULL;
	return mem;
}

static void counting_free(void *mem)
{
	blocks -= mem != NULL;
	free(mem);
}

#undef malloc
#undef realloc
#undef free
#define malloc  counting_malloc
#define realloc counting_realloc
#define free    counting_free
#include "../../../libcriu-proto/src/arena.c"
#include "../../../libcriu-proto/src/buf.c"
#undef malloc
#undef realloc
#undef free

#include "proto/images.h"
#include "proto/rpc.h"

/* Repeats @work until it succeeds; returns how many times it failed. */
static int fail_each(int (*work)(struct proto_error *err))
{
	for (int n = 0;; n++) {
		struct proto_error err = { 0 };

		assert_true(n < 1000);
		blocks = 0;
		allocations_left = n;
		int r = work(&err);

		assert_int_equal(blocks, 0);
		if (r == 0)
			return n;
		assert_int_equal(r, -ENOMEM);
		assert_int_equal(err.code, -ENOMEM);
		assert_non_null(strstr(err.text, "out of memory"));
	}
}

static img_vma_entry vmas[5000];

static int encode_and_decode_mm(struct proto_error *err)
{
	img_mm_ext ext = { .has_mdwe = true, .mdwe = 1 };
	img_mm_entry mm = { .vmas = { vmas, TEST_NR(vmas) }, .ext = &ext }, *back = NULL;
	struct proto_buf buf = proto_buf_of(1 << 24);
	int r = img_mm_entry_encode(&mm, &buf, err);

	if (r == 0)
		r = img_mm_entry_decode(buf.data + 4, buf.len - 4, &back, err);
	if (r == 0)
		img_entry_free(back);
	proto_buf_done(&buf);
	return r;
}

static int read_an_image(struct proto_error *err)
{
	struct proto_buf buf = proto_buf_of(1 << 20);
	struct img_item item;
	struct img_reader reader;
	char name[3000];
	img_fown_entry fown = { 0 };
	img_reg_file_entry reg = { .name = name, .fown = &fown };
	img_file_entry file = { .type = img_fd_types_REG, .reg = &reg };
	int r = img_header_encode(IMG_FILES, &buf, err);

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	for (int i = 0; i < 3 && r == 0; i++)
		r = img_file_entry_encode(&file, &buf, err);
	if (r == 0)
		r = img_reader_init(&reader, IMG_FILES, buf.data, buf.len, NULL, err);
	while (r >= 0 && (r = img_reader_next(&reader, &item, err)) == 1)
		img_item_done(&item);
	proto_buf_done(&buf);
	return r;
}

/* A room that counts as the heap does; what it gave is given back by room_done() alone. */
struct test_room {
	void *given[64];
	size_t nr;
};

static void *room_take(void *arg, size_t size)
{
	struct test_room *room = arg;

	assert_true(room->nr < TEST_NR(room->given));
	void *mem = counting_malloc(size);

	if (mem != NULL)
		room->given[room->nr++] = memset(mem, 0xaa, size);
	return mem;
}

static void room_done(struct test_room *room)
{
	while (room->nr > 0)
		counting_free(room->given[--room->nr]);
}

/* What room_entry() decodes: numbers, strings and messages of their own. */
static int encode_a_file(struct proto_buf *buf, struct proto_error *err)
{
	img_fown_entry fown = { .uid = 7 };
	img_reg_file_entry reg = { .name = (char *)"/some/where", .fown = &fown, .pos = 42 };
	img_file_entry file = { .type = img_fd_types_REG, .id = 3, .reg = &reg };

	return img_file_entry_encode(&file, buf, err);
}

static int read_into_a_room(struct proto_error *err)
{
	struct test_room room = { .nr = 0 };
	struct proto_limits limits = img_limits_default;
	struct proto_buf buf = proto_buf_of(1 << 20);
	void *entry = NULL;
	int r = encode_a_file(&buf, err);

	limits.room = (struct proto_room){ room_take, &room };
	for (int i = 0; i < 2 && r == 0; i++) {
		long heap = blocks - (long)room.nr;

		r = img_entry_decode(IMG_MSG_file_entry, buf.data + 4, buf.len - 4, &limits, &entry, err);
		assert_int_equal(blocks - (long)room.nr, heap);
		if (r < 0)
			break;
		img_entry_free(entry); /* does nothing */
		const img_file_entry *file = entry;
		assert_int_equal(file->id, 3);
		assert_string_equal(file->reg->name, "/some/where");
		assert_int_equal(file->reg->pos, 42);
		assert_int_equal(file->reg->fown->uid, 7);
	}
	room_done(&room);
	proto_buf_done(&buf);
	return r;
}

static void a_room_is_bounded_too(void **state)
{
	struct test_room room = { .nr = 0 };
	struct proto_limits limits = img_limits_default;
	struct proto_buf buf = proto_buf_of(1 << 20);
	struct proto_error err = { 0 };
	void *entry = NULL;
	size_t least = 0;

	(void)state;
	allocations_left = 1000;
	assert_int_equal(encode_a_file(&buf, &err), 0);
	limits.room = (struct proto_room){ room_take, &room };
	for (limits.memory = 1;; limits.memory++) {
		int r = img_entry_decode(IMG_MSG_file_entry, buf.data + 4, buf.len - 4, &limits, &entry, &err);

		room_done(&room);
		allocations_left = 1000;
		if (r == 0)
			break;
		assert_int_equal(r, -E2BIG);
		least = limits.memory;
	}
	assert_true(least > sizeof(img_file_entry) + sizeof(img_reg_file_entry));
	assert_true(least < 4096);
	proto_buf_done(&buf);
}

static int serve_a_request(struct proto_error *err)
{
	static const uint8_t first[] = { 0x08, 1, 0x12, 2, 0x40, 5 };
	rpc_criu_resp resp = { .type = rpc_criu_req_type_DUMP, .success = true };
	struct proto_buf buf = proto_buf_of(1000);
	rpc_criu_req *req = NULL;
	int r = rpc_req_decode(first, sizeof(first), RPC_GENERATION_FIRST, NULL, &req, err);

	if (r == 0)
		r = rpc_resp_encode(&resp, RPC_GENERATION_FIRST, &buf, err);
	rpc_req_free(req);
	proto_buf_done(&buf);
	return r;
}

static void each_allocation_may_fail(void **state)
{
	(void)state;
	assert_true(fail_each(encode_and_decode_mm) > 5);
	assert_true(fail_each(read_an_image) > 5);
	assert_true(fail_each(read_into_a_room) > 5);
	assert_true(fail_each(serve_a_request) > 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_allocation_may_fail),
		cmocka_unit_test(a_room_is_bounded_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

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
	assert_true(fail_each(serve_a_request) > 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_allocation_may_fail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

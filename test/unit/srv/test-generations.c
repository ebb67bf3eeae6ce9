/*
 * Clients of three generations, as recorded bytes: written by hand after the numbers of each, so that our own encoder
 * has no part in them. The first generation has an address of its own, and so a connection is told what it speaks.
 */
#include "srv-test.h"

#include <sys/stat.h>

/* Descriptors are below 128 here: one byte. */
static uint8_t dir_byte(void)
{
	assert_true(test_dir_fd >= 2 && test_dir_fd < 128);
	return (uint8_t)test_dir_fd;
}

static size_t converse(enum rpc_generation generation, bool daemon, const void *bytes, size_t len, uint8_t *answer,
		       size_t size, int *ret_code)
{
	struct talk t;
	size_t got;

	talk_begin(&t, (struct talk_terms){ .generation = generation, .daemon = daemon });
	talk_send_bytes(&t, bytes, len);
	got = talk_receive_bytes(&t, answer, size);
	if (got) {
		uint8_t more;

		assert_int_equal(talk_receive_bytes(&t, &more, 1), 0);
	}
	*ret_code = talk_end(&t);
	return got;
}

/* September 2013: criu_msg { DUMPREQ, dump_req { pid 77, leave_running, shell_job, images_dir_fd, log_level 4 } } */
static void first(void **state)
{
	const uint8_t request[] = { 0x08, 0x01, 0x12, 0x0a, 0x08,       0x4d, 0x10,
				    0x01, 0x30, 0x01, 0x40, dir_byte(), 0x48, 0x04 };
	/* criu_msg { DUMPRESP, dump_resp { success true, restored false } } */
	static const uint8_t good[] = { 0x08, 0x02, 0x1a, 0x04, 0x08, 0x01, 0x10, 0x00 };
	static const uint8_t bad[] = { 0x08, 0x02, 0x1a, 0x04, 0x08, 0x00, 0x10, 0x00 };
	uint8_t answer[256];
	int code;

	(void)state;
	for (int daemon = 0; daemon < 2; daemon++) {
		srv_test_begin(NULL);
		assert_int_equal(converse(RPC_GENERATION_FIRST, daemon, request, sizeof(request), answer,
					  sizeof(answer), &code),
				 sizeof(good));
		assert_memory_equal(answer, good, sizeof(good));
		assert_int_equal(code, 0);
		assert_int_equal(fake->pid, 77);
		assert_true(fake->leave_running && fake->images_there && fake->service_first);

		fake->code = -ESRCH;
		assert_int_equal(converse(RPC_GENERATION_FIRST, daemon, request, sizeof(request), answer,
					  sizeof(answer), &code),
				 sizeof(bad));
		assert_memory_equal(answer, bad, sizeof(bad));
		assert_int_equal(code, 1);
	}
}

/* Whoever has itself dumped and killed hears nothing, in any generation. */
static void first_self(void **state)
{
	const uint8_t request[] = { 0x08, 0x01, 0x12, 0x02, 0x40, dir_byte() };
	uint8_t answer[256];
	int code;

	(void)state;
	assert_int_equal(converse(RPC_GENERATION_FIRST, true, request, sizeof(request), answer, sizeof(answer), &code),
			 0);
	assert_int_equal(code, 0);
	assert_int_equal(fake->pid, getpid());
	assert_true(fake->service_first && fake->service_ino);
}

/* What that generation cannot say is answered in its words: no success. */
static void first_flawed(void **state)
{
	static const uint8_t version[] = { 0x08, 0x0a }, no_dir[] = { 0x08, 0x01, 0x12, 0x02, 0x08, 0x4d };
	static const uint8_t response[] = { 0x08, 0x02, 0x1a, 0x02, 0x08, 0x01 }, noise[] = { 0xff, 0xff, 0xff };
	static const struct {
		const char *name;
		const uint8_t *bytes;
		size_t len;
		bool answered;
	} cases[] = {
		{ "a request of today", version, sizeof(version), true },
		{ "no directory", no_dir, sizeof(no_dir), true },
		{ "an answer", response, sizeof(response), true },
		{ "noise", noise, sizeof(noise), false },
	};
	/* criu_msg { DUMPRESP, dump_resp { success false } } */
	static const uint8_t bad[] = { 0x08, 0x02, 0x1a, 0x02, 0x08, 0x00 };
	uint8_t answer[256];
	int code;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		size_t got = converse(RPC_GENERATION_FIRST, true, cases[i].bytes, cases[i].len, answer, sizeof(answer),
				      &code);

		if (got != (cases[i].answered ? sizeof(bad) : 0) || memcmp(answer, bad, got) != 0)
			fail_msg("%s: %zu bytes", cases[i].name, got);
		assert_int_equal(code, 255);
	}
	assert_string_equal(fake->calls, "");
}

/* End of 2013: criu_req { DUMP, dump { images_dir_fd, pid 9, leave_running, file_locks } }; answered with a criu_resp. */
static void second(void **state)
{
	const uint8_t request[] = { 0x08, 0x01, 0x12, 0x08, 0x08, dir_byte(), 0x10, 0x09, 0x18, 0x01, 0x40, 0x01 };
	/* criu_resp { DUMP, success, dump { restored false } } */
	static const uint8_t good[] = { 0x08, 0x01, 0x10, 0x01, 0x1a, 0x02, 0x08, 0x00 };
	uint8_t answer[256];
	int code;

	(void)state;
	assert_int_equal(converse(RPC_GENERATION_TODAY, true, request, sizeof(request), answer, sizeof(answer), &code),
			 sizeof(good));
	assert_memory_equal(answer, good, sizeof(good));
	assert_int_equal(code, 0);
	assert_int_equal(fake->pid, 9);
	assert_true(fake->leave_running && !fake->service_first);
}

/* Today: criu_req { DUMP, opts { images_dir_fd, pid 9, leave_running, log_level 4, log_file "d.log", timeout 3 } } */
static void today(void **state)
{
	const uint8_t request[] = { 0x08, 0x01, 0x12, 0x12, 0x08, dir_byte(), 0x10, 0x09, 0x18, 0x01, 0x48,
				    0x04, 0x52, 0x05, 'd',  '.',  'l',        'o',  'g',  0xe8, 0x02, 0x03 };
	static const uint8_t good[] = { 0x08, 0x01, 0x10, 0x01, 0x1a, 0x02, 0x08, 0x00 };
	/* criu_req { VERSION }, criu_resp { VERSION, success, version { 4, 2 } } */
	static const uint8_t ask_version[] = { 0x08, 0x0a },
			     version[] = { 0x08, 0x0a, 0x10, 0x01, 0x52, 0x04, 0x08, 0x04, 0x10, 0x02 };
	uint8_t answer[256];
	struct stat st;
	int code;

	(void)state;
	assert_int_equal(converse(RPC_GENERATION_TODAY, true, request, sizeof(request), answer, sizeof(answer), &code),
			 sizeof(good));
	assert_memory_equal(answer, good, sizeof(good));
	assert_int_equal(fake->pid, 9);
	assert_int_equal(fstatat(test_dir_fd, "d.log", &st, 0), 0);

	assert_int_equal(converse(RPC_GENERATION_TODAY, true, ask_version, sizeof(ask_version), answer, sizeof(answer),
				  &code),
			 sizeof(version));
	assert_memory_equal(answer, version, sizeof(version));
	assert_int_equal(code, 0);
}

/* Well-formed in both: the same bytes mean pid 77 and directory 1 there, directory 77 and file locks here. */
static void told_by_the_socket(void **state)
{
	static const uint8_t request[] = { 0x08, 0x01, 0x12, 0x04, 0x08, 0x4d, 0x40, 0x01 };
	uint8_t answer[512];
	size_t got;
	int code;

	(void)state;
	got = converse(RPC_GENERATION_TODAY, true, request, sizeof(request), answer, sizeof(answer) - 1, &code);
	answer[got] = 0;
	assert_non_null(memmem(answer, got, "images_dir_fd: descriptor 77", 28));
	got = converse(RPC_GENERATION_FIRST, true, request, sizeof(request), answer, sizeof(answer), &code);
	assert_int_equal(answer[0], 0x08);
	assert_int_equal(answer[1], 0x02); /* DUMPRESP */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SRV_TEST(first),  SRV_TEST(first_self), SRV_TEST(first_flawed),
		SRV_TEST(second), SRV_TEST(today),      SRV_TEST(told_by_the_socket),
	};

	return cmocka_run_group_tests(tests, srv_group_begin, srv_group_end);
}

/* Which request may follow which on one connection, and what is no request at all. */
#include "srv-test.h"

#include <sys/socket.h>
#include <time.h>

#define T(name) rpc_criu_req_type_##name

static void keep_open(void **state)
{
	static const struct {
		const char *name;
		rpc_criu_req_type type;
		bool allowed;
	} cases[] = {
		{ "EMPTY", T(EMPTY), false },
		{ "DUMP", T(DUMP), false },
		{ "RESTORE", T(RESTORE), false },
		{ "CHECK", T(CHECK), false },
		{ "PRE_DUMP", T(PRE_DUMP), false },
		{ "PAGE_SERVER", T(PAGE_SERVER), true },
		{ "NOTIFY", T(NOTIFY), false },
		{ "CPUINFO_DUMP", T(CPUINFO_DUMP), true },
		{ "CPUINFO_CHECK", T(CPUINFO_CHECK), true },
		{ "FEATURE_CHECK", T(FEATURE_CHECK), true },
		{ "VERSION", T(VERSION), true },
		{ "WAIT_PID", T(WAIT_PID), false },
		{ "PAGE_SERVER_CHLD", T(PAGE_SERVER_CHLD), true },
		{ "SINGLE_PRE_DUMP", T(SINGLE_PRE_DUMP), false },
		{ "a type of the future", (rpc_criu_req_type)99, false },
	};
	rpc_criu_features f = { 0 };
	rpc_criu_req last = { .type = T(VERSION) };
	struct asked a;
	struct talk t;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		asked_init(&a, cases[i].type);
		a.req.features = &f;
		a.req.has_keep_open = a.req.keep_open = true;
		talk_begin(&t, (struct talk_terms){ 0 });
		talk_send(&t, &a.req);
		if (!cases[i].allowed) {
			expect_failure(&t, cases[i].name, T(EMPTY), EBADRQC,
				       cases[i].type > 13 || !cases[i].type || cases[i].type == T(NOTIFY)
					       ? "unknown"
					       : "keep_open");
			talk_expect_end(&t, cases[i].name, 255);
			continue;
		}
		rpc_resp_free(talk_receive(&t, NULL));
		talk_send(&t, &last);
		rpc_resp_free(expect_answer(&t, cases[i].name, T(VERSION), true));
		talk_expect_end(&t, cases[i].name, 0);
	}
	unlinkat(test_dir_fd, "cpuinfo.img", 0);
}

/* Pre-dumps until a dump, each with options of its own. */
static void series(void **state)
{
	struct asked a;
	struct talk t;

	(void)state;
	talk_begin(&t, (struct talk_terms){ 0 });
	for (int i = 0; i < 4; i++) {
		asked_init(&a, i < 3 ? T(PRE_DUMP) : T(DUMP));
		a.opts.has_pid = true;
		a.opts.pid = 100 + i;
		talk_send(&t, &a.req);
		rpc_resp_free(expect_answer(&t, "series", a.req.type, true));
		assert_int_equal(fake->pid, 100 + i);
	}
	talk_expect_end(&t, "series", 0);
	assert_string_equal(fake->calls, "pre-dump pre-dump pre-dump dump ");
}

static void series_that_end(void **state)
{
	static const struct {
		const char *name;
		rpc_criu_req_type next;
		bool fails;
	} cases[] = {
		{ "version", T(VERSION), false },
		{ "restore", T(RESTORE), false },
		{ "single", T(SINGLE_PRE_DUMP), false },
		{ "unknown", (rpc_criu_req_type)50, false },
		{ "failure", T(DUMP), true },
		{ "goodbye", T(EMPTY), false },
	};
	struct asked a;
	struct talk t;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		srv_test_begin(NULL);
		fake->code = cases[i].fails ? -ENOSPC : 0;
		asked_init(&a, T(PRE_DUMP));
		a.opts.has_pid = true;
		a.opts.pid = 5;
		talk_begin(&t, (struct talk_terms){ 0 });
		talk_send(&t, &a.req);
		if (cases[i].fails) {
			expect_failure(&t, cases[i].name, T(PRE_DUMP), ENOSPC, "told to fail");
			talk_expect_end(&t, cases[i].name, 255);
			continue;
		}
		rpc_resp_free(expect_answer(&t, cases[i].name, T(PRE_DUMP), true));
		if (cases[i].next == T(EMPTY)) {
			assert_int_equal(talk_end(&t), 255);
			continue;
		}
		a.req.type = cases[i].next;
		talk_send(&t, &a.req);
		expect_failure(&t, cases[i].name, T(EMPTY), EBADRQC,
			       cases[i].next == (rpc_criu_req_type)50 ? "type 50" : "cannot follow");
		talk_expect_end(&t, cases[i].name, 255);
		assert_string_equal(fake->calls, "pre-dump ");
	}
}

/* Somebody else's bug or a full memory: the client hears of it, and a worker that was to go on does. */
static void child_that_dies(void **state)
{
	struct asked a;
	struct talk t;

	(void)state;
	fake->dies = true;
	asked_init(&a, T(PRE_DUMP));
	talk_begin(&t, (struct talk_terms){ 0 });
	talk_send(&t, &a.req);
	expect_failure(&t, "pre-dump", T(PRE_DUMP), EIO, "killed by signal 9");
	talk_expect_end(&t, "pre-dump", 255);
}

static void no_requests(void **state)
{
	static const struct {
		const char *name;
		uint8_t bytes[12];
		size_t len;
		const char *answer; /* NULL: only hung up */
		int number;
	} cases[] = {
		{ "noise", { 0xff, 0xff, 0xff }, 3, NULL, 0 },
		{ "cut short", { 0x08 }, 1, NULL, 0 },
		{ "length without content", { 0x08, 1, 0x12, 9, 1 }, 5, NULL, 0 },
		{ "no type", { 0x12, 2, 0x08, 3 }, 4, NULL, 0 },
		{ "unknown type", { 0x08, 99 }, 2, "type 99", EBADRQC },
		{ "negative type",
		  { 0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1 },
		  11,
		  "type -1",
		  EBADRQC },
		{ "EMPTY", { 0x08, 0 }, 2, "no request", EBADRQC },
		{ "NOTIFY", { 0x08, 6, 0x18, 1 }, 4, "no request", EBADRQC },
		{ "opts without images_dir_fd",
		  { 0x08, 1, 0x12, 2, 0x10, 5 },
		  6,
		  "criu_req.opts.images_dir_fd: required",
		  EBADMSG },
		{ "opts that are a number", { 0x08, 1, 0x10, 5 }, 4, "criu_req.opts", EBADMSG },
	};
	struct talk t;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		talk_begin(&t, (struct talk_terms){ 0 });
		talk_send_bytes(&t, cases[i].bytes, cases[i].len);
		if (cases[i].answer)
			expect_failure(&t, cases[i].name, T(EMPTY), cases[i].number, cases[i].answer);
		talk_expect_end(&t, cases[i].name, 255);
	}
}

static void missing_parts(void **state)
{
	static const struct {
		rpc_criu_req_type type, answer;
		int code;
	} cases[] = {
		{ T(DUMP), T(DUMP), 1 },
		{ T(RESTORE), T(RESTORE), 1 },
		{ T(PRE_DUMP), T(PRE_DUMP), 255 },
		{ T(SINGLE_PRE_DUMP), T(SINGLE_PRE_DUMP), 255 },
		{ T(PAGE_SERVER), T(PAGE_SERVER), 0 },
		{ T(PAGE_SERVER_CHLD), T(PAGE_SERVER), 0 },
		{ T(CPUINFO_DUMP), T(CPUINFO_DUMP), 0 },
		{ T(CPUINFO_CHECK), T(CPUINFO_CHECK), 0 },
		{ T(FEATURE_CHECK), T(FEATURE_CHECK), 0 },
		{ T(WAIT_PID), T(WAIT_PID), 0 },
	};
	struct talk t;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		rpc_criu_req req = { .type = cases[i].type };
		char name[16];

		snprintf(name, sizeof(name), "type %d", (int)req.type);
		talk_begin(&t, (struct talk_terms){ 0 });
		talk_send(&t, &req);
		expect_failure(&t, name, cases[i].answer, EBADRQC, "the request has no");
		talk_expect_end(&t, name, cases[i].code);
	}
	assert_string_equal(fake->calls, "");
}

static double now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

/* 100,000 strings of one byte each in a message of 300 KB; all are refused or taken in no time. */
static void many_strings(void **state)
{
	enum { NR = 100000 };
	static const struct {
		const char *name, *text;
		int field;
	} cases[] = {
		{ "externals", "a[]", 37 }, { "bad externals", "x", 37 }, { "skipped mounts", "/", 31 },
		{ "commands", "a", 22 },    { "file systems", "a", 32 },  { "scan paths", "/", 36 },
	};
	char **items = malloc(NR * sizeof(*items));
	int room = 4 << 20;
	struct asked a;
	struct talk t;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct proto_str_vec list = { items, NR };
		double took;

		srv_test_begin(NULL);
		fake->code = -ENOSPC;
		for (size_t k = 0; k < NR; k++)
			items[k] = (char *)cases[i].text;
		asked_init(&a, cases[i].field == 22 ? T(RESTORE) : T(DUMP));
		a.opts.has_pid = true;
		a.opts.pid = 1;
		*(cases[i].field == 37   ? &a.opts.external
		  : cases[i].field == 31 ? &a.opts.skip_mnt
		  : cases[i].field == 22 ? &a.opts.exec_cmd
		  : cases[i].field == 32 ? &a.opts.enable_fs
					 : &a.opts.irmap_scan_paths) = list;
		talk_begin(&t, (struct talk_terms){ 0 });
		setsockopt(t.sock, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room));
		took = now_ms();
		talk_send(&t, &a.req);
		rpc_resp_free(expect_answer(&t, cases[i].name, a.req.type, false));
		took = now_ms() - took;
		talk_expect_end(&t, cases[i].name, 1);
		print_message("%s: %.1f ms\n", cases[i].name, took);
		if (took > 1000)
			fail_msg("%s: %.1f ms", cases[i].name, took);
	}
	free(items);
}

static void too_large(void **state)
{
	int room = 4 << 20;
	uint8_t *bytes = calloc(1, (1 << 20) + 1);
	struct talk t;

	(void)state;
	bytes[0] = 0x08;
	bytes[1] = 10;
	talk_begin(&t, (struct talk_terms){ 0 });
	setsockopt(t.sock, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room));
	talk_send_bytes(&t, bytes, (1 << 20) + 1);
	expect_failure(&t, "too large", T(EMPTY), EMSGSIZE, "1048577 bytes");
	talk_expect_end(&t, "too large", 255);
	free(bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SRV_TEST(keep_open),   SRV_TEST(series),        SRV_TEST(series_that_end), SRV_TEST(child_that_dies),
		SRV_TEST(no_requests), SRV_TEST(missing_parts), SRV_TEST(many_strings),    SRV_TEST(too_large),
	};

	return cmocka_run_group_tests(tests, srv_group_begin, srv_group_end);
}

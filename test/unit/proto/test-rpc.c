/*
 * Requests and answers, of every generation of the protocol.
 */
#include "proto-test.h"

#include <errno.h>

#include "proto/rpc.h"

static struct proto_buf encode_req(const rpc_criu_req *req)
{
	struct proto_buf buf = proto_buf_of(2 << 20);
	struct proto_error err = { 0 };

	if (rpc_req_encode(req, &buf, &err) < 0)
		fail_msg("%s", err.text);
	return buf;
}

/* As today's address does it. */
static int decode(const void *bytes, size_t len, const struct proto_limits *limits, rpc_criu_req **ret_req,
		  struct proto_error *err)
{
	return rpc_req_decode(bytes, len, RPC_GENERATION_TODAY, limits, ret_req, err);
}

static void a_request_comes_back(void **state)
{
	char *external[] = { (char *)"mnt[/a]:b", (char *)"veth[eth0]:veth1@br0" };
	rpc_inherit_fd fds[] = { { .key = (char *)"pipe:[1]", .fd = 7 }, { .key = (char *)"x", .fd = 0 } };
	rpc_criu_page_server_info ps = { .address = (char *)"::1", .has_port = true, .port = 27 };
	rpc_criu_opts opts = {
		.images_dir_fd = -1,
		.images_dir = (char *)"/d",
		.has_pid = true,
		.pid = 42,
		.external = { external, 2 },
		.inherit_fd = { fds, 2 },
		.ps = &ps,
		.has_manage_cgroups_mode = true,
		.manage_cgroups_mode = rpc_criu_cg_mode_STRICT,
	};
	rpc_criu_req req = { .type = rpc_criu_req_type_DUMP, .opts = &opts }, *back;
	struct proto_buf buf = encode_req(&req);

	(void)state;
	assert_int_equal(decode(buf.data, buf.len, NULL, &back, NULL), 0);
	assert_int_equal(back->type, rpc_criu_req_type_DUMP);
	assert_int_equal(back->opts->images_dir_fd, -1);
	assert_string_equal(back->opts->images_dir, "/d");
	assert_int_equal(back->opts->pid, 42);
	assert_int_equal(back->opts->external.nr, 2);
	assert_string_equal(back->opts->external.items[1], external[1]);
	assert_int_equal(back->opts->inherit_fd.items[0].fd, 7);
	assert_string_equal(back->opts->ps->address, "::1");
	assert_int_equal(back->opts->manage_cgroups_mode, rpc_criu_cg_mode_STRICT);
	/* Declared defaults are there, and known not to have been sent. */
	assert_false(back->opts->has_log_level);
	assert_int_equal(back->opts->log_level, 2);
	assert_int_equal(back->opts->ghost_limit, 1048576);
	assert_int_equal(back->opts->cpu_cap, 0xffffffff);
	assert_null(back->features);
	rpc_req_free(back);
	proto_buf_done(&buf);
}

static void errors_name_the_member(void **state)
{
	char *long_text = malloc(5000);
	char *external[] = { (char *)"a", (char *)"b", (char *)"c", long_text };
	rpc_criu_opts opts = { .images_dir_fd = 1, .external = { external, 4 } };
	rpc_criu_req req = { .type = rpc_criu_req_type_DUMP, .opts = &opts }, *back;
	struct proto_error err = { 0 };

	(void)state;
	memset(long_text, 'x', 4097);
	long_text[4097] = '\0';
	struct proto_buf buf = encode_req(&req);

	assert_int_equal(decode(buf.data, buf.len, NULL, &back, &err), -E2BIG);
	assert_string_equal(err.text, "criu_req.opts.external[3]: string longer than 4096 bytes");
	proto_buf_done(&buf);

	long_text[4096] = '\0';
	buf = encode_req(&req);
	assert_int_equal(decode(buf.data, buf.len, NULL, &back, &err), 0);
	rpc_req_free(back);
	proto_buf_done(&buf);
	free(long_text);

	static const uint8_t no_dir[] = { 0x08, 1, 0x12, 2, 0x10, 5 };

	assert_int_equal(decode(no_dir, sizeof(no_dir), NULL, &back, &err), -EBADMSG);
	assert_string_equal(err.text, "criu_req.opts.images_dir_fd: required field is missing");
	assert_int_equal(decode("", 0, NULL, &back, &err), -EBADMSG);
	assert_string_equal(err.text, "criu_req.type: required field is missing");
}

static void a_request_may_be_large_but_not_too_large(void **state)
{
	enum { NR = 100000 };
	char **external = calloc(NR, sizeof(*external));
	rpc_criu_opts opts = { .images_dir_fd = 1, .external = { external, NR } };
	rpc_criu_req req = { .type = rpc_criu_req_type_DUMP, .opts = &opts }, *back;
	struct proto_limits limits = rpc_limits_default;
	struct proto_error err = { 0 };

	(void)state;
	for (size_t i = 0; i < NR; i++)
		external[i] = (char *)"1234567";
	struct proto_buf buf = encode_req(&req);

	assert_int_equal(decode(buf.data, buf.len, NULL, &back, NULL), 0);
	assert_int_equal(back->opts->external.nr, NR);
	rpc_req_free(back);

	limits.count = NR - 1;
	assert_int_equal(decode(buf.data, buf.len, &limits, &back, &err), -E2BIG);
	assert_string_equal(err.text, "criu_req.opts.external[99999]: more than 99999 elements");

	limits = rpc_limits_default;
	limits.message = buf.len - 1;
	assert_int_equal(decode(buf.data, buf.len, &limits, &back, &err), -E2BIG);
	proto_buf_done(&buf);
	free(external);
}

/*
 * As clients of September 2013 sent it. The last one is a whole request of today as well (field 1 and 8 of the message
 * in field 2 are there in both): only the socket can tell.
 */
static void requests_of_the_first_generation(void **state)
{
	/* type DUMPREQ, dump_req { ... images_dir_fd 5 } */
	static const uint8_t plain[] = { 0x08, 1, 0x12, 2, 0x40, 5 };
	/* pid 77, leave_running, ext_unix_sk, tcp_established, evasive_devices, shell_job, file_locks, images_dir_fd 3, log_level 4 */
	static const uint8_t full[] = { 0x08, 1,    0x12, 18,   0x08, 77,   0x10, 1,    0x18, 1,    0x20,
					1,    0x28, 1,    0x30, 1,    0x38, 1,    0x40, 3,    0x48, 4 };
	static const uint8_t doubtful[] = { 0x08, 1, 0x12, 4, 0x08, 77, 0x40, 1 };
	rpc_criu_req *req;

	(void)state;
	assert_int_equal(rpc_req_decode(plain, sizeof(plain), RPC_GENERATION_FIRST, NULL, &req, NULL), 0);
	assert_int_equal(req->type, rpc_criu_req_type_DUMP);
	assert_int_equal(req->opts->images_dir_fd, 5);
	assert_false(req->opts->has_pid);
	assert_false(req->opts->has_log_level);
	assert_int_equal(req->opts->log_level, 2);
	rpc_req_free(req);

	assert_int_equal(rpc_req_decode(full, sizeof(full), RPC_GENERATION_FIRST, NULL, &req, NULL), 0);
	assert_int_equal(req->opts->images_dir_fd, 3);
	assert_int_equal(req->opts->pid, 77);
	assert_true(req->opts->leave_running && req->opts->ext_unix_sk && req->opts->tcp_established);
	assert_true(req->opts->evasive_devices && req->opts->shell_job && req->opts->file_locks);
	assert_true(req->opts->has_log_level);
	assert_int_equal(req->opts->log_level, 4);
	assert_false(req->opts->has_notify_scripts || req->has_keep_open);
	rpc_req_free(req);

	assert_int_equal(rpc_req_decode(doubtful, sizeof(doubtful), RPC_GENERATION_FIRST, NULL, &req, NULL), 0);
	assert_int_equal(req->opts->images_dir_fd, 1);
	assert_int_equal(req->opts->pid, 77);
	rpc_req_free(req);
	assert_int_equal(decode(doubtful, sizeof(doubtful), NULL, &req, NULL), 0);
	assert_int_equal(req->opts->images_dir_fd, 77);
	assert_true(req->opts->file_locks);
	rpc_req_free(req);
}

static void what_the_first_generation_does_not_know(void **state)
{
	static const struct {
		const char *name;
		uint8_t bytes[12];
		size_t len;
	} cases[] = {
		{ "an answer", { 0x08, 2, 0x1a, 2, 0x08, 1 }, 6 },
		{ "an answer's type", { 0x08, 2, 0x12, 2, 0x40, 5 }, 6 },
		{ "no request in it", { 0x08, 1 }, 2 },
		{ "no directory", { 0x08, 1, 0x12, 2, 0x08, 77 }, 6 },
		{ "a VERSION request of today", { 0x08, 10 }, 2 },
		{ "nothing", { 0 }, 0 },
	};
	rpc_criu_req *req;

	(void)state;
	for (size_t i = 0; i < TEST_NR(cases); i++)
		if (rpc_req_decode(cases[i].bytes, cases[i].len, RPC_GENERATION_FIRST, NULL, &req, NULL) != -EBADMSG)
			fail_msg("%s: taken for a request", cases[i].name);
}

/* As a client of late 2013 sent it: criu_req with `dump`, which has the numbers of today's opts. */
static void requests_of_the_second_generation(void **state)
{
	static const uint8_t bytes[] = { 0x08, 1, 0x12, 8, 0x08, 6, 0x10, 9, 0x18, 1, 0x40, 1 };
	rpc_criu_req *req;

	(void)state;
	assert_int_equal(decode(bytes, sizeof(bytes), NULL, &req, NULL), 0);
	assert_int_equal(req->opts->images_dir_fd, 6);
	assert_int_equal(req->opts->pid, 9);
	assert_true(req->opts->leave_running);
	assert_true(req->opts->file_locks);
	rpc_req_free(req);
}

/* What is answered with what is wrong, and what is only hung up on. */
static void whole_but_flawed(void **state)
{
	static const struct {
		const char *name;
		uint8_t bytes[8];
		size_t len;
		bool whole;
	} cases[] = {
		{ "no directory in opts", { 0x08, 1, 0x12, 2, 0x10, 5 }, 6, true },
		{ "opts of the wrong kind", { 0x08, 1, 0x10, 5 }, 4, true },
		{ "no type", { 0x12, 2, 0x08, 5 }, 4, false },
		{ "cut short", { 0x08, 1, 0x12, 4, 0x08, 5 }, 6, false },
		{ "a tag alone", { 0x08 }, 1, false },
		{ "noise", { 0xff, 0xff, 0xff, 0xff }, 4, false },
		{ "nothing", { 0 }, 0, false },
	};
	rpc_criu_req *req;

	(void)state;
	for (size_t i = 0; i < TEST_NR(cases); i++) {
		if (decode(cases[i].bytes, cases[i].len, NULL, &req, NULL) >= 0)
			fail_msg("%s: taken for a request", cases[i].name);
		if (rpc_req_is_whole(cases[i].bytes, cases[i].len) != cases[i].whole)
			fail_msg("%s: %s", cases[i].name, cases[i].whole ? "not whole" : "whole");
	}
}

static void answers(void **state)
{
	rpc_criu_dump_resp dump = { .has_restored = true, .restored = true };
	rpc_criu_restore_resp restore = { .pid = -1 };
	rpc_criu_resp resp = { .type = rpc_criu_req_type_DUMP, .success = true, .dump = &dump }, *back;
	struct proto_buf buf = proto_buf_of(1000);
	struct proto_error err = { 0 };
	rpc_criu_msg *msg;

	(void)state;
	assert_int_equal(rpc_resp_encode(&resp, RPC_GENERATION_TODAY, &buf, NULL), 0);
	static const uint8_t wanted[] = { 0x08, 1, 0x10, 1, 0x1a, 2, 0x08, 1 };

	assert_int_equal(buf.len, sizeof(wanted));
	assert_memory_equal(buf.data, wanted, sizeof(wanted));
	assert_int_equal(rpc_resp_decode(buf.data, buf.len, NULL, &back, NULL), 0);
	assert_true(back->success && back->dump->restored);
	assert_null(back->restore);
	rpc_resp_free(back);

	buf.len = 0;
	assert_int_equal(rpc_resp_encode(&resp, RPC_GENERATION_FIRST, &buf, NULL), 0);
	assert_int_equal(rpc_legacy_decode(buf.data, buf.len, NULL, &msg, NULL), 0);
	assert_int_equal(msg->type, rpc_criu_msg_type_DUMPRESP);
	assert_true(msg->dump_resp->success && msg->dump_resp->restored);
	rpc_legacy_free(msg);

	resp.type = rpc_criu_req_type_RESTORE;
	resp.restore = &restore;
	buf.len = 0;
	assert_int_equal(rpc_resp_encode(&resp, RPC_GENERATION_FIRST, &buf, &err), -EINVAL);
	assert_int_equal(buf.len, 0);
	assert_int_equal(rpc_resp_encode(&resp, RPC_GENERATION_TODAY, &buf, NULL), 0);
	assert_int_equal(rpc_resp_decode(buf.data, buf.len, NULL, &back, NULL), 0);
	assert_int_equal(back->restore->pid, -1);
	rpc_resp_free(back);
	proto_buf_done(&buf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_comes_back),
		cmocka_unit_test(errors_name_the_member),
		cmocka_unit_test(a_request_may_be_large_but_not_too_large),
		cmocka_unit_test(requests_of_the_first_generation),
		cmocka_unit_test(what_the_first_generation_does_not_know),
		cmocka_unit_test(requests_of_the_second_generation),
		cmocka_unit_test(whole_but_flawed),
		cmocka_unit_test(answers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

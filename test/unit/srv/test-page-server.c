/* Page servers: processes of their own that are told of, live on, and are waited for. */
#include "srv-test.h"

#include <fcntl.h>
#include <signal.h>

#define T(name) rpc_criu_req_type_##name

static void ask(struct talk *t, struct asked *a, rpc_criu_req_type type, rpc_criu_page_server_info *ps)
{
	asked_init(a, type);
	a->req.has_keep_open = a->req.keep_open = true;
	a->opts.ps = ps;
	talk_send(t, &a->req);
}

static rpc_criu_resp *wait_pid(struct talk *t, pid_t pid)
{
	rpc_criu_req req = { .type = T(WAIT_PID), .has_pid = true, .pid = (uint32_t)pid };

	talk_send(t, &req);
	return expect_answer(t, "wait", T(WAIT_PID), true);
}

static void child(void **state)
{
	rpc_criu_page_server_info ps = { .address = (char *)"127.0.0.1", .has_port = true, .port = 0 };
	rpc_criu_resp *resp;
	struct asked a;
	struct talk t;

	(void)state;
	fake->port = 50123;
	fake->exit_code = 33;
	talk_begin(&t, (struct talk_terms){ 0 });
	ask(&t, &a, T(PAGE_SERVER_CHLD), &ps);
	resp = expect_answer(&t, "child", T(PAGE_SERVER), true);
	assert_int_equal(resp->ps->port, 50123);
	assert_int_equal(resp->ps->pid, fake->engine_pid);
	assert_false(resp->ps->has_fd || resp->ps->address);
	rpc_resp_free(resp);
	resp = wait_pid(&t, fake->engine_pid);
	assert_int_equal(resp->status, 33 << 8);
	rpc_resp_free(resp);
	talk_expect_end(&t, "child", 0);
}

/* Nobody's child, in a session of its own; its number is told all the same. */
static void daemonised(void **state)
{
	rpc_criu_req wait = { .type = T(WAIT_PID), .has_pid = true };
	rpc_criu_page_server_info ps = { 0 };
	rpc_criu_resp *resp;
	struct asked a;
	struct talk t;

	(void)state;
	fake->port = 1;
	talk_begin(&t, (struct talk_terms){ 0 });
	ask(&t, &a, T(PAGE_SERVER), &ps);
	resp = expect_answer(&t, "daemon", T(PAGE_SERVER), true);
	assert_int_equal(resp->ps->pid, fake->engine_pid);
	assert_int_not_equal(fake->engine_sid, getsid(0));
	wait.pid = (uint32_t)resp->ps->pid;
	rpc_resp_free(resp);
	talk_send(&t, &wait);
	expect_failure(&t, "not its child", T(WAIT_PID), ECHILD, "wait for process");
	talk_expect_end(&t, "daemon", 0);
}

/* The last request ends the connection, however long the server lives. */
static void that_stays(void **state)
{
	static const rpc_criu_req_type types[] = { T(PAGE_SERVER), T(PAGE_SERVER_CHLD) };
	rpc_criu_page_server_info ps = { 0 };
	struct asked a;
	struct talk t;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		srv_test_begin(NULL);
		fake->lives = true;
		asked_init(&a, types[i]);
		a.opts.ps = &ps;
		talk_begin(&t, (struct talk_terms){ 0 });
		talk_send(&t, &a.req);
		rpc_resp_free(expect_answer(&t, "it stays", T(PAGE_SERVER), true));
		talk_expect_end(&t, "it stays", 0);
		assert_int_equal(kill(fake->engine_pid, 0), 0);
		assert_int_equal(kill(fake->engine_pid, SIGKILL), 0);
	}
}

static void failures(void **state)
{
	static const struct {
		rpc_criu_req_type type;
		bool dies;
		int number;
		const char *part;
	} cases[] = {
		{ T(PAGE_SERVER), false, EADDRINUSE, "told to fail" },
		{ T(PAGE_SERVER_CHLD), false, EADDRINUSE, "told to fail" },
		{ T(PAGE_SERVER_CHLD), true, EIO, "killed by signal 9" },
		{ T(PAGE_SERVER), true, EIO, "has ended" },
	};
	rpc_criu_page_server_info ps = { 0 };
	rpc_criu_req last = { .type = T(VERSION) };
	struct asked a;
	struct talk t;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		srv_test_begin(NULL);
		fake->code = -EADDRINUSE;
		fake->dies = cases[i].dies;
		talk_begin(&t, (struct talk_terms){ 0 });
		ask(&t, &a, cases[i].type, &ps);
		expect_failure(&t, "failure", T(PAGE_SERVER), cases[i].number, cases[i].part);
		talk_send(&t, &last);
		rpc_resp_free(expect_answer(&t, "it goes on", T(VERSION), true));
		talk_expect_end(&t, "failure", 0);
	}
}

/* The word that it is ready comes before the answer, in both ways; a no is the end of the server. */
static void status_ready(void **state)
{
	rpc_criu_page_server_info ps = { 0 };
	rpc_criu_req ack = { .type = T(NOTIFY), .has_notify_success = true };
	struct asked a;
	struct talk t;
	int fds[2];
	char byte = 'x';

	(void)state;
	for (int yes = 1; yes >= 0; yes--) {
		rpc_criu_resp *resp;

		srv_test_begin(NULL);
		fake->port = 7;
		assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
		talk_begin(&t, (struct talk_terms){ 0 });
		asked_init(&a, T(PAGE_SERVER_CHLD));
		a.opts.ps = &ps;
		a.opts.has_notify_scripts = a.opts.notify_scripts = true;
		a.opts.has_status_fd = true;
		a.opts.status_fd = fds[1];
		talk_send(&t, &a.req);
		resp = talk_receive(&t, NULL);
		assert_int_equal(resp->type, T(NOTIFY));
		assert_string_equal(resp->notify->script, "status-ready");
		assert_false(resp->notify->has_pid);
		rpc_resp_free(resp);
		assert_int_equal(read(fds[0], &byte, 1), 1);
		assert_int_equal(byte, 0);
		close(fds[1]);
		ack.notify_success = yes;
		talk_send(&t, &ack);
		if (yes)
			rpc_resp_free(expect_answer(&t, "ready", T(PAGE_SERVER), true));
		else
			expect_failure(&t, "ready", T(PAGE_SERVER), ECANCELED, "the client has refused");
		talk_expect_end(&t, "ready", 0);
		/* closed by the server too */
		assert_int_equal(read(fds[0], &byte, 1), 0);
		close(fds[0]);
	}
}

static void addresses(void **state)
{
	static const struct {
		const char *address;
		int port, fd;
		const char *part;
	} cases[] = {
		{ "example.org", 0, -1, "neither IPv4 nor IPv6" },
		{ NULL, 65536, -1, "0 to 65535" },
		{ NULL, -1, -1, "0 to 65535" },
		{ NULL, 0, 987, "not open" },
		{ "::1", 0, 0, "an address" },
	};
	struct asked a;
	struct talk t;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		rpc_criu_page_server_info ps = {
			.address = (char *)cases[i].address,
			.has_port = cases[i].port != 0,
			.port = cases[i].port,
			.has_fd = cases[i].fd >= 0,
			.fd = cases[i].fd,
		};

		talk_begin(&t, (struct talk_terms){ 0 });
		ask(&t, &a, T(PAGE_SERVER_CHLD), &ps);
		expect_failure(&t, cases[i].part, T(PAGE_SERVER), EBADRQC, cases[i].part);
		assert_int_equal(talk_end(&t), 255);
	}
	assert_string_equal(fake->calls, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SRV_TEST(child),    SRV_TEST(daemonised),   SRV_TEST(that_stays),
		SRV_TEST(failures), SRV_TEST(status_ready), SRV_TEST(addresses),
	};

	return cmocka_run_group_tests(tests, srv_group_begin, srv_group_end);
}

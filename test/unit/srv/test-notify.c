/* Questions in the middle of a request: their names, pids and descriptors, and what becomes of each kind of answer. */
#include "srv-test.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define T(name) rpc_criu_req_type_##name

static void stage(const char *script, pid_t pid)
{
	fake->stages[fake->nr_stages].script = script;
	fake->stages[fake->nr_stages++].pid = pid;
}

static void begin(struct talk *t, struct asked *a, rpc_criu_req_type type, int notify_s)
{
	asked_init(a, type);
	a->opts.has_notify_scripts = a->opts.notify_scripts = true;
	a->opts.has_pid = type == T(DUMP);
	a->opts.pid = 77;
	talk_begin(t, (struct talk_terms){ .notify_s = notify_s });
	talk_send(t, &a->req);
}

static void expect_question(const struct talk *t, const char *script, pid_t pid, int *ret_fd)
{
	rpc_criu_resp *resp = talk_receive(t, ret_fd);

	assert_non_null(resp);
	if (resp->type != T(NOTIFY) || !resp->success || !resp->notify || strcmp(resp->notify->script, script) != 0)
		fail_msg("%s: type %d, script %s", script, (int)resp->type,
			 resp->notify ? resp->notify->script : "(none)");
	assert_int_equal(resp->notify->has_pid, pid > 0);
	if (pid > 0)
		assert_int_equal(resp->notify->pid, pid);
	assert_false(resp->has_cr_errno);
	assert_null(resp->cr_errmsg);
	rpc_resp_free(resp);
}

static void acknowledge(const struct talk *t, bool yes)
{
	rpc_criu_req ack = { .type = T(NOTIFY), .has_notify_success = true, .notify_success = yes };

	talk_send(t, &ack);
}

static void every_name(void **state)
{
	static const struct {
		const char *script;
		pid_t pid;
	} dump[] = {
		{ "pre-dump", 0 }, { "network-lock", 0 }, { "query-ext-files", 0 }, { "post-dump", 0 }, { "network-unlock", 0 },
	}, restore[] = {
		{ "pre-restore", 0 }, { "setup-namespaces", 41 }, { "post-setup-namespaces", 0 }, { "post-restore", 41 },
		{ "network-unlock", 0 }, { "pre-resume", 0 }, { "post-resume", 0 },
	};
	struct asked a;
	struct talk t;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(dump); i++)
		stage(dump[i].script, dump[i].pid);
	begin(&t, &a, T(DUMP), 0);
	for (size_t i = 0; i < ARRAY_LEN(dump); i++) {
		expect_question(&t, dump[i].script, dump[i].pid, NULL);
		acknowledge(&t, true);
	}
	rpc_resp_free(expect_answer(&t, "dump", T(DUMP), true));
	talk_expect_end(&t, "dump", 0);

	srv_test_begin(NULL);
	for (size_t i = 0; i < ARRAY_LEN(restore); i++)
		stage(restore[i].script, restore[i].pid);
	begin(&t, &a, T(RESTORE), 0);
	for (size_t i = 0; i < ARRAY_LEN(restore); i++) {
		expect_question(&t, restore[i].script, restore[i].pid, NULL);
		acknowledge(&t, true);
	}
	rpc_resp_free(expect_answer(&t, "restore", T(RESTORE), true));
	talk_expect_end(&t, "restore", 0);
}

static void nobody_asked(void **state)
{
	struct asked a;
	struct talk t;

	(void)state;
	stage("pre-dump", 0);
	asked_init(&a, T(DUMP));
	a.opts.has_notify_scripts = true; /* and false */
	talk_begin(&t, (struct talk_terms){ 0 });
	a.opts.has_pid = true;
	a.opts.pid = 3;
	talk_send(&t, &a.req);
	rpc_resp_free(expect_answer(&t, "not asked", T(DUMP), true));
	talk_expect_end(&t, "not asked", 0);
}

/* Everything but a clear yes is a no, and the final answer still comes. */
static void refusals(void **state)
{
	static const struct {
		const char *name;
		uint8_t bytes[16];
		size_t len;
		const char *why;
	} cases[] = {
		{ "no", { 0x08, 6, 0x18, 0 }, 4, "the client has refused" },
		{ "neither yes nor no", { 0x08, 6 }, 2, "the client has refused" },
		{ "another type", { 0x08, 10, 0x18, 1 }, 4, "the client has refused" },
		{ "noise", { 0xff, 0xff }, 2, "decode a request" },
		{ "opts without images_dir_fd", { 0x08, 6, 0x12, 2, 0x10, 5, 0x18, 1 }, 8, "images_dir_fd" },
	};
	struct asked a;
	struct talk t;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		srv_test_begin(NULL);
		stage("pre-dump", 0);
		stage("post-dump", 0);
		begin(&t, &a, T(DUMP), 0);
		expect_question(&t, "pre-dump", 0, NULL);
		talk_send_bytes(&t, cases[i].bytes, cases[i].len);
		expect_failure(&t, cases[i].name, T(DUMP), ECANCELED, cases[i].why);
		talk_expect_end(&t, cases[i].name, 1);
		assert_int_equal(fake->nr_results, 1);
		assert_int_equal(fake->results[0], -ECANCELED);
	}
}

static void client_that_leaves(void **state)
{
	struct asked a;
	struct talk t;

	(void)state;
	stage("pre-restore", 0);
	begin(&t, &a, T(RESTORE), 0);
	expect_question(&t, "pre-restore", 0, NULL);
	assert_int_equal(talk_end(&t), 1);
	assert_int_equal(fake->results[0], -ECANCELED);
}

static void client_that_sleeps(void **state)
{
	struct asked a;
	struct talk t;

	(void)state;
	stage("pre-dump", 0);
	begin(&t, &a, T(DUMP), 1);
	expect_question(&t, "pre-dump", 0, NULL);
	expect_failure(&t, "asleep", T(DUMP), ETIMEDOUT, "has not answered within 1000 ms");
	talk_expect_end(&t, "asleep", 1);
}

/* What the client knows of only when the tree is frozen. */
static void external_files(void **state)
{
	char *more[] = { (char *)"file[1:2]", (char *)"tty[3:4]" }, *first[] = { (char *)"net[5]:x" };
	rpc_criu_opts opts = { .images_dir_fd = -1, .external = { more, 2 } };
	rpc_criu_req ack = { .type = T(NOTIFY), .has_notify_success = true, .notify_success = true, .opts = &opts };
	struct asked a;
	struct talk t;

	(void)state;
	stage("pre-dump", 0);
	stage("query-ext-files", 0);
	stage("post-dump", 0);
	asked_init(&a, T(DUMP));
	a.opts.has_notify_scripts = a.opts.notify_scripts = true;
	a.opts.has_pid = true;
	a.opts.pid = 9;
	a.opts.external.items = first;
	a.opts.external.nr = 1;
	talk_begin(&t, (struct talk_terms){ 0 });
	talk_send(&t, &a.req);
	/* only one question takes more than yes and no */
	expect_question(&t, "pre-dump", 0, NULL);
	talk_send(&t, &ack);
	expect_question(&t, "query-ext-files", 0, NULL);
	talk_send(&t, &ack);
	expect_question(&t, "post-dump", 0, NULL);
	talk_send(&t, &ack);
	rpc_resp_free(expect_answer(&t, "externals", T(DUMP), true));
	talk_expect_end(&t, "externals", 0);
	assert_string_equal(fake->externals, "net[5]:x file[1:2] tty[3:4] ");

	srv_test_begin(NULL);
	stage("query-ext-files", 0);
	more[1] = (char *)"nonsense";
	talk_begin(&t, (struct talk_terms){ 0 });
	talk_send(&t, &a.req);
	expect_question(&t, "query-ext-files", 0, NULL);
	talk_send(&t, &ack);
	expect_failure(&t, "nonsense", T(DUMP), ECANCELED, "nonsense is not of the form");
	talk_expect_end(&t, "nonsense", 1);
}

/* A descriptor comes along with the question; a no is not the end of the restore. */
static void orphan_pts_master(void **state)
{
	struct asked a;
	struct talk t;
	struct stat st;

	(void)state;
	for (int yes = 1; yes >= 0; yes--) {
		int fd = -1;

		srv_test_begin(NULL);
		fake->give_fd = true;
		stage("post-restore", 8);
		asked_init(&a, T(RESTORE));
		a.opts.has_notify_scripts = a.opts.notify_scripts = true;
		a.opts.has_orphan_pts_master = a.opts.orphan_pts_master = true;
		talk_begin(&t, (struct talk_terms){ 0 });
		talk_send(&t, &a.req);
		expect_question(&t, "orphan-pts-master", 0, &fd);
		assert_true(fd >= 0);
		assert_int_equal(fstat(fd, &st), 0);
		assert_true(S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3));
		close(fd);
		acknowledge(&t, yes);
		expect_question(&t, "post-restore", 8, &fd);
		assert_int_equal(fd, -1);
		acknowledge(&t, true);
		rpc_resp_free(expect_answer(&t, "pts", T(RESTORE), true));
		talk_expect_end(&t, "pts", 0);
		assert_int_equal(fake->give_result, yes ? 0 : -ECANCELED);
	}
}

static void no_orphans_wanted(void **state)
{
	struct asked a;
	struct talk t;

	(void)state;
	for (int i = 0; i < 3; i++) {
		srv_test_begin(NULL);
		fake->give_fd = true;
		asked_init(&a, T(RESTORE));
		a.opts.has_notify_scripts = a.opts.notify_scripts = i == 1;
		a.opts.has_orphan_pts_master = true;
		a.opts.orphan_pts_master = i == 2;
		talk_begin(&t, (struct talk_terms){ 0 });
		talk_send(&t, &a.req);
		rpc_resp_free(expect_answer(&t, "not wanted", T(RESTORE), true));
		talk_expect_end(&t, "not wanted", 0);
		assert_false(fake->may_give);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SRV_TEST(every_name),         SRV_TEST(nobody_asked),       SRV_TEST(refusals),
		SRV_TEST(client_that_leaves), SRV_TEST(client_that_sleeps), SRV_TEST(external_files),
		SRV_TEST(orphan_pts_master),  SRV_TEST(no_orphans_wanted),
	};

	return cmocka_run_group_tests(tests, srv_group_begin, srv_group_end);
}

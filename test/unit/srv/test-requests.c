/* Every type of request alone: what it is answered, with which parts, and how the worker ends. */
#include "srv-test.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define T(name) rpc_criu_req_type_##name

static void version(void **state)
{
	rpc_criu_req req = { .type = T(VERSION) };
	rpc_criu_resp *resp;
	struct talk t;

	(void)state;
	talk_begin(&t, (struct talk_terms){ 0 });
	talk_send(&t, &req);
	resp = expect_answer(&t, "version", T(VERSION), true);
	assert_int_equal(resp->version->major_number, 4);
	assert_int_equal(resp->version->minor_number, 2);
	assert_null(resp->version->gitid);
	assert_null(resp->cr_errmsg);
	assert_false(resp->has_cr_errno);
	rpc_resp_free(resp);
	talk_expect_end(&t, "version", 0);
}

/* What the engine did and how that is told. */
static void carried_out(void **state)
{
	static const struct {
		const char *name, *calls;
		rpc_criu_req_type type;
		int exit_good, exit_bad;
	} cases[] = {
		{ "dump", "dump ", T(DUMP), 0, 1 },
		{ "restore", "restore ", T(RESTORE), 0, 1 },
		{ "pre-dump", "pre-dump ", T(SINGLE_PRE_DUMP), 0, 255 },
	};
	struct asked a;
	struct talk t;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases) * 2; i++) {
		const char *name = cases[i / 2].name;
		bool good = i % 2 == 0;
		rpc_criu_resp *resp;

		srv_test_begin(NULL);
		fake->code = good ? 0 : -EXDEV;
		fake->why = "the moon is full";
		fake->restored_pid = 4321;
		asked_init(&a, cases[i / 2].type);
		a.opts.has_pid = true;
		a.opts.pid = 77;
		talk_begin(&t, (struct talk_terms){ 0 });
		talk_send(&t, &a.req);
		resp = expect_answer(&t, name, cases[i / 2].type, good);
		if (strcmp(fake->calls, cases[i / 2].calls) != 0)
			fail_msg("%s: called %s", name, fake->calls);
		assert_true(fake->images_there);
		assert_int_equal(fake->pid, 77);
		assert_int_equal(!!resp->dump, cases[i / 2].type == T(DUMP));
		if (resp->dump)
			assert_true(resp->dump->has_restored && !resp->dump->restored);
		assert_int_equal(!!resp->restore, cases[i / 2].type == T(RESTORE));
		if (resp->restore)
			assert_int_equal(resp->restore->pid, 4321);
		assert_int_equal(resp->has_cr_errno, !good);
		assert_int_equal(!!resp->cr_errmsg, !good);
		if (!good) {
			assert_int_equal(resp->cr_errno, EXDEV);
			assert_non_null(strstr(resp->cr_errmsg, "): the moon is full\n"));
			assert_int_equal(strncmp(resp->cr_errmsg, "Error (", 7), 0);
		}
		rpc_resp_free(resp);
		talk_expect_end(&t, name, good ? cases[i / 2].exit_good : cases[i / 2].exit_bad);
	}
}

static void check(void **state)
{
	rpc_criu_req bare = { .type = T(CHECK) };
	struct asked a;
	struct talk t;

	(void)state;
	talk_begin(&t, (struct talk_terms){ 0 });
	talk_send(&t, &bare);
	rpc_resp_free(expect_answer(&t, "bare", T(CHECK), true));
	talk_expect_end(&t, "bare", 0);

	asked_init(&a, T(CHECK));
	a.opts.log_file = (char *)"check.log";
	fake->code = -ENOSYS;
	talk_begin(&t, (struct talk_terms){ 0 });
	talk_send(&t, &a.req);
	expect_failure(&t, "with a log", T(CHECK), ENOSYS, "told to fail");
	talk_expect_end(&t, "with a log", 0);
	assert_int_equal(faccessat(test_dir_fd, "check.log", F_OK, 0), 0);
	assert_string_equal(fake->calls, "check check ");
}

static void features(void **state)
{
	rpc_criu_features f = {
		.has_pidfd_store = true, .pidfd_store = true, .has_mem_track = true, .mem_track = false
	};
	rpc_criu_req req = { .type = T(FEATURE_CHECK), .features = &f };
	rpc_criu_resp *resp;
	struct talk t;

	(void)state;
	talk_begin(&t, (struct talk_terms){ 0 });
	talk_send(&t, &req);
	resp = expect_answer(&t, "features", T(FEATURE_CHECK), true);
	assert_true(resp->features->has_mem_track && resp->features->has_lazy_pages && resp->features->has_pidfd_store);
	assert_false(resp->features->mem_track || resp->features->lazy_pages);
	rpc_resp_free(resp);
	talk_expect_end(&t, "features", 0);
	assert_string_equal(fake->calls, ""); /* one probe, not all of them */
}

static void cpuinfo(void **state)
{
	static const struct {
		rpc_criu_req_type type;
		bool good;
	} cases[] = {
		{ T(CPUINFO_CHECK), false },
		{ T(CPUINFO_DUMP), true },
		{ T(CPUINFO_CHECK), true },
	};
	struct asked a;
	struct talk t;

	(void)state;
	unlinkat(test_dir_fd, "cpuinfo.img", 0);
	talk_begin(&t, (struct talk_terms){ 0 });
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		asked_init(&a, cases[i].type);
		a.req.has_keep_open = a.req.keep_open = true;
		talk_send(&t, &a.req);
		if (cases[i].good)
			rpc_resp_free(expect_answer(&t, "cpuinfo", cases[i].type, true));
		else
			expect_failure(&t, "cpuinfo", cases[i].type, ENOENT, "no cpuinfo.img");
	}
	assert_int_equal(talk_end(&t), 255); /* one more was to come */
	assert_int_equal(unlinkat(test_dir_fd, "cpuinfo.img", 0), 0);
}

/* Without a pid the client is meant. It hears of it only if it can. */
static void self_dump(void **state)
{
	struct stat st;
	struct asked a;
	struct talk t;

	(void)state;
	asked_init(&a, T(DUMP));
	talk_begin(&t, (struct talk_terms){ 0 });
	assert_int_equal(fstat(t.sock, &st), 0);
	talk_send(&t, &a.req);
	talk_expect_end(&t, "killed", 0);
	assert_int_equal(fake->pid, getpid());
	assert_int_equal(fake->service_ino, st.st_ino);
	assert_false(fake->service_first);

	a.opts.has_leave_running = a.opts.leave_running = true;
	talk_begin(&t, (struct talk_terms){ 0 });
	talk_send(&t, &a.req);
	rpc_resp_free(expect_answer(&t, "left running", T(DUMP), true));
	talk_expect_end(&t, "left running", 0);

	a.opts.leave_running = false;
	fake->code = -EBUSY;
	talk_begin(&t, (struct talk_terms){ 0 });
	talk_send(&t, &a.req);
	expect_failure(&t, "failed", T(DUMP), EBUSY, "told to fail");
	talk_expect_end(&t, "failed", 1);

	a.opts.has_pid = true; /* 0 is no process, not even the client */
	fake->calls[0] = '\0';
	talk_begin(&t, (struct talk_terms){ 0 });
	talk_send(&t, &a.req);
	expect_failure(&t, "pid 0", T(DUMP), EBADRQC, "option pid of the request");
	talk_expect_end(&t, "pid 0", 1);
	assert_string_equal(fake->calls, "");
}

/* The answer comes first; then the worker is the command. */
static void exec_cmd(void **state)
{
	char *command[] = { (char *)"sh", (char *)"-c", (char *)"echo to the log; exit 7" };
	char text[256] = "";
	struct asked a;
	struct talk t;
	int log;

	(void)state;
	asked_init(&a, T(RESTORE));
	a.opts.exec_cmd.items = command;
	a.opts.exec_cmd.nr = ARRAY_LEN(command);
	a.opts.log_file = (char *)"exec.log";
	a.opts.has_log_level = false;
	fake->restored_pid = 5;
	talk_begin(&t, (struct talk_terms){ 0 });
	talk_send(&t, &a.req);
	rpc_resp_free(expect_answer(&t, "exec", T(RESTORE), true));
	talk_expect_end(&t, "exec", 7);
	log = openat(test_dir_fd, "exec.log", O_RDONLY);
	assert_true(read(log, text, sizeof(text) - 1) > 0);
	close(log);
	assert_non_null(strstr(text, "to the log\n"));

	command[0] = (char *)"/nonexistent/command";
	talk_begin(&t, (struct talk_terms){ 0 });
	talk_send(&t, &a.req);
	rpc_resp_free(expect_answer(&t, "no such command", T(RESTORE), true));
	talk_expect_end(&t, "no such command", 1);
}

static void sibling(void **state)
{
	struct asked a;
	struct talk t;

	(void)state;
	asked_init(&a, T(RESTORE));
	a.opts.has_rst_sibling = a.opts.rst_sibling = true;
	talk_begin(&t, (struct talk_terms){ 0 });
	talk_send(&t, &a.req);
	rpc_resp_free(expect_answer(&t, "sibling", T(RESTORE), true));
	talk_expect_end(&t, "sibling", 0);
	assert_true(fake->sibling);
}

/* What reaches into the process that serves is for clients that have started it. */
static void not_for_daemons(void **state)
{
	rpc_inherit_fd fd = { .key = (char *)"x", .fd = 0 };
	rpc_criu_page_server_info ps = { .has_fd = true, .fd = 0 };
	struct asked a;
	struct talk t;

	(void)state;
	for (int i = 0; i < 3; i++) {
		static const char *const names[] = { "rst_sibling", "inherit_fd", "ps.fd" };

		asked_init(&a, i == 2 ? T(PAGE_SERVER_CHLD) : T(RESTORE));
		a.opts.has_rst_sibling = i == 0;
		a.opts.inherit_fd.items = &fd;
		a.opts.inherit_fd.nr = i == 1;
		a.opts.ps = i == 2 ? &ps : NULL;
		talk_begin(&t, (struct talk_terms){ .daemon = true });
		talk_send(&t, &a.req);
		expect_failure(&t, names[i], i == 2 ? T(PAGE_SERVER) : T(RESTORE), EBADRQC, names[i]);
		talk_expect_end(&t, names[i], i == 2 ? 0 : 1);
	}
	assert_string_equal(fake->calls, "");
}

/* Failures before anything was begun say what is wrong with the request: EBADRQC, or the errno of what failed. */
static void options(void **state)
{
	static const struct {
		const char *part;
		int number, images_fd, work_fd, log_level;
		const char *log_file, *images_dir, *parent_img;
		uint32_t empty_ns;
		int network_lock, cg_mode, pre_dump_mode, store, status, no_config;
	} cases[] = {
		{ "No subdirs are allowed in log_file name", EBADRQC, .log_file = "a/b" },
		{ "images_dir_fd", ENOENT, .images_fd = 987 },
		{ "neither images_dir_fd nor images_dir", EBADRQC, .images_fd = -1 },
		{ "images_dir", ENOENT, .images_fd = -1, .images_dir = "/nonexistent" },
		{ "work_dir_fd", ENOENT, .work_fd = 987 },
		{ "status_fd", ENOENT, .status = 987 },
		{ "status_fd", EBADF, .status = -4 },
		{ "pidfd_store_sk", EBADF, .store = 987 },
		{ "pidfd_store_sk", EBADRQC, .store = -1000 },
		{ "parent_img", EBADRQC, .parent_img = "../nonexistent" },
		{ "empty_ns", EBADRQC, .empty_ns = 0x20000 },
		{ "network_lock", EBADRQC, .network_lock = 9 },
		{ "manage_cgroups_mode", EBADRQC, .cg_mode = 77 },
		{ "pre_dump_mode", EBADRQC, .pre_dump_mode = 5 },
	};
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct asked a;
	struct talk t;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		asked_init(&a, T(DUMP));
		a.opts.has_pid = true;
		a.opts.pid = 77;
		if (cases[i].images_fd)
			a.opts.images_dir_fd = cases[i].images_fd;
		a.opts.images_dir = (char *)cases[i].images_dir;
		a.opts.has_work_dir_fd = cases[i].work_fd;
		a.opts.work_dir_fd = cases[i].work_fd;
		a.opts.log_file = (char *)cases[i].log_file;
		a.opts.parent_img = (char *)cases[i].parent_img;
		a.opts.has_empty_ns = cases[i].empty_ns;
		a.opts.empty_ns = cases[i].empty_ns;
		a.opts.has_network_lock = cases[i].network_lock;
		a.opts.network_lock = (rpc_criu_network_lock_method)cases[i].network_lock;
		a.opts.has_manage_cgroups_mode = cases[i].cg_mode;
		a.opts.manage_cgroups_mode = (rpc_criu_cg_mode)cases[i].cg_mode;
		a.opts.has_pre_dump_mode = cases[i].pre_dump_mode;
		a.opts.pre_dump_mode = (rpc_criu_pre_dump_mode)cases[i].pre_dump_mode;
		a.opts.has_pidfd_store_sk = cases[i].store;
		a.opts.pidfd_store_sk = cases[i].store == -1000 ? null : cases[i].store;
		a.opts.has_status_fd = cases[i].status;
		a.opts.status_fd = cases[i].status;
		talk_begin(&t, (struct talk_terms){ 0 });
		talk_send(&t, &a.req);
		expect_failure(&t, cases[i].part, T(DUMP), cases[i].number, cases[i].part);
		talk_expect_end(&t, cases[i].part, 1);
	}
	close(null);
	assert_string_equal(fake->calls, "");
}

/* A client that wants no log is told what failed like any other. */
static void no_log(void **state)
{
	struct asked a;
	struct talk t;

	(void)state;
	fake->code = -EXDEV;
	asked_init(&a, T(DUMP));
	a.opts.log_level = 0;
	a.opts.has_pid = true;
	a.opts.pid = 77;
	talk_begin(&t, (struct talk_terms){ 0 });
	talk_send(&t, &a.req);
	expect_failure(&t, "log_level 0", T(DUMP), EXDEV, "told to fail");
	talk_expect_end(&t, "log_level 0", 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SRV_TEST(version),         SRV_TEST(carried_out), SRV_TEST(check),    SRV_TEST(features),
		SRV_TEST(cpuinfo),         SRV_TEST(self_dump),   SRV_TEST(exec_cmd), SRV_TEST(sibling),
		SRV_TEST(not_for_daemons), SRV_TEST(options),     SRV_TEST(no_log),
	};

	return cmocka_run_group_tests(tests, srv_group_begin, srv_group_end);
}

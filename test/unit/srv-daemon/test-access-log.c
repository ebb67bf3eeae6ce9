/* Lines and journal entries of requests. */
#include "criu-srv/access-log.h"
#include "criu-srv/journal.h"

#include "front/front.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct access_entry plain = {
	.what = "VERSION",
	.uid = 10,
	.pid = 20,
	.comm = "sh",
	.repeats = 1,
	.us = 1234,
	.when = { 1000000000, 42000000 },
};

static void test_text(void **state)
{
	static const struct {
		const char *name;
		struct access_entry e;
		const char *text;
	} cases[] = {
		{ "plain",
		  { .what = "VERSION", .uid = 10, .pid = 20, .comm = "sh", .repeats = 1, .us = 1234 },
		  "request type=VERSION uid=10 pid=20 comm=\"sh\" result=ok ms=1.234\n" },
		{ "target",
		  { .what = "DUMP", .comm = "", .target = 7, .repeats = 1, .us = 5 },
		  "request type=DUMP uid=0 pid=0 comm=\"?\" target=7 result=ok ms=0.005\n" },
		{ "several",
		  { .what = "VERSION", .uid = 1, .pid = 2, .comm = "a", .repeats = 1000000, .us = 60000000 },
		  "request type=VERSION uid=1 pid=2 comm=\"a\" times=1000000 result=ok ms=60000.000\n" },
		{ "failed",
		  { .what = "DUMP", .uid = 1, .pid = 2, .comm = "a", .error = 1, .why = "not yours", .repeats = 1 },
		  "request type=DUMP uid=1 pid=2 comm=\"a\" result=failed errno=1 why=\"not yours\" ms=0.000\n" },
		{ "hostile",
		  { .what = "DUMP",
		    .uid = 1,
		    .pid = 2,
		    .comm = "a\"\n b\\",
		    .error = 5,
		    .why = "x\xff\ny\x1b[0m",
		    .repeats = 1 },
		  "request type=DUMP uid=1 pid=2 comm=\"a?? b?\" result=failed errno=5 why=\"x??y?[0m\" ms=0.000\n" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct buf b = BUF_INIT(4096);

		expect_int(cases[i].name, access_text(&b, &cases[i].e, false), 0);
		expect_text(cases[i].name, b.data, cases[i].text);
		buf_done(&b);
	}
}

static void test_time(void **state)
{
	struct buf b = BUF_INIT(4096);

	(void)state;
	assert_int_equal(access_text(&b, &plain, true), 0);
	expect_part("time", b.data, "2001-09-09T01:46:40.042Z request type=VERSION ");
	buf_done(&b);
}

/* A reason that is too long for the entry must not make two of it. */
static void test_long(void **state)
{
	struct access_entry e = plain;
	struct buf b = BUF_INIT(4096);
	char why[512];

	(void)state;
	memset(why, 'w', sizeof(why) - 1);
	why[sizeof(why) - 1] = '\0';
	e.error = 1;
	e.why = why;
	assert_int_equal(access_fields(&b, &e), 0);
	assert_int_equal(strncmp(b.data, "MESSAGE=request type=VERSION ", 29), 0);
	expect_part("after", b.data, "\nCRIU_ERRNO=1\n");
	buf_done(&b);
}

static void test_field(void **state)
{
	struct buf b = BUF_INIT(4096);

	(void)state;
	assert_int_equal(journal_field(&b, "MESSAGE", "a\nPRIORITY=0\r\x7f%s", "b"), 0);
	assert_string_equal(b.data, "MESSAGE=a PRIORITY=0  b\n");
	buf_done(&b);
}

static void test_write(void **state)
{
	char text[4096];
	int journal[2], file[2];
	ssize_t len;
	struct access_log log;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, journal), 0);
	assert_int_equal(pipe2(file, O_NONBLOCK), 0);
	log = (struct access_log){ .fd = file[1], .journal_fd = journal[1] };
	access_write(&log, &plain);
	len = recv(journal[0], text, sizeof(text) - 1, 0);
	assert_true(len > 0);
	text[len] = '\0';
	expect_part("journal", text, "\nCRIU_REQUEST=VERSION\nCRIU_CLIENT_UID=10\nCRIU_CLIENT_PID=20\n");
	assert_int_equal(read(file[0], text, sizeof(text)), -1);
	/* a journal that has gone: text in its place */
	close(journal[0]);
	log.priorities = true;
	access_write(&log, &plain);
	len = read(file[0], text, sizeof(text) - 1);
	assert_true(len > 0);
	text[len] = '\0';
	assert_int_equal(strncmp(text, "<6>request type=VERSION", 23), 0);
	log = (struct access_log){ .fd = -1, .journal_fd = -1 };
	access_write(&log, &plain);
	close(journal[1]);
	close(file[0]);
	close(file[1]);
}

static void test_stream(void **state)
{
	char text[64];
	struct stat st;

	(void)state;
	assert_int_equal(fstat(STDERR_FILENO, &st), 0);
	snprintf(text, sizeof(text), "%llu:%llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
	assert_true(journal_is_stream(text, STDERR_FILENO));
	strcat(text, "0");
	assert_false(journal_is_stream(text, STDERR_FILENO));
	assert_false(journal_is_stream(NULL, STDERR_FILENO));
	assert_false(journal_is_stream("", STDERR_FILENO));
	assert_false(journal_is_stream("1", STDERR_FILENO));
	assert_false(journal_is_stream("1:2", -1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text),  cmocka_unit_test(test_time),  cmocka_unit_test(test_long),
		cmocka_unit_test(test_field), cmocka_unit_test(test_write), cmocka_unit_test(test_stream),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

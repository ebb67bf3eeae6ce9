/* Which requests become lines of the log, and how many. */
#include "criu-srv/record.h"

#include "front/front.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

struct scene {
	struct access_log log;
	struct peer peer;
	struct record record;
	int out;
	char text[16384];
};

static void begin(struct scene *s, bool quiet)
{
	int fds[2];

	assert_int_equal(pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
	*s = (struct scene){ .out = fds[0], .log = { .fd = fds[1], .journal_fd = -1 } };
	s->peer = (struct peer){ .pidfd = -1, .pid = getpid(), .who = { .uid = 7 } };
	s->record = (struct record){ .log = &s->log, .peer = &s->peer, .quiet = quiet };
}

static void request(struct scene *s, const char *what, bool effect, int error)
{
	struct cr_error err = { .code = -error, .text = "the reason" };

	record_begin(&s->record);
	if (effect)
		record_target(&s->record, 99);
	if (error)
		record_failure(&s->record, &err);
	record_end(&s->record, what, effect);
}

/* Return: how many lines there are; their text is in s->text. */
static int end(struct scene *s)
{
	ssize_t len;
	int lines = 0;

	record_flush(&s->record);
	len = read(s->out, s->text, sizeof(s->text) - 1);
	s->text[len > 0 ? len : 0] = '\0';
	for (const char *p = s->text; *p; p++)
		lines += *p == '\n';
	close(s->out);
	close(s->log.fd);
	return lines;
}

static void test_one(void **state)
{
	struct scene s;

	(void)state;
	begin(&s, false);
	request(&s, "DUMP", true, 0);
	assert_int_equal(end(&s), 1);
	expect_part("dump", s.text, "Z request type=DUMP uid=7 pid=");
	expect_part("dump", s.text, " target=99 result=ok ms=");
	expect_part("dump", s.text, "comm=\"test-record\"");
}

static void test_repeats(void **state)
{
	struct scene s;

	(void)state;
	begin(&s, false);
	for (int i = 0; i < 10; i++)
		request(&s, "VERSION", false, 0);
	request(&s, "CHECK", false, 0);
	request(&s, "VERSION", false, 0);
	request(&s, "VERSION", false, 5);
	request(&s, "VERSION", false, 5);
	request(&s, "DUMP", true, 0);
	request(&s, "DUMP", true, 0);
	/* first, nine more, check, first again, two failures, two dumps */
	assert_int_equal(end(&s), 8);
	expect_part("repeats", s.text, "type=VERSION uid=7 pid=");
	expect_part("repeats", s.text, " times=9 result=ok");
	expect_part("repeats", s.text, "result=failed errno=5 why=\"the reason\"");
}

/* Of one who says too much only what had an effect is told. */
static void test_quiet(void **state)
{
	struct scene s;

	(void)state;
	begin(&s, true);
	request(&s, "VERSION", false, 0);
	request(&s, "DUMP", true, 5);
	request(&s, "RESTORE", true, 0);
	assert_int_equal(end(&s), 1);
	expect_part("quiet", s.text, "type=RESTORE");
}

/* One connection is as good as many for filling a log. */
static void test_limited(void **state)
{
	struct scene s;

	(void)state;
	begin(&s, false);
	record_limit(&s.record, 0.001);
	for (int i = 0; i < 100; i++) {
		request(&s, "CHECK", false, 5);
		expect_int("mute", record_is_mute(&s.record), i >= 4);
	}
	request(&s, "RESTORE", true, 0);
	expect_int("left out", (int)record_flush(&s.record), 96);
	assert_int_equal(end(&s), 5);
	expect_part("limited", s.text, "type=RESTORE");

	/* two kinds that take turns; with time there is room again */
	begin(&s, false);
	record_limit(&s.record, 1000);
	for (int i = 0; i < 100; i++)
		request(&s, i % 2 ? "VERSION" : "CHECK", false, 0);
	s.record.start.tv_sec -= 3600;
	request(&s, "DUMP", false, 5);
	assert_false(record_is_mute(&s.record));
	expect_int("not more than a few", end(&s) < 40, true);
	expect_part("again", s.text, "type=DUMP");
}

static void test_first_reason(void **state)
{
	struct cr_error first = { .code = -2, .text = "first" }, second = { .code = -3, .text = "second" };
	struct scene s;

	(void)state;
	begin(&s, false);
	record_begin(&s.record);
	record_failure(&s.record, &first);
	record_failure(&s.record, &second);
	record_end(&s.record, "DUMP", true);
	assert_int_equal(end(&s), 1);
	expect_part("reason", s.text, "errno=2 why=\"first\"");
}

/* swrk has no such log */
static void test_none(void **state)
{
	(void)state;
	record_begin(NULL);
	record_target(NULL, 1);
	record_failure(NULL, &(struct cr_error){ .code = -1 });
	record_end(NULL, "DUMP", true);
	record_limit(NULL, 1);
	assert_false(record_is_mute(NULL));
	assert_int_equal(record_flush(NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one),          cmocka_unit_test(test_repeats), cmocka_unit_test(test_quiet),
		cmocka_unit_test(test_first_reason), cmocka_unit_test(test_none),    cmocka_unit_test(test_limited),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

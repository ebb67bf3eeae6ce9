/* Messages for which there is no room any more when they are to be put back: others have sent meanwhile. */
#include "ns/ipc-mqueue.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/prctl.h>

#include <cmocka.h>

static void expect_next(int q, char text, unsigned int prio)
{
	struct timespec until = { 0 };
	unsigned int got = 0;
	char buf[8] = "";

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 10;
	assert_int_equal(mq_timedreceive(q, buf, sizeof(buf), &got, &until), 1);
	assert_int_equal(buf[0], text);
	assert_int_equal(got, prio);
}

/* Of three that were taken one is back. The rest comes as soon as there is room, in order. */
static void test_behind(void **state)
{
	struct mq_attr attr = { .mq_maxmsg = 2, .mq_msgsize = sizeof(char[8]) };
	struct taken list[] = { { 3, 1 }, { 1, 1 }, { 0, 1 } };
	struct taking t = { .buf = (char[]){ "xyz" }, .used = 3, .list = list, .nr = 3, .back = 1, .back_at = 1 };
	char name[32];
	int status, q;

	(void)state;
	snprintf(name, sizeof(name), "/test-%d", (int)getpid());
	q = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attr);
	if (q < 0)
		skip();
	mq_unlink(name);
	/* who sends behind is nobody's child, and is to have ended with this test */
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	assert_int_equal(mq_send(q, "a", 1, 1), 0);
	assert_int_equal(mq_send(q, "b", 1, 1), 0);
	t.fd = q;
	assert_int_equal(put_back_behind(&t), 0);
	expect_next(q, 'a', 1);
	expect_next(q, 'b', 1);
	expect_next(q, 'y', 1);
	expect_next(q, 'z', 0);
	assert_true(waitpid(-1, &status, 0) > 0);
	assert_int_equal(status, 0);
	mq_close(q);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_behind) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}

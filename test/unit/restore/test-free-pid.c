/* A number is waited for if its owner has ended, and refused if not. */
#include "restore/free-pid.h"

#include "base/clock.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define LONG_NS  (600 * (uint64_t)1000000000)
#define SHORT_NS 50000000u
#define LATE_US  30000

/* One that has ended; its parent, which is us, has not taken note of that. */
static pid_t ended(void)
{
	siginfo_t info;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(0);
	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
	return pid;
}

static void *take_note_late(void *arg)
{
	usleep(LATE_US);
	waitpid(*(pid_t *)arg, NULL, 0);
	return NULL;
}

static void test_becomes_free(void **state)
{
	struct cr_error err = { 0 };
	pthread_t parent;
	pid_t pid = ended();

	(void)state;
	assert_int_equal(pthread_create(&parent, NULL, take_note_late, &pid), 0);
	assert_int_equal(free_pid_await(pid, monotonic_ns() + LONG_NS, &err), 0);
	assert_int_equal(kill(pid, 0), -1);
	assert_int_equal(pthread_join(parent, NULL), 0);
	/* it is free already */
	assert_int_equal(free_pid_await(pid, 0, &err), 0);
}

static void test_stays_taken(void **state)
{
	struct cr_error err = { 0 };
	pid_t pid = ended();

	(void)state;
	assert_int_equal(free_pid_await(pid, monotonic_ns() + SHORT_NS, &err), -EEXIST);
	assert_non_null(strstr(err.text, "has not taken note"));
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* Who lives is not waited for: this would take ten minutes. */
static void test_alive(void **state)
{
	struct cr_error err = { 0 };

	(void)state;
	assert_int_equal(free_pid_await(getpid(), monotonic_ns() + LONG_NS, &err), -EEXIST);
	assert_null(strstr(err.text, "has ended,"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_becomes_free),
		cmocka_unit_test(test_stays_taken),
		cmocka_unit_test(test_alive),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* A will is carried out if the one who made it is killed, and not if it was revoked. */
#include "kernel/last-will.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define ROUNDS 50

static void say(void *arg)
{
	const int *fd = arg;

	if (write(*fd, "x", 1) != 1)
		_exit(1);
}

/* Return: was it said before everybody who could have has gone? */
static bool said_by(void (*fn)(int fd))
{
	int pipes[2], status;
	char c = 0;
	ssize_t n;
	pid_t pid;

	assert_int_equal(pipe(pipes), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		close(pipes[0]);
		fn(pipes[1]);
		raise(SIGKILL);
	}
	close(pipes[1]);
	n = read(pipes[0], &c, 1);
	assert_true(n >= 0);
	close(pipes[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	return n == 1 && c == 'x';
}

static void make(int fd)
{
	if (!last_will_make(say, &fd))
		_exit(1);
	raise(SIGKILL);
}

static void make_and_revoke(int fd)
{
	struct last_will *will = last_will_make(say, &fd);

	if (!will)
		_exit(1);
	last_will_revoke(will);
	/* nothing of it is left to be waited for */
	if (waitpid(-1, NULL, __WALL) != -1)
		_exit(1);
}

/* Those who restore may have been started so */
static void make_with_ignored_signals(int fd)
{
	signal(SIGUSR1, SIG_IGN);
	signal(SIGCHLD, SIG_IGN);
	make_and_revoke(fd);
	make(fd);
}

static pid_t only_child(void)
{
	char path[64];
	int pid = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
	f = fopen(path, "r");
	if (!f || fscanf(f, "%d", &pid) != 1)
		_exit(1);
	fclose(f);
	return pid;
}

/* Whoever has all processes of a name stopped and continued, or sends them signals, does not end anything by that. */
static void make_disturb_and_revoke(int fd)
{
	static const int signals[] = { SIGUSR1, SIGSTOP, SIGCONT };
	struct last_will *will = last_will_make(say, &fd);

	if (!will)
		_exit(1);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		usleep(10000);
		kill(only_child(), signals[i]);
	}
	usleep(10000);
	last_will_revoke(will);
}

static void test_carried_out(void **state)
{
	(void)state;
	for (int i = 0; i < ROUNDS; i++)
		assert_true(said_by(make));
}

static void test_revoked(void **state)
{
	(void)state;
	for (int i = 0; i < ROUNDS; i++)
		assert_false(said_by(make_and_revoke));
}

static void test_ignored_signals(void **state)
{
	(void)state;
	assert_true(said_by(make_with_ignored_signals));
}

static void test_disturbed(void **state)
{
	(void)state;
	assert_false(said_by(make_disturb_and_revoke));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_carried_out),
		cmocka_unit_test(test_revoked),
		cmocka_unit_test(test_ignored_signals),
		cmocka_unit_test(test_disturbed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Files of one's own in procfs, told from all others. */
#include "base/own-proc.h"

#include "base/own.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

static bool is_own(const char *path, int flags)
{
	autofd int fd = open(path, flags | O_CLOEXEC);

	if (fd < 0)
		fail_msg("%s cannot be opened", path);
	return proc_is_own(fd);
}

static void test_own(void **state)
{
	static const char *const own[] = { "/proc/self/mem", "/proc/self/maps", "/proc/thread-self/environ",
					   "/proc/self",     "/proc/self/fd",   "/proc/self/task" };
	static const char *const others[] = {
		"/proc/self/fd/0", "/proc/self/cwd",         "/", "/dev/null", "/proc/uptime",
		"/proc",           "/proc/sys/kernel/ostype"
	};
	char path[64];

	(void)state;
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		if (!is_own(own[i], O_RDONLY))
			fail_msg("%s", own[i]);
	/* these two lead out of procfs */
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (is_own(others[i], O_PATH))
			fail_msg("%s", others[i]);
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)getppid());
	assert_false(is_own(path, O_RDONLY));
	assert_true(proc_is_own(-1));
}

static void *tell_number(void *arg)
{
	int *fds = arg;
	pid_t tid = (pid_t)syscall(SYS_gettid);
	char byte;

	if (write(fds[1], &tid, sizeof(tid)) != sizeof(tid) || read(fds[2], &byte, 1) != 0)
		return arg;
	return NULL;
}

/* Procfs shows a thread as if it were a process, to whoever knows its number. */
static void test_thread(void **state)
{
	int fds[4];
	pthread_t thread;
	char path[64];
	pid_t tid;

	(void)state;
	assert_int_equal(pipe(fds) | pipe(fds + 2), 0);
	assert_int_equal(pthread_create(&thread, NULL, tell_number, fds), 0);
	assert_int_equal(read(fds[0], &tid, sizeof(tid)), sizeof(tid));
	assert_int_not_equal(tid, getpid());
	snprintf(path, sizeof(path), "/proc/%d/mem", (int)tid);
	assert_true(is_own(path, O_RDONLY));
	close(fds[3]);
	assert_int_equal(pthread_join(thread, NULL), 0);
	for (int i = 0; i < 3; i++)
		close(fds[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_own), cmocka_unit_test(test_thread) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}

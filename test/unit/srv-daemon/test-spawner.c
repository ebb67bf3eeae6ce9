/* Children that have what they are to have, and nothing else. */
#include "criu-srv/spawner.h"

#include "front/front.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static int nr_open(void)
{
	DIR *d = opendir("/proc/self/fd");
	int nr = -1;

	while (d && readdir(d))
		nr++;
	if (d)
		closedir(d);
	return nr - 2; /* "." and "..", and the directory itself */
}

/* Writes through the second, and says by its exit code what else it has. */
static void child(void *arg, int fds[static SPAWNER_FDS])
{
	int standard = 0;

	for (int fd = 0; fd <= 2; fd++)
		standard += fcntl(fd, F_GETFD) >= 0;
	if (fds[0] != -1 || fds[3] != -1 || fds[4] != -1 || write(fds[1], arg, 1) != 1)
		_exit(100);
	if (fcntl(fds[1], F_GETFD) != FD_CLOEXEC || fds[2] != STDERR_FILENO)
		_exit(101);
	_exit(nr_open() - standard);
}

static void check_children(struct spawner *s, int count)
{
	char what[] = "abc", got;
	int p[2], status;

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	for (int i = 0; i < count; i++) {
		const int fds[SPAWNER_FDS] = { -1, p[1], STDERR_FILENO, -1, -1 };
		pid_t pid = spawner_fork(s, fds, child, what + i % 3);

		assert_true(pid > 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		expect_int("descriptors of the child", WEXITSTATUS(status), 1);
		assert_int_equal(read(p[0], &got, 1), 1);
		assert_int_equal(got, what[i % 3]);
	}
	close(p[0]);
	close(p[1]);
}

static void test_thread(void **state)
{
	struct spawner s;
	int before = nr_open(), many[200];

	(void)state;
	spawner_start(&s);
	assert_true(s.running);
	for (int i = 0; i < 200; i++)
		many[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	check_children(&s, 20);
	for (int i = 0; i < 200; i++)
		close(many[i]);
	spawner_stop(&s);
	spawner_stop(&s);
	assert_int_equal(nr_open(), before);
}

static void test_without_thread(void **state)
{
	struct spawner s = { .running = false };
	int before = nr_open();

	(void)state;
	check_children(&s, 5);
	spawner_stop(&s);
	assert_int_equal(nr_open(), before);
}

static void test_bad_descriptor(void **state)
{
	const int fds[SPAWNER_FDS] = { -1, 999, -1, -1, -1 };
	struct spawner s;
	int before = nr_open();

	(void)state;
	spawner_start(&s);
	assert_int_equal(spawner_fork(&s, fds, child, NULL), -EBADF);
	check_children(&s, 1);
	spawner_stop(&s);
	assert_int_equal(nr_open(), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_thread),
		cmocka_unit_test(test_without_thread),
		cmocka_unit_test(test_bad_descriptor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

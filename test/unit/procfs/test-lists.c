/* Listings of descriptors, threads and children, on processes of one's own */
#include "procfs/lists.h"

#include "base/buf.h"
#include "procfs/sample.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/wait.h>
#include <unistd.h>

static int parse(const char *text, size_t len, struct cr_error *err)
{
	autointvec struct int_vec v = { 0 };
	int r = proc_children_parse(text, len, &v, err);

	for (size_t i = 0; i < v.nr; i++)
		assert_true(v.items[i] > 0);
	return r;
}

static void children_text(void **state)
{
	static const struct bad_text rows[] = {
		{ "cut off", "12 13", -EINVAL, "children" },
		{ "word", "12 x ", -EINVAL, "children" },
		{ "zero", "0 ", -ERANGE, "children" },
		{ "too large", "2147483648 ", -ERANGE, "children" },
	};
	autointvec struct int_vec v = { 0 };

	(void)state;
	assert_int_equal(proc_children_parse("4389 4390 ", 10, &v, NULL), 0);
	assert_int_equal(v.nr, 2);
	assert_int_equal(v.items[1], 4390);
	assert_int_equal(proc_children_parse(NULL, 0, &v, NULL), 0);
	bad_texts_check(rows, sizeof(rows) / sizeof(rows[0]), parse);
	sample_hurt("linux-6.18-threads/children", parse);
}

static bool has(const struct int_vec *v, int n)
{
	for (size_t i = 0; i < v->nr; i++)
		if (v->items[i] == n)
			return true;
	return false;
}

static void own_dir(struct proc_dir *d)
{
	struct cr_error err = { 0 };

	if (proc_dir_open(AT_FDCWD, getpid(), d, &err) < 0)
		fail_msg("%s", err.text);
}

static void descriptors(void **state)
{
	autoprocdir struct proc_dir d = PROC_DIR_NONE;
	autointvec struct int_vec v = { 0 };
	struct cr_error err = { 0 };
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC), high = fcntl(null, F_DUPFD_CLOEXEC, 900);
	int many[600];

	(void)state;
	own_dir(&d);
	for (int i = 0; i < 600; i++)
		many[i] = fcntl(null, F_DUPFD_CLOEXEC, 100);
	assert_int_equal(proc_fds_read(&d, &v, &err), 0);
	assert_true(v.nr >= 603);
	for (size_t i = 1; i < v.nr; i++)
		assert_true(v.items[i - 1] < v.items[i]);
	assert_true(has(&v, null) && has(&v, high) && has(&v, many[599]));
	for (int i = 0; i < 600; i++)
		close(many[i]);
	close(null);
	close(high);
}

static void *idle(void *arg)
{
	char c;

	return read(*(int *)arg, &c, 1) < 0 ? arg : NULL;
}

static void threads(void **state)
{
	autoprocdir struct proc_dir d = PROC_DIR_NONE;
	autointvec struct int_vec v = { 0 };
	struct cr_error err = { 0 };
	pthread_t t[3];
	int ends[2];

	(void)state;
	own_dir(&d);
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&t[i], NULL, idle, &ends[0]), 0);
	assert_int_equal(proc_tasks_read(&d, &v, &err), 0);
	assert_true(v.nr >= 4);
	assert_int_equal(v.items[0], getpid());
	close(ends[1]);
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	close(ends[0]);
}

static void children(void **state)
{
	autoprocdir struct proc_dir d = PROC_DIR_NONE;
	autointvec struct int_vec fast = { 0 }, slow = { 0 };
	struct cr_error err = { 0 };
	pid_t child[3];
	int ends[2];

	(void)state;
	own_dir(&d);
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	for (int i = 0; i < 3; i++) {
		child[i] = fork();
		if (child[i] == 0) {
			char c;

			close(ends[1]);
			_exit(read(ends[0], &c, 1) < 0);
		}
		assert_true(child[i] > 0);
	}
	assert_int_equal(proc_children_read(&d, &fast, &err), 0);
	assert_int_equal(proc_children_scan(AT_FDCWD, getpid(), &slow, &err), 0);
	close(ends[1]);
	close(ends[0]);
	for (int i = 0; i < 3; i++) {
		assert_true(has(&fast, child[i]) && has(&slow, child[i]));
		waitpid(child[i], NULL, 0);
	}
	assert_int_equal(fast.nr, slow.nr);
}

static void gone(void **state)
{
	autoprocdir struct proc_dir d = PROC_DIR_NONE;
	autointvec struct int_vec v = { 0 };
	struct cr_error err = { 0 };
	pid_t child = fork();

	(void)state;
	if (child == 0) {
		pause();
		_exit(0);
	}
	assert_int_equal(proc_dir_open(AT_FDCWD, child, &d, &err), 0);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	assert_int_equal(proc_tasks_read(&d, &v, &err), -ESRCH);
	assert_int_equal(proc_fds_read(&d, &v, &err), -ESRCH);
	assert_int_equal(proc_children_read(&d, &v, &err), -ESRCH);
	assert_int_equal(v.nr, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(children_text), cmocka_unit_test(descriptors), cmocka_unit_test(threads),
		cmocka_unit_test(children),      cmocka_unit_test(gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

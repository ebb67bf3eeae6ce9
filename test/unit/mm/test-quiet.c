/* Who just waits, and who has made a system call since. */
#include "mm/quiet.h"

#include "infect/task.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

enum { TRIES = 2000 }; /* of a millisecond each */

static volatile sig_atomic_t *handled;

static void nap(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
}

static void on_signal(int signo)
{
	(void)signo;
	++*handled;
}

static void wait_in_pause(void)
{
	struct sigaction act = { .sa_handler = on_signal };

	sigaction(SIGUSR1, &act, NULL);
	for (;;)
		pause();
}

static void compute(void)
{
	for (volatile unsigned long i = 0;; i++)
		;
}

/* Its parent waits in a call that makes a process out of its own memory. */
static void wait_in_vfork(void)
{
	if (vfork() == 0)
		for (;;)
			pause();
	_exit(0);
}

static pid_t start(void (*work)(void))
{
	pid_t pid = fork();

	if (pid == 0) {
		setpgid(0, 0);
		work();
		_exit(1);
	}
	assert_true(pid > 0);
	setpgid(pid, pid);
	return pid;
}

static void stop(pid_t pid)
{
	kill(-pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* It takes a moment until it is where it stays; who is on his way there when counting begins has made that one call. */
static bool begin(pid_t pid, int event, const struct task *task, struct quiet_threads *ret)
{
	struct proc_dir dir = PROC_DIR_NONE;
	bool good = false;

	assert_int_equal(proc_dir_open(AT_FDCWD, pid, &dir, NULL), 0);
	for (int i = 0; i < TRIES && !good; i++, nap()) {
		good = quiet_begin(&dir, event, ret);
		if (good && !quiet_still(ret, task)) {
			quiet_done(ret);
			good = false;
		}
	}
	proc_dir_close(&dir);
	return good;
}

static int event_or_skip(void)
{
	int event = quiet_event();

	if (event < 0)
		skip();
	return event;
}

static void test_waits(void **state)
{
	int event = event_or_skip();
	pid_t pid = start(wait_in_pause);
	struct thread thread = { .host_tid = pid }, other = { .host_tid = pid + 1 }, two[2] = { thread, other };
	struct task task = { .host_pid = pid, .threads = { .items = &thread, .nr = 1 } };
	struct quiet_threads threads = { 0 };

	(void)state;
	assert_true(begin(pid, event, &task, &threads));
	assert_int_equal(threads.nr, 1);
	assert_true(quiet_still(&threads, &task));
	/* neither another thread nor one more is what was looked at */
	task.threads.items = &other;
	assert_false(quiet_still(&threads, &task));
	task.threads.items = two;
	task.threads.nr = 2;
	assert_false(quiet_still(&threads, &task));
	task.threads.items = &thread;
	task.threads.nr = 1;
	assert_true(quiet_still(&threads, &task));
	*handled = 0;
	kill(pid, SIGUSR1);
	for (int i = 0; i < TRIES && !*handled; i++)
		nap();
	for (int i = 0; i < TRIES && quiet_still(&threads, &task); i++)
		nap();
	assert_false(quiet_still(&threads, &task));
	quiet_done(&threads);
	stop(pid);
}

/* What cannot become true is asked only for a while. */
static void test_does_not(void **state)
{
	static void (*const works[])(void) = { compute, wait_in_vfork };
	int event = event_or_skip();

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(works); i++) {
		pid_t pid = start(works[i]);
		struct proc_dir dir = PROC_DIR_NONE;
		struct quiet_threads threads = { 0 };

		assert_int_equal(proc_dir_open(AT_FDCWD, pid, &dir, NULL), 0);
		for (int k = 0; k < 5; k++, nap())
			assert_false(quiet_begin(&dir, event, &threads));
		proc_dir_close(&dir);
		stop(pid);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_waits), cmocka_unit_test(test_does_not) };

	handled = mmap(NULL, sizeof(*handled), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return handled == MAP_FAILED ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}

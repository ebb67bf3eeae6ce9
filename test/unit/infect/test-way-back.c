/* Tracers that die in the middle of a borrowed system call: the thread goes on as if nothing had been. */
#include "infect/live.h"

#include "infect/remote-call.h"
#include "infect/way-back.h"
#include "procfs/proc-dir.h"
#include "procfs/status.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum death { LAID, STARTED, ENTERED, LEFT, RETURNED, CLEARED, NR_DEATHS };
enum { NO_WAY = 77 };

static void die(void)
{
	raise(SIGKILL);
	_exit(1);
}

/* Runs in a process of its own. Ends by SIGKILL, or says why not. */
static void trace_and_die(pid_t pid, enum death when)
{
	static const uint64_t arg[6] = { 0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, (uint64_t)-1, 0 };
	struct live_ctx c;
	struct cr_error err = { 0 };
	struct way_cache cache = { .nr = 0 };
	struct way_back way;
	struct tree *tree = live_freeze(live_ctx(&c), pid);
	struct task *t = tree->root;
	int64_t result;

	if (tracee_read_xstate(t->lead->tracee, &err) < 0 ||
	    way_back_lay(&way, &cache, t, t->lead, live_layout(), &err) < 0)
		_exit(1);
	if (!way.call)
		_exit(NO_WAY);
	if (when == LAID)
		die();
	if (remote_start(t->lead->tracee, way.call, way.sp, SYS_mmap, arg, &err) < 0)
		_exit(2);
	if (when == STARTED)
		die();
	if (remote_advance(t->lead->tracee, &err) < 0)
		_exit(3);
	if (when == ENTERED)
		die();
	if (remote_finish(t->lead->tracee, &result, &err) < 0 || result < 0)
		_exit(4);
	if (when == LEFT)
		die();
	if (tracee_return(t->lead->tracee, &err) < 0)
		_exit(5);
	if (when == RETURNED)
		die();
	way_back_clear(&way, t->lead);
	die();
}

static void expect_own_mask(pid_t pid)
{
	autostatus struct proc_status s = { 0 };
	autoprocdir struct proc_dir dir = PROC_DIR_NONE;

	assert_int_equal(proc_dir_open(AT_FDCWD, pid, &dir, NULL), 0);
	assert_int_equal(proc_status_read(&dir, &s, NULL), 0);
	assert_int_equal(s.sig_blk, UINT64_C(1) << (SIGUSR2 - 1));
	assert_true(s.state != 'T' && s.state != 't');
}

static void block_one(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_SETMASK, &set, NULL);
}

static void computing(struct live *l)
{
	block_one();
	compute(l);
}

/* Calls with arguments in all registers, found inside of one mostly. What lies above the stack pointer must stay. */
static void calling(struct live *l)
{
	volatile char mine[512];

	block_one();
	for (size_t i = 0; i < sizeof(mine); i++)
		mine[i] = (char)i;
	for (;;) {
		struct timespec ms = { 0, 1000000 };
		uint32_t never = 5;

		if (nanosleep(&ms, NULL) != 0 || syscall(SYS_futex, &never, 0, 6, NULL, NULL, 0) != -1)
			l->wrong = 1;
		for (size_t i = 0; i < sizeof(mine); i++)
			if (mine[i] != (char)i)
				l->wrong = 2;
		l->ready = 1;
		l->rounds++;
	}
}

static void die_everywhere(void (*fn)(struct live *l), bool needs_ready)
{
	struct live *l = live_new();
	pid_t pid = live_fork(fn, l);

	if (needs_ready)
		live_ready(l, 1);
	live_works(l);
	for (int i = 0; i < NR_DEATHS * 8; i++) {
		pid_t tracer = fork();
		int status;

		if (tracer == 0)
			trace_and_die(pid, (enum death)(i % NR_DEATHS));
		assert_int_equal(waitpid(tracer, &status, 0), tracer);
		if (WIFEXITED(status) && WEXITSTATUS(status) == NO_WAY) {
			live_kill(pid);
			skip(); /* before 6.11 */
		}
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
		live_works(l);
		expect_own_mask(pid);
	}
	live_kill(pid);
	live_free(l);
}

static void test_computing(void **state)
{
	(void)state;
	die_everywhere(computing, false);
}

static void test_calling(void **state)
{
	(void)state;
	die_everywhere(calling, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_computing), cmocka_unit_test(test_calling) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}

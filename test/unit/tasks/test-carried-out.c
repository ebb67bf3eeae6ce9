/* Plans of process state, carried out in a child that then looks at itself. */
#include "tasks/world.h"

#include "base/array.h"

#include <errno.h>
#include <linux/capability.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static long run_op(const struct abi_op *op)
{
	long r = syscall(op->nr, op->arg[0], op->arg[1], op->arg[2], op->arg[3], op->arg[4],
			 op->flags & ABI_F_EQUAL ? 0 : op->arg[5]);

	if (r < 0)
		return -errno;
	return op->flags & ABI_F_EQUAL && (uint64_t)r != op->arg[5] ? -ERANGE : 0;
}

/* Runs the routine in a child, then @look there. Return: its exit status; 100 + index of an operation that failed. */
static int carry_out(struct world *w, int (*look)(struct world *))
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		sigset_t all;

		sigfillset(&all);
		sigprocmask(SIG_SETMASK, &all, NULL);
		for (size_t i = 0; i < w->routine.ops.nr; i++) {
			const struct abi_op *op = &w->routine.ops.items[i];

			/* the pid is known only now */
			struct abi_op now = *op;
			if (op->nr == __NR_rt_sigqueueinfo || (op->nr == __NR_tgkill && op->arg[0] == 100))
				now.arg[0] = now.arg[1] = (uint64_t)getpid();
			if (op->nr == __NR_rt_sigqueueinfo)
				now.arg[1] = op->arg[1];
			if (op->nr == __NR_rseq)
				continue;
			if (run_op(&now) < 0 && !(op->flags & ABI_F_MAY_FAIL))
				_exit(100 + (int)(i % 100));
		}
		_exit(look ? look(w) : 99);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static int look_main(struct world *w)
{
	struct sigaction act;
	struct itimerval it;
	struct itimerspec ts;
	sigset_t pending;
	char name[16];

	if (sigaction(SIGUSR1, NULL, &act) < 0 || act.sa_handler != SIG_IGN)
		return 1;
	sigpending(&pending);
	if (!sigismember(&pending, SIGRTMIN + 1) || sigismember(&pending, SIGCHLD))
		return 2;
	siginfo_t si;
	sigset_t rt;
	struct timespec none = { 0, 0 };

	sigemptyset(&rt);
	sigaddset(&rt, SIGRTMIN + 1);
	for (int i = 0; i < 3; i++)
		if (sigtimedwait(&rt, &si, &none) < 0 || si.si_value.sival_int != i)
			return 3;
	if (getitimer(ITIMER_PROF, &it) < 0 || it.it_value.tv_sec < 900)
		return 4;
	if (syscall(__NR_timer_gettime, 3, &ts) < 0 || ts.it_value.tv_sec < 900)
		return 5;
	prctl(PR_GET_NAME, name);
	if (strcmp(name, "thread"))
		return 6;
	if (getpriority(PRIO_PROCESS, 0) != 9 || prctl(PR_GET_TIMERSLACK) != 12345)
		return 7;
	(void)w;
	return 0;
}

static void test_run_main(void **state)
{
	struct world w;

	(void)state;
	world_init(&w);
	w.queue.signals.nr = 3;
	w.acts[SIGUSR1 - 2].sigaction = 1; /* the 9th: SIGKILL is left out */
	w.itimer[2].vsec = 1000;
	w.timers.posix.nr = 2;
	w.thc[0].has_sched_nice = true;
	w.thc[0].sched_nice = 9;
	w.ext.has_timer_slack_ns = true;
	w.ext.timer_slack_ns = 12345;
	assert_int_equal(task_plan(&w.restore, TASK_PHASE_MAIN, &w.routine, NULL), 0);
	assert_int_equal(thread_plan(&w.restore, 0, TASK_PHASE_MAIN, &w.routine, NULL), 0);
	assert_int_equal(carry_out(&w, look_main), 0);
	world_done(&w);
}

static int look_user(struct world *w)
{
	uid_t r, e, s;
	gid_t groups[4];
	struct rlimit l;

	(void)w;
	if (getresuid(&r, &e, &s) < 0 || r != 1000 || e != 1000 || s != 1001)
		return 1;
	if (getgroups(4, groups) != 2 || groups[0] != 5 || groups[1] != 6)
		return 2;
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1 || prctl(PR_GET_SECUREBITS) != 0)
		return 3;
	if (prctl(PR_CAPBSET_READ, CAP_SYS_MODULE) != 0 || prctl(PR_GET_DUMPABLE) != 1)
		return 4;
	return getrlimit(RLIMIT_CORE, &l) < 0 || l.rlim_cur != 0 || l.rlim_max != 77 ? 5 : 0;
}

static void test_run_user(void **state)
{
	struct world w;
	struct restorer own;

	(void)state;
	if (geteuid() != 0)
		skip();
	world_init(&w);
	assert_int_equal(restorer_init(&w.ctx, &own, NULL), 0);
	if (!(own.cap_eff & UINT64_C(1) << CAP_SETPCAP) || own.no_new_privs) {
		restorer_done(&own);
		world_done(&w);
		skip();
	}
	w.restore.restorer = &own;
	become_user(&w);
	for (int i = 0; i < NR_RLIMITS; i++)
		w.rlimit[i] = (img_rlimit_entry){ own.rlim_cur[i], own.rlim_max[i] };
	w.rlimit[RLIMIT_CORE] = (img_rlimit_entry){ 0, 77 };
	assert_int_equal(task_plan(&w.restore, TASK_PHASE_LATE, &w.routine, NULL), 0);
	assert_int_equal(thread_plan(&w.restore, 0, TASK_PHASE_LATE, &w.routine, NULL), 0);
	assert_int_equal(carry_out(&w, look_user), 0);
	restorer_done(&own);
	world_done(&w);
}

static void test_zombies(void **state)
{
	const uint32_t words[] = { 0, 0x300, 0xff00, SIGKILL, SIGTERM, SIGUSR1 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		struct world w;

		world_init(&w);
		assert_int_equal(zombie_plan(&w.ctx, &w.program, 100, words[i], &w.routine, NULL), 0);
		assert_int_equal(carry_out(&w, NULL), words[i]);
		world_done(&w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_run_main),
		cmocka_unit_test(test_run_user),
		cmocka_unit_test(test_zombies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

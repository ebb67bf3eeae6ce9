/* Programs run inside live children, which must not notice. */
#include "infect/live.h"
#include "base/clock.h"
#include "kernel/uapi.h"

#include <errno.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <linux/filter.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* One whole visit */
static void visit(pid_t pid)
{
	struct live_ctx c;
	struct cr_context *ctx = live_ctx(&c);
	struct tree *tree = live_freeze(ctx, pid);
	struct cr_error err = { 0 };

	live_question(tree->root);
	assert_int_equal(thaw_tree(tree, THAW_RUNNING, &err), 0);
	tree_free(tree);
}

static size_t nr_mappings(pid_t pid)
{
	char path[64], line[512];
	size_t nr = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	f = fopen(path, "re");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		nr++;
	fclose(f);
	return nr;
}

static void test_thousand_visits(void **state)
{
	struct live *l = live_new();
	pid_t pid = live_fork(compute, l);
	size_t before;

	(void)state;
	live_ready(l, 1);
	before = nr_mappings(pid);
	for (int i = 0; i < 1000; i++)
		visit(pid);
	live_works(l);
	assert_int_equal(nr_mappings(pid), before);
	live_kill(pid);
	live_free(l);
}

/* Runs in the tracer that will be killed: a program that sleeps inside the child */
static void visit_and_linger(pid_t pid, struct live *l)
{
	struct live_ctx c;
	struct tree *tree = live_freeze(live_ctx(&c), pid);
	struct thread *threads[64];
	uint32_t routines[64];
	struct parasite *p = NULL;
	struct timespec nap = { .tv_nsec = 300000000 };
	struct cr_error err = { 0 };
	size_t nr = tree->root->threads.nr;

	assert_int_equal(parasite_infect(tree->root, live_layout(), NULL, 65536, 64, &p, &err), 0);
	for (size_t i = 0; i < nr; i++) {
		struct program *pr = parasite_program(p);
		uint64_t at = arena_put(&pr->arena, &nap, sizeof(nap), 8);

		threads[i] = &tree->root->threads.items[i];
		routines[i] = live_routine(pr, "sleep", SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, at, 0);
	}
	l->flags[0] = 1;
	parasite_run(p, threads, routines, nr, &err);
	_exit(1);
}

static void kill_tracer_of(pid_t pid, struct live *l)
{
	pid_t tracer;
	int status;

	l->flags[0] = 0;
	tracer = fork();
	if (tracer == 0)
		visit_and_linger(pid, l);
	for (int i = 0; i < 5000 && !l->flags[0]; i++)
		live_nap(1);
	live_nap(50);
	kill(tracer, SIGKILL);
	waitpid(tracer, &status, 0);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static uint64_t mask_of(pid_t pid)
{
	char path[64], line[256];
	unsigned long long mask = ~0ULL;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	f = fopen(path, "re");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "SigBlk: %llx", &mask) == 1)
			break;
	fclose(f);
	return mask;
}

static void compute_with_altstack(struct live *l)
{
	stack_t want = { .ss_sp = malloc(65536), .ss_size = 65536 }, now;
	sigset_t mask;

	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR2);
	sigprocmask(SIG_SETMASK, &mask, NULL);
	sigaltstack(&want, NULL);
	l->ready = 1;
	for (uint64_t i = 1;; i++) {
		if (!compute_once(i))
			l->wrong = 1;
		if (sigaltstack(NULL, &now) < 0 || now.ss_sp != want.ss_sp || now.ss_flags)
			l->wrong = 2;
		l->rounds = i;
	}
}

static void test_tracer_killed(void **state)
{
	struct live *l = live_new();
	pid_t pid = live_fork(compute_with_altstack, l);
	uint64_t mask;

	(void)state;
	live_ready(l, 1);
	mask = mask_of(pid);
	for (int i = 0; i < 5; i++) {
		kill_tracer_of(pid, l);
		live_nap(300);
		live_works(l);
		assert_int_equal(mask_of(pid), mask);
		assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
	}
	visit(pid);
	live_works(l);
	live_kill(pid);
	live_free(l);
}

static void sleep_in_read(struct live *l)
{
	int p[2];
	char c = 0;

	assert_int_equal(pipe(p), 0);
	if (fork() == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (!l->flags[1])
			live_nap(1);
		(void)!write(p[1], "x", 1);
		for (;;)
			pause();
	}
	l->ready = 1;
	l->result = (int32_t)read(p[0], &c, 1) == 1 && c == 'x' ? 1 : -errno;
	l->ready = 2;
	for (;;)
		pause();
}

static void test_tracer_killed_while_child_is_in_a_call(void **state)
{
	struct live *l = live_new();
	pid_t pid = live_fork(sleep_in_read, l);
	pid_t tracer;
	int status;

	(void)state;
	live_ready(l, 1);
	live_nap(20);
	l->flags[0] = 0;
	tracer = fork();
	if (tracer == 0)
		visit_and_linger(pid, l);
	while (!l->flags[0])
		live_nap(1);
	live_nap(50);
	kill(tracer, SIGKILL);
	waitpid(tracer, &status, 0);
	live_nap(400);
	assert_int_equal(l->ready, 1);
	l->flags[1] = 1;
	live_ready(l, 2);
	assert_int_equal(l->result, 1);
	live_kill(pid);
	live_free(l);
}

/* Calls that a stop interrupts in each of the kernel's ways; all must end as if nothing had been */
static void sleep_in_calls(struct live *l)
{
	struct timespec t = { .tv_nsec = 150000000 };
	static uint32_t word;
	struct pollfd none = { .fd = -1 };
	int64_t t0;
	sigset_t set;
	siginfo_t info;

	for (int round = 0;; round++) {
		t0 = (int64_t)monotonic_ns();
		l->ready++;
		switch (round % 5) {
		case 0:
			if (nanosleep(&t, NULL) < 0)
				l->wrong = 10;
			break;
		case 1:
			if (poll(&none, 1, 150) != 0)
				l->wrong = 11;
			break;
		case 2:
			if (syscall(SYS_futex, &word, FUTEX_WAIT, 0, &t, NULL, 0) == 0 || errno != ETIMEDOUT)
				l->wrong = 12;
			break;
		case 3:
			sigemptyset(&set);
			sigaddset(&set, SIGUSR1);
			sigprocmask(SIG_BLOCK, &set, NULL);
			/* this one is not restarted: EINTR is what a stop has always meant to it; signal(7) */
			if (sigtimedwait(&set, &info, &t) >= 0 || (errno != EAGAIN && errno != EINTR))
				l->wrong = 13;
			break;
		case 4:
			if (clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL) != 0)
				l->wrong = 14;
			break;
		}
		if (round % 5 != 3 &&
		    ((int64_t)monotonic_ns() - t0 < 149000000 || (int64_t)monotonic_ns() - t0 > 400000000))
			l->wrong = 20 + (uint32_t)(round % 5);
		l->rounds++;
	}
}

static void test_calls_are_restarted(void **state)
{
	struct live *l = live_new();
	pid_t pid = live_fork(sleep_in_calls, l);

	(void)state;
	for (uint32_t i = 1; i <= 10; i++) {
		live_ready(l, i);
		live_nap(20);
		visit(pid);
		visit(pid);
	}
	assert_int_equal(l->wrong, 0);
	live_kill(pid);
	live_free(l);
}

static void *thread_compute(void *arg)
{
	struct live *l = arg;

	__atomic_add_fetch(&l->ready, 1, __ATOMIC_SEQ_CST);
	for (uint64_t i = 1;; i++) {
		if (!compute_once(i + (uint64_t)pthread_self()))
			l->wrong = 1;
		__atomic_add_fetch(&l->rounds, 1, __ATOMIC_SEQ_CST);
		if (l->flags[2])
			usleep(1000);
	}
	return NULL;
}

static void many_threads(struct live *l)
{
	pthread_t t;

	l->flags[2] = 1;
	for (int i = 0; i < 100; i++)
		pthread_create(&t, NULL, thread_compute, l);
	thread_compute(l);
}

static void test_many_threads(void **state)
{
	struct live *l = live_new();
	pid_t pid = live_fork(many_threads, l);

	(void)state;
	live_ready(l, 101);
	for (int i = 0; i < 20; i++)
		visit(pid);
	live_works(l);
	live_kill(pid);
	live_free(l);
}

static void test_failure_is_explained(void **state)
{
	struct live *l = live_new();
	pid_t pid = live_fork(compute, l);
	struct live_ctx c;
	struct cr_error err = { 0 };
	struct parasite *p = NULL;
	struct tree *tree;
	struct routine r;
	struct thread *t;

	(void)state;
	live_ready(l, 1);
	tree = live_freeze(live_ctx(&c), pid);
	t = &tree->root->threads.items[0];
	assert_int_equal(parasite_infect(tree->root, live_layout(), NULL, 8192, 1, &p, &err), 0);
	assert_int_equal(routine_begin(parasite_program(p), &r, &err), 0);
	emit_call(parasite_program(p), &r, "close descriptor", SYS_close, 9999);
	emit(parasite_program(p), &r, ABI_OP_TRAP, "done", 0, 0, 0, 0, 0, 0, 0);
	assert_int_equal(routine_finish(parasite_program(p), &r, &err), 0);
	assert_int_equal(parasite_run(p, &t, &r.index, 1, &err), -EBADF);
	assert_non_null(strstr(err.text, "close descriptor (close 0x270f): Bad file descriptor"));
	parasite_free(p);
	tree_free(tree);
	live_works(l);
	live_kill(pid);
	live_free(l);
}

/* A program that jumps into nothing: the thread must get back what it had */
static void test_crash_of_our_code(void **state)
{
	struct live *l = live_new();
	pid_t pid = live_fork(compute, l);
	struct live_ctx c;
	struct cr_error err = { 0 };
	struct parasite *p = NULL;
	struct tree *tree;
	struct routine r;
	struct thread *t;

	(void)state;
	live_ready(l, 1);
	tree = live_freeze(live_ctx(&c), pid);
	t = &tree->root->threads.items[0];
	assert_int_equal(parasite_infect(tree->root, live_layout(), NULL, 8192, 1, &p, &err), 0);
	assert_int_equal(routine_begin(parasite_program(p), &r, &err), 0);
	emit(parasite_program(p), &r, ABI_OP_STORE, "write to nowhere", 0, 8, 1, 8, 0, 0, 0);
	assert_int_equal(routine_finish(parasite_program(p), &r, &err), 0);
	assert_int_equal(parasite_run(p, &t, &r.index, 1, &err), -EFAULT);
	assert_non_null(strstr(err.text, "crashed with signal 11"));
	assert_int_equal(parasite_cure(p, &err), 0);
	parasite_free(p);
	tree_free(tree);
	live_works(l);
	live_kill(pid);
	live_free(l);
}

static struct live *handler_live;

static void count_signal(int s)
{
	(void)s;
	handler_live->handled++;
}

static void compute_with_handlers(struct live *l)
{
	struct sigaction sa = { .sa_handler = count_signal };

	handler_live = l;
	sigaction(SIGUSR1, &sa, NULL);
	/* all that could be used as trap signal have handlers */
	sigaction(SIGURG, &sa, NULL);
	sigaction(SIGWINCH, &sa, NULL);
	sigaction(SIGCHLD, &sa, NULL);
	compute(l);
}

static void test_signals_are_kept(void **state)
{
	struct live *l = live_new();
	pid_t pid = live_fork(compute_with_handlers, l);
	struct live_ctx c;
	struct tree *tree;

	(void)state;
	live_ready(l, 1);
	visit(pid);
	live_works(l);
	assert_int_equal(l->handled, 0);

	tree = live_freeze(live_ctx(&c), pid);
	kill(pid, SIGUSR1);
	kill(pid, SIGURG);
	kill(pid, SIGWINCH);
	live_question(tree->root);
	assert_int_equal(l->handled, 0);
	tree_free(tree);
	live_works(l);
	assert_int_equal(l->handled, 3);

	tree = live_freeze(live_ctx(&c), pid);
	kill(pid, SIGSTOP);
	live_question(tree->root);
	tree_free(tree);
	int status;
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	assert_true(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
	kill(pid, SIGCONT);
	live_works(l);
	live_kill(pid);
	live_free(l);
}

/* Only what the child itself needs is allowed: the blob's calls would kill it */
static void compute_under_seccomp(struct live *l)
{
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};
	struct sock_fprog prog = { sizeof(f) / sizeof(f[0]), f };

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog, 0, 0) < 0)
		l->flags[3] = 1;
	compute(l);
}

static void test_seccomp_is_suspended(void **state)
{
	struct live *l = live_new();
	pid_t pid = live_fork(compute_under_seccomp, l);

	(void)state;
	live_ready(l, 1);
	assert_int_equal(l->flags[3], 0);
	visit(pid);
	live_works(l);
	live_kill(pid);
	live_free(l);
}

/* Every call of the child is turned into a signal; it makes none, but the blob does */
static void compute_with_dispatch(struct live *l)
{
	static char selector = 1; /* SYSCALL_DISPATCH_FILTER_BLOCK */

	l->flags[3] = prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, 0, 0, &selector) < 0;
	compute(l);
}

static void test_dispatch_is_put_back(void **state)
{
	struct live *l = live_new();
	pid_t pid = live_fork(compute_with_dispatch, l);
	struct uapi_ptrace_sud_config config = { 0 };
	struct live_ctx c;
	struct tree *tree;
	long r;

	(void)state;
	live_ready(l, 1);
	tree = live_freeze(live_ctx(&c), pid);
	r = ptrace(UAPI_PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG, pid, sizeof(config), &config);
	tree_free(tree);
	if (l->flags[3] || r < 0) {
		live_kill(pid);
		live_free(l);
		skip();
	}
	assert_int_equal(config.mode, PR_SYS_DISPATCH_ON);
	visit(pid);
	live_works(l);
	tree = live_freeze(live_ctx(&c), pid);
	memset(&config, 0, sizeof(config));
	assert_int_equal(ptrace(UAPI_PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG, pid, sizeof(config), &config), 0);
	assert_int_equal(config.mode, PR_SYS_DISPATCH_ON);
	tree_free(tree);
	live_works(l);
	live_kill(pid);
	live_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_thousand_visits),
		cmocka_unit_test(test_tracer_killed),
		cmocka_unit_test(test_tracer_killed_while_child_is_in_a_call),
		cmocka_unit_test(test_calls_are_restarted),
		cmocka_unit_test(test_many_threads),
		cmocka_unit_test(test_failure_is_explained),
		cmocka_unit_test(test_crash_of_our_code),
		cmocka_unit_test(test_signals_are_kept),
		cmocka_unit_test(test_seccomp_is_suspended),
		cmocka_unit_test(test_dispatch_is_put_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

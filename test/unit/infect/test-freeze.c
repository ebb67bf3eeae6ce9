/* Freezing of live trees in all their states, and the ways to let them go. */
#include "infect/live.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static pid_t grow(struct live *l, int depth, int width)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (int i = 0; depth && i < width; i++)
		grow(l, depth - 1, width);
	__atomic_add_fetch(&l->ready, 1, __ATOMIC_SEQ_CST);
	for (;;)
		pause();
}

static void forest(struct live *l)
{
	for (int i = 0; i < 3; i++)
		grow(l, 2, 3);
	__atomic_add_fetch(&l->ready, 1, __ATOMIC_SEQ_CST);
	for (;;)
		pause();
}

static void test_tree(void **state)
{
	struct live *l = live_new();
	pid_t pid = live_fork(forest, l);
	struct live_ctx c;
	struct cr_error err = { 0 };
	struct tree *tree;

	(void)state;
	live_ready(l, 40);
	tree = live_freeze(live_ctx(&c), pid);
	assert_int_equal(tree->tasks.nr, 40);
	assert_ptr_equal(tree->root, tree->tasks.items[0]);
	assert_int_equal(tree->root->host_pid, pid);
	for (size_t i = 0; i < tree->tasks.nr; i++) {
		struct task *t = tree->tasks.items[i];

		assert_int_equal(t->index, i);
		assert_int_equal(t->state, TASK_ALIVE);
		assert_int_equal(t->threads.nr, 1);
		assert_ptr_equal(t->lead, &t->threads.items[0]);
		assert_int_equal(t->ns_pid, t->host_pid);
		assert_int_equal(t->threads.items[0].ns_tid, t->host_pid);
		assert_true(t->pidfd >= 0);
		assert_non_null(thread_dir(t, &t->threads.items[0], &err));
		assert_int_equal(t->stat.state, 't');
		if (i == 0)
			continue;
		assert_non_null(t->parent);
		assert_true(t->parent->index < i);
		assert_int_equal(t->parent->host_pid, t->stat.ppid);
		assert_int_equal(t->ns_ppid, t->parent->ns_pid);
	}
	tree_free(tree);
	live_kill(pid);
	live_free(l);
}

static void with_zombies(struct live *l)
{
	pid_t exits = fork(), killed;
	siginfo_t info;

	if (exits == 0)
		_exit(3);
	killed = fork();
	if (killed == 0) {
		kill(getpid(), SIGTERM);
		pause();
	}
	/* both have ended, and nobody has waited for them */
	waitid(P_PID, (id_t)exits, &info, WEXITED | WNOWAIT);
	waitid(P_PID, (id_t)killed, &info, WEXITED | WNOWAIT);
	l->ready = 1;
	for (;;)
		pause();
}

static void test_zombies(void **state)
{
	struct live *l = live_new();
	pid_t pid = live_fork(with_zombies, l);
	struct live_ctx c;
	struct tree *tree;

	(void)state;
	live_ready(l, 1);
	tree = live_freeze(live_ctx(&c), pid);
	assert_int_equal(tree->tasks.nr, 3);
	for (size_t i = 1; i < 3; i++) {
		assert_int_equal(tree->tasks.items[i]->state, TASK_DEAD);
		assert_int_equal(tree->tasks.items[i]->threads.nr, 0);
		assert_true(tree->tasks.items[i]->comm[0] != 0);
		assert_int_equal(tree->tasks.items[i]->pidfd, -1);
	}
	assert_int_equal(tree->tasks.items[1]->exit_code, 0x300);
	assert_int_equal(tree->tasks.items[2]->exit_code, SIGTERM);
	tree_free(tree);
	live_kill(pid);
	live_free(l);
}

static bool leader_is_dead(void)
{
	char path[64], text[512] = "";
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)getpid());
	f = fopen(path, "re");
	if (f && !fgets(text, sizeof(text), f))
		text[0] = '\0';
	if (f)
		fclose(f);
	return strstr(text, ") Z ") != NULL;
}

static void *outlive(void *arg)
{
	struct live *l = arg;

	while (!leader_is_dead())
		live_nap(1);
	l->ready = 1;
	compute(l);
	return NULL;
}

static void leader_exits(struct live *l)
{
	pthread_t t;

	pthread_create(&t, NULL, outlive, l);
	syscall(SYS_exit, 0);
}

static void test_dead_leader(void **state)
{
	struct live *l = live_new();
	pid_t pid = live_fork(leader_exits, l);
	struct live_ctx c;
	struct tree *tree;
	struct cr_error err = { 0 };

	(void)state;
	live_ready(l, 1);
	tree = live_freeze(live_ctx(&c), pid);
	assert_int_equal(tree->root->state, TASK_ALIVE);
	assert_int_equal(tree->root->threads.nr, 2);
	assert_true(tree->root->threads.items[0].dead);
	assert_null(tree->root->threads.items[0].tracee);
	assert_ptr_equal(tree->root->lead, &tree->root->threads.items[1]);
	assert_int_equal(tree->root->dir.pid, tree->root->lead->host_tid);
	live_question(tree->root);
	assert_int_equal(thaw_tree(tree, THAW_RUNNING, &err), 0);
	tree_free(tree);
	live_works(l);
	live_kill(pid);
	live_free(l);
}

static void test_refusals(void **state)
{
	struct live *l = live_new();
	pid_t pid = live_fork(compute, l), tracer;
	struct live_ctx c;
	struct tree *tree = NULL;
	struct cr_error err = { 0 };

	(void)state;
	live_ready(l, 1);
	assert_int_equal(freeze_tree(live_ctx(&c), getpid(), &tree, &err), -EINVAL);
	assert_non_null(strstr(err.text, "The criu itself is within dumped tree"));
	assert_int_equal(freeze_tree(live_ctx(&c), getppid(), &tree, &err), -EINVAL);
	assert_int_equal(freeze_tree(live_ctx(&c), 0x3ffffff, &tree, &err), -ESRCH);
	assert_int_equal(freeze_tree(live_ctx(&c), 0, &tree, &err), -EINVAL);
	tracer = fork();
	if (tracer == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (ptrace(PTRACE_SEIZE, pid, NULL, NULL) == 0)
			l->flags[0] = 1;
		for (;;)
			pause();
	}
	for (int i = 0; i < 1000 && !l->flags[0]; i++)
		live_nap(1);
	assert_int_equal(freeze_tree(live_ctx(&c), pid, &tree, &err), -EBUSY);
	assert_non_null(strstr(err.text, "is traced already, by pid"));
	assert_int_equal(c.ctx.obstacles.nr, 1);
	obstacles_done(&c.ctx.obstacles);
	assert_null(tree);
	live_works(l);
	live_kill(tracer);
	/* kthreadd, where it can be seen */
	if (getppid() != 2 && kill(2, 0) == 0 && access("/proc/2/exe", F_OK) < 0) {
		int r = freeze_tree(live_ctx(&c), 2, &tree, &err);

		assert_true(r == -EBUSY || r == -EINVAL);
		obstacles_done(&c.ctx.obstacles);
	}
	live_kill(pid);
	live_free(l);
}

static char state_of(pid_t pid)
{
	struct proc_dir dir = PROC_DIR_NONE;
	struct proc_stat st = { 0 };

	if (proc_dir_open(-100, pid, &dir, NULL) == 0)
		proc_stat_read(&dir, &st, NULL);
	proc_dir_close(&dir);
	return st.state;
}

static void test_stopped_stays_stopped(void **state)
{
	struct live *l = live_new();
	pid_t pid = live_fork(compute, l);
	struct live_ctx c;
	struct tree *tree;
	int status;

	(void)state;
	live_ready(l, 1);
	kill(pid, SIGTSTP);
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	for (int i = 0; i < 3; i++) {
		tree = live_freeze(live_ctx(&c), pid);
		assert_int_equal(tree->root->state, TASK_STOPPED);
		assert_int_equal(tree->root->stop_signo, SIGTSTP);
		live_question(tree->root);
		tree_free(tree);
		live_nap(20);
		assert_int_equal(state_of(pid), 'T');
	}
	uint64_t rounds = l->rounds;
	live_nap(50);
	assert_int_equal(l->rounds, rounds);
	kill(pid, SIGCONT);
	live_works(l);
	live_kill(pid);
	live_free(l);
}

static void test_thaw_stopped(void **state)
{
	struct live *l = live_new();
	pid_t pid = live_fork(compute, l);
	struct live_ctx c;
	struct cr_error err = { 0 };
	struct tree *tree;
	int status;

	(void)state;
	live_ready(l, 1);
	tree = live_freeze(live_ctx(&c), pid);
	uint64_t rounds = l->rounds;
	assert_int_equal(thaw_tree(tree, THAW_STOPPED, &err), 0);
	tree_free(tree);
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	assert_true(WIFSTOPPED(status));
	assert_int_equal(l->rounds, rounds);
	kill(pid, SIGCONT);
	live_works(l);
	live_kill(pid);
	live_free(l);
}

static void supervise(struct live *l)
{
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	for (;;) {
		pid_t pid = fork();

		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			__atomic_add_fetch(&l->ready, 1, __ATOMIC_SEQ_CST);
			for (;;)
				pause();
		}
		waitpid(pid, NULL, 0);
	}
}

/* A parent that makes a new child whenever one dies must not get to it. */
static void test_thaw_killed(void **state)
{
	struct live *l = live_new();
	pid_t pid = live_fork(supervise, l);
	struct live_ctx c;
	struct cr_error err = { 0 };
	struct tree *tree;

	(void)state;
	live_ready(l, 1);
	tree = live_freeze(live_ctx(&c), pid);
	assert_int_equal(tree->tasks.nr, 2);
	pid_t child = tree->tasks.items[1]->host_pid;
	assert_int_equal(tree->let_go_us, 0);
	assert_int_equal(thaw_tree(tree, THAW_KILLED, &err), 0);
	assert_true(tree->let_go_us > 0);
	tree_free(tree);
	assert_int_equal(l->ready, 1);
	assert_true(state_of(pid) == 0 || state_of(pid) == 'Z');
	assert_true(state_of(child) == 0 || state_of(child) == 'Z');
	waitpid(pid, NULL, 0);
	live_free(l);
}

static void bomb(struct live *l)
{
	/* children that exit as fast as they are made, and threads that come and go */
	l->ready = 1;
	for (;;) {
		pid_t pid = fork();

		if (pid == 0) {
			if (fork() == 0)
				_exit(0);
			_exit(0);
		}
		waitpid(pid, NULL, 0);
		l->rounds++;
	}
}

static void test_moving_target(void **state)
{
	struct live *l = live_new();
	pid_t pid = live_fork(bomb, l);
	struct live_ctx c;

	(void)state;
	live_ready(l, 1);
	for (int i = 0; i < 100; i++) {
		struct tree *tree = live_freeze(live_ctx(&c), pid);

		assert_true(tree->tasks.nr >= 1 && tree->tasks.nr <= 3);
		for (size_t k = 0; k < tree->tasks.nr; k++)
			if (tree->tasks.items[k]->state == TASK_ALIVE)
				live_question(tree->tasks.items[k]);
		tree_free(tree);
	}
	live_works(l);
	live_kill(pid);
	live_free(l);
}

static void init_with_child(struct live *l)
{
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		l->flags[1] = (uint32_t)getpid();
	}
	__atomic_add_fetch(&l->ready, 1, __ATOMIC_SEQ_CST);
	for (;;)
		pause();
}

/* A child that makes the new namespace, so that this process keeps its own */
static void in_pid_namespace(struct live *l)
{
	if (unshare(CLONE_NEWPID) < 0) {
		l->flags[0] = (uint32_t)errno;
		l->ready = 2;
	} else if (fork() == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		init_with_child(l);
	}
	for (;;)
		pause();
}

static void test_pid_namespace(void **state)
{
	struct live *l = live_new();
	pid_t pid = live_fork(in_pid_namespace, l);
	struct live_ctx c;
	struct tree *tree, *inner;
	struct cr_error err = { 0 };

	(void)state;
	live_ready(l, 2);
	if (l->flags[0]) {
		live_kill(pid);
		live_free(l);
		skip();
	}
	tree = live_freeze(live_ctx(&c), pid);
	assert_int_equal(tree->tasks.nr, 3);
	/* seen from the root's namespace, which is ours */
	assert_int_equal(tree->tasks.items[1]->ns_pid, tree->tasks.items[1]->host_pid);
	pid_t init = tree->tasks.items[1]->host_pid;
	tree_free(tree);

	inner = live_freeze(live_ctx(&c), init);
	assert_int_equal(inner->tasks.nr, 2);
	assert_int_equal(inner->root->ns_pid, 1);
	assert_int_equal(inner->tasks.items[1]->ns_pid, 2);
	assert_int_equal(inner->tasks.items[1]->ns_ppid, 1);
	assert_int_equal(l->flags[1], 2);
	live_question(inner->root);
	live_question(inner->tasks.items[1]);
	assert_int_equal(thaw_tree(inner, THAW_KILLED, &err), 0);
	tree_free(inner);
	live_kill(pid);
	live_free(l);
}

static void vfork_and_wait(struct live *l)
{
	if (vfork() == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		l->ready = 1;
		for (;;)
			syscall(SYS_pause);
	}
}

/* A parent in vfork() cannot be stopped before its child has gone on: said so when the time is up, and all run on. */
static void test_timeout(void **state)
{
	struct live *l = live_new();
	pid_t pid = live_fork(vfork_and_wait, l);
	struct live_ctx c;
	struct tree *tree = NULL;
	struct cr_error err = { 0 };

	(void)state;
	live_ready(l, 1);
	live_ctx(&c);
	c.rpc.has_timeout = true;
	c.rpc.timeout = 1;
	assert_int_equal(freeze_tree(&c.ctx, pid, &tree, &err), -ETIMEDOUT);
	assert_non_null(strstr(err.text, "does not stop (state D)"));
	assert_int_equal(c.ctx.obstacles.nr, 1);
	obstacles_done(&c.ctx.obstacles);
	assert_null(tree);
	live_kill(pid);
	live_free(l);
}

/* 0 is no limit, as the command line and the protocol have it. */
static void test_limit(void **state)
{
	static const struct {
		bool has;
		uint32_t seconds;
		unsigned int ms;
	} cases[] = {
		{ false, 0, 10000 },           { true, 0, UINT32_MAX },       { true, 1, 1000 },
		{ true, 4294967, 4294967000 }, { true, 4294968, UINT32_MAX }, { true, UINT32_MAX, UINT32_MAX },
	};

	(void)state;
	assert_int_equal(freeze_limit_ms(NULL), 10000);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		rpc_criu_opts o = { .has_timeout = cases[i].has, .timeout = cases[i].seconds };

		assert_int_equal(freeze_limit_ms(&o), cases[i].ms);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tree),
		cmocka_unit_test(test_zombies),
		cmocka_unit_test(test_dead_leader),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_stopped_stays_stopped),
		cmocka_unit_test(test_thaw_stopped),
		cmocka_unit_test(test_thaw_killed),
		cmocka_unit_test(test_moving_target),
		cmocka_unit_test(test_pid_namespace),
		cmocka_unit_test(test_timeout),
		cmocka_unit_test(test_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

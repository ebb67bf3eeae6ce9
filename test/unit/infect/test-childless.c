/* Processes with many threads say themselves whether they have children, and are none the worse for it. */
#include "infect/live.h"

#include "infect/childless.h"
#include "kernel/probe.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define NR_THREADS 100

enum family { NOBODY, OF_LEADER, OF_THREAD, ZOMBIE, SILENT, NR_FAMILIES };

static struct live *shared;

static void *sleeper(void *arg)
{
	(void)arg;
	__atomic_add_fetch(&shared->flags[0], 1, __ATOMIC_SEQ_CST);
	for (;;)
		pause();
	return NULL;
}

/* A child, with an exit signal that its parent would not wait for without asking for it; stays, or has ended. */
static void have_child(int signo, bool stays)
{
	pid_t pid = (pid_t)syscall(SYS_clone, signo, NULL, NULL, NULL, 0);

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (stays)
			pause();
		_exit(3);
	}
}

static void *parent(void *arg)
{
	have_child(SIGCHLD, true);
	return sleeper(arg);
}

static void crowd(struct live *l, enum family f)
{
	pthread_attr_t attr;
	pthread_t thread;

	shared = l;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 64 << 10);
	if (f == OF_LEADER || f == ZOMBIE)
		have_child(SIGCHLD, f == OF_LEADER);
	if (f == SILENT)
		have_child(0, true);
	for (int i = 0; i < NR_THREADS; i++)
		if (pthread_create(&thread, &attr, f == OF_THREAD && i == NR_THREADS / 2 ? parent : sleeper, NULL) != 0)
			_exit(1);
	while (__atomic_load_n(&l->flags[0], __ATOMIC_SEQ_CST) < NR_THREADS)
		usleep(1000);
	compute(l);
}

static void nobody(struct live *l) { crowd(l, NOBODY); }
static void of_leader(struct live *l) { crowd(l, OF_LEADER); }
static void of_thread(struct live *l) { crowd(l, OF_THREAD); }
static void zombie(struct live *l) { crowd(l, ZOMBIE); }
static void silent(struct live *l) { crowd(l, SILENT); }

static void test_families(void **state)
{
	static void (*const made[NR_FAMILIES])(struct live *) = { nobody, of_leader, of_thread, zombie, silent };

	(void)state;
	for (int f = 0; f < NR_FAMILIES; f++) {
		struct live *l = live_new();
		pid_t pid = live_fork(made[f], l);
		struct live_ctx c;
		struct tree *tree;
		bool none;

		live_ready(l, 1);
		live_nap(20);
		tree = live_freeze(live_ctx(&c), pid);
		assert_int_equal(tree->tasks.nr, f == NOBODY ? 1 : 2);
		assert_int_equal(tree->root->threads.nr, NR_THREADS + 1);
		none = process_is_childless(tree->root);
		/* a kernel before 6.11 cannot be asked */
		if (f != NOBODY)
			assert_false(none);
		live_question(tree->root);
		assert_int_equal(thaw_tree(tree, THAW_RUNNING, NULL), 0);
		tree_free(tree);
		live_works(l);
		live_kill(pid);
		live_free(l);
	}
}

static void test_it_is_asked_where_it_can_be(void **state)
{
	struct live *l = live_new();
	pid_t pid = live_fork(nobody, l);
	struct live_ctx c;
	struct tree *tree;
	struct tracee *t;
	struct regs before;

	(void)state;
	live_ready(l, 1);
	tree = live_freeze(live_ctx(&c), pid);
	t = tree->root->threads.items[0].tracee;
	assert_int_equal(regs_get(t->tid, &before), 0);
	if (kernel_has(&c.ctx.probes, KERNEL_PROCMAP_QUERY))
		assert_true(process_is_childless(tree->root));
	assert_false(t->borrowed);
	t->stop_signo = SIGSTOP;
	assert_false(process_is_childless(tree->root));
	t->stop_signo = 0;
	assert_int_equal(thaw_tree(tree, THAW_RUNNING, NULL), 0);
	tree_free(tree);
	live_works(l);
	live_kill(pid);
	live_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_families),
		cmocka_unit_test(test_it_is_asked_where_it_can_be),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

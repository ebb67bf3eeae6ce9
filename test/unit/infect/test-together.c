/* Several children that run programs at the same time, and children that leave little room for it. */
#include "infect/live.h"
#include "procfs/proc-dir.h"
#include "procfs/status.h"

#include <errno.h>
#include <fcntl.h>
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
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#define NR 5

static void hold_a_trap(struct live *l)
{
	sigset_t trap;

	sigemptyset(&trap);
	sigaddset(&trap, SIGTRAP);
	sigprocmask(SIG_BLOCK, &trap, NULL);
	raise(SIGTRAP);
	compute(l);
}

static void ignore_traps(struct live *l)
{
	signal(SIGTRAP, SIG_IGN);
	compute(l);
}

static bool ignores_traps(pid_t pid)
{
	autoprocdir struct proc_dir dir = PROC_DIR_NONE;
	autostatus struct proc_status s = { 0 };
	struct cr_error err = { 0 };

	assert_int_equal(proc_dir_open(AT_FDCWD, pid, &dir, &err), 0);
	assert_int_equal(proc_status_read(&dir, &s, &err), 0);
	return s.sig_ign & (1u << (SIGTRAP - 1));
}

static void finish(struct parasite *const *p)
{
	bool goes_on = true;

	while (goes_on) {
		goes_on = false;
		for (int i = 0; i < NR; i++) {
			struct cr_error err = { 0 };
			int r = parasite_continue(p[i], &err);

			if (r < 0)
				fail_msg("child %d: %s", i, err.text);
			goes_on |= r == PARASITE_GOES_ON;
		}
	}
}

/* All are infected, then all run, then all are cured; or they are dropped at some point, and must not notice either. */
static void visit_all(const pid_t *pid, int steps)
{
	struct live_ctx c;
	struct tree *tree[NR];
	struct parasite *p[NR] = { 0 };
	struct thread *thread[NR];
	uint32_t routine[NR];
	struct cr_error err = { 0 };

	for (int i = 0; i < NR; i++) {
		tree[i] = live_freeze(live_ctx(&c), pid[i]);
		thread[i] = &tree[i]->root->threads.items[0];
		assert_int_equal(parasite_infect_begin(tree[i]->root, live_layout(), NULL, 8192, 1, &p[i], &err), 0);
	}
	if (steps > 0)
		finish(p);
	for (int i = 0; steps > 1 && i < NR; i++) {
		routine[i] = live_routine(parasite_program(p[i]), "get pid", SYS_getpid, 0, 0, 0, 0);
		assert_int_equal(parasite_run_begin(p[i], &thread[i], &routine[i], 1, &err), 0);
	}
	if (steps > 2) {
		finish(p);
		for (int i = 0; i < NR; i++)
			assert_int_equal(live_answer(parasite_program(p[i]), routine[i]), pid[i]);
	}
	for (int i = 0; steps > 3 && i < NR; i++)
		assert_int_equal(parasite_cure_begin(p[i], &err), 0);
	if (steps > 4)
		finish(p);
	for (int i = NR; i-- > 0;)
		parasite_free(p[i]);
	for (int i = 0; i < NR; i++)
		tree_free(tree[i]);
}

static void test_together(void **state)
{
	struct live *l[NR];
	pid_t pid[NR];

	(void)state;
	for (int i = 0; i < NR; i++) {
		l[i] = live_new();
		pid[i] = live_fork(i == 1 ? ignore_traps : i == 2 ? hold_a_trap : compute, l[i]);
		live_ready(l[i], 1);
	}
	for (int round = 0; round < 60; round++)
		visit_all(pid, round % 6);
	for (int i = 0; i < NR; i++) {
		assert_int_equal(ignores_traps(pid[i]), i == 1);
		live_works(l[i]);
		live_kill(pid[i]);
		live_free(l[i]);
	}
}

static void *rest(void *arg)
{
	for (;;)
		pause();
	return arg;
}

/* All new memory is locked, and there may be @flags[0] KiB more of it. Without capabilities, which would lift the limit. */
static void locked(struct live *l)
{
	pthread_attr_t small;
	struct rlimit limit;
	pthread_t thread;
	unsigned long kb = 0;
	char line[256];
	FILE *f;

	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 65536);
	for (int i = 0; i < 20; i++)
		pthread_create(&thread, &small, rest, NULL);
	live_nap(20);
	/* sanitizers make the library's function do nothing; what there is already would be too much of theirs */
	syscall(SYS_mlockall, MCL_FUTURE);
	f = fopen("/proc/self/status", "re");
	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, "VmLck:", 6) == 0)
			kb = strtoul(line + 6, NULL, 10);
	limit.rlim_cur = limit.rlim_max = (kb + l->flags[0]) << 10;
	if (setrlimit(RLIMIT_MEMLOCK, &limit) < 0 || setresuid(65534, 65534, 65534) < 0 ||
	    prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) /* which went with the uid */
		l->wrong = 1;
	for (l->ready = 1;; l->rounds++)
		live_nap(1);
}

static void try_locked(unsigned int room_kb, int expected)
{
	struct live *l = live_new();
	struct live_ctx c;
	struct cr_error err = { 0 };
	struct parasite *p = NULL;
	struct tree *tree;
	pid_t pid;

	l->flags[0] = room_kb;
	pid = live_fork(locked, l);
	live_ready(l, 1);
	assert_int_equal(l->wrong, 0);
	tree = live_freeze(live_ctx(&c), pid);
	assert_int_equal(tree->root->threads.nr, 21);
	if (expected == 0) {
		live_question(tree->root);
	} else {
		assert_int_equal(parasite_infect(tree->root, live_layout(), NULL, 65536, 21, &p, &err), expected);
		assert_null(p);
		assert_non_null(strstr(err.hint, "--memlock"));
	}
	tree_free(tree);
	live_works(l);
	live_kill(pid);
	live_free(l);
}

static void test_little_to_lock(void **state)
{
	(void)state;
	try_locked(1024, 0);
	try_locked(100, 0);
	try_locked(16, -EAGAIN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_together),
		cmocka_unit_test(test_little_to_lock),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What holds a process in, as told of all of its threads. */
#include "criu-who.h"

#include "front/front.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum cage { CAGE_NONE, CAGE_NO_NEW_PRIVS, CAGE_SECCOMP };

struct caged {
	enum cage cage;
	int ready;
};

static bool enter(enum cage cage)
{
	struct sock_filter all[] = { BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) };
	struct sock_fprog prog = { 1, all };

	if (cage == CAGE_NONE)
		return true;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return false;
	return cage != CAGE_SECCOMP || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) == 0;
}

static void *be_thread(void *arg)
{
	const struct caged *c = arg;
	char ok = enter(c->cage);

	if (write(c->ready, &ok, 1) != 1)
		_exit(1);
	for (;;)
		pause();
	return NULL;
}

/* A process whose first thread is free and whose second one is in a cage. Return: pid, -1: there can be none */
static pid_t make(enum cage cage)
{
	int ends[2];
	char ok = 0;
	pid_t pid;

	assert_int_equal(pipe(ends), 0);
	pid = fork();
	if (pid == 0) {
		struct caged c = { cage, ends[1] };
		pthread_t t;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (pthread_create(&t, NULL, be_thread, &c) != 0)
			_exit(1);
		for (;;)
			pause();
	}
	close(ends[1]);
	assert_true(pid > 0);
	if (read(ends[0], &ok, 1) != 1)
		ok = 0;
	close(ends[0]);
	if (ok)
		return pid;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return -1;
}

static void test_threads(void **state)
{
	static const struct {
		const char *name;
		enum cage cage;
		bool no_new_privs, seccomp;
	} cases[] = {
		{ "free", CAGE_NONE, false, false },
		{ "no_new_privs", CAGE_NO_NEW_PRIVS, true, false },
		{ "seccomp", CAGE_SECCOMP, true, true },
	};

	(void)state;
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 0)
		skip();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct cr_who lead = { 0 }, all = { 0 };
		struct cr_error err = { 0 };
		pid_t pid = make(cases[i].cage);
		int r, s;

		if (pid < 0)
			skip();
		r = cr_who_read(pid, pid, &lead, &err);
		s = cr_who_read_process(pid, &all, &err);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		expect_int(cases[i].name, r, 0);
		expect_int(cases[i].name, s, 0);
		/* the first thread alone tells nothing */
		expect_int(cases[i].name, lead.no_new_privs || lead.seccomp || lead.landlock, false);
		expect_int(cases[i].name, all.no_new_privs, cases[i].no_new_privs);
		expect_int(cases[i].name, all.seccomp, cases[i].seccomp);
		expect_int(cases[i].name, all.landlock, cases[i].no_new_privs && cr_landlock_is_on());
	}
}

/* Filters that this process has as well hold nobody in more than it. */
static void test_shared_filters(void **state)
{
	pid_t pid;
	int status;

	(void)state;
	pid = fork();
	if (pid == 0) {
		struct cr_error err = { 0 };
		struct cr_who same = { 0 }, more = { 0 };
		pid_t plain, caged;

		if (!enter(CAGE_SECCOMP))
			_exit(77);
		plain = make(CAGE_NONE);
		caged = make(CAGE_SECCOMP);
		if (plain < 0 || caged < 0)
			_exit(77);
		if (cr_who_read_process(plain, &same, &err) < 0 || cr_who_read_process(caged, &more, &err) < 0)
			_exit(1);
		kill(plain, SIGKILL);
		kill(caged, SIGKILL);
		_exit(same.seccomp || !more.seccomp ? 2 : 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(status, 0);
}

/* The first thread has ended, and the second one goes on. */
static pid_t make_headless(void *(*second)(void *), int ends[2])
{
	static struct caged c;
	pid_t pid;
	char ok = 0;

	assert_int_equal(pipe(ends), 0);
	c = (struct caged){ CAGE_NO_NEW_PRIVS, ends[1] };
	pid = fork();
	if (pid == 0) {
		pthread_t t;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (pthread_create(&t, NULL, second, &c) != 0)
			_exit(1);
		syscall(SYS_exit, 0);
	}
	close(ends[1]);
	assert_true(pid > 0);
	assert_int_equal(read(ends[0], &ok, 1), 1);
	close(ends[0]);
	assert_int_equal(ok, 1);
	return pid;
}

static void test_headless(void **state)
{
	struct cr_error err = { 0 };
	struct cr_who all = { 0 };
	int ends[2], r, joined, state_of = 0;
	pid_t pid;

	(void)state;
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 0)
		skip();
	pid = make_headless(be_thread, ends);
	/* it says nothing when it has ended, so it is asked until it has */
	for (int i = 0; i < 5000 && state_of != 'Z'; i++) {
		char path[64], text[512] = "";
		FILE *f;

		snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", (int)pid, (int)pid);
		f = fopen(path, "re");
		assert_non_null(f);
		assert_non_null(fgets(text, sizeof(text), f));
		fclose(f);
		state_of = strrchr(text, ')')[2];
		usleep(1000);
	}
	r = cr_who_read_process(pid, &all, &err);
	joined = cr_join_cgroups_of(pid, &(struct cr_error){ 0 });
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	expect_int("it has ended", state_of, 'Z');
	expect_int("headless", r, 0);
	expect_int("its groups", joined, -ESRCH);
	assert_true(all.ended);
	assert_true(all.no_new_privs);
	assert_int_equal(all.cap_eff != UINT64_MAX, true);
}

/* Makes another one like itself, and ends: one is always there, and none for long. */
static void *be_relay(void *arg)
{
	struct caged *c = arg;
	pthread_t t;

	if (c->ready >= 0) {
		char ok = enter(c->cage);

		if (write(c->ready, &ok, 1) != 1)
			_exit(1);
		c->ready = -1;
	}
	if (pthread_create(&t, NULL, be_relay, arg) != 0)
		_exit(1);
	pthread_detach(pthread_self());
	return NULL;
}

static void test_relay(void **state)
{
	int ends[2], free_ones = 0;
	pid_t pid;

	(void)state;
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 0)
		skip();
	pid = make_headless(be_relay, ends);
	for (int i = 0; i < 200; i++) {
		struct cr_error err = { 0 };
		struct cr_who all = { 0 };

		free_ones += cr_who_read_process(pid, &all, &err) == 0 && !all.no_new_privs;
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	expect_int("taken for free", free_ones, 0);
}

static void test_nobody(void **state)
{
	struct cr_error err = { 0 };
	struct cr_who who;

	(void)state;
	assert_int_equal(cr_who_read_process(1 << 22, &who, &err), -ESRCH);
	assert_true(err.text[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_threads), cmocka_unit_test(test_shared_filters), cmocka_unit_test(test_headless),
		cmocka_unit_test(test_relay),   cmocka_unit_test(test_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

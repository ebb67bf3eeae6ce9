/*
 * Processes that become something else without a pause: main threads that end before the others, programs with the rights of another
 * user, descriptors that are shared for a while, threads that change what their process may do.
 */
#include "every.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define OTHER_USER 12345

/* --- main threads that end before the others */

static void *short_life(void *arg)
{
	return arg;
}

/* Threads come and go, then one of them runs the program anew, and has the number of the process from then on. */
static void *heir(void *arg)
{
	char rounds[24], who[24], *argv[] = { "changelings", "heirs", NULL };
	pthread_t t;

	for (int i = 0; i < 2; i++)
		need(pthread_create(&t, NULL, short_life, NULL) == 0 && pthread_join(t, NULL) == 0);
	snprintf(rounds, sizeof(rounds), "%ld", (long)arg + 1);
	snprintf(who, sizeof(who), "%d", (int)getpid());
	setenv("CHANGELING_ROUNDS", rounds, 1);
	setenv("CHANGELING_PID", who, 1);
	execv("/proc/thread-self/exe", argv);
	return NULL;
}

/* The main thread sleeps, or ends as well. */
static void go_on_as_heir(long round)
{
	pthread_t t;

	need(pthread_create(&t, NULL, heir, (void *)round) == 0);
	if (round % 2)
		pthread_exit(NULL);
	pthread_join(t, NULL);
}

static void heir_loop(long arg)
{
	victim_held();
	go_on_as_heir(arg);
}

static void heirs_setup(void)
{
	const char *rounds = getenv("CHANGELING_ROUNDS"), *who = getenv("CHANGELING_PID");

	if (!rounds) {
		for (long i = 0; i < 6; i++)
			victim_fork(heir_loop, i);
		return;
	}
	expect(who && atoi(who) == getpid(), "round %s: pid %s is %d now", rounds, who, (int)getpid());
	if (victim_gone_on())
		_exit(0);
	go_on_as_heir(atol(rounds));
}

/* Each thread makes the next and ends; the main thread has ended long before. */
static void *chain(void *arg)
{
	long left = (long)arg;
	pthread_t t;

	pthread_detach(pthread_self());
	if (!left)
		_exit(7);
	if (pthread_create(&t, NULL, chain, (void *)(left - 1)) != 0)
		_exit(1);
	return NULL;
}

static void chain_once(long round)
{
	pthread_t t;
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		if (pthread_create(&t, NULL, chain, (void *)100) != 0)
			_exit(2);
		pthread_exit(NULL);
	}
	expect(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 7, "round %ld: status %x", round, status);
}

static void chain_loop(long arg)
{
	every(chain_once);
}

static void chains_setup(void)
{
	victim_fork(chain_loop, 0);
}

/* One thread ends all of them, the others make more meanwhile. */
static void *multiply(void *arg)
{
	pthread_t t;

	for (;;)
		if (pthread_create(&t, NULL, short_life, NULL) == 0)
			pthread_join(t, NULL);
	return arg;
}

static void *end_all(void *arg)
{
	for (int i = 0; i < 20; i++)
		sched_yield();
	_exit(9);
	return arg;
}

static void exit_once(long round)
{
	pthread_t t;
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		pthread_create(&t, NULL, multiply, NULL);
		pthread_create(&t, NULL, end_all, NULL);
		multiply(NULL);
	}
	expect(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 9, "round %ld: status %x", round, status);
}

static void exit_loop(long arg)
{
	every(exit_once);
}

static void exits_setup(void)
{
	victim_fork(exit_loop, 0);
}

/* --- programs with the rights of another user, and such as may not be read */

static void probe_setup(void)
{
	_exit(geteuid() == OTHER_USER && getuid() != OTHER_USER ? 0 : 40);
}

static void set_user_once(long round)
{
	char *argv[] = { "changelings", "probe", NULL };
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		if (chdir("/") == 0)
			execv(victim_path("other"), argv);
		_exit(41);
	}
	expect(waitpid(pid, &status, 0) == pid && status == 0, "round %ld: status %x", round, status);
}

static void set_user_loop(long arg)
{
	need(setresgid(2, 2, 2) == 0 && setresuid(2, 2, 2) == 0);
	every(set_user_once);
}

static void copy_self(const char *path)
{
	char buf[65536];
	int in = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), out = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0700);
	ssize_t n;

	need(in >= 0 && out >= 0);
	while ((n = read(in, buf, sizeof(buf))) > 0)
		need(write(out, buf, (size_t)n) == n);
	need(n == 0 && fchown(out, OTHER_USER, 0) == 0 && fchmod(out, 04111) == 0);
	close(in);
	close(out);
}

static void set_users_setup(void)
{
	copy_self(victim_path("other"));
	victim_fork(set_user_loop, 0);
}

/* --- descriptors and directories shared for a while */

static void share_once(long round)
{
	int flags = round % 3 == 0 ? CLONE_FS : round % 3 == 1 ? CLONE_FILES : CLONE_FILES | CLONE_FS, status = 0;
	int fds[2];
	pid_t pid;

	need(pipe2(fds, O_CLOEXEC) == 0);
	pid = (pid_t)syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
	if (pid == 0) {
		int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

		if (unshare(CLONE_FILES | CLONE_FS) != 0 || chdir("/") != 0)
			_exit(1);
		close(fds[0]);
		close(fds[1]);
		close(fd);
		_exit(0);
	}
	expect(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0, "round %ld: status %x", round, status);
	expect(fcntl(fds[0], F_GETFD) == FD_CLOEXEC && fcntl(fds[1], F_GETFD) == FD_CLOEXEC, "round %ld: pipe", round);
	if (flags & CLONE_FILES)
		for (int fd = fds[0] + 1; fd < fds[0] + 4; fd++)
			if (fd != fds[1])
				close(fd);
	close(fds[0]);
	close(fds[1]);
}

static void share_loop(long arg)
{
	every(share_once);
}

static void shares_setup(void)
{
	victim_fork(share_loop, 0);
}

/* --- threads that change what their process is called and may do */

static int let_all(void)
{
	struct sock_filter all[] = { { .code = BPF_RET | BPF_K, .k = SECCOMP_RET_ALLOW } };
	struct sock_fprog prog = { .len = 1, .filter = all };

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog, 0, 0);
}

static void *confine(void *arg)
{
	prctl(PR_SET_NAME, "confined");
	prctl(PR_SET_TIMERSLACK, 100000);
	prctl(PR_SET_DUMPABLE, 0);
	if (let_all())
		_exit(1);
	prctl(PR_SET_DUMPABLE, 1);
	return arg;
}

static void confine_once(long round)
{
	pthread_t t;
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		for (int i = 0; i < 20; i++)
			prctl(PR_SET_NAME, i % 2 ? "odd" : "even");
		if (pthread_create(&t, NULL, confine, NULL) != 0 || pthread_join(t, NULL) != 0)
			_exit(2);
		_exit(0);
	}
	expect(waitpid(pid, &status, 0) == pid && status == 0, "round %ld: status %x", round, status);
}

static void confine_loop(long arg)
{
	every(confine_once);
}

static void confines_setup(void)
{
	victim_fork(confine_loop, 0);
}

const struct victim_case victim_cases[] = {
	{ "heirs", heirs_setup, reap_all, .flags = CASE_ALTERS },
	{ "chains", chains_setup, reap_all, .flags = CASE_ALTERS },
	{ "exits", exits_setup, reap_all, .flags = CASE_ALTERS },
	{ "probe", probe_setup, NULL },
	{ "set-users", set_users_setup, reap_all, .flags = CASE_ALTERS },
	{ "shares", shares_setup, reap_all, .flags = CASE_ALTERS },
	{ "confines", confines_setup, reap_all, .flags = CASE_ALTERS },
	{ NULL },
};

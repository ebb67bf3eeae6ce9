/*
 * Processes that do things to each other without a pause: they stop, continue and kill one another, move to other groups, sessions
 * and parents. A dump has some of them stopped already when another, which it has not found yet, does that to them.
 */
#include "every.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PATIENCE_MS 8000
#define LEVELS      4 /* between those who do something and those to whom it is done */

static pid_t target;
static int to_target[2], from_target[2];

/* --- stopped and continued by somebody who is stopped after them */

static void *answer(void *arg)
{
	char byte;

	while (read(to_target[0], &byte, 1) == 1)
		need(write(from_target[1], &byte, 1) == 1);
	return arg;
}

static void *rest(void *arg)
{
	for (;;)
		pause();
	return arg;
}

/* The main thread only sleeps: a stop is taken note of by another one first, sometimes. */
static void target_main(long threads)
{
	pthread_t t;

	close(to_target[1]);
	close(from_target[0]);
	for (long i = 1; i < threads; i++)
		need(pthread_create(&t, NULL, rest, NULL) == 0);
	if (threads)
		need(pthread_create(&t, NULL, answer, NULL) == 0);
	victim_held();
	if (!threads)
		answer(NULL);
	else
		pthread_join(t, NULL);
}

static bool is_stopped(pid_t pid)
{
	char path[40], text[400], *p;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (slurp(path, text, sizeof(text)) <= 0)
		return false;
	p = strrchr(text, ')');
	return p && p[2] == 'T';
}

/* A stop and a word to go on, each of which must come about. */
static void stop_and_go(long round)
{
	struct pollfd pfd = { .fd = from_target[0], .events = POLLIN };
	char byte = (char)round, got = 0;
	bool looks = round % 4 == 3;
	int left = PATIENCE_MS;

	expect(kill(target, SIGSTOP) == 0, "stop");
	while (looks && !is_stopped(target) && left-- > 0)
		sleep_ms(1);
	expect(left > 0, "round %ld: pid %d is not stopped", round, (int)target);
	expect(kill(target, SIGCONT) == 0, "continue");
	expect(write(to_target[1], &byte, 1) == 1, "ask");
	if (poll(&pfd, 1, PATIENCE_MS) == 1) {
		expect(read(from_target[0], &got, 1) == 1 && got == byte, "round %ld: answer %d", round, got);
	} else {
		expect(false, "round %ld: no answer", round);
		exit(1);
	}
}

static void meddle(long arg)
{
	close(to_target[0]);
	close(from_target[1]);
	every(stop_and_go);
}

/* Some levels further down, so that it is stopped later than its target. */
static void meddle_below(long levels)
{
	pid_t pid = victim_fork(levels > 1 ? meddle_below : meddle, levels - 1);

	close(to_target[1]);
	victim_held();
	victim_reap(pid);
}

static void stops_setup_with(long threads)
{
	need(pipe2(to_target, O_CLOEXEC) == 0 && pipe2(from_target, O_CLOEXEC) == 0);
	target = victim_fork(target_main, threads);
	victim_fork(meddle_below, LEVELS);
	close(to_target[0]);
	close(to_target[1]);
	close(from_target[0]);
	close(from_target[1]);
}

static void stops_setup(void)
{
	stops_setup_with(0);
}

static void stops_threads_setup(void)
{
	stops_setup_with(3);
}

/* --- killed, and their children given to a subreaper */

static int orders[2], done[2];

static void killer(long arg)
{
	pid_t pid;

	close(orders[1]);
	victim_held();
	while (read(orders[0], &pid, sizeof(pid)) == sizeof(pid)) {
		kill(pid, SIGKILL);
		need(write(done[1], "", 1) == 1);
	}
}

static void killer_below(long levels)
{
	close(orders[1]);

	pid_t pid = victim_fork(levels > 1 ? killer_below : killer, levels - 1);

	victim_held();
	victim_reap(pid);
}

static void supervise_once(long round)
{
	int status = 0, fds[2];
	pid_t pid, got, below = 0;
	pthread_t t;
	char byte;

	need(pipe2(fds, O_CLOEXEC) == 0);
	pid = fork();
	if (pid == 0) {
		for (long i = 0; i < round % 3; i++)
			pthread_create(&t, NULL, rest, NULL);
		pid_t child = fork();

		if (child == 0)
			rest(NULL);
		if (write(fds[1], &child, sizeof(child)) < 0)
			_exit(98);
		rest(NULL);
	}
	expect(pid > 0, "fork");
	expect(read(fds[0], &below, sizeof(below)) == sizeof(below), "pid of the child's child");
	close(fds[0]);
	expect(write(orders[1], &pid, sizeof(pid)) == sizeof(pid), "order");
	expect(read(done[0], &byte, 1) == 1, "is done");
	got = waitpid(pid, &status, 0);
	expect(got == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "round %ld: wait gives %d %x", round, (int)got, status);
	kill(below, SIGKILL);
	close(fds[1]);
	got = waitpid(below, &status, 0);
	expect(got == below && WIFSIGNALED(status), "round %ld: wait for pid %d gives %d %x", round, (int)below, (int)got, status);
}

static void supervise(long arg)
{
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	every(supervise_once);
	close(orders[1]);
}

static void kills_setup(void)
{
	need(pipe2(orders, O_CLOEXEC) == 0 && pipe2(done, O_CLOEXEC) == 0);
	victim_fork(supervise, 0);
	victim_fork(killer_below, LEVELS);
	close(orders[0]);
	close(orders[1]);
	close(done[0]);
	close(done[1]);
}

/* --- orphans that fall through several parents */

static void orphan_once(long round)
{
	int status, sum = 0;
	pid_t pid = fork();

	if (pid == 0) {
		for (int i = 1; i < 5; i++)
			if (fork() != 0)
				_exit(i);
		_exit(5);
	}
	for (int i = 0; i < 5; i++) {
		pid = wait(&status);
		expect(pid > 0 && WIFEXITED(status), "round %ld: wait gives %d %x", round, (int)pid, status);
		sum += WEXITSTATUS(status);
	}
	expect(sum == 15, "round %ld: exit statuses make %d", round, sum);
}

static void orphan_loop(long arg)
{
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	every(orphan_once);
}

static void orphans_setup(void)
{
	victim_fork(orphan_loop, 0);
	victim_fork(orphan_loop, 1);
}

/* --- siblings made by clone(CLONE_PARENT): children of the root, which never makes any itself */

static void sibling_once(long round)
{
	pid_t pid = (pid_t)syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);

	if (pid == 0)
		_exit(0);
	expect(pid > 0, "round %ld: make a sibling", round);
	sleep_ms(1);
}

static void sibling_loop(long arg)
{
	every(sibling_once);
}

static void sibling_parent(long arg)
{
	pid_t pid = victim_fork(sibling_loop, 0), got;
	int status;

	victim_held();
	do {
		got = wait(&status);
		expect(got > 0 && status == 0, "wait gives %d %x", (int)got, status);
	} while (got > 0 && got != pid);
	while (wait(&status) > 0)
		;
}

static void siblings_setup(void)
{
	victim_fork(sibling_parent, 0);
}

/* --- groups and sessions that change hands */

static void group_once(long round)
{
	int status = 0;
	pid_t first = fork(), second;

	if (first == 0) {
		setpgid(0, 0);
		pid_t leader = fork();

		if (leader == 0)
			_exit(setsid() == getpid() && getpgrp() == getpid() ? 3 : 1);
		if (waitpid(leader, &status, 0) != leader || !WIFEXITED(status) || WEXITSTATUS(status) != 3)
			_exit(1);
		_exit(getpgrp() == getpid() ? 4 : 2);
	}
	setpgid(first, first);
	second = fork();
	if (second == 0)
		_exit(getpid() > 0 ? 0 : 1);
	setpgid(second, first);
	expect(waitpid(first, &status, 0) == first && WIFEXITED(status) && WEXITSTATUS(status) == 4, "round %ld: first: %x", round, status);
	expect(waitpid(second, &status, 0) == second && status == 0, "round %ld: second: %x", round, status);
}

static void group_loop(long arg)
{
	every(group_once);
}

static void groups_setup(void)
{
	victim_fork(group_loop, 0);
}

const struct victim_case victim_cases[] = {
	{ "stops", stops_setup, reap_all, .flags = CASE_ALTERS },
	{ "stops-threads", stops_threads_setup, reap_all, .flags = CASE_ALTERS },
	{ "kills", kills_setup, reap_all, .flags = CASE_ALTERS },
	{ "orphans", orphans_setup, reap_all, .flags = CASE_ALTERS },
	{ "siblings", siblings_setup, reap_all, .flags = CASE_ALTERS },
	{ "groups", groups_setup, reap_all, .flags = CASE_ALTERS },
	{ NULL },
};

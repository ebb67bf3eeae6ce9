/* Stopped processes: by every signal that stops, with threads, with more signals behind it, seen by the parent or not yet. */
#include "victim.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t kids[8];
static int nr_kids;

/* Leads a group of its own, which is not orphaned: its parent is in another group of the same session. */
static void member(long arg)
{
	pid_t me = getpid(), parent = getppid(), sid = getsid(0);

	need(setpgid(0, 0) == 0);
	victim_hold();
	expect(getpid() == me && getppid() == parent, "pid %d of %d was %d of %d", (int)getpid(), (int)getppid(),
	       (int)me, (int)parent);
	expect(getsid(0) == sid && getpgid(0) == me, "session %d, group %d", (int)getsid(0), (int)getpgid(0));
}

static void reap_kids(void)
{
	for (int i = 0; i < nr_kids; i++)
		victim_reap(kids[i]);
}

static void wait_until_stopped(pid_t pid)
{
	int status;

	need(waitpid(pid, &status, WUNTRACED) == pid);
	need(WIFSTOPPED(status));
}

static volatile sig_atomic_t told_of_children;

static void on_child(int sig)
{
	(void)sig;
	told_of_children++;
}

static const int stops[] = { SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU };

/* A parent that has waited for a stop cannot ask again which signal it was for; who seizes the child is told. */
static int stop_seen_by_tracer(pid_t pid)
{
	int status = 0;

	if (ptrace(PTRACE_SEIZE, pid, NULL, NULL) < 0 || waitpid(pid, &status, __WALL) != pid)
		return 0;
	ptrace(PTRACE_DETACH, pid, NULL, NULL);
	return WIFSTOPPED(status) && status >> 16 == PTRACE_EVENT_STOP ? WSTOPSIG(status) : 0;
}

static void set_up_stopped(void)
{
	need(signal(SIGCHLD, on_child) != SIG_ERR);
	for (int i = 0; i < 4; i++) {
		kids[nr_kids++] = victim_fork(member, 0);
		need(kill(kids[i], stops[i]) == 0);
		wait_until_stopped(kids[i]);
	}
	told_of_children = 0;
}

/* What has been waited for once is not there again. */
static void check_stopped(void)
{
	char path[64], text[600];

	expect(!told_of_children, "told %d times of children that were stopped long ago", (int)told_of_children);
	for (int i = 0; i < nr_kids; i++) {
		snprintf(path, sizeof(path), "/proc/%d/stat", (int)kids[i]);
		slurp(path, text, sizeof(text));
		const char *paren = strrchr(text, ')');
		expect(paren && paren[2] == 'T', "child %d is not stopped: %s", (int)kids[i], text);
		siginfo_t info = { 0 };
		expect(waitid(P_PID, (id_t)kids[i], &info, WSTOPPED | WNOHANG | WNOWAIT) == 0 && !info.si_pid,
		       "the stop of child %d can be waited for again", (int)kids[i]);
		int signo = stop_seen_by_tracer(kids[i]);
		expect(signo == stops[i], "child %d is stopped by signal %d instead of %d", (int)kids[i], signo,
		       stops[i]);
		kill(kids[i], SIGCONT);
	}
	reap_kids();
}

/* Stopped with threads, a signal waiting behind the stop, children that are stopped, and a parent that has not looked yet. */

static void *stopped_thread(void *arg)
{
	victim_wait();
	return arg;
}

static void on_waiting(int sig)
{
	told_of_children = sig;
}

static void stopped_with_threads(long arg)
{
	pthread_t threads[3];

	nr_kids = 0;
	need(setpgid(0, 0) == 0);
	need(signal(SIGUSR1, on_waiting) != SIG_ERR);
	if (arg)
		kids[nr_kids++] = victim_fork(member, 0);
	for (int i = 0; i < 3; i++)
		need(pthread_create(&threads[i], NULL, stopped_thread, NULL) == 0);
	if (arg) {
		need(kill(kids[0], SIGTSTP) == 0);
		wait_until_stopped(kids[0]);
	}
	victim_hold();
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	expect(told_of_children == SIGUSR1, "the signal behind the stop did not come, %d", (int)told_of_children);
	if (arg) {
		int status;
		expect(waitpid(kids[0], &status, WUNTRACED | WNOHANG) == 0, "the stop of a grandchild is there again");
		kill(kids[0], SIGCONT);
		reap_kids();
	}
}

static void set_up_unseen_stops(void)
{
	for (long i = 0; i < 4; i++) {
		char path[64], text[600] = "";

		pid_t kid = victim_fork(stopped_with_threads, i % 2);
		need(kill(kid, stops[i]) == 0);
		snprintf(path, sizeof(path), "/proc/%d/stat", (int)kid);
		while (!strstr(text, ") T")) {
			slurp(path, text, sizeof(text));
			sleep_ms(1);
		}
		/* to a thread, with a lower number: it would come first if it were to be chosen */
		need(syscall(SYS_tgkill, kid, kid, SIGUSR1) == 0);
		/* a second one of the kind waits behind the first, until SIGCONT takes it away; of SIGSTOP that is not kept */
		need(stops[i] == SIGSTOP || kill(kid, stops[i]) == 0);
		kids[nr_kids++] = kid;
	}
}

static void check_unseen_stops(void)
{
	for (int i = 0; i < nr_kids; i++) {
		int status = 0;

		expect(waitpid(kids[i], &status, WUNTRACED | WNOHANG) == kids[i] && WIFSTOPPED(status) &&
			       WSTOPSIG(status) == stops[i],
		       "the stop of child %d by signal %d is lost: %#x", (int)kids[i], stops[i], (unsigned)status);
		kill(kids[i], SIGCONT);
	}
	reap_kids();
}

const struct victim_case victim_cases[] = {
	{ "seen", set_up_stopped, check_stopped, .flags = CASE_MORE },
	{ "unseen", set_up_unseen_stops, check_unseen_stops, .flags = CASE_MORE },
	{ 0 },
};

/*
 * System calls of stopped processes, for which a signal with a handler waits: once they go on, the kernel runs the handler
 * and then decides what becomes of the call. And calls that nothing but a stop interrupts, which a checkpoint must not.
 */
#include "victim.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int fds[2], epoll_fd;
static volatile sig_atomic_t handled;

static void on_signal(int sig)
{
	handled++;
}

static void handle(int flags)
{
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = flags };

	need(sigaction(SIGUSR1, &sa, NULL) == 0);
}

static long call_read(void)
{
	char byte;
	ssize_t n = read(fds[0], &byte, 1);

	return n == 1 ? byte : n;
}

static long call_pause(void)
{
	return pause();
}
static long call_sleep(void)
{
	return nanosleep(&(struct timespec){ 100, 0 }, NULL);
}
static long call_poll(void)
{
	return poll(NULL, 0, -1);
}
static long call_epoll(void)
{
	return epoll_wait(epoll_fd, &(struct epoll_event){ 0 }, 1, -1);
}
static long call_suspend(void)
{
	sigset_t none, block;

	sigemptyset(&none);
	sigemptyset(&block);
	sigaddset(&block, SIGUSR1);
	need(sigprocmask(SIG_BLOCK, &block, NULL) == 0);
	return sigsuspend(&none);
}

static const struct {
	const char *name;
	long (*call)(void);
	int flags, returns, error;
} calls[] = {
	{ "pause", call_pause, SA_RESTART, -1, EINTR },
	{ "nanosleep", call_sleep, SA_RESTART, -1, EINTR },
	{ "poll", call_poll, SA_RESTART, -1, EINTR },
	{ "epoll_wait", call_epoll, SA_RESTART, -1, EINTR },
	{ "sigsuspend", call_suspend, SA_RESTART, -1, EINTR },
	{ "read", call_read, 0, -1, EINTR },
	{ "read that restarts", call_read, SA_RESTART, 'y', 0 },
};

#define NR_CALLS ((int)(sizeof(calls) / sizeof(calls[0])))
static pid_t kids[NR_CALLS];

static void caller(long i)
{
	handle(calls[i].flags);
	victim_held();
	errno = 0;

	long r = calls[i].call();

	expect(r == calls[i].returns && errno == calls[i].error, "%s returned %ld", calls[i].name, r);
	expect(handled == 1, "%s: the handler ran %d times", calls[i].name, (int)handled);
}

static bool sleeps(pid_t pid)
{
	char path[64], text[512];
	const char *state;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	slurp(path, text, sizeof(text));
	state = strrchr(text, ')');
	return state && state[2] == 'S';
}

/* The child may not have got to its call: that it has sent its byte says that it is about to, and then that it sleeps. */
static void let_sleep(pid_t pid)
{
	sleep_ms(20);
	for (int i = 0; i < 1000 && !sleeps(pid); i++)
		sleep_ms(1);
	need(sleeps(pid));
}

static void set_up_handled(void)
{
	siginfo_t info;

	need(pipe(fds) == 0 && (epoll_fd = epoll_create1(0)) >= 0);
	for (int i = 0; i < NR_CALLS; i++) {
		kids[i] = victim_fork(caller, i);
		let_sleep(kids[i]);
		need(kill(kids[i], SIGSTOP) == 0 && waitid(P_PID, (id_t)kids[i], &info, WSTOPPED) == 0);
		need(kill(kids[i], SIGUSR1) == 0);
	}
}

/* Within five seconds, or it never does. */
static void ends(pid_t pid, const char *name)
{
	int status = -1;
	pid_t r = 0;

	for (int i = 0; i < 1000 && (r = waitpid(pid, &status, WNOHANG)) == 0; i++)
		sleep_ms(5);
	expect(r == pid && status == 0, "%s: ends with %#x", name, (unsigned)status);
	if (r == 0)
		kill(pid, SIGKILL);
}

static void check_handled(void)
{
	for (int i = 0; i < NR_CALLS; i++) {
		need(kill(kids[i], SIGCONT) == 0);
		if (calls[i].returns == 'y') {
			let_sleep(kids[i]);
			need(write(fds[1], "y", 1) == 1);
		}
		ends(kids[i], calls[i].name);
	}
}

/* --- interrupted by nothing but the checkpoint */

static int sem, pair[2];

static long call_semop(void)
{
	return semop(sem, &(struct sembuf){ 0, -1, 0 }, 1);
}
static long call_sigwait(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	return sigwaitinfo(&set, NULL);
}
static long call_recv(void)
{
	char byte;

	return recv(pair[0], &byte, 1, 0);
}
static long call_epoll_masked(void)
{
	sigset_t none;

	sigemptyset(&none);
	return epoll_pwait(epoll_fd, &(struct epoll_event){ 0 }, 1, -1, &none);
}

static const struct {
	const char *name;
	long (*call)(void);
	long returns;
} waits[] = {
	{ "epoll_wait", call_epoll, 1 },          { "epoll_pwait", call_epoll_masked, 1 }, { "semop", call_semop, 0 },
	{ "sigwaitinfo", call_sigwait, SIGUSR2 }, { "recv with a timeout", call_recv, 1 },
};

#define NR_WAITS ((int)(sizeof(waits) / sizeof(waits[0])))
static pid_t waiters[NR_WAITS];

static void waiter(long i)
{
	sigset_t block;

	sigemptyset(&block);
	sigaddset(&block, SIGUSR2);
	need(sigprocmask(SIG_BLOCK, &block, NULL) == 0);
	victim_held();

	long r = waits[i].call();

	expect(r == waits[i].returns, "%s returned %ld", waits[i].name, r);
	expect(victim_gone_on(), "%s returned before anything had happened", waits[i].name);
}

static void set_up_undisturbed(void)
{
	struct epoll_event ev = { .events = EPOLLIN };
	struct timeval minutes = { 600, 0 };

	need(pipe(fds) == 0 && (epoll_fd = epoll_create1(0)) >= 0);
	need(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fds[0], &ev) == 0);
	need((sem = semget(IPC_PRIVATE, 1, 0600)) >= 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
	need(setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &minutes, sizeof(minutes)) == 0);
	for (int i = 0; i < NR_WAITS; i++) {
		waiters[i] = victim_fork(waiter, i);
		let_sleep(waiters[i]);
	}
}

static void check_undisturbed(void)
{
	need(write(fds[1], "x", 1) == 1 && write(pair[1], "x", 1) == 1);
	need(semop(sem, &(struct sembuf){ 0, 1, 0 }, 1) == 0);
	for (int i = 0; i < NR_WAITS; i++)
		if (waits[i].returns == SIGUSR2)
			kill(waiters[i], SIGUSR2);
	for (int i = 0; i < NR_WAITS; i++)
		ends(waiters[i], waits[i].name);
}

const struct victim_case victim_cases[] = {
	/* a mask that sigsuspend() has put in place is not there in a stop: SigBlk */
	{ "handled", set_up_handled, check_handled, .flags = CASE_MORE | CASE_ALTERS },
	{ "undisturbed", set_up_undisturbed, check_undisturbed, .flags = CASE_MORE },
	{ 0 },
};

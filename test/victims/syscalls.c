/*
 * System calls that the checkpoint interrupts. Each runs in a thread of its own; the check says what an undisturbed
 * call would have returned, and that it took at least as long as it was told to.
 */
#include "victim.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WAIT_MS 1500

static unsigned long caller;
static volatile long result = -1000;
static volatile int result_errno;
static volatile uint64_t started, ended;
static int fds[2];
static uint32_t word = 1;
static pid_t kid;

/* runs one call and remembers what it returned and how long it took */
#define CALL(name, expr)                                   \
	static void *call_##name(void *arg)                \
	{                                                  \
		started = now_ns(CLOCK_MONOTONIC);         \
		victim_thread_ready();                     \
		long r = (expr);                           \
		result_errno = r < 0 ? errno : 0;          \
		ended = now_ns(CLOCK_MONOTONIC);           \
		result = r;                                \
		return NULL;                               \
	}                                                  \
	static void set_up_##name(void)                    \
	{                                                  \
		need(pipe(fds) == 0);                      \
		caller = victim_thread(call_##name, NULL); \
		sleep_ms(30);                              \
	}

static struct timespec wait_ts = { WAIT_MS / 1000, WAIT_MS % 1000 * 1000000 };
static struct timespec until;

static const struct timespec *at_end(int clock)
{
	clock_gettime(clock, &until);
	until.tv_sec += WAIT_MS / 1000;
	until.tv_nsec += WAIT_MS % 1000 * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	return &until;
}

static long select_call(struct timeval *tv)
{
	fd_set set;

	FD_ZERO(&set);
	FD_SET(fds[0], &set);
	return select(fds[0] + 1, &set, NULL, NULL, tv);
}

static long pselect_call(void)
{
	fd_set set;

	FD_ZERO(&set);
	FD_SET(fds[0], &set);
	return pselect(fds[0] + 1, &set, NULL, NULL, &wait_ts, NULL);
}

static long sigtimedwait_call(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	return sigtimedwait(&set, NULL, &wait_ts);
}

static struct pollfd pollfds[1];
static char byte;
static long first_byte(long n)
{
	return n == 1 ? byte : n < 0 ? n : -2000;
}
static struct pollfd *poll_set(void)
{
	pollfds[0] = (struct pollfd){ fds[0], POLLIN, 0 };
	return pollfds;
}

CALL(nanosleep, nanosleep(&wait_ts, NULL))
CALL(clock_rel, -clock_nanosleep(CLOCK_BOOTTIME, 0, &wait_ts, NULL))
CALL(clock_abs, -clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, at_end(CLOCK_REALTIME), NULL))
CALL(poll, poll(poll_set(), 1, WAIT_MS))
CALL(poll_forever, poll(poll_set(), 1, -1))
CALL(ppoll, ppoll(poll_set(), 1, &wait_ts, NULL))
CALL(select, select_call(&(struct timeval){ WAIT_MS / 1000, WAIT_MS % 1000 * 1000 }))
CALL(select_forever, select_call(NULL))
CALL(pselect, pselect_call())
CALL(futex, syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 1, &wait_ts, NULL, 0))
CALL(futex_abs, syscall(SYS_futex, &word, FUTEX_WAIT_BITSET_PRIVATE, 1, at_end(CLOCK_MONOTONIC), NULL, ~0u))
CALL(futex_forever, syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0))
CALL(read, first_byte(read(fds[0], &byte, 1)))
CALL(sigtimedwait, sigtimedwait_call())

/* what the call has to come to: @want is its result, or -errno */
static void finish(long want, bool timed)
{
	victim_join(caller);
	long r = result < 0 && result_errno ? -result_errno : result;

	expect(r == want, "returned %ld, should be %ld", r, want);
	uint64_t took = (ended - started) / 1000000;
	if (timed)
		expect(took >= WAIT_MS - 1 && took < WAIT_MS + 15000, "took %lu ms, should be %d", took, WAIT_MS);
}

static void check_timed_0(void)
{
	finish(0, true);
}
static void check_timedout(void)
{
	finish(-ETIMEDOUT, true);
}

/* -EAGAIN is the timeout; EINTR after a stop is what signal(7) says of this call */
static void check_sigtimedwait(void)
{
	victim_join(caller);
	expect(result < 0 && result_errno == EAGAIN && ended - started >= WAIT_MS * UINT64_C(1000000),
	       "returned %ld errno %d", result, result_errno);
}

static void check_ready_1(void)
{
	expect(result == -1000, "returned %ld before anything happened", result);
	need(write(fds[1], "x", 1) == 1);
	finish(1, false);
}

static void check_read(void)
{
	expect(result == -1000, "returned %ld before anything happened", result);
	need(write(fds[1], "x", 1) == 1);
	finish('x', false);
}

static void check_woken(void)
{
	expect(result == -1000, "returned %ld before anything happened", result);
	sleep_ms(20);
	word = 2;
	expect(syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0) == 1, "nobody waits on the futex");
	finish(0, false);
}

/* --- calls that wait for another process */

static void brief_child(long arg)
{
	victim_hold();
	_exit(42);
}

static long wait_call(void)
{
	int status = 0;

	return syscall(SYS_wait4, kid, &status, __WALL, NULL) == kid ? status : -1;
}

static void *call_wait4(void *arg)
{
	victim_thread_ready();
	result = wait_call();
	return NULL;
}

static void set_up_wait4(void)
{
	kid = victim_fork(brief_child, 0);
	caller = victim_thread(call_wait4, NULL);
	sleep_ms(30);
}

static void check_wait4(void)
{
	victim_join(caller);
	expect(WIFEXITED(result) && WEXITSTATUS(result) == 42, "wait4 gives status %#lx", result);
}

/* --- pause, sigsuspend: end only by a signal with a handler, with EINTR, and restore the mask */

static volatile sig_atomic_t handled;
static void handle(int sig)
{
	handled++;
}

static void *call_pause(void *arg)
{
	victim_thread_ready();
	result = pause();
	result_errno = errno;
	return NULL;
}

static void *call_sigsuspend(void *arg)
{
	sigset_t all, none;

	sigfillset(&all);
	sigemptyset(&none);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	victim_thread_ready();
	result = sigsuspend(&none);
	result_errno = errno;
	pthread_sigmask(SIG_SETMASK, NULL, &none);
	if (!sigismember(&none, SIGUSR1))
		result_errno = -1;
	return NULL;
}

static void interruptible(void *(*fn)(void *))
{
	struct sigaction sa = { .sa_handler = handle };

	need(sigaction(SIGUSR1, &sa, NULL) == 0);
	caller = victim_thread(fn, NULL);
	sleep_ms(30);
}

static void set_up_pause(void)
{
	interruptible(call_pause);
}
static void set_up_sigsuspend(void)
{
	interruptible(call_sigsuspend);
}

static void check_interrupted(void)
{
	expect(result == -1000 && !handled, "returned %ld before any signal", result);
	pthread_kill(caller, SIGUSR1);
	victim_join(caller);
	expect(handled == 1, "the handler ran %d times", (int)handled);
	expect(result == -1 && result_errno == EINTR, "returned %ld errno %d (-1: mask not restored)", result,
	       result_errno);
}

/* --- a system call that restarts because of SA_RESTART, with a signal after the restore */

static void *call_restart(void *arg)
{
	victim_thread_ready();
	result = first_byte(read(fds[0], &byte, 1));
	result_errno = errno;
	return NULL;
}

static void set_up_restart(void)
{
	struct sigaction sa = { .sa_handler = handle, .sa_flags = SA_RESTART };

	need(pipe(fds) == 0 && sigaction(SIGUSR1, &sa, NULL) == 0);
	caller = victim_thread(call_restart, NULL);
	sleep_ms(30);
}

static void check_restart(void)
{
	pthread_kill(caller, SIGUSR1);
	for (int i = 0; i < 200 && !handled; i++)
		sleep_ms(5);
	expect(handled == 1 && result == -1000, "handler ran %d times, result %ld", (int)handled, result);
	need(write(fds[1], "y", 1) == 1);
	victim_join(caller);
	expect(result == 'y', "returned %ld errno %d", result, result_errno);
}

/*
 * --- stopped and continued before the checkpoint: all are in restart_syscall() by then, and syscall(3) leaves the number of
 * the call nowhere
 */

enum { SLEEP, SLEEP_CLOCK, SLEEP_CPU, POLL, POLL_NOTHING, FUTEX, NR_AGAIN };

static long call_again(long which)
{
	switch (which) {
	case SLEEP:
		return syscall(SYS_nanosleep, &wait_ts, NULL);
	case SLEEP_CLOCK:
		return syscall(SYS_clock_nanosleep, CLOCK_BOOTTIME, 0, &wait_ts, NULL);
	case SLEEP_CPU:
		/* nobody uses the processor here: it is woken by the thread that does so in the end */
		return syscall(SYS_clock_nanosleep, CLOCK_PROCESS_CPUTIME_ID, 0, &(struct timespec){ 0, 300000000 }, NULL);
	case POLL:
		return syscall(SYS_poll, poll_set(), 1, WAIT_MS);
	case POLL_NOTHING:
		return syscall(SYS_poll, NULL, 0, WAIT_MS);
	default:
		return syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 1, &wait_ts, NULL, 0);
	}
}

static void *again(void *arg)
{
	long which = (long)arg, wanted = which == FUTEX ? ETIMEDOUT : 0;
	uint64_t from = now_ns(CLOCK_MONOTONIC);

	victim_thread_ready();
	errno = 0;
	long r = call_again(which), e = errno;
	uint64_t ms = (now_ns(CLOCK_MONOTONIC) - from) / 1000000;
	expect(r == (wanted ? -1 : 0) && e == wanted, "call %ld returned %ld errno %ld after %lu ms", which, r, e, ms);
	expect(which == SLEEP_CPU || ms >= WAIT_MS, "call %ld took %lu ms only", which, ms);
	return NULL;
}

static void call_all_again(long arg)
{
	unsigned long callers[NR_AGAIN];

	for (long i = 0; i < NR_AGAIN; i++)
		callers[i] = victim_thread(again, (void *)i);
	victim_hold();
	for (int i = 0; i < NR_AGAIN; i++)
		if (i != SLEEP_CPU)
			victim_join(callers[i]);
	while (now_ns(CLOCK_PROCESS_CPUTIME_ID) < 700000000)
		;
	victim_join(callers[SLEEP_CPU]);
}

/* Is the thread in that system call, asleep? */
static bool sleeps_in(pid_t pid, const char *tid, int nr)
{
	char path[300], text[64], wanted[16];

	snprintf(path, sizeof(path), "/proc/%d/task/%s/syscall", pid, tid);
	snprintf(wanted, sizeof(wanted), "%d ", nr);
	slurp(path, text, sizeof(text));
	return strncmp(text, wanted, strlen(wanted)) == 0;
}

static int count_restarted(pid_t pid)
{
	char path[64];
	struct dirent *e;
	int n = 0;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	DIR *d = opendir(path);
	need(d);
	while ((e = readdir(d)))
		n += e->d_name[0] != '.' && sleeps_in(pid, e->d_name, SYS_restart_syscall);
	closedir(d);
	return n;
}

static void set_up_stopped_before(void)
{
	siginfo_t info;

	need(pipe(fds) == 0);
	kid = victim_fork(call_all_again, 0);
	sleep_ms(30);
	need(kill(kid, SIGSTOP) == 0 && waitid(P_PID, (id_t)kid, &info, WSTOPPED) == 0);
	need(kill(kid, SIGCONT) == 0);
	for (int i = 0; i < 500 && count_restarted(kid) < NR_AGAIN; i++)
		sleep_ms(1);
	need(count_restarted(kid) >= NR_AGAIN);
}

static void check_stopped_before(void) { victim_reap(kid); }

/* --- a blocked lock: flock waits for the child to let go */

static void lock_holder(long arg)
{
	int fd = open(victim_path("locked"), O_RDWR | O_CREAT, 0644);

	need(fd >= 0 && flock(fd, LOCK_EX) == 0);
	victim_hold();
}

static void *call_flock(void *arg)
{
	int fd = open(victim_path("locked"), O_RDWR);

	need(fd >= 0);
	victim_thread_ready();
	result = flock(fd, LOCK_EX);
	result_errno = errno;
	return NULL;
}

static void set_up_flock(void)
{
	kid = victim_fork(lock_holder, 0);
	caller = victim_thread(call_flock, NULL);
	sleep_ms(30);
}

static void check_flock(void)
{
	victim_join(caller);
	expect(result == 0, "flock gives %ld errno %d", result, result_errno);
	victim_reap(kid);
}

const struct victim_case victim_cases[] = {
	{ "nanosleep", set_up_nanosleep, check_timed_0, .flags = CASE_MORE },
	{ "clock-nanosleep-relative", set_up_clock_rel, check_timed_0 },
	{ "clock-nanosleep-absolute", set_up_clock_abs, check_timed_0 },
	{ "poll", set_up_poll, check_timed_0, .flags = CASE_MORE },
	{ "poll-forever", set_up_poll_forever, check_ready_1 },
	{ "ppoll", set_up_ppoll, check_timed_0 },
	{ "select", set_up_select, check_timed_0 },
	{ "select-forever", set_up_select_forever, check_ready_1 },
	{ "pselect", set_up_pselect, check_timed_0 },
	{ "futex", set_up_futex, check_timedout, .flags = CASE_MORE },
	{ "futex-absolute", set_up_futex_abs, check_timedout },
	{ "futex-forever", set_up_futex_forever, check_woken },
	{ "read", set_up_read, check_read, .flags = CASE_MORE },
	{ "wait4", set_up_wait4, check_wait4 },
	{ "sigtimedwait", set_up_sigtimedwait, check_sigtimedwait },
	{ "pause", set_up_pause, check_interrupted },
	{ "sigsuspend", set_up_sigsuspend, check_interrupted },
	{ "restart", set_up_restart, check_restart },
	{ "stopped-before", set_up_stopped_before, check_stopped_before, .flags = CASE_MORE },
	{ "flock", set_up_flock, check_flock, .dump = "--file-locks", .restore = "--file-locks" },
	{ 0 },
};

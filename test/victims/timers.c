/* Timers: the three interval timers, POSIX timers with their ids, clocks, values and overruns. */
#include "victim.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

static volatile sig_atomic_t fired[65];
static volatile int last_value, last_timerid, last_overrun;

static void fire(int sig, siginfo_t *info, void *context)
{
	fired[sig]++;
	last_value = info->si_value.sival_int;
	last_timerid = info->si_timerid;
	last_overrun = info->si_overrun;
}

static void handle(int sig)
{
	struct sigaction sa = { .sa_sigaction = fire, .sa_flags = SA_SIGINFO | SA_RESTART };

	need(sigaction(sig, &sa, NULL) == 0);
}

static int64_t usec(struct timeval tv)
{
	return tv.tv_sec * 1000000ll + tv.tv_usec;
}

/* --- setitimer */

static const int kinds[] = { ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF };

static void set_up_itimers(void)
{
	for (int i = 0; i < 3; i++) {
		struct itimerval it = { { 7 + i, 250000 }, { 500 + i, 750000 } };
		need(setitimer(kinds[i], &it, NULL) == 0);
	}
}

static void check_itimers(void)
{
	for (int i = 0; i < 3; i++) {
		struct itimerval it;
		expect(getitimer(kinds[i], &it) == 0, "getitimer");
		expect(usec(it.it_interval) == (7 + i) * 1000000ll + 250000, "interval of timer %d", i);
		int64_t left = usec(it.it_value), was = (500 + i) * 1000000ll + 750000;
		/* the kernel rounds timers of processor time up to a tick, each time they are set */
		expect(left <= was + (i ? 100000 : 10000) && left > was - 60000000, "timer %d has %ld us left", i,
		       (long)left);
	}
}

static void set_up_interval(void)
{
	struct itimerval it = { { 0, 300000 }, { 0, 300000 } };

	handle(SIGALRM);
	need(setitimer(ITIMER_REAL, &it, NULL) == 0);
}

static void check_interval(void)
{
	int before = fired[SIGALRM];

	for (int i = 0; i < 200 && fired[SIGALRM] < before + 2; i++)
		sleep_ms(10);
	expect(fired[SIGALRM] >= before + 2, "the timer fired %d times", fired[SIGALRM] - before);
}

/* Its signal waits, and the timer for that to be taken: nothing is left of its time, but it has not stopped. */
static void set_up_waiting(void)
{
	struct itimerval it = { { 0, 20000 }, { 0, 20000 } };
	sigset_t set;

	handle(SIGALRM);
	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	need(setitimer(ITIMER_REAL, &it, NULL) == 0);
	for (int i = 0; i < 1000; i++) {
		sigpending(&set);
		if (sigismember(&set, SIGALRM))
			return;
		sleep_ms(10);
	}
	need(!"the timer went off");
}

static void check_waiting(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	expect(fired[SIGALRM] >= 1, "the signal that waited is lost");
	for (int i = 0; i < 1000 && fired[SIGALRM] < 4; i++)
		sleep_ms(10);
	expect(fired[SIGALRM] >= 4, "the timer fired %d times", (int)fired[SIGALRM]);
}

/* An alarm that goes off after the restore, not before: its time stands still while the process does not exist. */
static void set_up_alarm(void)
{
	handle(SIGALRM);
	alarm(2);
}

static void check_alarm(void)
{
	for (int i = 0; i < 300 && !fired[SIGALRM]; i++)
		sleep_ms(10);
	expect(fired[SIGALRM] == 1, "the alarm went off %d times", (int)fired[SIGALRM]);
}

/* --- POSIX timers; ids have gaps, as after timers that were deleted */

struct wanted {
	int clock, sig, value_ms, interval_ms, notify, id;
};

static struct wanted wanted[] = {
	{ CLOCK_REALTIME, SIGUSR1, 500000, 0, SIGEV_SIGNAL, 0 },
	{ CLOCK_MONOTONIC, 40, 600000, 7000, SIGEV_SIGNAL, 0 },
	{ CLOCK_BOOTTIME, 41, 700000, 1, SIGEV_SIGNAL, 0 },
	{ CLOCK_PROCESS_CPUTIME_ID, 42, 800000, 9000, SIGEV_SIGNAL, 0 },
	{ CLOCK_THREAD_CPUTIME_ID, 43, 900000, 0, SIGEV_THREAD_ID, 0 },
	{ CLOCK_MONOTONIC, 0, 1000000, 11, SIGEV_NONE, 0 },
	{ CLOCK_MONOTONIC, 44, 0, 0, SIGEV_SIGNAL, 0 }, /* not armed */
};

#define NR_WANTED (int)(sizeof(wanted) / sizeof(wanted[0]))

static int make(const struct wanted *w)
{
	struct sigevent ev = { .sigev_notify = w->notify, .sigev_signo = w->sig };
	int id;

	ev.sigev_value.sival_ptr = (void *)(0x5500000000ul + (unsigned long)w->value_ms);
	if (w->notify == SIGEV_THREAD_ID)
		ev.sigev_notify_thread_id = gettid();
	need(syscall(SYS_timer_create, w->clock, &ev, &id) == 0);
	return id;
}

static void arm(int id, int value_ms, int interval_ms)
{
	struct itimerspec it = { { interval_ms / 1000, interval_ms % 1000 * 1000000 },
				 { value_ms / 1000, value_ms % 1000 * 1000000 } };

	need(syscall(SYS_timer_settime, id, 0, &it, NULL) == 0);
}

static void set_up_posix(void)
{
	for (int i = 0; i < NR_WANTED; i++) {
		int gap = make(&wanted[0]);
		wanted[i].id = make(&wanted[i]);
		arm(wanted[i].id, wanted[i].value_ms, wanted[i].interval_ms);
		need(syscall(SYS_timer_delete, gap) == 0);
	}
}

static void check_posix(void)
{
	for (int i = 0; i < NR_WANTED; i++) {
		struct itimerspec it;
		expect(syscall(SYS_timer_gettime, wanted[i].id, &it) == 0, "timer %d is not there", wanted[i].id);
		int64_t left = it.it_value.tv_sec * 1000ll + it.it_value.tv_nsec / 1000000;
		int64_t interval = it.it_interval.tv_sec * 1000ll + it.it_interval.tv_nsec / 1000000;
		expect(interval == wanted[i].interval_ms, "interval of timer %d is %ld ms", i, (long)interval);
		expect(left <= wanted[i].value_ms + 10 &&
			       (wanted[i].value_ms ? left > wanted[i].value_ms - 60000 : left == 0),
		       "timer %d has %ld ms left", i, (long)left);
	}
	handle(40);
	arm(wanted[1].id, 1, 0);
	for (int i = 0; i < 100 && !fired[40]; i++)
		sleep_ms(10);
	expect(fired[40] == 1 && last_timerid == wanted[1].id, "timer id %d was told as %d", wanted[1].id,
	       last_timerid);
	expect(last_value == 600000, "value is %d", last_value);
	int next = make(&wanted[0]);
	expect(next > wanted[NR_WANTED - 1].id, "a new timer got the id %d", next);
}

/* --- many expirations while the signal is blocked: one signal, and a count of those that were missed */

static int overrun_id;

static void set_up_overrun(void)
{
	sigset_t set;

	handle(SIGUSR2);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	overrun_id = make(&(struct wanted){ CLOCK_MONOTONIC, SIGUSR2, 77, 0, SIGEV_SIGNAL, 0 });
	arm(overrun_id, 1, 1);
	sleep_ms(200);
}

static void check_overrun(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	arm(overrun_id, 0, 0);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	expect(fired[SIGUSR2] <= 1, "%d signals", (int)fired[SIGUSR2]);
	arm(overrun_id, 20, 20);
	for (int i = 0; i < 100 && fired[SIGUSR2] < 3; i++)
		sleep_ms(10);
	expect(fired[SIGUSR2] >= 3, "the timer fired %d times", (int)fired[SIGUSR2]);
	expect(last_value == 77, "value is %d", last_value);
}

/* --- a timer that has gone off for the last time: nothing but its signal, which waits, is left to tell of it */

static void set_up_expired(void)
{
	sigset_t set;

	handle(SIGUSR2);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	overrun_id = make(&(struct wanted){ CLOCK_MONOTONIC, SIGUSR2, 91, 0, SIGEV_SIGNAL, 0 });
	arm(overrun_id, 1, 0);
	for (int i = 0; i < 500 && !sigismember(&set, SIGUSR1); i++) {
		sigpending(&set);
		if (sigismember(&set, SIGUSR2))
			return;
		sleep_ms(10);
	}
	need(!"the timer went off");
}

static void check_expired(void)
{
	sigset_t set;
	struct itimerspec it;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	expect(syscall(SYS_timer_gettime, overrun_id, &it) == 0 && !it.it_value.tv_sec && !it.it_value.tv_nsec,
	       "the timer is armed again");
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	expect(fired[SIGUSR2] == 1, "%d signals", (int)fired[SIGUSR2]);
	expect(last_value == 91 && last_timerid == overrun_id, "value %d of timer %d", last_value, last_timerid);
	arm(overrun_id, 1, 0);
	for (int i = 0; i < 500 && fired[SIGUSR2] < 2; i++)
		sleep_ms(10);
	expect(fired[SIGUSR2] == 2, "the timer does not go off again");
}

/* --- timers that belong to threads */

static unsigned long owner;
static volatile int thread_fired;
static int thread_timer;
static pid_t owner_tid;

static void in_thread(int sig)
{
	thread_fired = gettid() == owner_tid ? 1 : -1;
}

static void *timer_owner(void *arg)
{
	owner_tid = gettid();
	thread_timer = make(&(struct wanted){ CLOCK_MONOTONIC, SIGUSR1, 5, 0, SIGEV_THREAD_ID, 0 });
	victim_thread_ready();
	victim_wait();
	for (int i = 0; i < 100 && !thread_fired; i++)
		sleep_ms(10);
	return NULL;
}

static void set_up_thread(void)
{
	need(signal(SIGUSR1, in_thread) != SIG_ERR);
	owner = victim_thread(timer_owner, NULL);
}

static void check_thread(void)
{
	arm(thread_timer, 20, 0);
	victim_join(owner);
	expect(thread_fired == 1, "the timer's signal came to the %s thread", thread_fired ? "wrong" : "no");
}

/* --- timers that go off all the time, before, while and after all is stopped: each of them once, and none is lost */

#define NR_SHOTS 1500

static volatile unsigned char shots[NR_SHOTS];

static void on_shot(int sig, siginfo_t *info, void *context)
{
	shots[info->si_value.sival_int]++;
}

static void bystander(long arg)
{
	victim_hold();
}

static pid_t bystanders[40];
static void set_up_shots(void)
{
	struct sigaction sa = { .sa_sigaction = on_shot, .sa_flags = SA_SIGINFO | SA_RESTART };

	/* the more there are to look at, the longer is the time between two looks at one of them */
	for (size_t i = 0; i < 40; i++)
		bystanders[i] = victim_fork(bystander, 0);
	need(sigaction(45, &sa, NULL) == 0);
	for (int i = 0; i < NR_SHOTS; i++) {
		struct sigevent ev = { .sigev_notify = i % 3 ? SIGEV_SIGNAL : SIGEV_THREAD_ID, .sigev_signo = 45, .sigev_value.sival_int = i };
		struct itimerspec it = { { 0, 0 }, { i / 1000, i % 1000 * 1000000 + 1 } };
		int id;

		ev.sigev_notify_thread_id = gettid();
		if (syscall(SYS_timer_create, CLOCK_MONOTONIC, &ev, &id) < 0)
			victim_skip("%d timers: %s", i, strerror(errno));
		need(syscall(SYS_timer_settime, id, 0, &it, NULL) == 0);
	}
}

static void check_shots(void)
{
	int missing = NR_SHOTS, twice = 0;

	for (int t = 0; t < 1000 && missing; t++) {
		missing = 0;
		for (int i = 0; i < NR_SHOTS; i++)
			missing += !shots[i];
		sleep_ms(10);
	}
	for (int i = 0; i < NR_SHOTS; i++)
		twice += shots[i] > 1;
	expect(!missing && !twice, "%d timers did not go off, %d did so twice", missing, twice);
	for (size_t i = 0; i < 40; i++)
		victim_reap(bystanders[i]);
}

/* --- timers on the processor time of somebody else: a parent, a child that is made later than its parent, a thread */

static pid_t worker;
static int clock_timer[3];
static volatile uint64_t *work; /* shared: 1 = burn processor time; and how often the child's timer went off */

static int clock_of(pid_t pid, bool thread)
{
	return (int)(~(unsigned)pid << 3 | 2 | (thread ? 4 : 0));
}

static void burn(void)
{
	while (!*work)
		sleep_ms(5);
	while (*work == 1)
		;
}

static void *burning_thread(void *arg)
{
	owner_tid = gettid();
	victim_thread_ready();
	burn();
	return arg;
}

static void on_others_time(int sig)
{
	work[1]++;
}

static void burning_child(long parent)
{
	int id = make(&(struct wanted){ clock_of((pid_t)parent, false), SIGUSR1, 61, 0, SIGEV_SIGNAL, 0 });

	need(signal(SIGUSR1, on_others_time) != SIG_ERR);
	arm(id, 100, 0);
	victim_held();
	burn();
	expect(work[1] == 1, "the timer on the parent's time went off %d times", (int)work[1]);
}

static void set_up_others_time(void)
{
	work = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	need(work != MAP_FAILED);
	handle(SIGUSR1);
	handle(SIGUSR2);
	worker = victim_fork(burning_child, getpid());
	owner = victim_thread(burning_thread, NULL);
	clock_timer[0] = make(&(struct wanted){ clock_of(worker, false), SIGUSR1, 62, 0, SIGEV_SIGNAL, 0 });
	clock_timer[1] = make(&(struct wanted){ clock_of(owner_tid, true), SIGUSR2, 63, 0, SIGEV_SIGNAL, 0 });
	arm(clock_timer[0], 100, 0);
	arm(clock_timer[1], 100, 0);
}

static void check_others_time(void)
{
	*work = 1;
	for (int i = 0; i < 1000 && !(fired[SIGUSR1] && fired[SIGUSR2] && work[1]); i++)
		sleep_ms(10);
	*work = 2;
	expect(fired[SIGUSR1] == 1 && fired[SIGUSR2] == 1, "on the child's time %d, on the thread's %d times", (int)fired[SIGUSR1],
	       (int)fired[SIGUSR2]);
	victim_join(owner);
	victim_reap(worker);
}

const struct victim_case victim_cases[] = {
	{ "itimers", set_up_itimers, check_itimers, .flags = CASE_MORE },
	{ "itimer-interval", set_up_interval, check_interval },
	{ "itimer-waiting", set_up_waiting, check_waiting, .flags = CASE_MORE },
	{ "alarm", set_up_alarm, check_alarm },
	{ "posix", set_up_posix, check_posix, .flags = CASE_MORE },
	{ "posix-overrun", set_up_overrun, check_overrun, .flags = CASE_ALTERS },
	{ "posix-expired", set_up_expired, check_expired },
	{ "posix-others-time", set_up_others_time, check_others_time },
	{ "posix-passing", set_up_shots, check_shots, .flags = CASE_ALTERS },
	{ "posix-thread", set_up_thread, check_thread },
	{ 0 },
};

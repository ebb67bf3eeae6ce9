/* Signals: what is done about them, which are blocked, and which wait to be delivered, with all that was sent along. */
#include "victim.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

/* the kernel's own struct, with the restorer that the C library hides */
struct kernel_action {
	void *handler;
	unsigned long flags;
	void *restorer;
	uint64_t mask;
};

static struct kernel_action actions[65];
static siginfo_t sent[64], got[64];
static volatile sig_atomic_t nr_got;
static uint64_t all_but_some;

static void collect(int sig, siginfo_t *info, void *context)
{
	if (nr_got < 64)
		got[nr_got++] = *info;
}

static void get_action(int sig, struct kernel_action *ret)
{
	memset(ret, 0, sizeof(*ret));
	need(syscall(SYS_rt_sigaction, sig, NULL, ret, 8) == 0);
}

static void other_handler(int sig) {}

static void set_up_actions(void)
{
	static const unsigned long flags[] = { SA_SIGINFO,   SA_RESTART,
					       SA_NODEFER,   SA_RESETHAND,
					       SA_ONSTACK,   SA_NOCLDSTOP,
					       SA_NOCLDWAIT, SA_SIGINFO | SA_RESTART | SA_ONSTACK };

	for (int sig = 1; sig <= 64; sig++) {
		struct kernel_action sa;
		if (sig == SIGKILL || sig == SIGSTOP)
			continue;
		get_action(sig, &sa);
		sa.handler = sig % 5 == 0   ? SIG_IGN
			     : sig % 5 == 1 ? SIG_DFL
			     : sig % 5 == 2 ? (void *)collect
					    : (void *)other_handler;
		sa.flags = flags[sig % 8] | 0x04000000;
		sa.restorer = (void *)(0x123450000ul + (unsigned long)sig);
		sa.mask = 0x0101010101010101ull << sig % 8;
		need(syscall(SYS_rt_sigaction, sig, &sa, NULL, 8) == 0);
		get_action(sig, &actions[sig]);
	}
}

static void check_actions(void)
{
	for (int sig = 1; sig <= 64; sig++) {
		struct kernel_action sa;
		if (sig == SIGKILL || sig == SIGSTOP)
			continue;
		get_action(sig, &sa);
		expect(sa.handler == actions[sig].handler && sa.restorer == actions[sig].restorer,
		       "handler of signal %d", sig);
		expect(sa.flags == actions[sig].flags, "flags of signal %d were %lx, are %lx", sig, actions[sig].flags,
		       sa.flags);
		expect(sa.mask == actions[sig].mask, "mask of signal %d was %lx, is %lx", sig, actions[sig].mask,
		       sa.mask);
	}
}

static void block(bool yes)
{
	need(syscall(SYS_rt_sigprocmask, yes ? SIG_BLOCK : SIG_UNBLOCK, &all_but_some, NULL, 8) == 0);
}

static void handle_all(void)
{
	struct sigaction sa = { .sa_sigaction = collect, .sa_flags = SA_SIGINFO };

	sigfillset(&sa.sa_mask);
	for (int sig = 1; sig <= 64; sig++)
		if (sig != 32 && sig != 33)
			sigaction(sig, &sa, NULL);
	all_but_some = ~(1ull << (SIGSEGV - 1) | 1ull << 31 | 1ull << 32);
	block(true);
}

static void send(pid_t pid, pid_t tid, int i, int sig, int code)
{
	sent[i] = (siginfo_t){ .si_signo = sig, .si_code = code, .si_errno = 0 };
	sent[i].si_pid = getpid() + i;
	sent[i].si_uid = 500 + (unsigned)i;
	sent[i].si_value.sival_ptr = (void *)(0x1000000000ul + (unsigned long)i);
	if (tid)
		need(syscall(SYS_rt_tgsigqueueinfo, pid, tid, sig, &sent[i]) == 0);
	else
		need(syscall(SYS_rt_sigqueueinfo, pid, sig, &sent[i]) == 0);
}

/* lowest signal first, signals of the thread before those of the process: what the kernel does on any unblocking */
static void expect_got(int nr, const int *order)
{
	nr_got = 0;
	block(false);
	expect(nr_got == nr, "%d signals were delivered, should be %d", (int)nr_got, nr);
	for (int i = 0; i < nr && i < nr_got; i++) {
		const siginfo_t *s = &sent[order[i]], *g = &got[i];
		expect(s->si_signo == g->si_signo && s->si_code == g->si_code && s->si_pid == g->si_pid &&
			       s->si_uid == g->si_uid && s->si_value.sival_ptr == g->si_value.sival_ptr,
		       "delivery %d: signal %d code %d pid %d uid %d value %p; should be signal %d code %d value %p", i,
		       g->si_signo, g->si_code, g->si_pid, (int)g->si_uid, g->si_value.sival_ptr, s->si_signo,
		       s->si_code, s->si_value.sival_ptr);
	}
}

static void set_up_shared(void)
{
	handle_all();
	send(getpid(), 0, 0, SIGUSR1, SI_QUEUE);
	send(getpid(), 0, 1, SIGTERM, SI_USER);
	send(getpid(), 0, 2, SIGINT, SI_KERNEL);
	send(getpid(), 0, 3, SIGCHLD, CLD_EXITED);
}

static void check_shared(void)
{
	expect_got(4, (const int[]){ 2, 0, 1, 3 });
}

static void set_up_private(void)
{
	handle_all();
	send(getpid(), gettid(), 0, SIGUSR1, SI_TKILL);
	send(getpid(), gettid(), 1, SIGRTMIN + 2, SI_QUEUE);
	send(getpid(), 0, 2, SIGUSR1, SI_QUEUE);
	send(getpid(), gettid(), 3, SIGTRAP, TRAP_BRKPT);
}

static void check_private(void)
{
	/* the handlers block all others, so delivery goes on in order of the queues: the thread's own first */
	expect_got(4, (const int[]){ 3, 0, 1, 2 });
}

static void set_up_queue(void)
{
	static const int off[] = { 5, 1, 5, 3, 1, 5, 1, 30 };

	handle_all();
	for (int i = 0; i < 8; i++)
		send(getpid(), 0, i, 34 + off[i], SI_QUEUE);
}

static void check_queue(void)
{
	expect_got(8, (const int[]){ 1, 4, 6, 3, 0, 2, 5, 7 });
}

/* --- private ones of threads that are not the leader */

static pthread_t threads[4];
static int thread_got[4];

static void *blocked_thread(void *arg)
{
	long i = (long)arg;
	sigset_t set;
	siginfo_t info;

	victim_thread_ready();
	victim_wait();
	sigfillset(&set);
	struct timespec none = { 0, 0 };
	while (sigtimedwait(&set, &info, &none) > 0) {
		thread_got[i]++;
		expect(info.si_signo == SIGUSR1 + (i & 1) * 2 || info.si_signo == 40 + i, "thread %ld got %d", i,
		       info.si_signo);
		expect(info.si_value.sival_int == (int)i, "value %d", info.si_value.sival_int);
	}
	return NULL;
}

static void set_up_threads(void)
{
	handle_all();
	for (long i = 0; i < 4; i++) {
		threads[i] = victim_thread(blocked_thread, (void *)i);
		union sigval value = { .sival_int = (int)i };
		need(pthread_sigqueue(threads[i], (int)(SIGUSR1 + (i & 1) * 2), value) == 0);
		need(pthread_sigqueue(threads[i], (int)(40 + i), value) == 0);
		need(pthread_sigqueue(threads[i], (int)(40 + i), value) == 0);
	}
}

static void check_threads(void)
{
	for (int i = 0; i < 4; i++) {
		victim_join(threads[i]);
		expect(thread_got[i] == 3, "thread %d had %d signals, should be 3", i, thread_got[i]);
	}
}

/* --- a checkpoint in the middle of a handler: the frame, its mask and the way back out of it */

static volatile int depth, wrong;
static unsigned long inside;

static void nested(int sig, siginfo_t *info, void *context)
{
	sigset_t now;

	if (info->si_value.sival_int < 3) {
		union sigval value = { .sival_int = info->si_value.sival_int + 1 };
		pthread_sigqueue(pthread_self(), sig + 1, value);
	} else {
		victim_thread_ready();
		victim_wait();
	}
	pthread_sigmask(SIG_SETMASK, NULL, &now);
	wrong += !sigismember(&now, sig) || !sigismember(&now, SIGALRM);
	depth++;
}

static void *handler_thread(void *arg)
{
	union sigval value = { .sival_int = 0 };
	sigset_t now;
	volatile double before = 1.0 / 3;

	pthread_sigqueue(pthread_self(), 40, value);
	pthread_sigmask(SIG_SETMASK, NULL, &now);
	expect(depth == 4, "%d handlers returned, should be 4", depth);
	expect(wrong == 0, "%d handlers saw a wrong mask", wrong);
	expect(!sigismember(&now, 40) && !sigismember(&now, SIGALRM), "mask after the handlers");
	expect(before == 1.0 / 3, "floating point");
	return NULL;
}

static void set_up_in_handler(void)
{
	struct sigaction sa = { .sa_sigaction = nested, .sa_flags = SA_SIGINFO };

	sigaddset(&sa.sa_mask, SIGALRM);
	for (int i = 0; i < 4; i++)
		need(sigaction(40 + i, &sa, NULL) == 0);
	inside = victim_thread(handler_thread, NULL);
}

static void check_in_handler(void)
{
	victim_join(inside);
}

/* --- signals whose siginfo is of another shape: input that came, a child that stopped, a thread's own fault */

static int io[2];

static void set_up_shapes(void)
{
	handle_all();
	need(pipe(io) == 0 && fcntl(io[0], F_SETOWN, getpid()) == 0 && fcntl(io[0], F_SETSIG, 45) == 0 &&
	     fcntl(io[0], F_SETFL, O_ASYNC) == 0 && write(io[1], "x", 1) == 1);
	siginfo_t fault = { .si_signo = SIGBUS, .si_code = BUS_MCEERR_AO };
	fault.si_addr = (void *)0x123456789000ul;
	fault.si_addr_lsb = 12;
	need(syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), SIGBUS, &fault) == 0);
	siginfo_t ended = { .si_signo = SIGCHLD, .si_code = CLD_STOPPED };
	ended.si_pid = 77;
	ended.si_uid = 88;
	ended.si_status = SIGTTIN;
	ended.si_utime = 99;
	need(syscall(SYS_rt_sigqueueinfo, getpid(), SIGCHLD, &ended) == 0);
}

static void check_shapes(void)
{
	int seen = 0;

	nr_got = 0;
	block(false);
	for (int i = 0; i < nr_got; i++) {
		if (got[i].si_signo == 45 && got[i].si_code == POLL_IN && got[i].si_fd == io[0] && got[i].si_band & 1)
			seen |= 1;
		if (got[i].si_signo == SIGBUS && got[i].si_code == BUS_MCEERR_AO && got[i].si_addr == (void *)0x123456789000ul &&
		    got[i].si_addr_lsb == 12)
			seen |= 2;
		if (got[i].si_signo == SIGCHLD && got[i].si_code == CLD_STOPPED && got[i].si_pid == 77 && got[i].si_uid == 88 &&
		    got[i].si_status == SIGTTIN && got[i].si_utime == 99)
			seen |= 4;
	}
	expect(nr_got == 3 && seen == 7, "%d signals, %x of them as they were", (int)nr_got, seen);
}

/* --- a real SIGCHLD, and a stop signal that is pending because it is blocked */

static pid_t zombie;

static void set_up_real(void)
{
	handle_all();
	zombie = fork();
	if (zombie == 0)
		_exit(7);
	siginfo_t info;
	need(waitid(P_PID, (id_t)zombie, &info, WEXITED | WNOWAIT) == 0);
	kill(getpid(), SIGTSTP);
	kill(getpid(), SIGHUP);
}

static void check_real(void)
{
	int chld = 0, stop = 0, hup = 0;

	nr_got = 0;
	block(false);
	for (int i = 0; i < nr_got; i++) {
		chld += got[i].si_signo == SIGCHLD && got[i].si_pid == zombie && got[i].si_status == 7;
		stop += got[i].si_signo == SIGTSTP && got[i].si_pid == getpid();
		hup += got[i].si_signo == SIGHUP && got[i].si_code == SI_USER;
	}
	expect(nr_got == 3 && chld == 1 && stop == 1 && hup == 1, "%d delivered: SIGCHLD %d SIGTSTP %d SIGHUP %d",
	       (int)nr_got, chld, stop, hup);
	int status;
	expect(waitpid(zombie, &status, 0) == zombie && WEXITSTATUS(status) == 7, "zombie");
}

/* --- pending although there was no room in the queue: nothing is known of who sent them */

static void set_up_unqueued(void)
{
	struct rlimit none = { 0, 1000 };
	union sigval value = { .sival_int = 5 };

	handle_all();
	need(setrlimit(RLIMIT_SIGPENDING, &none) == 0);
	need(sigqueue(getpid(), SIGRTMIN + 3, value) < 0 && errno == EAGAIN);
	need(raise(SIGUSR1) == 0);
	need(sigqueue(getpid(), SIGUSR2, value) == 0);
	kill(getpid(), SIGHUP);
}

static void check_unqueued(void)
{
	unsigned seen = 0;

	nr_got = 0;
	block(false);
	for (int i = 0; i < nr_got; i++) {
		bool nobody = got[i].si_code == SI_USER && got[i].si_pid == 0 && got[i].si_uid == 0;

		seen |= got[i].si_signo == SIGUSR1 && nobody ? 1 : 0;
		seen |= got[i].si_signo == SIGUSR2 && nobody ? 2 : 0;
		seen |= got[i].si_signo == SIGHUP && got[i].si_code == SI_USER && got[i].si_pid == getpid() ? 4 : 0;
	}
	expect(nr_got == 3 && seen == 7, "%d signals, %x of them as they were", (int)nr_got, seen);
}

const struct victim_case victim_cases[] = {
	{ "actions", set_up_actions, check_actions, .flags = CASE_MORE },
	{ "pending-shared", set_up_shared, check_shared, .flags = CASE_MORE },
	{ "pending-private", set_up_private, check_private },
	{ "realtime-queue", set_up_queue, check_queue },
	{ "pending-threads", set_up_threads, check_threads, .flags = CASE_MORE },
	{ "in-handler", set_up_in_handler, check_in_handler, .flags = CASE_MORE },
	{ "pending-shapes", set_up_shapes, check_shapes },
	{ "pending-real", set_up_real, check_real },
	{ "pending-unqueued", set_up_unqueued, check_unqueued, .flags = CASE_MORE },
	{ 0 },
};

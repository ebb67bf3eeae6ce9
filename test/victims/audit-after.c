/*
 * What a restored process goes on to do: new threads, locks that were held across the checkpoint, fork and exec, growing
 * heap and stack, programs with other privileges, timers that fire meanwhile, the vDSO.
 */
#include "victim.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

extern char **environ;

/* --- threads: made before and after, joined, cancelled, with storage of their own */

static pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER, cond_lock = PTHREAD_MUTEX_INITIALIZER, pi, robust;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static pthread_rwlock_t rw = PTHREAD_RWLOCK_INITIALIZER;
static pthread_barrier_t barrier;
static pthread_key_t key;
static atomic_int got_held, timed_out, told, destroyed, pi_got;
static __thread int own = 5;
static unsigned long t[8];
static pid_t pid_was, tid_was;

static void destroy(void *p)
{
	atomic_fetch_add(&destroyed, 1);
}
static void *wants_held(void *arg)
{
	pthread_setspecific(key, &own);
	victim_thread_ready();
	pthread_mutex_lock(&held);
	atomic_store(&got_held, 1);
	pthread_mutex_unlock(&held);
	return NULL;
}
static void *waits_timed(void *arg)
{
	struct timespec ts;
	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_sec += 6;
	pthread_mutex_lock(&cond_lock);
	victim_thread_ready();
	int r;
	while ((r = pthread_cond_timedwait(&cond, &cond_lock, &ts)) == 0 && !atomic_load(&told))
		;
	atomic_store(&timed_out, r == ETIMEDOUT);
	pthread_mutex_unlock(&cond_lock);
	return NULL;
}
static void *waits_told(void *arg)
{
	pthread_mutex_lock(&cond_lock);
	victim_thread_ready();
	while (!atomic_load(&told))
		pthread_cond_wait(&cond, &cond_lock);
	pthread_mutex_unlock(&cond_lock);
	return NULL;
}
static void *wants_pi(void *arg)
{
	victim_thread_ready();
	atomic_store(&pi_got, pthread_mutex_lock(&pi) == 0 ? 1 : -1);
	pthread_mutex_unlock(&pi);
	return NULL;
}
static void *dies_with_robust(void *arg)
{
	pthread_mutex_lock(&robust);
	victim_thread_ready();
	victim_wait();
	return NULL; /* without unlocking */
}
static void *at_barrier(void *arg)
{
	victim_thread_ready();
	pthread_barrier_wait(&barrier);
	return NULL;
}
static void *sleeper(void *arg)
{
	victim_thread_ready();
	for (;;)
		pause();
	return NULL;
}
static void *quick(void *arg)
{
	own += (int)(long)arg;
	return (void *)(long)own;
}

static void set_up_pthread(void)
{
	pthread_mutexattr_t a;

	pthread_mutexattr_init(&a);
	pthread_mutexattr_setprotocol(&a, PTHREAD_PRIO_INHERIT);
	need(pthread_mutex_init(&pi, &a) == 0);
	pthread_mutexattr_init(&a);
	pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
	need(pthread_mutex_init(&robust, &a) == 0);
	pthread_key_create(&key, destroy);
	pthread_barrier_init(&barrier, NULL, 2);
	pthread_mutex_lock(&held);
	pthread_mutex_lock(&pi);
	pthread_rwlock_rdlock(&rw);
	t[0] = victim_thread(wants_held, NULL);
	t[1] = victim_thread(waits_timed, NULL);
	t[2] = victim_thread(waits_told, NULL);
	t[3] = victim_thread(wants_pi, NULL);
	t[4] = victim_thread(dies_with_robust, NULL);
	t[5] = victim_thread(at_barrier, NULL);
	t[6] = victim_thread(sleeper, NULL);
	pid_was = getpid();
	tid_was = gettid();
	sleep_ms(50);
}

static void check_pthread(void)
{
	void *value;
	pthread_t more[20];

	expect(getpid() == pid_was && gettid() == tid_was, "ids");
	expect(!got_held && !pi_got, "locks are free");
	pthread_mutex_unlock(&held);
	expect(pthread_mutex_unlock(&pi) == 0, "unlock with inheritance");
	expect(pthread_rwlock_unlock(&rw) == 0 && pthread_rwlock_wrlock(&rw) == 0, "rwlock");
	victim_join(t[0]);
	victim_join(t[3]);
	expect(got_held == 1 && pi_got == 1 && destroyed == 1, "held %d pi %d destroyed %d", got_held, pi_got,
	       destroyed);
	victim_join(t[4]);
	expect(pthread_mutex_lock(&robust) == EOWNERDEAD && pthread_mutex_consistent(&robust) == 0, "robust mutex");
	pthread_mutex_unlock(&robust);
	pthread_barrier_wait(&barrier);
	victim_join(t[5]);
	victim_join(t[1]);
	expect(timed_out, "the timed wait did not time out");
	pthread_mutex_lock(&cond_lock);
	told = 1;
	pthread_cond_broadcast(&cond);
	pthread_mutex_unlock(&cond_lock);
	victim_join(t[2]);
	expect(pthread_cancel(t[6]) == 0 && pthread_join(t[6], &value) == 0 && value == PTHREAD_CANCELED,
	       "cancelled thread");
	for (long i = 0; i < 20; i++) {
		errno = pthread_create(&more[i], NULL, quick, (void *)i);
		expect(errno == 0, "pthread_create");
	}
	for (long i = 0; i < 20; i++)
		expect(pthread_join(more[i], &value) == 0 && (long)value == 5 + i, "thread %ld gives %ld", i,
		       (long)value);
	expect(own == 5, "storage of the leader");
}

/* --- processes */

static void set_up_nothing(void)
{
	pid_was = getpid();
}

static int run(char *const argv[])
{
	pid_t pid;
	int status = -1;

	errno = posix_spawn(&pid, argv[0], NULL, NULL, argv, environ);
	expect(errno == 0, "posix_spawn %s", argv[0]);
	waitpid(pid, &status, 0);
	return status;
}

static void check_processes(void)
{
	int status, fds[2];
	char text[64] = "";

	expect(run((char *[]){ "/bin/sh", "-c", "test \"$VICTIM_MARK\" = 'one two' && exit 3", NULL }) == 3 << 8, "sh");
	expect(system("/bin/true") == 0, "system");
	need(pipe(fds) == 0);
	pid_t pid = vfork();
	if (pid == 0) {
		dup2(fds[1], 1);
		execl("/bin/echo", "echo", "hello", NULL);
		_exit(9);
	}
	close(fds[1]);
	expect(read(fds[0], text, 60) == 6 && strcmp(text, "hello\n") == 0, "echo says %s", text);
	expect(waitpid(pid, &status, 0) == pid && status == 0, "vfork and exec");
	pid = fork();
	if (pid == 0) {
		if (getpid() == pid_was || getppid() != pid_was)
			_exit(1);
		signal(SIGABRT, SIG_DFL);
		setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
		abort();
	}
	expect(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "abort gives %x",
	       status);
	for (int i = 0; i < 50; i++) {
		pid = fork();
		if (pid == 0)
			_exit(i);
		expect(waitpid(pid, &status, 0) == pid && status == i << 8, "child %d", i);
	}
}

/* a program with the set-user-id bit gains its owner's id when a restored process runs it */
static void setuid_kid(long arg)
{
	need(setresgid(1000, 1000, 1000) == 0 && setresuid(1000, 1000, 1000) == 0);
	victim_hold();
	char uid[16] = "";
	int fds[2], status;
	need(pipe(fds) == 0);
	pid_t pid = fork();
	if (pid == 0) {
		dup2(fds[1], 1);
		execl(victim_path("id"), "id", "-u", NULL);
		_exit(9);
	}
	waitpid(pid, &status, 0);
	expect(read(fds[0], uid, 15) > 0 && atoi(uid) == 0 && uid[0] == '0', "effective uid is %s, status %x", uid,
	       status);
}
static void *mem;
static pid_t kid;
static void set_up_setuid(void)
{
	static char buf[1 << 20];
	int fd = open("/usr/bin/id", O_RDONLY);
	ssize_t n = read(fd, buf, sizeof(buf));

	need(n > 0);
	close(fd);
	spill(victim_path("id"), buf, (size_t)n);
	memset(buf, 0, sizeof(buf));
	need(chmod(victim_path("id"), 04755) == 0);
	kid = victim_fork(setuid_kid, 0);
}
static void check_setuid(void)
{
	victim_reap(kid);
}

/* --- memory */

static char *heap;
static int deep(int n)
{
	volatile char room[65536];
	room[0] = (char)n;
	room[65535] = 1;
	return n ? deep(n - 1) + room[65535] : room[0];
}
static void set_up_growth(void)
{
	mallopt(M_MMAP_THRESHOLD, 1 << 30);
	heap = malloc(100000);
	pattern_fill(heap, 100000, 3);
}
static void check_growth(void)
{
	struct rlimit rl;
	char *top = sbrk(0), *p[64];

	for (int i = 0; i < 64; i++) {
		p[i] = malloc(1 << 20);
		expect(p[i] != NULL, "malloc");
		pattern_fill(p[i], 1 << 20, (uint64_t)i);
	}
	expect((char *)sbrk(0) > top, "the heap did not grow by brk: %p", sbrk(0));
	for (int i = 0; i < 64; i++)
		expect(pattern_same(p[i], 1 << 20, (uint64_t)i), "block %d", i);
	expect(pattern_same(heap, 100000, 3), "block of before");
	getrlimit(RLIMIT_STACK, &rl);
	int pages = rl.rlim_cur == RLIM_INFINITY ? 100 : (int)(rl.rlim_cur / 65600) - 4;
	expect(deep(pages) == pages, "stack of %d", pages);
	/* the last stretch up to the limit is still the stack's, beyond it is a fault */
	pid_t pid = fork();
	int status;
	if (pid == 0) {
		setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
		signal(SIGSEGV, SIG_DFL);
		deep(pages + 16);
		_exit(0);
	}
	expect(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV, "status %x",
	       status);
	void *a = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	void *b = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	expect(a != MAP_FAILED && b != MAP_FAILED && (char *)b < (char *)a && (uintptr_t)a > 0x700000000000,
	       "mappings come at %p and %p", a, b);
	void *h = dlopen("libm.so.6", RTLD_NOW);
	expect(h && dlsym(h, "cos"), "dlopen");
	expect(!malloc_info(0, fopen("/dev/null", "w")), "malloc_info");
}

/* --- timers and signals that go on during the checkpoint */

static atomic_ulong ticks, steps;
static volatile sig_atomic_t depth, nested;
static void on_tick(int sig, siginfo_t *info, void *ctx)
{
	int saved = errno;
	if (depth++)
		nested = 1;
	atomic_fetch_add(&ticks, 1);
	errno = 77;
	depth--;
	errno = saved;
}
static atomic_int stop_spin;
static void *spinner(void *arg)
{
	uint64_t x = 1;
	victim_thread_ready();
	while (!atomic_load(&stop_spin)) {
		/* arithmetic that a lost register or flag would spoil */
		uint64_t y = x * 2862933555777941757u + 3037000493u, z = 0;
		for (int i = 0; i < 50; i++)
			z += (y >> i) & 1;
		if ((uint64_t)__builtin_popcountll(y & ((1ull << 50) - 1)) != z) {
			mem = (void *)1;
			break;
		}
		x = y;
		atomic_fetch_add(&steps, 1);
	}
	return NULL;
}
static void set_up_ticks(void)
{
	struct sigaction sa = { .sa_sigaction = on_tick, .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK };
	struct itimerval it = { { 0, 500 }, { 0, 500 } };
	static char stack[65536];
	stack_t ss = { .ss_sp = stack, .ss_size = sizeof(stack) };
	need(sigaltstack(&ss, NULL) == 0);
	need(sigaction(SIGALRM, &sa, NULL) == 0 && sigaction(SIGRTMIN + 1, &sa, NULL) == 0 &&
	     sigaction(SIGPROF, &sa, NULL) == 0);
	t[0] = victim_thread(spinner, NULL);
	need(setitimer(ITIMER_REAL, &it, NULL) == 0 && setitimer(ITIMER_PROF, &it, NULL) == 0);
	struct sigevent ev = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 1 };
	timer_t id;
	struct itimerspec its = { { 0, 300000 }, { 0, 300000 } };
	need(timer_create(CLOCK_MONOTONIC, &ev, &id) == 0 && timer_settime(id, 0, &its, NULL) == 0);
	atomic_store(&ticks, 0);
}
static void check_ticks(void)
{
	unsigned long before = ticks, s = steps;
	uint64_t end = now_ns(CLOCK_MONOTONIC) + 200000000;
	while (now_ns(CLOCK_MONOTONIC) < end)
		sleep_ms(1);
	expect(ticks > before + 50, "%lu ticks in 200 ms", ticks - before);
	expect(steps > s, "the spinning thread stands still");
	stop_spin = 1;
	victim_join(t[0]);
	expect(!mem, "arithmetic went wrong");
}

/* --- time */
static uint64_t mono_was, real_was, boot_was;
static void set_up_clocks(void)
{
	mono_was = now_ns(CLOCK_MONOTONIC);
	real_was = now_ns(CLOCK_REALTIME);
	boot_was = now_ns(CLOCK_BOOTTIME);
}
static void check_clocks(void)
{
	static const int ids[] = { CLOCK_REALTIME,        CLOCK_MONOTONIC,        CLOCK_BOOTTIME, CLOCK_MONOTONIC_RAW,
				   CLOCK_REALTIME_COARSE, CLOCK_MONOTONIC_COARSE, CLOCK_TAI };
	for (size_t i = 0; i < 7; i++) {
		struct timespec kernel;
		uint64_t a = now_ns(ids[i]);
		expect(syscall(SYS_clock_gettime, ids[i], &kernel) == 0, "clock_gettime");
		uint64_t k = (uint64_t)kernel.tv_sec * 1000000000u + (uint64_t)kernel.tv_nsec;
		expect(k + 20000000 > a && k < a + 20000000, "clock %d: vdso says %lu, kernel %lu", ids[i], a, k);
	}
	expect(now_ns(CLOCK_MONOTONIC) > mono_was && now_ns(CLOCK_MONOTONIC) < mono_was + 60000000000u, "monotonic");
	unsigned cpu = 99;
	expect(getcpu(&cpu, NULL) == 0 && cpu < 64, "getcpu says %u", cpu);
	struct timeval tv;
	expect(gettimeofday(&tv, NULL) == 0 && (uint64_t)tv.tv_sec * 1000000000u >= real_was - 1000000000u,
	       "gettimeofday");
	expect(time(NULL) >= (time_t)(real_was / 1000000000u), "time");
}

/* --- signals right after: queued from a child as soon as it runs */
static atomic_int usr;
static void on_usr(int sig, siginfo_t *info, void *ctx)
{
	if (info->si_code == SI_QUEUE)
		atomic_fetch_add(&usr, 1);
}
static void storm(long arg)
{
	union sigval v = { .sival_int = 9 };
	victim_held();
	while (!victim_gone_on()) {
		sigqueue(getppid(), SIGUSR1, v);
		sleep_ms(1);
	}
}
static void set_up_storm(void)
{
	struct sigaction sa = { .sa_sigaction = on_usr, .sa_flags = SA_SIGINFO };
	need(sigaction(SIGUSR1, &sa, NULL) == 0);
	kid = victim_fork(storm, 0);
}
static void check_storm(void)
{
	victim_reap(kid);
	expect(usr > 0, "%d signals", usr);
}

/* --- a handler on the alternate stack is running, and leaves by siglongjmp or by returning through both frames */
static sigjmp_buf jump;
static volatile int inner_done, by_jump;
static void on_inner(int sig, siginfo_t *info, void *ctx)
{
	victim_held();
	need(rename(victim_path("almost"), victim_path("ready")) == 0);
	victim_wait();
	inner_done = 1;
	if (by_jump)
		siglongjmp(jump, 1);
}
static void on_outer(int sig)
{
	raise(SIGUSR2);
	if (!inner_done)
		_exit(44);
}
static void nested_frames(bool jumping)
{
	static char stack[65536];
	stack_t ss = { .ss_sp = stack, .ss_size = sizeof(stack) }, now;
	struct sigaction outer = { .sa_handler = on_outer, .sa_flags = SA_ONSTACK },
			 inner = { .sa_sigaction = on_inner, .sa_flags = SA_SIGINFO | SA_NODEFER };

	by_jump = jumping;
	spill(victim_path("almost"), "", 0);
	need(sigaltstack(&ss, NULL) == 0 && sigaction(SIGUSR1, &outer, NULL) == 0 &&
	     sigaction(SIGUSR2, &inner, NULL) == 0);
	if (sigsetjmp(jump, 1) == 0)
		raise(SIGUSR1);
	expect(inner_done == 1, "the handler did not end");
	sigset_t set;
	sigprocmask(SIG_BLOCK, NULL, &set);
	expect(!sigismember(&set, SIGUSR1) && !sigismember(&set, SIGUSR2), "signals are still blocked");
	expect(sigaltstack(NULL, &now) == 0 && now.ss_sp == stack && now.ss_flags == 0, "alternate stack flags %x",
	       now.ss_flags);
}
static void set_up_frames(void)
{
	nested_frames(false);
}
static void set_up_jump(void)
{
	nested_frames(true);
}

/* --- the root has a parent-death signal: kept if who restores it stays its parent, otherwise it must not be sent at once */
static void set_up_pdeath(void)
{
	need(prctl(PR_SET_PDEATHSIG, SIGTERM) == 0);
}
static void check_pdeath(void)
{
	int now = -1;
	expect(prctl(PR_GET_PDEATHSIG, &now) == 0 && (now == SIGTERM || now == 0), "parent death signal is %d", now);
}

const struct victim_case victim_cases[] = {
	{ "pthread", set_up_pthread, check_pthread, .flags = CASE_MORE | CASE_ALTERS },
	{ "processes", set_up_nothing, check_processes, .flags = CASE_MORE },
	{ "setuid", set_up_setuid, check_setuid },
	{ "growth", set_up_growth, check_growth, .flags = CASE_MORE },
	{ "ticks", set_up_ticks, check_ticks, .flags = CASE_MORE | CASE_ALTERS },
	{ "clocks", set_up_clocks, check_clocks, .flags = CASE_MORE },
	{ "storm", set_up_storm, check_storm, .flags = CASE_MORE | CASE_ALTERS },
	{ "root-pdeathsig", set_up_pdeath, check_pdeath, .flags = CASE_MORE },
	{ "nested-frames", set_up_frames, NULL, .flags = CASE_ALTERS },
	{ "jump-out", set_up_jump, NULL, .flags = CASE_ALTERS },
	{ NULL },
};

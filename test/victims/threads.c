/* Threads: their number, names, masks, stacks, lists the kernel knows of, credentials and scheduling of their own. */
#include "victim.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1U << 31)
#endif
#define NR_MANY 2000

static pthread_t threads[NR_MANY];
static int nr_threads;
static sem_t go;
static _Thread_local uint64_t mine;

static void join_all(void)
{
	for (int i = 0; i < nr_threads; i++)
		victim_join(threads[i]);
}

static void start(void *(*fn)(void *), long nr)
{
	for (long i = 0; i < nr; i++)
		threads[nr_threads++] = victim_thread(fn, (void *)i);
}

/* --- many, asleep in a futex, each with a value in thread-local storage */

static void *sleeper(void *arg)
{
	mine = (uint64_t)(long)arg * 7919 + 1;
	pid_t tid = gettid();
	victim_thread_ready();
	while (sem_wait(&go) < 0)
		;
	expect(mine == (uint64_t)(long)arg * 7919 + 1, "thread-local value of thread %ld is %lu", (long)arg, mine);
	expect(gettid() == tid, "tid was %d", (int)tid);
	return NULL;
}

static void set_up_many(void)
{
	start(sleeper, NR_MANY);
}

static void check_many(void)
{
	for (int i = 0; i < nr_threads; i++)
		sem_post(&go);
	join_all();
}

/* --- a leader that has exited: the case goes on in another thread */

static void *successor(void *arg)
{
	char path[64], text[600] = "";

	victim_thread_ready();
	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)getpid());
	while (!strstr(text, ") Z")) {
		slurp(path, text, sizeof(text));
		sleep_ms(1);
	}
	victim_finish();
}

static void set_up_exited_leader(void)
{
	start(sleeper, 2);
	victim_thread(successor, NULL);
	syscall(SYS_exit, 3);
}

/* --- and one that has a child which asked to be told of the end of the thread that it is a child of */

static volatile sig_atomic_t told;
static pid_t child;

static void on_told(int sig)
{
	told = sig;
}

static void asks_to_be_told(long arg)
{
	int now = 0;

	need(signal(SIGUSR1, on_told) != SIG_ERR && prctl(PR_SET_PDEATHSIG, SIGUSR1) == 0);
	victim_hold();
	expect(!told, "told of a death");
	expect(prctl(PR_GET_PDEATHSIG, &now) == 0 && now == SIGUSR1, "death signal is %d", now);
}

static void *successor_with_child(void *arg)
{
	char path[64], text[600] = "";

	victim_thread_ready();
	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)getpid());
	while (!strstr(text, ") Z")) {
		slurp(path, text, sizeof(text));
		sleep_ms(1);
	}
	child = victim_fork(asks_to_be_told, 0);
	victim_finish();
}

static void set_up_exited_leader_child(void)
{
	signal(SIGWINCH, SIG_DFL);
	victim_thread(successor_with_child, NULL);
	syscall(SYS_exit, 3);
}

static void check_exited_leader_child(void)
{
	sigset_t all, waiting;

	/* ignored by default: the kernel asks the main thread, dead or not, whether it may be dropped */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	kill(getpid(), SIGWINCH);
	sigpending(&waiting);
	expect(!sigismember(&waiting, SIGWINCH), "an ignored signal was queued: the main thread has another mask");
	victim_reap(child);
}

/* --- names, also hostile ones */

static const char *const names[] = { "plain",           "",        "with space", ") R 1 1 (", "line\nbreak",
				     "fifteen letters", "\xff\xfe" };

static void *named(void *arg)
{
	const char *name = names[(long)arg];
	char now[17] = "";

	need(prctl(PR_SET_NAME, name) == 0);
	victim_thread_ready();
	victim_wait();
	expect(prctl(PR_GET_NAME, now) == 0 && strcmp(now, name) == 0, "name of thread %ld is %s", (long)arg, now);
	return NULL;
}

static void set_up_names(void)
{
	start(named, (long)(sizeof(names) / sizeof(names[0])));
	need(prctl(PR_SET_NAME, "lead)er (x") == 0);
}

static void check_names(void)
{
	char now[17] = "";

	expect(prctl(PR_GET_NAME, now) == 0 && strcmp(now, "lead)er (x") == 0, "name of the leader is %s", now);
	join_all();
}

/* --- signal masks */

static uint64_t mask_now(void)
{
	uint64_t mask = 0;

	syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &mask, 8);
	return mask;
}

static uint64_t mask_of(long i)
{
	return (1ull << (9 + i)) | (1ull << (40 + i)) | (i == 3 ? ~0ull : 0);
}

static void *masked(void *arg)
{
	uint64_t set = mask_of((long)arg), unblockable = (1ull << (SIGKILL - 1)) | (1ull << (SIGSTOP - 1));

	need(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &set, NULL, 8) == 0);
	victim_thread_ready();
	victim_wait();
	expect(mask_now() == (set & ~unblockable), "mask was %lx, is %lx", set, mask_now());
	return NULL;
}

static void set_up_masks(void)
{
	start(masked, 8);
}

/* --- alternate stacks, one of them in use while the checkpoint is taken */

static _Thread_local char *alt;
static _Thread_local volatile int on_alt;
static int leave_handler;
#define ALT_SIZE (64 << 10)

static void on_alternate(int sig)
{
	char here;

	on_alt = &here >= alt && &here < alt + ALT_SIZE;
	if (sig == SIGUSR2) {
		victim_thread_ready();
		victim_wait();
		expect(&here >= alt && &here < alt + ALT_SIZE, "handler left its stack");
		stack_t now;
		expect(sigaltstack(NULL, &now) == 0 && now.ss_flags & SS_ONSTACK, "not on the stack: %#x",
		       now.ss_flags);
	}
	leave_handler++;
}

static void expect_alt(int flags)
{
	stack_t now = { 0 };

	expect(sigaltstack(NULL, &now) == 0, "sigaltstack");
	expect(now.ss_sp == alt && now.ss_size == ALT_SIZE && now.ss_flags == flags, "stack is %p+%zu flags %#x",
	       now.ss_sp, now.ss_size, (unsigned)now.ss_flags);
	on_alt = 0;
	raise(SIGUSR1);
	expect(on_alt, "a handler does not run on the alternate stack");
}

static void *with_altstack(void *arg)
{
	int flags = (long)arg == 2 ? (int)SS_AUTODISARM : 0;
	alt = malloc(ALT_SIZE);
	stack_t st = { .ss_sp = alt, .ss_size = ALT_SIZE, .ss_flags = flags };

	need(alt && sigaltstack(&st, NULL) == 0);
	if ((long)arg == 1) {
		raise(SIGUSR2); /* holds in the handler */
	} else {
		victim_thread_ready();
		victim_wait();
	}
	expect_alt(flags);
	return NULL;
}

static void set_up_altstacks(void)
{
	struct sigaction sa = { .sa_handler = on_alternate, .sa_flags = SA_ONSTACK };

	need(sigaction(SIGUSR1, &sa, NULL) == 0 && sigaction(SIGUSR2, &sa, NULL) == 0);
	start(with_altstack, 3);
}

/* --- robust futexes: the holder ends after the restore, and the kernel marks the lock */

static pthread_mutex_t robust;

static void *robust_holder(void *arg)
{
	need(pthread_mutex_lock(&robust) == 0);
	victim_thread_ready();
	victim_wait();
	return NULL; /* without unlocking */
}

static void set_up_robust(void)
{
	pthread_mutexattr_t attr;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&robust, &attr);
	start(robust_holder, 1);
}

static void check_robust(void)
{
	int r = pthread_mutex_lock(&robust);

	expect(r == EOWNERDEAD, "lock of a dead owner gives %d", r);
	join_all();
}

/* --- and the lists themselves, of each thread, the main one too, which ends with the process alone */

static struct {
	void *next;
	long offset;
	void *pending;
} heads[3];

static void expect_list(const char *who, void *want)
{
	void *head = NULL;
	size_t len = 0;

	expect(syscall(SYS_get_robust_list, 0, &head, &len) == 0 && head == want && len == sizeof(heads[0]),
	       "robust list of %s is %p, should be %p", who, head, want);
}

static void *with_list(void *arg)
{
	need(syscall(SYS_set_robust_list, &heads[(long)arg], sizeof(heads[0])) == 0);
	heads[(long)arg].next = &heads[(long)arg];
	victim_thread_ready();
	victim_wait();
	expect_list("a thread", &heads[(long)arg]);
	return NULL;
}

static void *without_list(void *arg)
{
	need(syscall(SYS_set_robust_list, NULL, sizeof(heads[0])) == 0);
	victim_thread_ready();
	victim_wait();
	expect_list("a thread without", NULL);
	return arg;
}

static pthread_mutex_t *shared_robust;

/* the main thread of a child dies with a lock that others wait for */
static void dying_leader(long arg)
{
	expect(pthread_mutex_lock(shared_robust) == 0, "lock");
	victim_hold();
}

static void set_up_robust_lists(void)
{
	pthread_mutexattr_t attr;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	shared_robust = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	need(shared_robust != MAP_FAILED && pthread_mutex_init(shared_robust, &attr) == 0);
	child = victim_fork(dying_leader, 0);
	start(with_list, 2);
	start(without_list, 1);
	heads[2].next = &heads[2];
	need(syscall(SYS_set_robust_list, &heads[2], sizeof(heads[2])) == 0);
}

static void check_robust_lists(void)
{
	expect_list("the main thread", &heads[2]);
	int r = pthread_mutex_lock(shared_robust);

	expect(r == EOWNERDEAD, "lock of a dead process gives %d", r);
	victim_reap(child);
	join_all();
}

/* --- rseq as glibc registers it: the kernel keeps cpu_id up to date only while it is registered */

static void expect_rseq(const char *who)
{
	struct rseq *rs = (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);

	for (int cpu = 0; cpu < 2; cpu++) {
		cpu_set_t set;
		CPU_ZERO(&set);
		CPU_SET(cpu, &set);
		if (sched_setaffinity(0, sizeof(set), &set) == 0)
			expect((int)rs->cpu_id == cpu, "%s runs on cpu %d, rseq says %d", who, cpu, (int)rs->cpu_id);
	}
}

static void *rseq_thread(void *arg)
{
	victim_thread_ready();
	victim_wait();
	expect_rseq("a thread");
	return NULL;
}

static void set_up_rseq(void)
{
	if (!__rseq_size)
		victim_skip("glibc registered no rseq area");
	start(rseq_thread, 3);
}

static void check_rseq(void)
{
	expect_rseq("the leader");
	join_all();
}

/* --- tid address: pthread_join returns only if the kernel clears it and wakes the futex */

static int tid_word[2] = { 1, 1 };

static void *tid_thread(void *arg)
{
	syscall(SYS_set_tid_address, &tid_word[(long)arg]);
	victim_thread_ready();
	victim_wait();
	int *addr = NULL;
	if (prctl(PR_GET_TID_ADDRESS, &addr) == 0)
		expect(addr == &tid_word[(long)arg], "tid address is %p", (void *)addr);
	syscall(SYS_exit, 0);
	return NULL;
}

static void set_up_tid_address(void)
{
	start(tid_thread, 2);
}

static void check_tid_address(void)
{
	for (int t = 0; t < 2; t++) {
		for (int i = 0; i < 500 && *(volatile int *)&tid_word[t]; i++)
			sleep_ms(10);
		expect(tid_word[t] == 0, "the kernel did not clear the tid word of thread %d", t);
	}
}

/* --- credentials and scheduling belong to threads, whatever POSIX says */

static void *creds_thread(void *arg)
{
	unsigned id = 1000 + (unsigned)(long)arg, gids[2] = { id, id + 1 }, got[3];

	need(syscall(SYS_setgroups, 2, gids) == 0);
	need(syscall(SYS_setresgid, id, id + 1, id + 2) == 0);
	need(syscall(SYS_setresuid, id, (long)arg == 2 ? 0 : id + 1, id + 2) == 0);
	victim_thread_ready();
	victim_wait();
	expect(syscall(SYS_getresuid, &got[0], &got[1], &got[2]) == 0 && got[0] == id && got[2] == id + 2,
	       "uids of thread %ld are %u %u %u", (long)arg, got[0], got[1], got[2]);
	expect(syscall(SYS_getresgid, &got[0], &got[1], &got[2]) == 0 && got[0] == id && got[1] == id + 1 &&
		       got[2] == id + 2,
	       "gids of thread %ld are %u %u %u", (long)arg, got[0], got[1], got[2]);
	expect(syscall(SYS_getgroups, 3, got) == 2 && got[0] == id && got[1] == id + 1, "groups of thread %ld",
	       (long)arg);
	return NULL;
}

static void set_up_creds(void)
{
	start(creds_thread, 4);
}

/* what a thread may do, which no C library sets for one alone: each lacks another capability, and more than that */

struct caps {
	uint32_t effective, permitted, inheritable;
};

static void caps_of_thread(struct caps ret[2])
{
	struct {
		uint32_t version;
		int pid;
	} head = { 0x20080522, 0 };

	need(syscall(SYS_capget, &head, ret) == 0);
}

static void *caps_thread(void *arg)
{
	struct {
		uint32_t version;
		int pid;
	} head = { 0x20080522, 0 };
	struct caps was[2], now[2];
	int i = (int)(long)arg, bits = i == 1 ? 0x3 : i == 2 ? 0x5 : 0; /* NOROOT locked; NO_SETUID_FIXUP */

	need(!bits || prctl(PR_SET_SECUREBITS, bits) == 0);
	need(prctl(PR_CAPBSET_DROP, 20 + i) == 0);
	caps_of_thread(was);
	was[0].effective &= ~(1u << i);
	was[0].permitted &= ~(2u << i);
	was[0].effective &= was[0].permitted;
	was[0].inheritable = 1u << (10 + i);
	need(syscall(SYS_capset, &head, was) == 0);
	need(i != 3 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	victim_thread_ready();
	victim_wait();
	caps_of_thread(now);
	expect(memcmp(was, now, sizeof(was)) == 0, "capabilities of thread %d: %x %x %x, were %x %x %x", i, now[0].effective,
	       now[0].permitted, now[0].inheritable, was[0].effective, was[0].permitted, was[0].inheritable);
	expect(prctl(PR_GET_SECUREBITS) == bits, "securebits of thread %d are %x", i, (unsigned)prctl(PR_GET_SECUREBITS));
	for (int k = 0; k < 4; k++)
		expect(prctl(PR_CAPBSET_READ, 20 + k) == (k != i), "bounding set of thread %d: %d", i, 20 + k);
	expect(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == (i == 3), "no_new_privs of thread %d", i);
	return NULL;
}

static void set_up_caps(void)
{
	start(caps_thread, 4);
}

static void *sched_thread(void *arg)
{
	static const int policies[] = { SCHED_OTHER, SCHED_BATCH, SCHED_IDLE, SCHED_FIFO, SCHED_RR };
	long i = (long)arg;
	struct sched_param param = { .sched_priority = i > 2 ? (int)i * 3 : 0 };

	need(setpriority(PRIO_PROCESS, (id_t)gettid(), (int)i * 2) == 0);
	bool set = sched_setscheduler(0, policies[i] | (i % 2 ? SCHED_RESET_ON_FORK : 0), &param) == 0;
	need(prctl(PR_SET_TIMERSLACK, 12345 + i) == 0);
	cpu_set_t cpus;
	CPU_ZERO(&cpus);
	CPU_SET(i % 2, &cpus);
	sched_setaffinity(0, sizeof(cpus), &cpus);
	victim_thread_ready();
	victim_wait();
	if (set)
		expect(sched_getscheduler(0) == (policies[i] | (i % 2 ? SCHED_RESET_ON_FORK : 0)),
		       "policy of thread %ld is %d", i, sched_getscheduler(0));
	expect(getpriority(PRIO_PROCESS, (id_t)gettid()) == i * 2, "nice of thread %ld", i);
	/* real-time threads have none, whatever was set: Linux 6.15, and earlier in effect */
	expect(i > 2 || prctl(PR_GET_TIMERSLACK) == 12345 + i, "slack of thread %ld is %d", i,
	       prctl(PR_GET_TIMERSLACK));
	return NULL;
}

static void set_up_sched(void)
{
	start(sched_thread, 5);
}

const struct victim_case victim_cases[] = {
	{ "many", set_up_many, check_many, .flags = CASE_MORE },
	{ "exited-leader", set_up_exited_leader, check_many, .flags = CASE_MORE },
	{ "exited-leader-child", set_up_exited_leader_child, check_exited_leader_child },
	{ "names", set_up_names, check_names },
	{ "masks", set_up_masks, join_all, .flags = CASE_MORE },
	{ "altstacks", set_up_altstacks, join_all, .flags = CASE_MORE },
	{ "robust-list", set_up_robust, check_robust },
	{ "robust-lists", set_up_robust_lists, check_robust_lists },
	{ "rseq", set_up_rseq, check_rseq, .flags = CASE_MORE },
	{ "tid-address", set_up_tid_address, check_tid_address },
	{ "creds", set_up_creds, join_all, .flags = CASE_MORE },
	{ "capabilities", set_up_caps, join_all },
	{ "sched", set_up_sched, join_all },
	{ 0 },
};

/*
 * Settings with more than one value, of more than one holder: what a plain "on" does not show. Each is of the process, of
 * one thread of several, or of one session.
 */
#include "sched-attr.h"
#include "victim.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#define PR_GET_MDWE 66
#endif
#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#endif
#define TIMER_CREATE_RESTORE_IDS 77
#define FUTEX_HASH_SLOTS         78
#define THP_EXCEPT_ADVISED       2
#define MDWE_NO_INHERIT          2
#define DISPATCH_INCLUSIVE       2
#define MEMBARRIER_REGISTRATIONS (1 << 9)

static long was[8];
static pid_t kids[4];
static unsigned long thread;

static void write_to(const char *path, const char *text)
{
	need(spill(path, text, strlen(text)) == (ssize_t)strlen(text));
}

static void expect_text(const char *path, const char *text)
{
	char now[256] = "";

	slurp(path, now, sizeof(now));
	expect(strcmp(now, text) == 0, "%s is %s", path, now);
}

/* --- prctl with flags */

static void set_up_thp(void)
{
	if (prctl(PR_SET_THP_DISABLE, 1, THP_EXCEPT_ADVISED, 0, 0) < 0)
		victim_skip("huge pages only where advised: Linux 6.18");
	was[0] = prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0);
	need(was[0] == (1 | THP_EXCEPT_ADVISED));
}

static void check_thp(void)
{
	expect(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) == was[0], "is %d", prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));
}

static void set_up_mdwe(void)
{
	if (prctl(PR_SET_MDWE, 1 | MDWE_NO_INHERIT, 0, 0, 0) < 0)
		victim_skip("memory-deny-write-execute that is not inherited: %s", strerror(errno));
}

static void check_mdwe(void)
{
	long now = prctl(PR_GET_MDWE, 0, 0, 0, 0);

	expect(now == (1 | MDWE_NO_INHERIT), "is %ld", now);
	expect(mmap(NULL, 4096, PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED,
	       "memory may be writable and executable");
}

/* every kind that there is, the global one too: nothing but the list of them shows that one */
static void set_up_membarriers(void)
{
	static const int commands[] = { MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED,
					MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED,
					MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE, 1 << 8 };

	for (int i = 0; i < 4; i++)
		need(syscall(SYS_membarrier, commands[i], 0, 0) == 0 || errno == EINVAL);
	was[0] = syscall(SYS_membarrier, MEMBARRIER_REGISTRATIONS, 0, 0);
	if (was[0] < 0)
		victim_skip("registrations cannot be listed: Linux 6.3");
	need(__builtin_popcountl((unsigned long)was[0]) >= 3);
}

static void check_membarriers(void)
{
	long now = syscall(SYS_membarrier, MEMBARRIER_REGISTRATIONS, 0, 0);

	expect(now == was[0], "registrations were %lx, are %lx", was[0], now);
}

/* how timer_create() chooses ids; a restore switches that for its own needs */
static long restoring_ids(void)
{
	return prctl(TIMER_CREATE_RESTORE_IDS, 2, 0, 0, 0);
}

static void make_timer(void)
{
	struct sigevent ev = { .sigev_notify = SIGEV_NONE };
	int id = 5;

	need(syscall(SYS_timer_create, CLOCK_MONOTONIC, &ev, &id) == 0);
}

static void set_up_ids(void)
{
	make_timer();
	was[0] = restoring_ids();
	if (was[0] < 0)
		victim_skip("ids of timers cannot be chosen: Linux 6.15");
}

static void set_up_ids_on(void)
{
	set_up_ids();
	need(prctl(TIMER_CREATE_RESTORE_IDS, 1, 0, 0, 0) == 0);
	was[0] = restoring_ids();
	need(was[0] == 1);
}

static void check_ids(void)
{
	expect(restoring_ids() == was[0], "was %ld, is %ld", was[0], restoring_ids());
}

/* the number of private buckets for futexes */
static void *nothing(void *arg)
{
	victim_thread_ready();
	victim_wait();
	return arg;
}

static void set_up_futex_hash(void)
{
	if (prctl(FUTEX_HASH_SLOTS, 1, 64, 0, 0) < 0)
		victim_skip("private futex hash: %s", strerror(errno));
	thread = victim_thread(nothing, NULL);
	was[0] = prctl(FUTEX_HASH_SLOTS, 2, 0, 0, 0);
	need(was[0] == 64);
}

static void check_futex_hash(void)
{
	expect(prctl(FUTEX_HASH_SLOTS, 2, 0, 0, 0) == was[0], "was %ld, is %d", was[0],
	       prctl(FUTEX_HASH_SLOTS, 2, 0, 0, 0));
	victim_join(thread);
}

/* --- new mappings that are readable become executable, too; but not those that are there */

static void set_up_exec_implied(void)
{
	need(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
	need(mmap(NULL, 4096, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
	need(personality(READ_IMPLIES_EXEC) >= 0);
}

static void check_exec_implied(void)
{
	expect(personality(~0u) == READ_IMPLIES_EXEC, "personality is %x", (unsigned)personality(~0u));
}

/* --- threads have the personality of their makers, or their own */

static unsigned long alike, other;

static void *with_personality(void *arg)
{
	unsigned wanted = (unsigned)(uintptr_t)arg;

	need(personality(wanted) >= 0);
	victim_thread_ready();
	victim_wait();
	expect(personality(~0u) == (int)wanted, "personality of the thread is %x instead of %x",
	       (unsigned)personality(~0u), wanted);
	return arg;
}

static void set_up_personalities(void)
{
	need(personality(ADDR_NO_RANDOMIZE) >= 0);
	alike = victim_thread(with_personality, (void *)ADDR_NO_RANDOMIZE);
	other = victim_thread(with_personality, (void *)(ADDR_COMPAT_LAYOUT | UNAME26));
}

static void check_personalities(void)
{
	victim_join(alike);
	victim_join(other);
	expect(personality(~0u) == ADDR_NO_RANDOMIZE, "personality is %x", (unsigned)personality(~0u));
}

/* --- of one thread alone */

static void *dies_with_maker(void *arg)
{
	int now = 0;

	need(prctl(PR_SET_PDEATHSIG, SIGURG) == 0);
	victim_thread_ready();
	victim_wait();
	expect(prctl(PR_GET_PDEATHSIG, &now) == 0 && now == SIGURG, "the thread's death signal is %d", now);
	return arg;
}

static void child_with_thread(long arg)
{
	int now = 0;

	thread = victim_thread(dies_with_maker, NULL);
	victim_hold();
	expect(prctl(PR_GET_PDEATHSIG, &now) == 0 && now == 0, "the leader's death signal is %d", now);
	victim_join(thread);
}

static void set_up_pdeathsig(void)
{
	kids[0] = victim_fork(child_with_thread, 0);
}

static void reap(void)
{
	for (int i = 0; i < 4 && kids[i]; i++)
		victim_reap(kids[i]);
}

/* volatile: the compiler does not know that a handler runs in between */
static _Thread_local volatile char selector;
static _Thread_local volatile int dispatched;

static void on_dispatch(int sig)
{
	selector = 0;
	dispatched++;
}

static void dispatch_here(int mode)
{
	/* inclusive: calls from the range are dispatched; exclusive: all but those from it. Here it is all or nothing. */
	if (prctl(PR_SET_SYSCALL_USER_DISPATCH, mode, mode == DISPATCH_INCLUSIVE ? 4096 : 0,
		  mode == DISPATCH_INCLUSIVE ? 0x7fffffff0000ul : 0, (const char *)&selector) < 0)
		victim_skip("syscall user dispatch, mode %d: %s", mode, strerror(errno));
}

static void expect_dispatch(bool want)
{
	dispatched = 0;
	selector = 1;
	syscall(SYS_getppid);
	selector = 0;
	expect(dispatched == want, "%d calls were dispatched", dispatched);
}

static void *dispatching(void *arg)
{
	dispatch_here(1);
	victim_thread_ready();
	victim_wait();
	expect_dispatch(true);
	return arg;
}

static void set_up_dispatch_thread(void)
{
	need(signal(SIGSYS, on_dispatch) != SIG_ERR);
	thread = victim_thread(dispatching, NULL);
}

static void check_dispatch_thread(void)
{
	expect_dispatch(false);
	victim_join(thread);
}

static void set_up_dispatch_inclusive(void)
{
	need(signal(SIGSYS, on_dispatch) != SIG_ERR);
	dispatch_here(DISPATCH_INCLUSIVE);
}

static void check_dispatch_inclusive(void)
{
	expect_dispatch(true);
}

/* --- scheduling that is more than policy and priority */

static void set_up_slice(void)
{
	set_attr((struct attr){ .runtime = 7000000, .nice = 2 });
	if (attr_was.runtime != 7000000)
		victim_skip("no slices of one's own: Linux 6.12");
}

static void set_up_slice_batch(void)
{
	set_attr((struct attr){ .policy = SCHED_BATCH, .runtime = 9000000, .flags = 1 });
	if (attr_was.runtime != 9000000)
		victim_skip("no slices of one's own: Linux 6.12");
}

static void set_up_deadline_flags(void)
{
	/* sent where the processor is too slow for what was promised */
	need(signal(SIGXCPU, SIG_IGN) != SIG_ERR);
	set_attr(
		(struct attr){ .policy = 6, .flags = 6, .runtime = 5000000, .deadline = 20000000, .period = 40000000 });
}

/* --- of a session: nice of its group of tasks */

static void grouped(long nice)
{
	char text[32];

	if (nice) {
		need(setsid() >= 0);
		snprintf(text, sizeof(text), "%ld\n", nice);
		write_to("/proc/self/autogroup", text);
		/* a child of the same group, in one that leads neither session nor group */
		kids[0] = victim_fork(grouped, 0);
	}
	victim_hold();
	char now[64] = "";
	slurp("/proc/self/autogroup", now, sizeof(now));
	char *word = strstr(now, "nice ");
	snprintf(text, sizeof(text), "nice %ld\n", nice ? nice : was[1]);
	expect(word && strcmp(word, text) == 0, "%s should be %s", now, text);
	if (nice)
		victim_reap(kids[0]);
}

static void grouped_plus(long arg)
{
	was[1] = 5;
	grouped(5);
}

static void grouped_minus(long arg)
{
	was[1] = -3;
	grouped(-3);
}

/* the leader of the session has died: whoever plays it at restore is not there for long */
static void leaderless(long arg)
{
	pid_t leader = fork();

	need(leader >= 0);
	if (leader == 0) {
		need(setsid() >= 0);
		write_to("/proc/self/autogroup", "9\n");
		kids[0] = fork();
		need(kids[0] >= 0);
		if (kids[0])
			_exit(0);
		victim_forget();
		victim_wait();
		char now[64] = "";
		slurp("/proc/self/autogroup", now, sizeof(now));
		expect(strstr(now, " nice 9\n"), "without a leader: %s should be 9", now);
		spill(victim_path("leaderless"), "", 0);
		_exit(0);
	}
	need(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0 && waitpid(leader, NULL, 0) == leader);
	victim_hold();
	expect(waitpid(-1, NULL, 0) > 0 && access(victim_path("leaderless"), F_OK) == 0,
	       "the orphan did not get to its end");
}

static void set_up_autogroup(void)
{
	if (access("/proc/self/autogroup", W_OK) < 0)
		victim_skip("no autogroups");
	kids[0] = victim_fork(grouped_plus, 0);
	kids[1] = victim_fork(grouped_minus, 0);
	kids[2] = victim_fork(leaderless, 0);
}

/* --- nothing at all: what a process has that never asked for anything, whoever restores it */

static struct {
	long merge, mce, tsc, slack, subreaper, thp, keepcaps, policy;
	unsigned long nodes;
} usual;

static void get_usual(void)
{
	int word = -1, mode = -1;

	memset(&usual, 0, sizeof(usual));
	usual.merge = prctl(68, 0, 0, 0, 0);
	usual.mce = prctl(PR_MCE_KILL_GET, 0, 0, 0, 0);
	usual.tsc = prctl(PR_GET_TSC, &word) == 0 ? word : -1;
	usual.slack = prctl(PR_GET_TIMERSLACK);
	usual.subreaper = prctl(PR_GET_CHILD_SUBREAPER, &word) == 0 ? word : -1;
	usual.thp = prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0);
	usual.keepcaps = prctl(PR_GET_KEEPCAPS);
	usual.policy = syscall(SYS_get_mempolicy, &mode, &usual.nodes, 64, 0, 0) == 0 ? mode : -1;
}

static void set_up_usual(void)
{
	get_usual();
}

static void check_usual(void)
{
	typeof(usual) before = usual;

	get_usual();
	expect(memcmp(&before, &usual, sizeof(usual)) == 0,
	       "merging %ld, memory failures %ld, tsc %ld, slack %ld, subreaper %ld, huge pages %ld, keepcaps %ld, "
	       "policy %ld",
	       usual.merge, usual.mce, usual.tsc, usual.slack, usual.subreaper, usual.thp, usual.keepcaps,
	       usual.policy);
}

/* --- each process has its own */

static void own_numbers(long i)
{
	char adj[32], filter[32], to_set[40];

	snprintf(adj, sizeof(adj), "%ld\n", 100 * i + 1);
	snprintf(filter, sizeof(filter), "%08lx\n", 0x11 * i);
	snprintf(to_set, sizeof(to_set), "0x%s", filter);
	write_to("/proc/self/oom_score_adj", adj);
	write_to("/proc/self/coredump_filter", to_set);
	victim_hold();
	expect_text("/proc/self/oom_score_adj", adj);
	expect_text("/proc/self/coredump_filter", filter);
}

static void set_up_numbers(void)
{
	for (long i = 1; i < 4; i++)
		kids[i - 1] = victim_fork(own_numbers, i);
}

const struct victim_case victim_cases[] = {
	{ "thp-except-advised", set_up_thp, check_thp },
	{ "mdwe-not-inherited", set_up_mdwe, check_mdwe },
	{ "membarriers", set_up_membarriers, check_membarriers },
	{ "timer-ids", set_up_ids, check_ids },
	{ "timer-ids-on", set_up_ids_on, check_ids },
	{ "futex-hash", set_up_futex_hash, check_futex_hash },
	{ "read-implies-exec", set_up_exec_implied, check_exec_implied },
	{ "personality-thread", set_up_personalities, check_personalities, .flags = CASE_MORE },
	{ "pdeathsig-thread", set_up_pdeathsig, reap },
	{ "dispatch-thread", set_up_dispatch_thread, check_dispatch_thread },
	{ "dispatch-inclusive", set_up_dispatch_inclusive, check_dispatch_inclusive },
	{ "slice", set_up_slice, check_attr },
	{ "slice-batch", set_up_slice_batch, check_attr },
	{ "deadline-flags", set_up_deadline_flags, check_attr },
	{ "autogroup", set_up_autogroup, reap, .flags = CASE_MORE },
	{ "usual", set_up_usual, check_usual },
	{ "numbers-of-each", set_up_numbers, reap },
	{ 0 },
};

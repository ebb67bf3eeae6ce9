/* Attributes of processes: limits, scheduling, prctl state. What cannot be kept has to be refused by name. */
#include "sched-attr.h"
#include "victim.h"

#include <errno.h>
#include <linux/landlock.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef PR_SET_MEMORY_MERGE
#define PR_SET_MEMORY_MERGE 67
#define PR_GET_MEMORY_MERGE 68
#endif
#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#define PR_GET_MDWE 66
#endif
#ifndef PR_SCHED_CORE
#define PR_SCHED_CORE 62
#endif
#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#define PR_GET_IO_FLUSHER 58
#endif
#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#endif
#define MEMBARRIER_REGISTRATIONS (1 << 9)

static long was[32];

static void write_own(const char *file, const char *text)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/%s", file);
	FILE *f = fopen(path, "we");
	need(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

static void expect_own(const char *file, const char *text)
{
	char path[64], now[256];

	snprintf(path, sizeof(path), "/proc/self/%s", file);
	slurp(path, now, sizeof(now));
	expect(strcmp(now, text) == 0, "%s is %s", file, now);
}

/* --- limits: soft below hard, hard lowered, and some of them zero */

static const struct {
	int kind;
	unsigned long soft, hard;
} limits[] = {
	{ RLIMIT_CPU, 100000, 200000 },
	{ RLIMIT_FSIZE, 1 << 30, 1ul << 31 },
	{ RLIMIT_DATA, 1ul << 36, 1ul << 37 },
	{ RLIMIT_STACK, 4 << 20, 16 << 20 },
	{ RLIMIT_CORE, 0, 12345 },
	{ RLIMIT_RSS, 1 << 30, 1 << 30 },
	{ RLIMIT_NPROC, 10000, 12000 },
	{ RLIMIT_NOFILE, 77, 999 },
	{ RLIMIT_MEMLOCK, 12288, 65536 },
	{ RLIMIT_AS, 1ul << 40, 1ul << 41 },
	{ RLIMIT_LOCKS, 5, 6 },
	{ RLIMIT_SIGPENDING, 100, 200 },
	{ RLIMIT_MSGQUEUE, 0, 100 },
	{ RLIMIT_NICE, 3, 9 },
	{ RLIMIT_RTPRIO, 1, 5 },
	{ RLIMIT_RTTIME, 1000000, 2000000 },
};

#define NR_LIMITS (sizeof(limits) / sizeof(limits[0]))
static struct rlimit limits_were[16];

static void set_up_limits(void)
{
	for (size_t i = 0; i < NR_LIMITS; i++) {
		struct rlimit now;
		need(getrlimit((__rlimit_resource_t)limits[i].kind, &now) == 0);
		struct rlimit lower = { limits[i].soft, limits[i].hard };
		if (lower.rlim_max > now.rlim_max)
			lower.rlim_max = now.rlim_max;
		if (lower.rlim_cur > lower.rlim_max)
			lower.rlim_cur = lower.rlim_max;
		need(setrlimit((__rlimit_resource_t)limits[i].kind, &lower) == 0);
		limits_were[i] = lower;
	}
}

static void check_limits(void)
{
	for (size_t i = 0; i < NR_LIMITS; i++) {
		struct rlimit now;
		expect(getrlimit((__rlimit_resource_t)limits[i].kind, &now) == 0 &&
			       now.rlim_cur == limits_were[i].rlim_cur && now.rlim_max == limits_were[i].rlim_max,
		       "limit %d is %lu of %lu", limits[i].kind, now.rlim_cur, now.rlim_max);
	}
}

static void limited_user(long uid)
{
	struct rlimit low = { 50, 60 }, now;

	need(setrlimit(RLIMIT_NOFILE, &low) == 0 && setrlimit(RLIMIT_SIGPENDING, &low) == 0);
	need(setresgid((gid_t)uid, (gid_t)uid, (gid_t)uid) == 0 && setresuid((uid_t)uid, (uid_t)uid, (uid_t)uid) == 0);
	victim_hold();
	expect(getrlimit(RLIMIT_NOFILE, &now) == 0 && now.rlim_cur == 50 && now.rlim_max == 60, "NOFILE");
	expect(getrlimit(RLIMIT_SIGPENDING, &now) == 0 && now.rlim_cur == 50 && now.rlim_max == 60, "SIGPENDING");
}

static pid_t kid;
static void set_up_limits_user(void)
{
	kid = victim_fork(limited_user, 3333);
}
static void check_kid(void)
{
	victim_reap(kid);
}

static void set_up_oom(void)
{
	write_own("oom_score_adj", "531\n");
}
static void check_oom(void)
{
	expect_own("oom_score_adj", "531\n");
}
static void set_up_core_filter(void)
{
	write_own("coredump_filter", "0x5a\n");
}
static void check_core_filter(void)
{
	expect_own("coredump_filter", "0000005a\n");
}

/* --- scheduling */

static void set_up_nice(void)
{
	need(setpriority(PRIO_PROCESS, 0, 7) == 0);
}
static void check_nice(void)
{
	expect(getpriority(PRIO_PROCESS, 0) == 7, "nice is %d", getpriority(PRIO_PROCESS, 0));
}
static void set_up_nice_high(void)
{
	need(setpriority(PRIO_PROCESS, 0, -11) == 0);
}
static void check_nice_high(void)
{
	expect(getpriority(PRIO_PROCESS, 0) == -11, "nice is %d", getpriority(PRIO_PROCESS, 0));
}

static void set_up_batch(void)
{
	set_attr((struct attr){ .policy = SCHED_BATCH, .nice = 5 });
}
static void set_up_idle(void)
{
	set_attr((struct attr){ .policy = SCHED_IDLE });
}
static void set_up_fifo(void)
{
	set_attr((struct attr){ .policy = SCHED_FIFO, .priority = 17, .flags = 1 });
}
static void set_up_rr(void)
{
	set_attr((struct attr){ .policy = SCHED_RR, .priority = 3 });
}
static void set_up_reset_on_fork(void)
{
	set_attr((struct attr){ .flags = 1, .nice = -3 });
}

static void set_up_deadline(void)
{
	set_attr((struct attr){ .policy = 6, .runtime = 5000000, .deadline = 20000000, .period = 40000000 });
}

static void set_up_ioprio(void)
{
	need(syscall(SYS_ioprio_set, 1, 0, 3 << 13) == 0);
	need(syscall(SYS_ioprio_set, 1, 0, 2 << 13 | 6) == 0);
}

static void check_ioprio(void)
{
	long now = syscall(SYS_ioprio_get, 1, 0);
	expect(now == (2 << 13 | 6), "ioprio is %lx", now);
}

static void set_up_affinity(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(sysconf(_SC_NPROCESSORS_CONF) - 1, &set);
	need(sched_setaffinity(0, sizeof(set), &set) == 0);
}

static void check_affinity(void)
{
	cpu_set_t set;

	expect(sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) == 1, "%d processors", CPU_COUNT(&set));
	expect(CPU_ISSET(sysconf(_SC_NPROCESSORS_CONF) - 1, &set), "another processor");
}

/* --- NUMA policy of the task and of a range */

static void *bound;

static void set_up_mempolicy(void)
{
	unsigned long node = 1;

	if (syscall(SYS_set_mempolicy, 3, &node, 64) < 0)
		victim_skip("set_mempolicy: %s", strerror(errno));
	bound = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	need(bound != MAP_FAILED && syscall(SYS_mbind, bound, 65536, 2, &node, 64, 0) == 0);
}

static void check_mempolicy(void)
{
	int mode = -1;
	unsigned long nodes = 0;

	expect(syscall(SYS_get_mempolicy, &mode, &nodes, 64, 0, 0) == 0 && mode == 3 && nodes == 1,
	       "task: mode %d nodes %lx", mode, nodes);
	expect(syscall(SYS_get_mempolicy, &mode, &nodes, 64, bound, 2) == 0 && mode == 2 && nodes == 1,
	       "range: mode %d nodes %lx", mode, nodes);
}

/* --- prctl: one value each; what this kernel does not have is skipped */

static const struct {
	const char *name;
	int set, get;
	long value;
	bool by_pointer;
} values[] = {
	{ "slack", PR_SET_TIMERSLACK, PR_GET_TIMERSLACK, 987654 },
	{ "thp-disable", PR_SET_THP_DISABLE, PR_GET_THP_DISABLE, 1 },
	{ "memory-merge", PR_SET_MEMORY_MERGE, PR_GET_MEMORY_MERGE, 1 },
	{ "mdwe", PR_SET_MDWE, PR_GET_MDWE, 1 },
	{ "io-flusher", PR_SET_IO_FLUSHER, PR_GET_IO_FLUSHER, 1 },
	{ "mce-kill", PR_MCE_KILL, PR_MCE_KILL_GET, 0 },
	{ "tsc", PR_SET_TSC, PR_GET_TSC, PR_TSC_SIGSEGV, true },
};

static int chosen;

static long get_value(int i)
{
	int v = -1;

	if (values[i].by_pointer)
		return prctl(values[i].get, &v, 0, 0, 0) == 0 ? v : -1;
	return prctl(values[i].get, 0, 0, 0, 0);
}

static void set_value(int i)
{
	chosen = i;
	int r = values[i].set == PR_MCE_KILL ? prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0)
					     : prctl(values[i].set, values[i].value, 0, 0, 0);
	if (r < 0)
		victim_skip("prctl %s: %s", values[i].name, strerror(errno));
	was[0] = get_value(i);
	need(was[0] >= 0);
}

static void check_value(void)
{
	expect(get_value(chosen) == was[0], "%s was %ld, is %ld", values[chosen].name, was[0], get_value(chosen));
}

static void set_up_slack(void)
{
	set_value(0);
}
static void set_up_thp(void)
{
	set_value(1);
}
static void set_up_merge(void)
{
	set_value(2);
}
static void set_up_mdwe(void)
{
	set_value(3);
}
static void set_up_flusher(void)
{
	set_value(4);
}
static void set_up_mce(void)
{
	set_value(5);
}
static void set_up_tsc(void)
{
	set_value(6);
}

static void set_up_speculation(void)
{
	if (prctl(PR_SET_SPECULATION_CTRL, PR_SPEC_STORE_BYPASS, PR_SPEC_DISABLE, 0, 0) < 0)
		victim_skip("speculation control: %s", strerror(errno));
	was[0] = prctl(PR_GET_SPECULATION_CTRL, PR_SPEC_STORE_BYPASS, 0, 0, 0);
}

static void check_speculation(void)
{
	long now = prctl(PR_GET_SPECULATION_CTRL, PR_SPEC_STORE_BYPASS, 0, 0, 0);
	expect(now == was[0], "speculation control was %lx, is %lx", was[0], now);
}

static void set_up_personality(void)
{
	need(personality(ADDR_NO_RANDOMIZE | UNAME26) >= 0);
}

static void check_personality(void)
{
	expect(personality(~0u) == (ADDR_NO_RANDOMIZE | UNAME26), "personality is %x", (unsigned)personality(~0u));
}

static void set_up_membarrier(void)
{
	need(syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0);
	syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0);
	was[0] = syscall(SYS_membarrier, MEMBARRIER_REGISTRATIONS, 0, 0);
}

static void check_membarrier(void)
{
	expect(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0, "membarrier registration is lost");
	expect(syscall(SYS_membarrier, MEMBARRIER_REGISTRATIONS, 0, 0) == was[0], "registrations were %lx", was[0]);
}

/* --- kept, or refused by name */

static char selector;
static volatile int dispatched;
static void on_dispatch(int sig)
{
	selector = 0;
	dispatched++;
}

static void set_up_dispatch(void)
{
	need(signal(SIGSYS, on_dispatch) != SIG_ERR);
	/* the C library's code is exempt, so that the victim can go on calling it */
	if (prctl(PR_SET_SYSCALL_USER_DISPATCH, 1, 0x1000, 0x7ffffffff000ul, &selector) < 0)
		victim_skip("syscall user dispatch: %s", strerror(errno));
	prctl(PR_SET_SYSCALL_USER_DISPATCH, 0, 0, 0, 0);
	need(prctl(PR_SET_SYSCALL_USER_DISPATCH, 1, 0, 0, &selector) == 0);
}

static void check_dispatch(void)
{
	selector = 1;
	long r = syscall(SYS_getppid);
	selector = 0;
	expect(dispatched == 1, "%d calls were dispatched, the call gave %ld", dispatched, r);
}

static void set_up_landlock(void)
{
	struct landlock_ruleset_attr attr = { .handled_access_fs = LANDLOCK_ACCESS_FS_MAKE_BLOCK };
	int fd = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);

	if (fd < 0)
		victim_skip("landlock: %s", strerror(errno));
	need(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	need(syscall(SYS_landlock_restrict_self, fd, 0) == 0);
	close(fd);
}

static void check_landlock(void)
{
	long r = syscall(SYS_mknodat, -100, victim_path("dev"), 0060600, 0x0700);
	expect(r < 0 && errno == EACCES, "the Landlock domain is lost: mknod gives %ld", r);
}

static void set_up_core_sched(void)
{
	if (prctl(PR_SCHED_CORE, 1, 0, 0, 0) < 0)
		victim_skip("core scheduling: %s", strerror(errno));
	need(prctl(PR_SCHED_CORE, 0, 0, 0, &was[0]) == 0);
}

static void check_core_sched(void)
{
	long now = 0;
	expect(prctl(PR_SCHED_CORE, 0, 0, 0, &now) == 0 && now != 0, "no cookie any more");
}

const struct victim_case victim_cases[] = {
	{ "rlimits", set_up_limits, check_limits, .flags = CASE_MORE },
	{ "rlimits-user", set_up_limits_user, check_kid, .flags = CASE_MORE },
	{ "oom-score-adj", set_up_oom, check_oom },
	{ "coredump-filter", set_up_core_filter, check_core_filter },
	{ "nice", set_up_nice, check_nice },
	{ "nice-negative", set_up_nice_high, check_nice_high },
	{ "sched-batch", set_up_batch, check_attr },
	{ "sched-idle", set_up_idle, check_attr },
	{ "sched-fifo", set_up_fifo, check_attr, .flags = CASE_MORE },
	{ "sched-rr", set_up_rr, check_attr },
	{ "sched-reset-on-fork", set_up_reset_on_fork, check_attr },
	{ "sched-deadline", set_up_deadline, check_attr },
	{ "ioprio", set_up_ioprio, check_ioprio },
	{ "affinity", set_up_affinity, check_affinity },
	{ "mempolicy", set_up_mempolicy, check_mempolicy },
	{ "timer-slack", set_up_slack, check_value },
	{ "thp-disable", set_up_thp, check_value },
	{ "memory-merge", set_up_merge, check_value },
	{ "mdwe", set_up_mdwe, check_value },
	{ "io-flusher", set_up_flusher, check_value },
	{ "mce-kill", set_up_mce, check_value },
	{ "tsc", set_up_tsc, check_value },
	{ "speculation", set_up_speculation, check_speculation },
	{ "personality", set_up_personality, check_personality },
	{ "membarrier", set_up_membarrier, check_membarrier },
	{ "user-dispatch", set_up_dispatch, check_dispatch },
	{ "landlock", set_up_landlock, check_landlock, .refuse = "Landlock" },
	{ "core-scheduling", set_up_core_sched, check_core_sched, .refuse = "core scheduling",
	  .flags = CASE_KEEP_OR_REFUSE },
	{ 0 },
};

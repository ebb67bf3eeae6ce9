/* Shapes of process trees: depth, width, sessions, groups, the dead, reparenting. */
#include "victim.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t kids[512];
static int nr_kids;
static pid_t me, my_parent;
static pid_t *shared; /* pids that processes of a case tell each other */

static void share(void)
{
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	need(shared != MAP_FAILED);
}

static void remember(void)
{
	me = getpid();
	my_parent = getppid();
}

static void check_same(void)
{
	expect(getpid() == me, "pid was %d", (int)me);
	expect(getppid() == my_parent, "parent was %d, is %d", (int)my_parent, (int)getppid());
	expect(gettid() == me, "tid is %d, pid was %d", (int)gettid(), (int)me);
}

static void plain(long arg)
{
	remember();
	victim_hold();
	check_same();
}

static void reap_kids(void)
{
	for (int i = 0; i < nr_kids; i++)
		victim_reap(kids[i]);
}

static void level(long depth)
{
	remember();
	pid_t kid = depth ? victim_fork(level, depth - 1) : 0;
	victim_hold();
	check_same();
	if (kid)
		victim_reap(kid);
}

static void set_up_single(void)
{
	remember();
}
static void check_single(void)
{
	expect(getpid() == me, "pid was %d", (int)me);
}
static void set_up_deep(void)
{
	kids[nr_kids++] = victim_fork(level, 80);
}

static void set_up_wide(void)
{
	while (nr_kids < 100)
		kids[nr_kids++] = victim_fork(plain, 0);
}

static void bush(long depth)
{
	pid_t sons[3];

	remember();
	for (int i = 0; i < 3 && depth; i++)
		sons[i] = victim_fork(bush, depth - 1);
	victim_hold();
	check_same();
	for (int i = 0; i < 3 && depth; i++)
		victim_reap(sons[i]);
}

static void set_up_bush(void)
{
	kids[nr_kids++] = victim_fork(bush, 3);
}

/* --- sessions and groups: every process checks its own, procfs is compared as well */

static void expect_ids(pid_t sid, pid_t pgid)
{
	expect(getsid(0) == sid, "session was %d, is %d", (int)sid, (int)getsid(0));
	expect(getpgid(0) == pgid, "group was %d, is %d", (int)pgid, (int)getpgid(0));
}

static void hold_ids(void)
{
	pid_t sid = getsid(0), pgid = getpgid(0);

	remember();
	victim_hold();
	expect_ids(sid, pgid);
	check_same();
}

static void member(long pgid)
{
	if (pgid >= 0)
		need(setpgid(0, (pid_t)pgid) == 0);
	hold_ids();
}

/* arg: levels of sessions still to come; each session has a group besides the leader's and a plain member */
static void session(long depth)
{
	pid_t old = victim_fork(member, -1); /* stays in the old session although it is our child */
	need(setsid() == getpid());
	pid_t same = victim_fork(member, -1), other = victim_fork(member, 0), joins = victim_fork(member, other);
	pid_t deeper = depth ? victim_fork(session, depth - 1) : 0;

	hold_ids();
	victim_reap(old);
	victim_reap(same);
	victim_reap(other);
	victim_reap(joins);
	if (deeper)
		victim_reap(deeper);
}

static void set_up_sessions(void)
{
	kids[nr_kids++] = victim_fork(session, 2);
	kids[nr_kids++] = victim_fork(session, 0);
}

static void set_up_groups(void)
{
	pid_t a = victim_fork(member, 0), b = victim_fork(member, 0);

	kids[nr_kids++] = a;
	kids[nr_kids++] = b;
	kids[nr_kids++] = victim_fork(member, b);
	kids[nr_kids++] = victim_fork(member, a);
	kids[nr_kids++] = victim_fork(member, getpgid(0));
}

static void become_reaper(void)
{
	need(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	share();
}

static void orphan(long slot)
{
	victim_forget();
	while (getppid() != shared[0])
		sleep_ms(1);
	shared[slot] = getpid();
	hold_ids();
}

static void unheld_orphan(long slot)
{
	pid_t pid = fork();

	need(pid >= 0);
	if (pid)
		return;
	orphan(slot);
	_exit(0);
}

static void wait_for_orphan(long slot)
{
	while (!shared[slot])
		sleep_ms(1);
	kids[nr_kids++] = shared[slot];
}

/* A leader that starts a member (or two sessions one after the other) and exits; the member comes to the root. */
static void dying_session_leader(long slot)
{
	need(setsid() == getpid());
	unheld_orphan(slot);
	victim_held();
}

static void dying_group_leader(long slot)
{
	need(setpgid(0, 0) == 0);
	unheld_orphan(slot);
	victim_held();
}

static void dying_nested_leader(long slot)
{
	need(setsid() == getpid());
	unheld_orphan(slot);
	unheld_orphan(slot + 1);
	pid_t inner = fork();
	need(inner >= 0);
	if (inner == 0) {
		need(setsid() == getpid());
		unheld_orphan(slot + 2);
		_exit(0);
	}
	need(waitpid(inner, NULL, 0) == inner);
	victim_held();
}

static void start_dying(void (*fn)(long), long slot, bool reap)
{
	become_reaper();
	shared[0] = getpid();
	pid_t leader = victim_fork(fn, slot);
	if (reap)
		need(waitpid(leader, NULL, 0) == leader);
	else
		kids[nr_kids++] = leader;
	wait_for_orphan(slot);
}

static void set_up_dead_session_leader(void)
{
	start_dying(dying_session_leader, 1, true);
}
static void set_up_zombie_session_leader(void)
{
	start_dying(dying_session_leader, 1, false);
}
static void set_up_dead_group_leader(void)
{
	start_dying(dying_group_leader, 1, true);
}
static void set_up_zombie_group_leader(void)
{
	start_dying(dying_group_leader, 1, false);
}

static void set_up_dead_nested(void)
{
	start_dying(dying_nested_leader, 1, true);
	wait_for_orphan(2);
	wait_for_orphan(3);
}

/* --- the dead: every way of ending, also as a leader, also a dead child of a child */

static const struct {
	int code, sig;
} ends[] = {
	{ 0, 0 }, { 1, 0 }, { 77, 0 }, { 255, 0 }, { 0, SIGKILL }, { 0, SIGTERM }, { 0, SIGSEGV }, { 0, 64 },
};

#define NR_ENDS (int)(sizeof(ends) / sizeof(ends[0]))

static pid_t zombie(int i, int lead)
{
	pid_t pid = fork();
	siginfo_t info;

	need(pid >= 0);
	if (pid == 0) {
		if (lead == 1)
			setsid();
		if (lead == 2)
			setpgid(0, 0);
		if (ends[i].sig)
			raise(ends[i].sig);
		_exit(ends[i].code);
	}
	need(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) == 0);
	return pid;
}

static void reap_zombie(pid_t pid, int i)
{
	int status = -1;

	expect(waitpid(pid, &status, 0) == pid, "zombie %d is not there", (int)pid);
	if (ends[i].sig)
		expect(WIFSIGNALED(status) && WTERMSIG(status) == ends[i].sig, "zombie of signal %d has status %#x",
		       ends[i].sig, (unsigned)status);
	else
		expect(WIFEXITED(status) && WEXITSTATUS(status) == ends[i].code, "zombie of code %d has status %#x",
		       ends[i].code, (unsigned)status);
}

static void keeper_of_zombies(long arg)
{
	pid_t dead[NR_ENDS];

	for (int i = 0; i < NR_ENDS; i++)
		dead[i] = zombie(i, i % 3);
	victim_hold();
	for (int i = 0; i < NR_ENDS; i++)
		reap_zombie(dead[i], i);
}

static void set_up_zombies(void)
{
	for (int i = 0; i < NR_ENDS; i++)
		kids[nr_kids++] = zombie(i, (i + 1) % 3);
	kids[NR_ENDS] = victim_fork(keeper_of_zombies, 0);
}

static void check_zombies(void)
{
	for (int i = 0; i < NR_ENDS; i++)
		reap_zombie(kids[i], i);
	victim_reap(kids[NR_ENDS]);
}

/* --- reparenting */

static void leave_orphan(long slot)
{
	unheld_orphan(slot);
	victim_held();
}

static void set_up_subreaper(void)
{
	start_dying(leave_orphan, 1, true);
}

static void check_subreaper(void)
{
	int reaper = 0;

	expect(prctl(PR_GET_CHILD_SUBREAPER, &reaper) == 0 && reaper == 1, "no subreaper any more");
	reap_kids();
	pid_t middle = fork();
	if (middle == 0) {
		if (fork() == 0) {
			for (int i = 0; i < 200 && getppid() != shared[0]; i++)
				sleep_ms(10);
			_exit(getppid() == shared[0] ? 0 : 3);
		}
		_exit(0);
	}
	int status;
	expect(waitpid(middle, &status, 0) == middle && status == 0, "middle child");
	expect(waitpid(-1, &status, 0) > 0 && status == 0, "an orphan does not come to its subreaper");
}

static void inner_reaper(long arg)
{
	need(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	shared[0] = getpid();
	pid_t middle = fork();
	need(middle >= 0);
	if (middle == 0) {
		unheld_orphan(1);
		_exit(0);
	}
	need(waitpid(middle, NULL, 0) == middle);
	while (!shared[1])
		sleep_ms(1);
	victim_hold();
	victim_reap(shared[1]);
}

static void set_up_inner_reaper(void)
{
	share();
	kids[nr_kids++] = victim_fork(inner_reaper, 0);
}

/* --- parent-death signal: the middle one ends after the restore, and its child must hear of it */

static volatile sig_atomic_t heard;
static void hear(int sig)
{
	heard = sig;
}

static void death_watcher(long arg)
{
	int sig = 0;

	need(signal(SIGUSR1, hear) != SIG_ERR);
	need(prctl(PR_SET_PDEATHSIG, SIGUSR1) == 0);
	victim_hold();
	expect(prctl(PR_GET_PDEATHSIG, &sig) == 0 && sig == SIGUSR1, "parent-death signal is %d", sig);
	shared[1] = 1;
	for (int i = 0; i < 500 && !heard; i++)
		sleep_ms(10);
	expect(heard == SIGUSR1, "the parent's death was not heard");
	shared[2] = 1;
}

static void mortal(long arg)
{
	victim_fork(death_watcher, 0);
	victim_hold();
	for (int i = 0; i < 500 && !shared[1]; i++)
		sleep_ms(10);
}

static void set_up_pdeathsig(void)
{
	become_reaper();
	kids[nr_kids++] = victim_fork(mortal, 0);
}

static void check_pdeathsig(void)
{
	reap_kids();
	int status;
	expect(waitpid(-1, &status, 0) > 0 && status == 0, "watcher ends with %#x", (unsigned)status);
	expect(shared[2] == 1, "watcher did not finish");
}

/* --- children of another kind */

static void set_up_exit_signal(void)
{
	pid_t pid = (pid_t)syscall(SYS_clone, 0L, NULL, NULL, NULL, NULL); /* no signal when it ends */

	need(pid >= 0);
	if (pid == 0) {
		victim_wait();
		_exit(0);
	}
	kids[nr_kids++] = pid;
}

static void check_exit_signal(void)
{
	int status = -1;

	expect(waitpid(kids[0], &status, 0) < 0 && errno == ECHILD,
	       "a child without exit signal is waited for plainly");
	expect(waitpid(kids[0], &status, __WCLONE) == kids[0] && status == 0, "clone child: status %#x",
	       (unsigned)status);
}

/* The dead as well; their signals have arrived, and shall not do so once more. */
static const int ends_with[] = { 0, SIGUSR1, SIGUSR1, SIGCHLD, -1, -1 };
#define NR_ENDINGS ((int)(sizeof(ends_with) / sizeof(ends_with[0])))
static volatile sig_atomic_t endings_told;

/* SIGRTMIN is no constant */
static int ending(int i) { return ends_with[i] < 0 ? SIGRTMIN + 5 : ends_with[i]; }

static void told(int sig)
{
	endings_told++;
}

static void set_up_zombie_signals(void)
{
	signal(SIGUSR1, told);
	signal(SIGRTMIN + 5, told);
	for (int i = 0; i < NR_ENDINGS; i++) {
		siginfo_t info;
		pid_t pid = (pid_t)syscall(SYS_clone, (long)ending(i), NULL, NULL, NULL, NULL);

		need(pid >= 0);
		if (pid == 0)
			_exit(i);
		kids[nr_kids++] = pid;
		need(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT | __WALL) == 0);
	}
	need(endings_told == 4);
}

static void check_zombie_signals(void)
{
	expect(endings_told == 4, "%d signals of children that had ended before", endings_told - 4);
	for (int i = 0; i < NR_ENDINGS; i++) {
		bool usual = ending(i) == SIGCHLD;
		int status = -1;

		expect(waitpid(kids[i], &status, WNOHANG | (usual ? __WCLONE : 0)) < 0 && errno == ECHILD,
		       "child %d is waited for in the wrong way", i);
		expect(waitpid(kids[i], &status, usual ? 0 : __WCLONE) == kids[i] && status == i << 8,
		       "child %d: status %#x", i, (unsigned)status);
	}
}

static void *forking_thread(void *arg)
{
	kids[nr_kids++] = victim_fork(plain, 0);
	victim_thread_ready();
	victim_wait();
	return NULL;
}

static unsigned long forker;
static void set_up_thread_child(void)
{
	forker = victim_thread(forking_thread, NULL);
}

static void check_thread_child(void)
{
	victim_join(forker);
	reap_kids();
}

static void set_up_exec(void)
{
	pid_t pid = fork();

	need(pid >= 0);
	if (pid == 0) {
		execlp("sleep", "sleep", "1000", (char *)NULL);
		_exit(1);
	}
	kids[nr_kids++] = pid;
	sleep_ms(100);
}

static void check_exec(void)
{
	char path[64], text[64];
	int status = 0;

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)kids[0]);
	slurp(path, text, sizeof(text));
	expect(strcmp(text, "sleep\n") == 0, "comm is %s", text);
	kill(kids[0], SIGTERM);
	expect(waitpid(kids[0], &status, 0) == kids[0] && WIFSIGNALED(status), "status %#x", (unsigned)status);
}

static void set_up_job(void)
{
	need(getsid(0) != getpid());
	kids[nr_kids++] = victim_fork(plain, 0);
}

const struct victim_case victim_cases[] = {
	{ "single", set_up_single, check_single, .flags = CASE_MORE },
	{ "deep", set_up_deep, reap_kids },
	{ "wide", set_up_wide, reap_kids },
	{ "bush", set_up_bush, reap_kids, .flags = CASE_MORE },
	{ "sessions", set_up_sessions, reap_kids, .flags = CASE_MORE },
	{ "groups", set_up_groups, reap_kids, .flags = CASE_MORE },
	{ "dead-session-leader", set_up_dead_session_leader, reap_kids, .flags = CASE_MORE },
	{ "zombie-session-leader", set_up_zombie_session_leader, reap_kids },
	{ "dead-group-leader", set_up_dead_group_leader, reap_kids, .flags = CASE_MORE },
	{ "zombie-group-leader", set_up_zombie_group_leader, reap_kids },
	{ "dead-nested-leaders", set_up_dead_nested, reap_kids },
	{ "zombies", set_up_zombies, check_zombies, .flags = CASE_MORE },
	{ "subreaper", set_up_subreaper, check_subreaper, .flags = CASE_MORE },
	{ "inner-subreaper", set_up_inner_reaper, reap_kids },
	{ "pdeathsig", set_up_pdeathsig, check_pdeathsig, .flags = CASE_MORE },
	{ "exit-signal", set_up_exit_signal, check_exit_signal },
	{ "zombie-exit-signals", set_up_zombie_signals, check_zombie_signals, .flags = CASE_MORE },
	{ "thread-child", set_up_thread_child, check_thread_child },
	{ "exec", set_up_exec, check_exec },
	{ "shell-job", set_up_job, reap_kids, .dump = "--shell-job", .restore = "--shell-job",
	  .flags = CASE_NO_SETSID },
	{ "not-a-shell-job", set_up_job, reap_kids, .refuse = "shell-job", .flags = CASE_NO_SETSID },
	{ 0 },
};

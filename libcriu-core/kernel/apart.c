/*
 * A process that shares everything with this one but its life: SIGKILL ends the threads of one process only (do_group_exit()
 * in kernel/exit.c), and memory and descriptor table live as long as somebody uses them. CLONE_VFORK makes us sleep until it
 * has ended, so nothing runs twice; that sleep ends early only by our own death (wait_for_vfork_done() in kernel/fork.c).
 */
#include "kernel/apart.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdalign.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define APART_STACK ((size_t)128 << 10)

struct apart {
	int (*fn)(void *arg);
	void *arg;
	int result;
	bool done;
};

static int apart_main(void *arg)
{
	struct apart *a = arg;

	/* not among those that a signal to our process group ends */
	setpgid(0, 0);
	a->result = a->fn(a->arg);
	a->done = true;
	return 0;
}

bool apart_possible(void)
{
	char own[64] = "", next[64] = "";

	if (readlink("/proc/self/ns/pid", own, sizeof(own) - 1) < 0 ||
	    readlink("/proc/self/ns/pid_for_children", next, sizeof(next) - 1) < 0)
		return false;
	return strcmp(own, next) == 0;
}

/* Return: as apart_run(); -EAGAIN no process can be had, nothing was done */
static int run(int (*fn)(void *arg), void *arg, int flags, struct cr_error *err)
{
	alignas(64) char stack[APART_STACK];
	struct apart a = { .fn = fn, .arg = arg };
	sigset_t all, old;
	pid_t pid = -1;

	if (apart_possible()) {
		/* handlers of ours are not to run there; no exit signal, so that nobody else waits for it by accident */
		sigfillset(&all);
		pthread_sigmask(SIG_SETMASK, &all, &old);
		pid = clone(apart_main, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | flags, &a);
		pthread_sigmask(SIG_SETMASK, &old, NULL);
	}
	if (pid < 0)
		return -EAGAIN;
	while (waitpid(pid, NULL, __WCLONE) < 0 && errno == EINTR)
		;
	return a.done ? a.result : cr_refuse(err, -ECHILD, "a process that worked for us was killed");
}

int apart_run(int (*fn)(void *arg), void *arg, struct cr_error *err)
{
	int r = run(fn, arg, CLONE_FILES, err);

	return r == -EAGAIN ? fn(arg) : r;
}

int apart_run_copies(int (*fn)(void *arg), void *arg, struct cr_error *err)
{
	return run(fn, arg, 0, err);
}

/* The end of a process with memory of its own; a core dump would be one of us. */
static _Noreturn void end_like(int status)
{
	sigset_t own;

	if (WIFSIGNALED(status)) {
		prctl(PR_SET_DUMPABLE, 0);
		sigaction(WTERMSIG(status), &(struct sigaction){ .sa_handler = SIG_DFL }, NULL);
		sigemptyset(&own);
		sigaddset(&own, WTERMSIG(status));
		kill(getpid(), WTERMSIG(status));
		sigprocmask(SIG_UNBLOCK, &own, NULL);
	}
	_exit(WEXITSTATUS(status));
}

pid_t apart_corpse(int status)
{
	sigset_t all, old;
	siginfo_t info;
	pid_t pid;

	if (!apart_possible())
		return -EAGAIN;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	/* fork() without a signal for us at its end */
	pid = (pid_t)syscall(SYS_clone, 0, 0, 0, 0, 0);
	if (pid == 0)
		end_like(status);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (pid < 0)
		return -errno;
	while (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT | __WALL) < 0)
		if (errno != EINTR)
			return -errno;
	return pid;
}

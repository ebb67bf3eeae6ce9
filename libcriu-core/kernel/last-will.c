/*
 * The one who carries it out sleeps until it is sent a signal: by us, or by the kernel at our end (PR_SET_PDEATHSIG). All signals are
 * blocked there, so it is queued whatever its action is (sig_ignored() in kernel/signal.c). As long as we live, none of its system
 * calls fails, unless it is stopped and continued: it shares even our errno.
 */
#include "kernel/last-will.h"

#include "kernel/apart.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define WILL_STACK  ((size_t)32 << 10)
#define WILL_SIGNAL SIGUSR1

struct last_will {
	void (*fn)(void *arg);
	void *arg;
	pid_t testator, executor;
	atomic_bool revoked;
	alignas(64) char stack[WILL_STACK];
};

/* Two run on one thread's storage at the same time, where the address sanitizer would keep their frames. */
__attribute__((no_sanitize("address"))) static int execute(void *arg)
{
	struct last_will *w = arg;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, WILL_SIGNAL);
	prctl(PR_SET_PDEATHSIG, WILL_SIGNAL);
	/* not among those that a signal to our process group ends */
	setpgid(0, 0);
	/* others may send that signal as well, and a stop interrupts the wait: who is our parent changes before the kernel sends it */
	while (getppid() == w->testator && !atomic_load(&w->revoked))
		sigwaitinfo(&set, NULL);
	if (!atomic_load(&w->revoked))
		w->fn(w->arg);
	return 0;
}

struct last_will *last_will_make(void (*fn)(void *arg), void *arg)
{
	struct last_will *w = apart_possible() ? aligned_alloc(alignof(struct last_will), sizeof(*w)) : NULL;
	sigset_t all, old;

	if (!w)
		return NULL;
	w->fn = fn;
	w->arg = arg;
	w->testator = getpid();
	atomic_init(&w->revoked, false);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	w->executor = clone(execute, w->stack + sizeof(w->stack), CLONE_VM | CLONE_FILES | CLONE_FS, w);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (w->executor > 0)
		return w;
	free(w);
	return NULL;
}

void last_will_revoke(struct last_will *w)
{
	if (!w)
		return;
	atomic_store(&w->revoked, true);
	kill(w->executor, WILL_SIGNAL);
	while (waitpid(w->executor, NULL, __WCLONE) < 0 && errno == EINTR)
		;
	free(w);
}

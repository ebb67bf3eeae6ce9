/*
 * The coordinator's hand on a thread that it restores: seized while it still runs its program, stopped once that is
 * parked, given its registers, let go. Order: takeover_seize() for every thread, (they park), takeover_interrupt() for
 * every thread, takeover_wait() for every thread, takeover_unmap() once per process, takeover_load(), takeover_release().
 */
#ifndef CR_INFECT_TAKEOVER_H
#define CR_INFECT_TAKEOVER_H

#include "base/error.h"
#include "base/own.h"
#include "proto/images.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct takeover;
struct xstate_layout;

/** takeover_seize() - PTRACE_SEIZE with PTRACE_O_EXITKILL, without stopping the thread. Return: 0, negative errno. */
int takeover_seize(pid_t tid, struct takeover **ret, struct cr_error *err);

/** takeover_seize_leader() - the same for a leader whose program ends by exit(2) while other threads live: see takeover_end() */
int takeover_seize_leader(pid_t tid, struct takeover **ret, struct cr_error *err);

/**
 * takeover_end() - wait for the exit of such a leader, give it its signal mask, let go of it
 * The mask of a dead leader counts: the kernel asks it whether a signal to the process may be dropped as ignored.
 * Return: 0, -ECHILD it was killed, negative errno.
 */
int takeover_end(struct takeover *t, uint64_t sigmask, struct cr_error *err);

/** takeover_interrupt() - ask for a stop; takeover_wait() - until it has stopped. Return: 0, -ECHILD it has died, negative errno. */
int takeover_interrupt(struct takeover *t, struct cr_error *err);
int takeover_wait(struct takeover *t, struct cr_error *err);

/**
 * takeover_unmap() - munmap [@start, @start + @len) through the stopped thread, whose code may lie in there
 * Many processes at the same time: _begin() for all, _advance() for all, _end() for all. Return: 0, negative errno.
 */
int takeover_unmap(struct takeover *t, uint64_t start, uint64_t len, struct cr_error *err);
int takeover_unmap_begin(struct takeover *t, uint64_t start, uint64_t len, struct cr_error *err);
int takeover_unmap_advance(struct takeover *t, struct cr_error *err);
int takeover_unmap_end(struct takeover *t, struct cr_error *err);

/**
 * takeover_load() - general registers, extended state and signal mask of the image
 * @layout: xstate_layout_init(), once for all threads: it executes CPUID, which is slow in virtual machines
 * Return: 0; -EOPNOTSUPP this CPU lacks a part, named.
 */
int takeover_load(struct takeover *t, const struct xstate_layout *layout, const img_core_entry *core, uint64_t sigmask,
		  struct cr_error *err);

/**
 * takeover_call() - a system call through the stopped thread, before takeover_load()
 * Return: 0, @ret is what it returned, negative errno included; negative errno if it could not be made.
 */
int takeover_call(struct takeover *t, long nr, const uint64_t arg[6], int64_t *ret, struct cr_error *err);

/**
 * takeover_stop() - bring a process into a group stop, after takeover_load() of all of its threads
 * @t, @masks: its @nr threads and their signal masks
 * @signo:     SIGSTOP, or another stop signal whose action in the process is the default
 * None of them executes anything. When it returns, the parent has been told. The stop outlives takeover_release().
 * Return: 0; 1 stopped by SIGSTOP instead of @signo, which stops nobody in an orphaned process group; -ECHILD; negative errno.
 */
int takeover_stop(struct takeover *const *t, const uint64_t *masks, size_t nr, int signo, struct cr_error *err);

/** takeover_keep() - from here on it goes on, not ends, if the coordinator dies. Return: 0, negative errno. */
int takeover_keep(struct takeover *t, struct cr_error *err);

/** takeover_release() - let it go. Return: 0, negative errno. */
int takeover_release(struct takeover *t, struct cr_error *err);

/** takeover_free() - detaches if it still holds on; a thread that was killed is fine, NULL too */
void takeover_free(struct takeover *t);
DEFINE_SLOT(struct takeover, takeover_free)

#endif

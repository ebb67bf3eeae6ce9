/*
 * One thread of somebody else, under ptrace. It is seized without a stop, interrupted, and while it is stopped its
 * registers, signal mask and memory can be borrowed; the destructor puts back what was borrowed and detaches.
 * All requests must come from the operating system thread that seized.
 */
#ifndef CR_INFECT_TRACEE_H
#define CR_INFECT_TRACEE_H

#include "base/error.h"
#include "base/own.h"
#include "kernel/uapi.h"
#include "regs.h"

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum tracee_state { TRACEE_RUNS, TRACEE_STOPPED, TRACEE_GONE };

/* How far a borrowed run goes before it stops by itself: to nowhere, to the entry of a system call, to its exit */
enum tracee_run { TRACEE_FREELY, TRACEE_TO_SYSCALL, TRACEE_OUT_OF_SYSCALL };

/* PTRACE_GET_RSEQ_CONFIGURATION, and the critical section the thread was in when it was stopped */
struct tracee_rseq {
	uint64_t abi_pointer;    /* 0: not registered */
	uint32_t abi_size, signature;
	uint64_t cs_pointer;     /* as it was found in the area */
	uint64_t abort_ip;       /* where the kernel would send the thread; 0: it was in no section */
};

struct tracee {
	pid_t tid, tgid;             /* as we see them */
	enum tracee_state state;
	int  stop_signo;             /* the group stop it was found in, 0 = none */
	bool borrowed;               /* registers or mask are not its own at the moment */
	enum tracee_run run;         /* of the present or last borrowed run */
	bool settled;                /* regs, mask, rseq and sud below are valid */
	struct regs regs;            /* its own, as ptrace showed them in the first stop */
	unsigned char code[REGS_CODE_BYTES]; /* in front of the call it was stopped in, if regs_needs_code() */
	enum regs_wait waits;        /* in a call that regs do not name: restarted_find() */
	uint64_t mask;               /* its own blocked signals */
	struct tracee_rseq rseq;
	struct uapi_ptrace_sud_config sud; /* syscall user dispatch, off while borrowed; all zero before Linux 6.4, too */
	uint32_t facts;              /* thread_facts(), if it has run something of ours; else 0 */
	void    *xstate;             /* its extended state in the layout of NT_X86_XSTATE; NULL: not read yet */
	size_t   xstate_size;
	struct tracee_rare *rare;    /* what few have, NULL: it has not: thread-image.c */
	uint64_t kept_thread, kept_process; /* signals that came while borrowed; sent again at the end: bit n - 1 */
};

/**
 * tracee_seize() - attach without stopping
 * @options: PTRACE_O_* in addition to PTRACE_O_TRACESYSGOOD
 * Return: 0; -ESRCH gone; -EPERM zombie, traced by somebody else or not allowed (no sentence is recorded for these
 * two: the caller knows more); -ENOMEM.
 */
int tracee_seize(pid_t tgid, pid_t tid, unsigned long options, struct tracee **ret, struct cr_error *err);

/**
 * tracee_adopt() - a thread that is traced by the caller already, under another number: it has run a new program and taken over
 * the number of its process (execve under ptrace in ptrace(2))
 * Return: 0 it runs, as far as is known; -ENOMEM.
 */
int tracee_adopt(pid_t tgid, pid_t tid, struct tracee **ret, struct cr_error *err);

/** tracee_interrupt() - ask for a stop; come for it with tracee_wait(). Return: 0, -ESRCH. */
int tracee_interrupt(struct tracee *t);

/**
 * tracee_wait() - until the thread has stopped after tracee_interrupt()
 * @deadline: deadline_in(), of this call
 * Signals that are delivered meanwhile reach the thread. A group stop is recognised (stop_signo).
 * Return: 0; -ESRCH it has exited (state GONE); -ETIMEDOUT without a sentence.
 */
int tracee_wait(struct tracee *t, uint64_t deadline, struct cr_error *err);

/**
 * tracee_wait_event() - until the thread has stopped for PTRACE_EVENT_* @event; signals that come before reach it
 * @event: 0: for the delivery of @signo
 * @signo: that the stop is for; SIGTRAP for all but group stops (PTRACE_EVENT_STOP)
 * PTRACE_EVENT_EXIT: in this stop it takes no signals any more, and its mask can still be set.
 * Return: 0; -ESRCH it was killed (state GONE); -ETIMEDOUT; errno of a signal that could not be passed on. No sentence.
 */
int tracee_wait_event(struct tracee *t, unsigned int event, int signo, uint64_t deadline);

/** tracee_next_status() - its next wait word, which changes nothing here. Return: 0; -ESRCH (state GONE); -ETIMEDOUT. No sentence. */
int tracee_next_status(struct tracee *t, uint64_t deadline, int *ret);

/** tracee_is_stopped() - is it still? One that was killed is not. */
bool tracee_is_stopped(const struct tracee *t);

/** tracee_is_ending() - is it in the stop of PTRACE_EVENT_EXIT? */
bool tracee_is_ending(const struct tracee *t);

/** tracee_resume() - out of a stop, without a signal. Return: 0, negative errno. */
int tracee_resume(struct tracee *t);

/** tracee_resume_with() - out of a stop for the delivery of a signal, with @signo in its place. Return: 0, negative errno. */
int tracee_resume_with(struct tracee *t, int signo);

/** deadline_in() - monotonic nanoseconds, @ms from now */
uint64_t deadline_in(unsigned int ms);

/** tracee_settle() - read registers, mask and rseq state, once. Stopped only. Return: 0, negative errno. */
int tracee_settle(struct tracee *t, struct cr_error *err);

/** tracee_read_xstate() - fill t->xstate, once. Return: 0, negative errno. */
int tracee_read_xstate(struct tracee *t, struct cr_error *err);

/** tracee_own_regs() - registers with which the thread would go on without us: calls restarted, rseq aborted; as regs_settle() */
int tracee_own_regs(const struct tracee *t, struct regs *ret);

/**
 * tracee_start() - let the thread run something of ours
 * @r:        registers to begin with
 * @allow:    signals that may be delivered (bits n - 1); all others are blocked
 * @run:      how far
 * Registers are set before the mask: a tracer that is killed in between leaves a thread that runs the blob with its own
 * mask, which the blob survives; the other way round its own code would run with everything blocked.
 */
int tracee_start(struct tracee *t, const struct regs *r, uint64_t allow, enum tracee_run run, struct cr_error *err);
/** tracee_go_on() - resume a borrowed run from its present stop, as it was started */
int tracee_go_on(struct tracee *t, struct cr_error *err);

/* How a borrowed run came to a stop */
enum tracee_stop { TRACEE_AT_SYSCALL = 1, TRACEE_AT_SIGNAL };

/**
 * tracee_await() - wait for a borrowed run to come to a stop of interest
 * @signo: the signal that ends the run (0 none); others are kept for later, faults are errors
 * Return: enum tracee_stop; -ESRCH it died; -EFAULT it crashed (regs put back by tracee_return()); -ETIMEDOUT.
 */
int tracee_await(struct tracee *t, int signo, uint64_t deadline, struct cr_error *err);

/**
 * tracee_await_trusting() - as tracee_await(), but who sent @signo is not asked: the caller can see whether the run has ended
 * tracee_await_on() - it had not, as it seems: ask, and if it was somebody else's keep it and go on
 * A question per thread less, and nearly always the answer would be the same.
 */
int tracee_await_trusting(struct tracee *t, int signo, uint64_t deadline, struct cr_error *err);
int tracee_await_on(struct tracee *t, int signo, uint64_t deadline, struct cr_error *err);

/** tracee_return() - put own mask, registers and rseq section back; still stopped. Return: 0, negative errno. */
int tracee_return(struct tracee *t, struct cr_error *err);

/** tracee_recall() - stop a borrowed run wherever it is, and tracee_return(). Return: 0; -ETIMEDOUT; -ESRCH. */
int tracee_recall(struct tracee *t, struct cr_error *err);

/**
 * tracee_signals() - queued signals, oldest first
 * @shared: those of the process instead of the thread's own
 * @ret:    room for @max; Return: how many were read, negative errno
 */
ssize_t tracee_signals(struct tracee *t, bool shared, siginfo_t *ret, size_t max, struct cr_error *err);

/** tracee_detach() - return what was borrowed, send again what was kept, let go. The struct stays, state RUNS. */
int tracee_detach(struct tracee *t, struct cr_error *err);

/** tracee_reap() - wait for a killed thread to be gone. Return: 0, -ETIMEDOUT. */
int tracee_reap(struct tracee *t, uint64_t deadline);

/** tracee_free() - tracee_detach() if still attached, and free; NULL is fine */
void tracee_free(struct tracee *t);
DEFINE_SLOT(struct tracee, tracee_free)

#endif

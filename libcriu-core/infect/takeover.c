/*
 * The threads of a restore, from the moment the coordinator seizes them while they run their programs until they go on
 * as what they were. Nothing of them is put back on failure: PTRACE_O_EXITKILL and the caller's undo end them.
 */
#include "infect/takeover.h"

#include "infect/remote-call.h"
#include "infect/remote-mem.h"
#include "infect/rseq.h"
#include "infect/tracee.h"
#include "xstate.h"

#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define STOP_MS 10000
/* No processor has more than this; AMX makes it 11008 bytes */
#define XSTATE_ROOM 65536u

struct takeover {
	struct tracee *tracee;
};

static int seize(pid_t tid, unsigned long options, struct takeover **ret, struct cr_error *err)
{
	struct takeover *t = calloc(1, sizeof(*t));
	int r;

	if (!t)
		return cr_fail(err, -ENOMEM, "seize thread %d", tid);
	/*
	 * Filters that the program installs must not judge the blob's last calls, nor our own in the thread's name. It takes
	 * CAP_SYS_ADMIN (EPERM, as for other reasons) and CONFIG_CHECKPOINT_RESTORE (EINVAL): else go without.
	 */
	r = tracee_seize(tid, tid, options | PTRACE_O_EXITKILL | PTRACE_O_SUSPEND_SECCOMP, &t->tracee, NULL);
	if (r == -EPERM || r == -EINVAL)
		r = tracee_seize(tid, tid, options | PTRACE_O_EXITKILL, &t->tracee, err);
	if (r < 0) {
		free(t);
		return r == -ESRCH || r == -EPERM ? cr_fail(err, r, "seize thread %d", tid) : r;
	}
	*ret = t;
	return 0;
}

int takeover_seize(pid_t tid, struct takeover **ret, struct cr_error *err)
{
	return seize(tid, 0, ret, err);
}

int takeover_seize_leader(pid_t tid, struct takeover **ret, struct cr_error *err)
{
	return seize(tid, PTRACE_O_TRACEEXIT, ret, err);
}

static int set_mask(struct tracee *t, uint64_t mask, struct cr_error *err)
{
	if (ptrace(PTRACE_SETSIGMASK, t->tid, sizeof(mask), &mask) < 0)
		return cr_fail(err, -errno, "set the signal mask of thread %d", t->tid);
	return 0;
}

int takeover_end(struct takeover *t, uint64_t sigmask, struct cr_error *err)
{
	int r = tracee_wait_event(t->tracee, PTRACE_EVENT_EXIT, SIGTRAP, deadline_in(STOP_MS));

	if (r == -ESRCH)
		return cr_refuse(err, -ECHILD, "main thread %d was killed", t->tracee->tid);
	if (r < 0)
		return cr_fail(err, r, "end main thread %d", t->tracee->tid);
	r = set_mask(t->tracee, sigmask, err);
	return r < 0 ? r : tracee_detach(t->tracee, err);
}

int takeover_interrupt(struct takeover *t, struct cr_error *err)
{
	int r = tracee_interrupt(t->tracee);

	if (r == -ESRCH)
		return cr_refuse(err, -ECHILD, "thread %d has died", t->tracee->tid);
	return r < 0 ? cr_fail(err, r, "stop thread %d", t->tracee->tid) : 0;
}

int takeover_wait(struct takeover *t, struct cr_error *err)
{
	int r = tracee_wait(t->tracee, deadline_in(STOP_MS), err);

	if (r == -ESRCH)
		return cr_refuse(err, -ECHILD, "thread %d has died", t->tracee->tid);
	if (r == -ETIMEDOUT)
		return cr_fail(err, r, "stop thread %d", t->tracee->tid);
	return r;
}

int takeover_call(struct takeover *t, long nr, const uint64_t arg[6], int64_t *ret, struct cr_error *err)
{
	uint64_t insn;
	int r = remote_find_syscall(t->tracee, &insn, err);

	return r < 0 ? r : remote_syscall(t->tracee, insn, nr, arg, ret, err);
}

/* The call is made with the instruction the thread is parked in; it comes back to where nothing is, but does not run there. */
int takeover_unmap_begin(struct takeover *t, uint64_t start, uint64_t len, struct cr_error *err)
{
	const uint64_t arg[6] = { start, len };
	uint64_t insn;
	int r = remote_find_syscall(t->tracee, &insn, err);

	return r < 0 ? r : remote_start(t->tracee, insn, 0, SYS_munmap, arg, err);
}

int takeover_unmap_advance(struct takeover *t, struct cr_error *err)
{
	return remote_advance(t->tracee, err);
}

int takeover_unmap_end(struct takeover *t, struct cr_error *err)
{
	int64_t result = 0;
	int r = remote_finish(t->tracee, &result, err);

	if (r == 0 && result < 0)
		r = cr_fail(err, (int)result, "unmap our memory in pid %d", t->tracee->tid);
	return r;
}

int takeover_unmap(struct takeover *t, uint64_t start, uint64_t len, struct cr_error *err)
{
	int r = takeover_unmap_begin(t, start, len, err);

	return r < 0 ? r : takeover_unmap_end(t, err);
}

static int load_xstate(struct tracee *t, const struct xstate_layout *layout, const img_core_entry *core,
		       struct cr_error *err)
{
	const img_thread_ext *ext = core->thread_core ? core->thread_core->ext : NULL;
	char area[XSTATE_ROOM];
	struct iovec iov = { area, sizeof(area) };
	int r;

	if (layout->size > sizeof(area))
		return cr_refuse(err, -E2BIG, "this processor has %u bytes of extended state", layout->size);
	iov.iov_len = layout->size > XSTATE_LEGACY + XSTATE_HEADER ? layout->size : XSTATE_LEGACY + XSTATE_HEADER;
	r = xstate_from_image(layout, core->thread_info->fpregs, ext ? ext->xsave_raw.data : NULL,
			      ext ? ext->xsave_raw.len : 0, ext && ext->has_xsave_xfeatures ? ext->xsave_xfeatures : 0,
			      area, iov.iov_len, err);
	if (r < 0)
		return r;
	/* Without XSAVE there is only the FXSAVE area, of another register set */
	if (ptrace(PTRACE_SETREGSET, t->tid, layout->features ? NT_X86_XSTATE : NT_PRFPREG, &iov) < 0)
		return cr_fail(err, -errno, "set extended state of thread %d", t->tid);
	return 0;
}

/* Slots of the global descriptor table; empty ones are what a new thread has */
static int load_tls(struct tracee *t, const img_thread_info_x86 *info, struct cr_error *err)
{
	for (size_t i = 0; i < info->tls.nr; i++) {
		struct regs_tls d;
		int r = regs_tls_from_image(&info->tls.items[i], &d, err);

		if (r < 0)
			return r;
		if (r == REGS_TLS_EMPTY)
			continue;
		r = regs_tls_set(t->tid, &d);
		if (r < 0)
			return cr_fail(err, r, "set descriptor %u of thread %d", d.entry_number, t->tid);
	}
	return 0;
}

/*
 * The thread was inside a restartable sequence. With the pointer in the area the kernel sends it to the abort handler; if
 * the address in the image is that already, the kernel clears the pointer.
 */
static int load_rseq(struct tracee *t, const img_core_entry *core, struct cr_error *err)
{
	const img_rseq_entry *e = core->thread_core ? core->thread_core->rseq_entry : NULL;
	struct tracee_rseq rseq;
	int r;

	if (!e || !e->has_rseq_cs_pointer || !e->rseq_cs_pointer)
		return 0;
	rseq = (struct tracee_rseq){ .abi_pointer = e->rseq_abi_pointer, .cs_pointer = e->rseq_cs_pointer };
	r = rseq_write_cs(t->tid, &rseq);
	return r < 0 ? cr_fail(err, r, "write the restartable sequence of thread %d", t->tid) : 0;
}

int takeover_load(struct takeover *t, const struct xstate_layout *layout, const img_core_entry *core, uint64_t sigmask,
		  struct cr_error *err)
{
	struct tracee *tracee = t->tracee;
	const img_thread_ext *ext = core->thread_core ? core->thread_core->ext : NULL;
	struct regs regs;
	int r;

	if (!core->thread_info || !core->thread_info->gpregs || !core->thread_info->fpregs)
		return cr_refuse(err, -EBADMSG, "the image has no registers of thread %d", tracee->tid);
	r = regs_from_image(core->thread_info->gpregs, ext && ext->has_restart ? ext->restart : 0, &regs, err);
	if (r == 0)
		r = load_xstate(tracee, layout, core, err);
	if (r == 0)
		r = load_tls(tracee, core->thread_info, err);
	if (r == 0)
		r = load_rseq(tracee, core, err);
	if (r < 0)
		return r;
	r = regs_set(tracee->tid, &regs);
	if (r < 0)
		return cr_fail(err, r, "set registers of thread %d", tracee->tid);
	r = set_mask(tracee, sigmask, err);
	if (r < 0)
		return r;
	/* what it had in the blob is not to be put back */
	tracee->regs = regs;
	tracee->borrowed = false;
	return 0;
}

static int stop_failed(const struct tracee *t, int r, struct cr_error *err)
{
	if (r == -ESRCH)
		return cr_refuse(err, -ECHILD, "thread %d has died", t->tid);
	return r < 0 ? cr_fail(err, r, "stop thread %d", t->tid) : 0;
}

/* SIGSTOP is on its way to the thread; it waits to be told what to make of that. Return: 0; negative errno, no sentence. */
static int await_delivery(struct tracee *t)
{
	int r = set_mask(t, UINT64_MAX, NULL);

	if (r == 0 && syscall(SYS_tkill, t->tid, SIGSTOP) < 0)
		r = -errno;
	if (r == 0)
		r = tracee_resume(t);
	return r < 0 ? r : tracee_wait_event(t, 0, SIGSTOP, deadline_in(STOP_MS));
}

/*
 * The thread takes @signo in place of the signal that it is stopped for, and does not get further than the stop that it was
 * asked for in addition. Return: 0 its process stops; 1 the signal was dropped; negative errno, no sentence.
 */
static int take_stop(struct tracee *t, int signo)
{
	int r = set_mask(t, ~(UINT64_C(1) << (signo - 1)), NULL);

	if (r == 0)
		r = tracee_interrupt(t);
	if (r == 0)
		r = tracee_resume_with(t, signo);
	if (r == 0)
		r = tracee_wait(t, deadline_in(STOP_MS), NULL);
	return r < 0 ? r : t->stop_signo != signo;
}

/*
 * The first thread goes ahead, with all other signals blocked, so that none which waits for it comes first. What is sent
 * is always SIGSTOP, which is never among the signals that images have waiting; the right signal is put in its place when
 * it is delivered, and leaves those alone. Return: 0; 1 by SIGSTOP after all; negative errno, no sentence.
 */
static int stop_first(struct tracee *t, int signo)
{
	int r = await_delivery(t), dropped;

	if (r < 0)
		return r;
	dropped = take_stop(t, signo);
	if (dropped <= 0 || signo == SIGSTOP)
		return dropped > 0 ? -EPROTO : dropped;
	r = await_delivery(t);
	if (r == 0)
		r = take_stop(t, SIGSTOP);
	return r > 0 ? -EPROTO : r < 0 ? r : 1;
}

/*
 * A stop of the first thread is pending for the others, which look for it before anything else (get_signal() in
 * kernel/signal.c). The last to stop tells the parent, and is done with that when it answers a request of ptrace, as
 * setting the mask is: those wait until it sleeps (ptrace_check_attach()).
 */
int takeover_stop(struct takeover *const *t, const uint64_t *masks, size_t nr, int signo, struct cr_error *err)
{
	int other = nr ? stop_first(t[0]->tracee, signo) : 0, r = other < 0 ? stop_failed(t[0]->tracee, other, err) : 0;

	if (other > 0)
		signo = SIGSTOP;
	for (size_t i = 1; r == 0 && i < nr; i++) {
		r = tracee_resume(t[i]->tracee);
		if (r == 0)
			r = tracee_wait_event(t[i]->tracee, PTRACE_EVENT_STOP, signo, deadline_in(STOP_MS));
		r = stop_failed(t[i]->tracee, r, err);
	}
	for (size_t i = 0; r == 0 && i < nr; i++)
		r = set_mask(t[i]->tracee, masks[i], err);
	return r < 0 ? r : other;
}

int takeover_keep(struct takeover *t, struct cr_error *err)
{
	return ptrace(PTRACE_SETOPTIONS, t->tracee->tid, NULL, 0) < 0
		       ? cr_fail(err, -errno, "let thread %d live", t->tracee->tid)
		       : 0;
}

int takeover_release(struct takeover *t, struct cr_error *err)
{
	return tracee_detach(t->tracee, err);
}

void takeover_free(struct takeover *t)
{
	if (!t)
		return;
	tracee_free(t->tracee);
	free(t);
}
